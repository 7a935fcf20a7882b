#include "mwalimu/ops/cross_entropy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/compare.hpp"
#include "support/golden.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

Tensor<std::int64_t> random_labels(index_t B, index_t C, std::uint64_t seed) {
  auto labels = Tensor<std::int64_t>::empty({B});
  RandomStream random(seed, Purpose::test, 5);
  for (auto& label : labels.span()) {
    label = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(C)));
  }
  return labels;
}

std::vector<double> log_softmax(const double* x, std::size_t C) {
  const double peak = *std::max_element(x, x + C);
  double sum = 0;
  for (std::size_t c = 0; c < C; ++c) sum += std::exp(x[c] - peak);
  std::vector<double> logp(x, x + C);
  for (double& v : logp) v -= peak + std::log(sum);
  return logp;
}

// The formula of the contract, term by term.
double reference(const std::vector<double>& logits, std::size_t C,
                 const Tensor<std::int64_t>& labels, double smoothing,
                 const std::vector<double>& weight) {
  double loss = 0, total = 0;
  for (std::size_t b = 0; b < logits.size() / C; ++b) {
    const auto logp = log_softmax(logits.data() + b * C, C);
    const auto y = static_cast<std::size_t>(labels.data()[b]);
    loss -= (1 - smoothing) * weight[y] * logp[y];
    for (std::size_t c = 0; c < C; ++c) {
      loss -= smoothing / static_cast<double>(C) * weight[c] * logp[c];
    }
    total += weight[y];
  }
  return loss / total;
}

TEST(CrossEntropy, MatchesFp64Reference) {
  for (const Shape& shape : {Shape{1, 1}, Shape{7, 3}, Shape{33, 5}, Shape{64, 1000}}) {
    const auto x = random_tensor<float>(shape, 1, -5, 5);
    const auto labels = random_labels(shape[0], shape[1], 2);
    const auto weight = random_tensor<float>({shape[1]}, 3, 0.1f, 2);
    for (const double smoothing : {0.0, 0.1, 0.5}) {
      const auto C = static_cast<std::size_t>(shape[1]);
      const double plain = reference(values(x), C, labels, smoothing, std::vector<double>(C, 1.0));
      const double weighed = reference(values(x), C, labels, smoothing, values(weight));
      const auto loss = [&](const Tensor<float>& logits, bool weights) {
        CrossEntropyOptions<float> options{.label_smoothing = smoothing};
        if (weights) options.class_weight = weight;
        return static_cast<double>(cross_entropy<float>(logits, labels, options).value().item());
      };
      EXPECT_NEAR(loss(x, false), plain, 1e-6 * (1 + plain)) << shape;
      EXPECT_NEAR(loss(x, true), weighed, 1e-6 * (1 + weighed)) << shape;
      EXPECT_EQ(loss(test::channels_of_wider(x), true), loss(x, true));
    }
  }
}

TEST(CrossEntropy, GradientMatchesDifferences) {
  const auto labels = random_labels(6, 4, 2), partners = random_labels(6, 4, 3);
  const auto lambda = random_tensor<double>({6}, 4, 0.5f, 1);
  const CrossEntropyOptions<double> options{.label_smoothing = 0.1,
                                            .class_weight = random_tensor<double>({4}, 5, 0.5f, 2)};
  const auto x = random_tensor<double>({6, 4}, 1, -2, 2);
  const auto check = check_gradients(
      [&](const std::vector<Variable<double>>& in) {
        return cross_entropy(in[0], labels, options);
      },
      {x});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
  const auto mixed = check_gradients(
      [&](const std::vector<Variable<double>>& in) {
        return cross_entropy(in[0], labels, partners, lambda, options);
      },
      {x});
  EXPECT_LT(mixed.worst, 1e-6) << mixed.describe();
}

TEST(CrossEntropy, SmoothedLossHasAFloor) {
  // The best logits for eps = 0.1 and three classes: p = 1 - eps + eps / 3 for the label.
  const float top = static_cast<float>(std::log((0.9 + 0.1 / 3) / (0.1 / 3)));
  const auto labels = Tensor<std::int64_t>::from({2}, {1});
  const auto at = [&](float v) {
    return cross_entropy<float>(Tensor<float>::from({0, 0, v}, {1, 3}), labels,
                                {.label_smoothing = 0.1})
        .value()
        .item();
  };
  EXPECT_NEAR(at(top), 0.2911, 5e-5);
  EXPECT_GT(at(top + 0.1f), at(top));
  EXPECT_GT(at(top - 0.1f), at(top));
}

TEST(CrossEntropy, MixUpWithOneLambdaIsPlain) {
  const auto x = random_tensor<double>({5, 3}, 1);
  const auto a = random_labels(5, 3, 2), b = random_labels(5, 3, 3);
  const auto mixed = [&](double lambda) {
    return cross_entropy<double>(x, a, b, Tensor<double>::full({5}, lambda)).value().item();
  };
  EXPECT_DOUBLE_EQ(mixed(1), cross_entropy<double>(x, a).value().item());
  EXPECT_DOUBLE_EQ(mixed(0), cross_entropy<double>(x, b).value().item());
  EXPECT_NEAR(mixed(0.3), 0.3 * mixed(1) + 0.7 * mixed(0), 1e-15);
}

