#include "mwalimu/ops/batch_norm.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/compare.hpp"
#include "support/golden.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

struct Reference {
  std::vector<double> y, mean, unbiased;
};

// The definition, in double, over (rows, C).
Reference reference(const std::vector<double>& x, const std::vector<double>& gamma,
                    const std::vector<double>& beta, const std::vector<double>& residual,
                    bool relu) {
  const std::size_t C = gamma.size(), rows = x.size() / C;
  Reference r{std::vector<double>(x.size()), std::vector<double>(C), std::vector<double>(C)};
  for (std::size_t c = 0; c < C; ++c) {
    double mean = 0, var = 0;
    for (std::size_t i = 0; i < rows; ++i) mean += x[i * C + c];
    mean /= static_cast<double>(rows);
    for (std::size_t i = 0; i < rows; ++i) var += (x[i * C + c] - mean) * (x[i * C + c] - mean);
    r.mean[c] = mean;
    r.unbiased[c] = var / static_cast<double>(rows - 1);
    var /= static_cast<double>(rows);
    for (std::size_t i = 0; i < rows; ++i) {
      double y = (x[i * C + c] - mean) / std::sqrt(var + 1e-5) * gamma[c] + beta[c];
      if (!residual.empty()) y += residual[i * C + c];
      r.y[i * C + c] = relu ? std::max(y, 0.0) : y;
    }
  }
  return r;
}

template <class T>
struct Layer {
  using A = accumulate_t<T>;
  Tensor<A> gamma, beta;
  BatchNormState<A> state;
  explicit Layer(index_t C)
      : gamma(random_tensor<A>({C}, 11, 0.5f, 1.5f)),
        beta(random_tensor<A>({C}, 12)),
        state(BatchNormState<A>::initial(C)) {}
};

class BatchNormShapes : public testing::TestWithParam<Shape> {};

TEST_P(BatchNormShapes, MatchesFp64Reference) {
  const Shape shape = GetParam();
  const index_t C = shape[shape.rank() - 1];
  const auto x = random_tensor<float>(shape, 1), residual = random_tensor<float>(shape, 2);
  for (const bool relu : {false, true}) {
    for (const bool add : {false, true}) {
      Layer<float> layer(C);
      test::poison_pool<float>(shape);
      const BatchNormOptions options{true, relu ? Activation::relu : Activation::none};
      const auto y = add ? batch_norm<float>(x, layer.gamma, layer.beta, layer.state, options,
                                             Variable<float>(residual))
                         : batch_norm<float>(x, layer.gamma, layer.beta, layer.state, options);
      const auto want = reference(values(x), values(layer.gamma), values(layer.beta),
                                  add ? values(residual) : std::vector<double>{}, relu);
      // Two values a channel make the normalised ones +-1, whose error is that of 1 / deviation.
      EXPECT_TRUE(test::near_l2(values(y.value()), want.y, 1e-6)) << shape << relu << add;
      for (index_t c = 0; c < C; ++c) {
        const auto i = static_cast<std::size_t>(c);
        EXPECT_NEAR(layer.state.running_mean.data()[c], 0.1 * want.mean[i], 1e-6);
        EXPECT_NEAR(layer.state.running_var.data()[c], 0.9 + 0.1 * want.unbiased[i], 1e-6);
      }
      EXPECT_EQ(layer.state.num_batches_tracked.item(), 1);
    }
  }
}

// 128 channels are a tile, 64 rows a run, 16384 elements a chunk.
INSTANTIATE_TEST_SUITE_P(Edges, BatchNormShapes,
                         testing::Values(Shape{2, 1}, Shape{65, 7}, Shape{3, 127}, Shape{64, 129},
                                         Shape{2, 5, 3, 8}, Shape{3, 31, 29, 13},
                                         Shape{1, 64, 257, 1}, Shape{2, 16, 16, 40},
                                         Shape{5, 300}));

TEST(BatchNorm, GradientMatchesDifferences) {
  for (const bool training : {true, false}) {
    for (const bool relu : {false, true}) {
      const Shape shape{3, 2, 2, 9};
      auto state = BatchNormState<double>::initial(9);
      const auto f = [&](const std::vector<Variable<double>>& in) {
        return batch_norm<double>(in[0], in[1], in[2], state,
                                  {training, relu ? Activation::relu : Activation::none}, in[3]);
      };
      const auto check =
          check_gradients(f, {random_tensor<double>(shape, 3), random_tensor<double>({9}, 4),
                              random_tensor<double>({9}, 5), random_tensor<double>(shape, 6)});
      EXPECT_LT(check.worst, 1e-6) << check.describe() << " training " << training << relu;
    }
  }
}

