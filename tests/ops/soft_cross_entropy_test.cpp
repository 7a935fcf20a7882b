#include "mwalimu/ops/soft_cross_entropy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "mwalimu/autograd/gradient_check.hpp"
#include "mwalimu/ops/reduce.hpp"
#include "support/compare.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

// -sum_k q[k] log softmax(x / tau)[k]
double reference(const double* x, const double* q, std::size_t K, double tau) {
  const double peak = *std::max_element(x, x + K);
  double sum = 0, loss = 0;
  for (std::size_t k = 0; k < K; ++k) sum += std::exp((x[k] - peak) / tau);
  for (std::size_t k = 0; k < K; ++k) loss -= q[k] * ((x[k] - peak) / tau - std::log(sum));
  return loss;
}

// Rows that sum to 1.
template <class T>
Tensor<T> distributions(const Shape& shape, std::uint64_t seed) {
  auto q = random_tensor<T>(shape, seed, 0, 1);
  const index_t K = shape[shape.rank() - 1];
  for (index_t r = 0; r < q.count() / K; ++r) {
    T sum = 0;
    for (index_t k = 0; k < K; ++k) sum += q.data()[r * K + k];
    for (index_t k = 0; k < K; ++k) q.data()[r * K + k] /= sum;
  }
  return q;
}

TEST(SoftCrossEntropy, MatchesFp64Reference) {
  for (const Shape& shape : {Shape{1, 1}, Shape{7, 13}, Shape{33, 257}, Shape{16, 3000}}) {
    const auto x = random_tensor<float>(shape, 1);
    const auto q = random_tensor<float>(shape, 2, 0, 1);  // sums other than 1 are allowed
    const auto logits = values(x), target = values(q);
    const auto K = static_cast<std::size_t>(shape[1]);
    std::vector<double> want;
    for (std::size_t b = 0; b < logits.size(); b += K) {
      want.push_back(reference(logits.data() + b, target.data() + b, K, 0.1));
    }
    test::poison_pool<float>({shape[0]});
    const auto loss = soft_cross_entropy<float>(x, q, 0.1);
    EXPECT_TRUE(test::near_l2(values(loss.value()), want, 1e-6)) << shape;
    EXPECT_EQ(values(soft_cross_entropy<float>(test::channels_of_wider(x),
                                               test::channels_of_wider(q), 0.1)
                         .value()),
              values(loss.value()));
  }
}