TEST(CrossEntropy, GradientRowsSumToZero) {
  const auto x = Variable<float>::leaf(random_tensor<float>({9, 7}, 1, -4, 4));
  cross_entropy(x, random_labels(9, 7, 2), {.label_smoothing = 0.1}).backward();
  for (index_t b = 0; b < 9; ++b) {
    double sum = 0;
    for (index_t c = 0; c < 7; ++c) sum += x.grad().data()[b * 7 + c];
    EXPECT_NEAR(sum, 0, 1e-8);
  }
}

TEST(CrossEntropy, HugeLogitsAreExact) {
  const auto x =
      Variable<float>::leaf(Tensor<float>::from({1e4f, -1e4f, 9999.5f, 3e38f, -3e38f, 0}, {2, 3}));
  const auto loss = cross_entropy(x, Tensor<std::int64_t>::from({2, 0}, {2}));
  // log(e^0.5 + 1) and 0.
  EXPECT_NEAR(loss.value().item(), std::log(std::exp(0.5) + 1) / 2, 1e-7);
  loss.backward();
  for (const double v : values(x.grad())) EXPECT_TRUE(std::isfinite(v));
}

TEST(CrossEntropy, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({301, 200}, 1);
  const auto labels = random_labels(301, 200, 2);
  test::expect_same_on_any_threads([&] {
    const auto leaf = Variable<float>::leaf(x);
    const auto loss = cross_entropy(leaf, labels, {.label_smoothing = 0.1});
    loss.backward();
    auto all = values(leaf.grad());
    append(all, loss.value());
    return all;
  });
}

TEST(CrossEntropy, RejectsWhatItCannotCompare) {
  const auto x = random_tensor<float>({2, 3}, 1);
  const auto labels = [](std::int64_t a, std::int64_t b) {
    return Tensor<std::int64_t>::from({a, b}, {2});
  };
  test::expect_error<ValueError>([&] { cross_entropy<float>(x, labels(0, 3)); },
                                 "cross_entropy: label 3 of sample 1 is not a class of 3");
  test::expect_error<ValueError>([&] { cross_entropy<float>(x, labels(-1, 0)); },
                                 "label -1 of sample 0");
  test::expect_error<ValueError>(
      [&] { cross_entropy<float>(x, labels(0, 1), labels(0, 7), Tensor<float>::full({2}, 0.5f)); },
      "label 7 of sample 1");
  test::expect_error<ValueError>(
      [&] { cross_entropy<float>(x, labels(0, 1), {.label_smoothing = 1}); },
      "want a label smoothing in [0, 1), got 1");
  test::expect_error<ShapeError>([&] { cross_entropy<float>(x, Tensor<std::int64_t>::zeros({3})); },
                                 "cross_entropy: want labels (2), got (3)");
  test::expect_error<ShapeError>(
      [&] { cross_entropy<float>(x, labels(0, 1), {.class_weight = Tensor<float>::zeros({2})}); },
      "want class weights (3), got (2)");
}

TEST(CrossEntropyGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "loss");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const index_t N = c.at("N"), C = c.at("C");
    auto x = Tensor<double>::empty({N, C});
    const auto filled = c.fill("logits", {N, C}, golden::Fill::input);
    for (index_t i = 0; i < N * C; ++i) {
      x.data()[i] = 2.0 * static_cast<double>(filled[static_cast<std::size_t>(i)]);
    }
    const auto indices = [&](const char* name) {
      auto tensor = Tensor<std::int64_t>::empty({N});
      const auto stored = c.tensor(name).values;
      std::transform(stored.begin(), stored.end(), tensor.data(),
                     [](double v) { return static_cast<std::int64_t>(v); });
      return tensor;
    };
    const auto y = indices("y"), permutation = indices("perm");
    auto partner = Tensor<std::int64_t>::empty({N});
    for (index_t i = 0; i < N; ++i) partner.data()[i] = y.data()[permutation.data()[i]];
    const auto lambda = Tensor<double>::from(c.tensor("lam").values, {N});
    for (const bool smooth : {false, true}) {
      for (const bool mixed : {false, true}) {
        const std::string name = std::string(mixed ? "mixup_" : "") + (smooth ? "ls" : "ce");
        const CrossEntropyOptions<double> options{.label_smoothing = smooth ? 0.1 : 0.0};
        const auto leaf = Variable<double>::leaf(x);
        const auto loss = mixed ? cross_entropy(leaf, y, partner, lambda, options)
                                : cross_entropy(leaf, y, options);
        loss.backward();
        // Losses are stored in double, gradients in float.
        EXPECT_NEAR(loss.value().item(), c.scalar(name + ".loss"), 1e-12) << name;
        EXPECT_TRUE(
            test::near_l2(values(leaf.grad()), c.tensor(name + ".grad_logits").values, 1e-7))
            << name;
      }
    }
  }
}

}  // namespace
}  // namespace mwalimu::ops
