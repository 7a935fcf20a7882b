#include "mwalimu/eval/linear_probe.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "mwalimu/core/random.hpp"

namespace mwalimu::eval {
namespace {

struct Problem {
  index_t N, D, C;
  std::vector<float> x;
  std::vector<int> y;
};

// Classes whose means differ in every feature, on features of very different scale.
Problem clusters(index_t N, index_t D, index_t C, float apart) {
  Problem p{N, D, C, {}, {}};
  RandomStream random(5, Purpose::test);
  for (index_t i = 0; i < N; ++i) {
    p.y.push_back(static_cast<int>(i % C));
    for (index_t d = 0; d < D; ++d) {
      const float shift = apart * std::cos(static_cast<float>(d * C + i % C));
      p.x.push_back((random.normal() + shift) * std::pow(10.0f, static_cast<float>(d % 4)) + 50);
    }
  }
  return p;
}

// The objective from its definition, in double.
double objective(const Problem& p, std::span<const double> w, std::span<const double> b,
                 double l2) {
  std::vector<double> z(p.x.begin(), p.x.end());
  for (index_t d = 0; d < p.D; ++d) {
    double mean = 0, square = 0;
    for (index_t i = 0; i < p.N; ++i)
      mean += z[static_cast<std::size_t>(i * p.D + d)] / static_cast<double>(p.N);
    for (index_t i = 0; i < p.N; ++i) {
      double& v = z[static_cast<std::size_t>(i * p.D + d)];
      v -= mean;
      square += v * v / static_cast<double>(p.N);
    }
    for (index_t i = 0; i < p.N; ++i) z[static_cast<std::size_t>(i * p.D + d)] /= std::sqrt(square);
  }
  double loss = 0;
  for (index_t i = 0; i < p.N; ++i) {
    double sum = 0, own = 0;
    for (index_t c = 0; c < p.C; ++c) {
      double score = b[static_cast<std::size_t>(c)];
      for (index_t d = 0; d < p.D; ++d) {
        score +=
            w[static_cast<std::size_t>(c * p.D + d)] * z[static_cast<std::size_t>(i * p.D + d)];
      }
      sum += std::exp(score);
      if (c == p.y[static_cast<std::size_t>(i)]) own = score;
    }
    loss += (std::log(sum) - own) / static_cast<double>(p.N);
  }
  for (const double v : w) loss += l2 / 2 * v * v;
  return loss;
}

TEST(LinearProbe, EndsAtAMinimumOfItsObjective) {
  const Problem p = clusters(90, 5, 3, 0.5f);
  const double l2 = 0.01;
  const LinearProbe probe(p.x, p.y, p.D, p.C, {.l2 = l2});
  ASSERT_TRUE(probe.result().converged);
  std::vector<double> w(probe.weight().begin(), probe.weight().end());
  std::vector<double> b(probe.bias().begin(), probe.bias().end());
  const double least = objective(p, w, b, l2);
  EXPECT_NEAR(probe.result().value, least, 1e-6);  // features are standardised in float
  // Any step away costs: strictly convex, so this is the global minimum.
  for (double& v : w) {
    for (const double step : {-0.02, 0.02}) {
      v += step;
      EXPECT_GT(objective(p, w, b, l2), least);
      v -= step;
    }
  }
  b[0] += 0.02;
  EXPECT_GT(objective(p, w, b, l2), least);
}

TEST(LinearProbe, SeparatesWhatIsSeparable) {
  const Problem p = clusters(300, 12, 3, 4.0f);
  const LinearProbe probe(p.x, p.y, p.D, p.C);
  const auto probabilities = probe.probabilities(p.x);
  EXPECT_EQ(arg_max(probabilities, p.C), p.y);
  for (index_t i = 0; i < p.N; ++i) {
    double sum = 0;
    for (index_t c = 0; c < p.C; ++c) sum += probabilities[static_cast<std::size_t>(i * p.C + c)];
    EXPECT_NEAR(sum, 1, 1e-12);
  }
}

TEST(LinearProbe, DoesNotCareForScaleAndOffsetOfAFeature) {
  Problem p = clusters(60, 4, 2, 0.5f);
  const auto before = LinearProbe(p.x, p.y, p.D, p.C).probabilities(p.x);
  for (index_t i = 0; i < p.N; ++i) {
    float& v = p.x[static_cast<std::size_t>(i * p.D + 1)];
    v = v * 0.25f - 8;
  }
  const auto after = LinearProbe(p.x, p.y, p.D, p.C).probabilities(p.x);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-4);
}

TEST(LinearProbe, ConstantFeaturesAndASingleClassAreHarmless) {
  const std::vector<float> x{3, 1, 3, 2, 3, 4};
  const LinearProbe probe(x, std::vector<int>{0, 0, 1}, 2, 2);
  EXPECT_EQ(probe.weight()[0], 0);
  EXPECT_EQ(probe.weight()[2], 0);
  const auto p = LinearProbe(x, std::vector<int>{1, 1, 1}, 2, 3).probabilities(x);
  EXPECT_GT(p[1], 0.99);
}

TEST(LinearProbe, WithoutFeaturesThatTellItPredictsTheFrequencies) {
  const std::vector<float> x(8, 1.0f);
  const auto p = LinearProbe(x, std::vector<int>{0, 0, 0, 1, 1, 1, 1, 1}, 1, 2).probabilities(x);
  EXPECT_NEAR(p[0], 3.0 / 8, 1e-5);
}

TEST(LinearProbe, IsTheSameForAnyNumberOfThreads) {
  const Problem p = clusters(150, 130, 3, 0.3f);
  const int threads = num_threads();
  set_num_threads(1);
  const auto one = LinearProbe(p.x, p.y, p.D, p.C).probabilities(p.x);
  set_num_threads(3);
  EXPECT_EQ(LinearProbe(p.x, p.y, p.D, p.C).probabilities(p.x), one);
  set_num_threads(threads);
}

TEST(LinearProbe, RefusesWhatCannotBeFitted) {
  const std::vector<float> x{1, 2, 3, 4};
  const std::vector<int> y{0, 1};
  EXPECT_NO_THROW(LinearProbe(x, y, 2, 2));
  EXPECT_THROW(LinearProbe(x, y, 3, 2), ShapeError);
  EXPECT_THROW(LinearProbe(x, y, 1, 2), ShapeError);
  EXPECT_THROW(LinearProbe(x, std::vector<int>{0, 2}, 2, 2), ValueError);
  EXPECT_THROW(LinearProbe(std::vector<float>{1, NAN}, std::vector<int>{0}, 2, 2), ValueError);
  EXPECT_THROW(LinearProbe(x, y, 2, 2, {.l2 = 0}), ValueError);
  EXPECT_THROW(LinearProbe(x, y, 2, 2).probabilities(std::span(x).first(3)), ShapeError);
}

// Rosenbrock's valley: curved and badly scaled, minimum 0 at (1, 1).
TEST(Lbfgs, FindsTheMinimumOfRosenbrocksFunction) {
  std::vector<double> x{-1.2, 1};
  const auto rosenbrock = [](std::span<const double> at, std::span<double> gradient) {
    const double a = 1 - at[0], b = at[1] - at[0] * at[0];
    gradient[0] = -2 * a - 400 * at[0] * b;
    gradient[1] = 200 * b;
    return a * a + 100 * b * b;
  };
  const LbfgsResult result = minimise_lbfgs(rosenbrock, x, 200, 1e-9);
  EXPECT_TRUE(result.converged);
  EXPECT_NEAR(x[0], 1, 1e-8);
  EXPECT_NEAR(x[1], 1, 1e-8);
  EXPECT_LT(result.iterations, 100);
  std::vector<double> y{-1.2, 1};
  EXPECT_EQ(minimise_lbfgs(rosenbrock, y, 3, 1e-9).iterations, 3);
}

}  // namespace
}  // namespace mwalimu::eval