TEST(SoftCrossEntropy, GradientMatchesDifferences) {
  const auto q = random_tensor<double>({5, 9}, 2, 0, 1);
  const auto check = check_gradients(
      [&](const std::vector<Variable<double>>& in) { return soft_cross_entropy(in[0], q, 0.3); },
      {random_tensor<double>({5, 9}, 1)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(SoftCrossEntropy, FloatGradientMatchesDouble) {
  const Shape shape{8, 3000};
  const auto x = random_tensor<float>(shape, 1);
  const auto q = distributions<float>(shape, 2);
  const auto narrow = Variable<float>::leaf(x);
  const auto wide = Variable<double>::leaf(x.to<double>());
  mean(soft_cross_entropy(narrow, q, 0.1)).backward();
  mean(soft_cross_entropy(wide, q.to<double>(), 0.1)).backward();
  // Exponents of up to 20 have an error of 1e-6 in float, and so have their exponentials.
  EXPECT_TRUE(test::near_l2(values(narrow.grad()), values(wide.grad()), 2e-6));
}

TEST(SoftCrossEntropy, DoesNotDependOnAShiftOfTheLogits) {
  const auto x = random_tensor<double>({4, 17}, 1);
  auto shifted = x.clone();
  for (double& v : shifted.span()) v += 1024;
  const auto q = distributions<double>({4, 17}, 2);
  EXPECT_TRUE(test::near_l2(values(soft_cross_entropy<double>(shifted, q, 0.1).value()),
                            values(soft_cross_entropy<double>(x, q, 0.1).value()), 1e-11));
}

TEST(SoftCrossEntropy, ExtremeLogitsAreFiniteAndExact) {
  const auto x =
      Variable<float>::leaf(Tensor<float>::from({1e4f, -1e4f, 0, 1e4f, 1e4f, 1e4f}, {2, 3}));
  const auto q = Tensor<float>::from({0, 1, 0, 1, 0, 0}, {2, 3});
  const auto loss = soft_cross_entropy(x, q, 0.1);
  EXPECT_EQ(loss.value().data()[0], 2e5f);
  EXPECT_NEAR(loss.value().data()[1], std::log(3), 1e-6);
  loss.backward(Tensor<float>::full({2}, 1));
  EXPECT_TRUE(test::near_l2(values(x.grad()),
                            std::vector<double>{10, -10, 0, -20.0 / 3, 10.0 / 3, 10.0 / 3}, 1e-6));
}

TEST(SoftCrossEntropy, RejectsWhatItCannotCompare) {
  const auto x = random_tensor<float>({2, 3}, 1);
  test::expect_error<ShapeError>(
      [&] {
        soft_cross_entropy<float>(x, random_tensor<float>({3, 2}, 1), 0.1);
      },
      "soft_cross_entropy: want logits and target both (B, K), got (2, 3) and (3, 2)");
  test::expect_error<ValueError>([&] { soft_cross_entropy<float>(x, x, 0); },
                                 "want tau > 0, got 0");
  test::expect_error<ValueError>([&] { soft_cross_entropy<float>(x, x, std::nan("")); },
                                 "want tau > 0, got nan");
}

// The sum of the contract, term by term.
double swav_reference(const std::vector<double>& scores, const std::vector<double>& codes,
                      const std::vector<index_t>& assign, std::size_t V, std::size_t B,
                      std::size_t P, double tau) {
  double loss = 0;
  for (std::size_t i = 0; i < assign.size(); ++i) {
    double others = 0;
    for (std::size_t v = 0; v < V; ++v) {
      if (static_cast<index_t>(v) == assign[i]) continue;
      for (std::size_t b = 0; b < B; ++b) {
        others +=
            reference(scores.data() + (v * B + b) * P, codes.data() + (i * B + b) * P, P, tau) /
            static_cast<double>(B);
      }
    }
    loss += others / static_cast<double>(V - 1);
  }
  return loss / static_cast<double>(assign.size());
}

TEST(SwavPredictionLoss, MatchesFp64Reference) {
  struct Size {
    index_t V, B, P;
    std::vector<index_t> assign;
  };
  for (const Size& s : {Size{8, 5, 300, {0, 1}}, Size{2, 1, 3, {1, 0}}, Size{3, 4, 257, {2}},
                        Size{4, 3, 255, {0, 3, 1}}}) {
    const auto A = static_cast<index_t>(s.assign.size());
    const auto scores = random_tensor<float>({s.V * s.B, s.P}, 1);
    const auto codes = distributions<float>({A, s.B, s.P}, 2);
    const auto result = swav_prediction_loss<float>(scores, codes, s.assign, s.V, 0.1);
    const double want =
        swav_reference(values(scores), values(codes), s.assign, static_cast<std::size_t>(s.V),
                       static_cast<std::size_t>(s.B), static_cast<std::size_t>(s.P), 0.1);
    EXPECT_NEAR(result.loss.value().item(), want, 1e-6 * want);
  }
}

TEST(SwavPredictionLoss, GradientMatchesDifferences) {
  const auto codes = random_tensor<double>({2, 2, 5}, 2, 0, 1);
  for (const std::vector<index_t>& assign : {std::vector<index_t>{0, 1}, {3, 1}}) {
    const auto check = check_gradients(
        [&](const std::vector<Variable<double>>& in) {
          return swav_prediction_loss(in[0], codes, assign, 4, 0.2).loss;
        },
        {random_tensor<double>({8, 5}, 1)});
    EXPECT_LT(check.worst, 1e-6) << check.describe();
  }
}

TEST(SwavPredictionLoss, IsTheMeanOfItsSoftCrossEntropies) {
  const index_t V = 5, B = 3, P = 301;
  const auto scores = Variable<float>::leaf(random_tensor<float>({V * B, P}, 1));
  const auto codes = distributions<float>({2, B, P}, 2);
  const std::vector<index_t> assign{0, 1};
  const auto fused = swav_prediction_loss(scores, codes, assign, V, 0.1);
  fused.loss.backward();
  const auto gradient = values(scores.grad());

  std::vector<double> sum(gradient.size(), 0.0), crop(static_cast<std::size_t>(V), 0.0);
  for (index_t i = 0; i < 2; ++i) {
    for (index_t v = 0; v < V; ++v) {
      if (v == i) continue;
      const auto x = Variable<float>::leaf(scores.value().slice(0, v * B, v * B + B));
      const auto part = mean(soft_cross_entropy(x, codes.slice(0, i, i + 1).reshape({B, P}), 0.1));
      crop[static_cast<std::size_t>(v)] += part.value().item() / (v < 2 ? 1 : 2);
      part.backward();
      for (index_t k = 0; k < B * P; ++k) {
        sum[static_cast<std::size_t>(v * B * P + k)] += x.grad().data()[k] / (2.0 * (V - 1));
      }
    }
  }
  EXPECT_TRUE(test::near_l2(gradient, sum, 1e-6));
  EXPECT_TRUE(test::near_l2(values(fused.crop_loss), crop, 1e-6));
}

TEST(SwavPredictionLoss, CropLossOfAnUnusedCropIsZero) {
  // Crop 1 alone has codes, and does not predict them itself.
  const auto result = swav_prediction_loss<float>(random_tensor<float>({6, 4}, 1),
                                                  distributions<float>({1, 2, 4}, 2),
                                                  std::vector<index_t>{1}, 3, 0.1);
  EXPECT_EQ(result.crop_loss.data()[1], 0);
  EXPECT_GT(result.crop_loss.data()[0], 0);
}

TEST(SwavPredictionLoss, ExtremeScoresAreFinite) {
  const auto scores = Variable<float>::leaf(random_tensor<float>({6, 100}, 1, -1e4f, 1e4f));
  const auto loss = swav_prediction_loss(scores, distributions<float>({2, 2, 100}, 2),
                                         std::vector<index_t>{0, 1}, 3, 0.1)
                        .loss;
  EXPECT_TRUE(std::isfinite(loss.value().item()));
  loss.backward();
  for (const double v : values(scores.grad())) ASSERT_TRUE(std::isfinite(v));
}

TEST(SwavPredictionLoss, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({64, 1001}, 1);
  const auto codes = distributions<float>({2, 8, 1001}, 2);
  test::expect_same_on_any_threads([&] {
    const auto scores = Variable<float>::leaf(x);
    const auto result = swav_prediction_loss(scores, codes, std::vector<index_t>{0, 1}, 8, 0.1);
    result.loss.backward();
    auto all = values(scores.grad());
    append(all, result.loss.value());
    append(all, result.crop_loss);
    return all;
  });
}

TEST(SwavPredictionLoss, RejectsWhatDoesNotFit) {
  const auto scores = random_tensor<float>({8, 5}, 1);
  const auto codes = distributions<float>({2, 2, 5}, 2);
  const auto run = [&](std::vector<index_t> assign, index_t V, double tau = 0.1) {
    return [=] { swav_prediction_loss<float>(scores, codes, assign, V, tau); };
  };
  test::expect_error<ShapeError>(
      run({0, 1}, 3),
      "want scores (V B, P) and codes (A, B, P) for V = 3 and A = 2, got "
      "(8, 5) and (2, 2, 5)");
  test::expect_error<ShapeError>(run({0}, 4), "for V = 4 and A = 1");
  test::expect_error<ValueError>(run({0, 4}, 4), "want different crops in [0, 4), got 4");
  test::expect_error<ValueError>(run({1, 1}, 4), "want different crops in [0, 4), got 1");
  test::expect_error<ValueError>(run({}, 4), "no crop is assigned a code");
  test::expect_error<ValueError>(run({0, 1}, 1), "want two crops or more, got 1");
  test::expect_error<ValueError>(run({0, 1}, 4, -1), "want tau > 0, got -1");
}

}  // namespace
}  // namespace mwalimu::ops