TEST(BatchNorm, GradientWithoutResidualMatchesDifferences) {
  for (const bool training : {true, false}) {
    auto state = BatchNormState<double>::initial(5);
    const auto f = [&](const std::vector<Variable<double>>& in) {
      return batch_norm<double>(in[0], in[1], in[2], state, {training, Activation::relu});
    };
    const auto check =
        check_gradients(f, {random_tensor<double>({7, 5}, 3), random_tensor<double>({5}, 4),
                            random_tensor<double>({5}, 5)});
    EXPECT_LT(check.worst, 1e-6) << check.describe();
  }
}

TEST(BatchNorm, GradientOverTilesAndRunsMatchesDifferences) {
  auto state = BatchNormState<double>::initial(131);
  const auto f = [&](const std::vector<Variable<double>>& in) {
    return batch_norm<double>(in[0], in[1], in[2], state, {true, Activation::relu}, in[3]);
  };
  const Shape shape{67, 131};
  const auto check =
      check_gradients(f, {random_tensor<double>(shape, 3), random_tensor<double>({131}, 4),
                          random_tensor<double>({131}, 5), random_tensor<double>(shape, 6)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(BatchNorm, InputMayBeItsOwnResidual) {
  auto state = BatchNormState<double>::initial(3);
  const auto gamma = random_tensor<double>({3}, 4), beta = random_tensor<double>({3}, 5);
  const auto f = [&](const std::vector<Variable<double>>& in) {
    return batch_norm<double>(in[0], gamma, beta, state, {true, Activation::relu}, in[0]);
  };
  const auto check = check_gradients(f, {random_tensor<double>({6, 3}, 3)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(BatchNorm, ParameterGradientsAddToTheArena) {
  const auto x = random_tensor<float>({8, 4}, 1), dy = random_tensor<float>({8, 4}, 2);
  const auto once = [&](float already) {
    Layer<float> layer(4);
    auto dgamma = Tensor<float>::full({4}, already), dbeta = Tensor<float>::full({4}, already);
    const auto gamma = Variable<float>::leaf(layer.gamma, dgamma);
    const auto beta = Variable<float>::leaf(layer.beta, dbeta);
    batch_norm<float>(x, gamma, beta, layer.state, {true}).backward(dy.clone());
    auto both = values(dgamma);
    append(both, dbeta);
    return both;
  };
  const auto from_zero = once(0), from_two = once(2);
  for (std::size_t i = 0; i < from_zero.size(); ++i) {
    EXPECT_NEAR(from_two[i], from_zero[i] + 2, 1e-6);
  }
}

// A mean that is a thousand deviations away costs no digits beyond those the input itself has lost.
TEST(BatchNorm, LargeMeanCostsNoDigits) {
  const Shape shape{4, 32, 32, 6};
  auto x = random_tensor<float>(shape, 1, -1.7f, 1.7f);
  for (float& v : x.span()) v += 1000.0f;
  Layer<float> layer(6);
  const auto input = Variable<float>::leaf(x);
  const auto gamma = Variable<float>::leaf(layer.gamma), beta = Variable<float>::leaf(layer.beta);
  const auto y = batch_norm<float>(input, gamma, beta, layer.state, {true});
  const auto want = reference(values(x), values(layer.gamma), values(layer.beta), {}, false);
  EXPECT_TRUE(test::near_l2(values(y.value()), want.y, 1e-6));

  // The same with double activations: the gradients agree as well.
  Layer<double> exact(6);
  // A gradient along x, whose part through the variance is large.
  auto dy = random_tensor<float>(shape, 2);
  for (index_t i = 0; i < dy.count(); ++i) dy.data()[i] += 3 * (x.data()[i] - 1000);
  const auto input64 = Variable<double>::leaf(x.to<double>());
  const auto gamma64 = Variable<double>::leaf(layer.gamma.to<double>());
  const auto beta64 = Variable<double>::leaf(layer.beta.to<double>());
  batch_norm<double>(input64, gamma64, beta64, exact.state, {true}).backward(dy.to<double>());
  y.backward(dy.clone());
  EXPECT_TRUE(test::near_l2(values(input.grad()), values(input64.grad()), 1e-6));
  EXPECT_TRUE(test::near_l2(values(gamma.grad()), values(gamma64.grad()), 1e-5));
  EXPECT_TRUE(test::near_l2(values(beta.grad()), values(beta64.grad()), 1e-5));
}

TEST(BatchNorm, ResultHasMeanBetaAndDeviationGamma) {
  const index_t C = 5, rows = 4000;
  Layer<float> layer(C);
  const auto y = batch_norm<float>(random_tensor<float>({rows, C}, 1, -3, 8), layer.gamma,
                                   layer.beta, layer.state, {true});
  for (index_t c = 0; c < C; ++c) {
    double mean = 0, square = 0;
    for (index_t r = 0; r < rows; ++r) mean += y.value().data()[r * C + c];
    mean /= static_cast<double>(rows);
    for (index_t r = 0; r < rows; ++r) square += std::pow(y.value().data()[r * C + c] - mean, 2);
    EXPECT_NEAR(mean, layer.beta.data()[c], 1e-5);
    EXPECT_NEAR(std::sqrt(square / static_cast<double>(rows)), layer.gamma.data()[c], 1e-5);
  }
}

TEST(BatchNorm, StatisticsOfWholeNumbersAreExact) {
  // Mean 2, sum of squares 10: biased 2, unbiased 2.5; scale 1 / sqrt(2 + eps).
  const auto x = Tensor<double>::from({0, 1, 2, 3, 4}, {5, 1});
  auto state = BatchNormState<double>::initial(1);
  const auto y = batch_norm<double>(x, Tensor<double>::full({1}, 1), Tensor<double>::zeros({1}),
                                    state, {true});
  EXPECT_DOUBLE_EQ(state.running_mean.item(), 0.2);
  EXPECT_DOUBLE_EQ(state.running_var.item(), 0.9 + 0.25);
  EXPECT_DOUBLE_EQ(y.value().data()[4], 2 / std::sqrt(2 + 1e-5));
}

TEST(BatchNorm, ConstantInputGivesBeta) {
  Layer<float> layer(3);
  const auto y = batch_norm<float>(Tensor<float>::full({4, 3}, 1e4f), layer.gamma, layer.beta,
                                   layer.state, {true});
  for (index_t i = 0; i < 12; ++i) EXPECT_EQ(y.value().data()[i], layer.beta.data()[i % 3]);
}

TEST(BatchNorm, EvaluationUsesAndKeepsTheRunningStatistics) {
  auto state = BatchNormState<double>::initial(2);
  state.running_mean = Tensor<double>::from({1, -2}, {2});
  state.running_var = Tensor<double>::from({4, 16}, {2});
  state.eps = 0;
  const auto y =
      batch_norm<double>(Tensor<double>::from({3, 4}, {1, 2}), Tensor<double>::from({5, 7}, {2}),
                         Tensor<double>::from({1, 1}, {2}), state, {false});
  EXPECT_EQ(values(y.value()), (std::vector<double>{6, 11.5}));
  EXPECT_EQ(values(state.running_mean), (std::vector<double>{1, -2}));
  EXPECT_EQ(state.num_batches_tracked.item(), 0);
}

TEST(BatchNorm, ChannelRangesAreReadInPlace) {
  const Shape shape{2, 3, 5, 21};
  const auto x = random_tensor<float>(shape, 1), residual = random_tensor<float>(shape, 2);
  const auto dy = random_tensor<float>(shape, 3);
  const auto run = [&](const Tensor<float>& in, const Tensor<float>& added,
                       const Tensor<float>& gradient) {
    Layer<float> layer(21);
    const auto leaf = Variable<float>::leaf(in), other = Variable<float>::leaf(added);
    const auto gamma = Variable<float>::leaf(layer.gamma);
    const auto y =
        batch_norm<float>(leaf, gamma, layer.beta, layer.state, {true, Activation::relu}, other);
    y.backward(gradient);
    auto all = values(y.value());
    append(all, leaf.grad());
    append(all, other.grad());
    append(all, gamma.grad());
    return all;
  };
  EXPECT_EQ(run(test::channels_of_wider(x), test::channels_of_wider(residual),
                test::channels_of_wider(dy)),
            run(x, residual, dy.clone()));
  // An image whose channels are not densest is copied first.
  const auto planes = x.permute({0, 3, 1, 2}).contiguous().permute({0, 2, 3, 1});
  EXPECT_EQ(run(planes, residual, dy.clone()), run(x, residual, dy.clone()));
}

TEST(BatchNorm, SameBitsOnAnyThreads) {
  const Shape shape{5, 33, 31, 24};
  const auto x = random_tensor<float>(shape, 1), residual = random_tensor<float>(shape, 2);
  const auto dy = random_tensor<float>(shape, 3);
  test::expect_same_on_any_threads([&] {
    Layer<float> layer(24);
    const auto in = Variable<float>::leaf(x), added = Variable<float>::leaf(residual);
    const auto gamma = Variable<float>::leaf(layer.gamma);
    const auto beta = Variable<float>::leaf(layer.beta);
    const auto y = batch_norm<float>(in, gamma, beta, layer.state, {true, Activation::relu}, added);
    y.backward(dy.clone());
    auto all = values(y.value());
    for (const auto& tensor : {in.grad(), added.grad(), gamma.grad(), beta.grad(),
                               layer.state.running_mean, layer.state.running_var}) {
      append(all, tensor);
    }
    return all;
  });
}

TEST(BatchNorm, Bfloat16KeepsFloatParameters) {
  const Shape shape{4, 6, 6, 10};
  const auto x = random_tensor<bfloat16>(shape, 1);
  Layer<bfloat16> layer(10);
  const auto in = Variable<bfloat16>::leaf(x);
  const auto gamma = Variable<float>::leaf(layer.gamma);
  const auto y = batch_norm<bfloat16>(in, gamma, layer.beta, layer.state, {true, Activation::relu});
  const auto want = reference(values(x), values(layer.gamma), values(layer.beta), {}, true);
  EXPECT_TRUE(test::near_l2(values(y.value()), want.y, 4e-3));  // 8 bits: half a step is 2^-9
  y.backward(random_tensor<bfloat16>(shape, 2));
  EXPECT_EQ(in.grad().shape(), shape);
  EXPECT_TRUE(std::isfinite(gamma.grad().data()[0]));
}

TEST(BatchNorm, NanPassesTheActivation) {
  auto x = random_tensor<float>({4, 2}, 1);
  x.data()[3] = std::nanf("");
  Layer<float> layer(2);
  const auto y =
      batch_norm<float>(x, layer.gamma, layer.beta, layer.state, {true, Activation::relu});
  EXPECT_TRUE(std::isnan(y.value().data()[3]));
  EXPECT_FALSE(std::isnan(y.value().data()[2]));
}

TEST(BatchNorm, RejectsWhatItCannotNormalise) {
  Layer<float> layer(4);
  const auto run = [&](const Shape& shape) {
    batch_norm<float>(random_tensor<float>(shape, 1), layer.gamma, layer.beta, layer.state, {true});
  };
  test::expect_error<ValueError>(
      [&] {
        run({1, 4});
      },
      "batch_norm: want more than one value per channel in training, "
      "got (1, 4)");
  test::expect_error<ShapeError>([&] { run({2, 5}); }, "of shape (5) for (2, 5), got (4)");
  test::expect_error<ShapeError>([&] { run({4}); }, "want (B, C) or (N, H, W, C), got (4)");
  test::expect_error<ShapeError>(
      [&] {
        batch_norm<float>(random_tensor<float>({2, 4}, 1), layer.gamma, layer.beta, layer.state,
                          {true}, Variable<float>(random_tensor<float>({2, 3}, 1)));
      },
      "want a residual of shape (2, 4), got (2, 3)");
  EXPECT_EQ(layer.state.num_batches_tracked.item(), 0);
}

// (N, C, H, W) of the golden files to (N, H, W, C); vectors and matrices stay.
Tensor<float> channels_last(const std::vector<float>& data, const golden::Shape& shape) {
  const auto tensor = Tensor<float>::from(data, Shape(std::span<const index_t>(shape)));
  return tensor.rank() == 4 ? tensor.permute({0, 2, 3, 1}).contiguous() : tensor;
}
std::vector<double> channels_first(const Tensor<float>& x) {
  return values(x.rank() == 4 ? x.permute({0, 3, 1, 2}) : x);
}

TEST(BatchNormGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "batchnorm");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto shape = c.at("shape").get<golden::Shape>();
    const index_t C = shape[1];
    const auto fill = [&](const char* name, golden::Fill kind) {
      return Tensor<float>::from(c.fill(name, {C}, kind), {C});
    };
    const auto x =
        Variable<float>::leaf(channels_last(c.fill("input", shape, golden::Fill::input), shape));
    const auto gamma = Variable<float>::leaf(fill("weight", golden::Fill::bn_w));
    const auto beta = Variable<float>::leaf(fill("bias", golden::Fill::small));
    BatchNormState<float> state = BatchNormState<float>::initial(C);
    state.running_mean = fill("running_mean", golden::Fill::small);
    state.running_var = fill("running_var", golden::Fill::var);
    state.eps = c.at("eps");
    state.momentum = c.at("momentum");
    const auto y = batch_norm<float>(x, gamma, beta, state, {c.at("train").get<bool>()});
    y.backward(channels_last(c.fill("dy", shape, golden::Fill::input), shape));
    EXPECT_TRUE(c.near("y", channels_first(y.value())));
    EXPECT_TRUE(c.near("dx", channels_first(x.grad())));
    EXPECT_TRUE(c.near("dweight", values(gamma.grad())));
    EXPECT_TRUE(c.near("dbias", values(beta.grad())));
    EXPECT_TRUE(c.near("running_mean_after", values(state.running_mean)));
    EXPECT_TRUE(c.near("running_var_after", values(state.running_var)));
  }
}

}  // namespace
}  // namespace mwalimu::ops
