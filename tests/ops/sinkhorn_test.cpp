#include "mwalimu/ops/sinkhorn.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "mwalimu/ops/l2_normalize.hpp"
#include "mwalimu/ops/soft_cross_entropy.hpp"
#include "mwalimu/ops/swav_statistics.hpp"
#include "support/compare.hpp"
#include "support/golden.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

// The loop of the definition in long double, whose range holds exp(+-11000): Q is (P, N).
std::vector<double> reference(const std::vector<double>& scores, std::size_t N, std::size_t P,
                              double eps, int iterations, std::size_t B) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  std::vector<long double> Q(N * P);
  long double total = 0;
  for (std::size_t i = 0; i < N * P; ++i) {
    Q[i] = std::exp(static_cast<long double>((scores[i] - largest) / eps));
    total += Q[i];
  }
  for (auto& q : Q) q /= total;
  const auto scale_prototypes = [&] {
    for (std::size_t p = 0; p < P; ++p) {
      long double sum = 0;
      for (std::size_t n = 0; n < N; ++n) sum += Q[n * P + p];
      for (std::size_t n = 0; n < N; ++n) Q[n * P + p] /= sum * static_cast<long double>(P);
    }
  };
  const auto scale_samples = [&](long double target) {
    for (std::size_t n = 0; n < N; ++n) {
      long double sum = 0;
      for (std::size_t p = 0; p < P; ++p) sum += Q[n * P + p];
      for (std::size_t p = 0; p < P; ++p) Q[n * P + p] *= target / sum;
    }
  };
  for (int i = 0; i < iterations; ++i) {
    scale_prototypes();
    scale_samples(1 / static_cast<long double>(N));
  }
  scale_samples(1);
  std::vector<double> codes(B * P);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<double>(Q[i]);
  return codes;
}

template <class T>
std::vector<double> reference(const Tensor<T>& scores, double eps, int iterations, index_t B) {
  return reference(values(scores), static_cast<std::size_t>(scores.dim(0)),
                   static_cast<std::size_t>(scores.dim(1)), eps, iterations,
                   static_cast<std::size_t>(B));
}

TEST(Sinkhorn, MatchesFp64Reference) {
  struct Size {
    index_t N, P, B;
  };
  for (const Size& s : {Size{1, 1, 1}, Size{1, 7, 1}, Size{5, 1, 3}, Size{17, 31, 17},
                        Size{129, 257, 40}, Size{16, 300, 15}}) {
    for (const int iterations : {0, 1, 3, 10}) {
      const auto x = random_tensor<float>({s.N, s.P}, 1);
      test::poison_pool<float>({s.B, s.P});
      const auto codes = sinkhorn(x, 0.05, iterations, s.B);
      // Exponents of up to 40 have an error of 2e-6 in float.
      EXPECT_TRUE(test::near_l2(values(codes), reference(x, 0.05, iterations, s.B), 4e-6))
          << s.N << " " << s.P << " " << iterations;
      EXPECT_EQ(values(sinkhorn(test::channels_of_wider(x), 0.05, iterations, s.B)), values(codes));
    }
  }
}

TEST(Sinkhorn, DoubleMatchesTheReferenceToItsDigits) {
  const auto x = random_tensor<double>({40, 60}, 1);
  EXPECT_TRUE(test::near_l2(values(sinkhorn(x, 0.05, 3, 20)), reference(x, 0.05, 3, 20), 1e-13));
}

TEST(Sinkhorn, LogarithmsAgreeWithScaling) {
  const auto x = random_tensor<float>({33, 70}, 1);
  for (const int iterations : {0, 1, 4}) {
    auto codes = Tensor<float>::empty({10, 70}), by_logarithms = Tensor<float>::empty({10, 70});
    ASSERT_TRUE(
        detail::sinkhorn_by_scaling(std::as_const(x).view<2>(), 0.05, iterations, codes.view<2>()));
    detail::sinkhorn_by_logarithms(std::as_const(x).view<2>(), 0.05, iterations,
                                   by_logarithms.view<2>());
    EXPECT_TRUE(test::near_l2(values(codes), values(by_logarithms), 4e-6));
  }
}

// Between exponents that float holds (87) and those that no scaling holds (600), the test of what
// was lost decides. Both ways must be taken, and both must be right.
TEST(Sinkhorn, SharpCodesMatchTheReferenceOnEitherPath) {
  int scaled = 0, by_logarithms = 0;
  for (const double eps : {0.02, 0.01, 0.005, 0.0035, 0.002, 0.001}) {
    for (const std::uint64_t seed : {1u, 2u}) {
      for (const Shape& shape : {Shape{20, 40}, Shape{60, 5}}) {
        const auto x = random_tensor<float>(shape, seed);
        auto codes = Tensor<float>::empty(shape);
        detail::sinkhorn_by_scaling(std::as_const(x).view<2>(), eps, 3, codes.view<2>())
            ? ++scaled
            : ++by_logarithms;
        // Exponents of 2000 have an error of 1e-4 in float, on codes that are mostly 0 or 1.
        EXPECT_TRUE(test::near_l2(values(sinkhorn(x, eps, 3, shape[0])),
                                  reference(x, eps, 3, shape[0]), 2e-5))
            << eps << shape;
      }
    }
  }
  EXPECT_GT(scaled, 0);
  EXPECT_GT(by_logarithms, 0);
}

// Prototype 1 is fed by row 0 alone, by an entry of e^-100 that a float does not hold, although row
// 1 has one of e^-80 that it does: only the bound on what was lost can tell.
TEST(Sinkhorn, LossesThatMatterAreNoticed) {
  const auto x = Tensor<float>::from({0, -100, -50, -130}, {2, 2});
  for (const int iterations : {1, 3}) {
    EXPECT_TRUE(test::near_abs(values(sinkhorn(x, 1.0, iterations, 2)),
                               reference(x, 1.0, iterations, 2), 1e-6));
  }
}

TEST(Sinkhorn, EachCodeSumsToOne) {
  const auto codes = sinkhorn(random_tensor<float>({50, 333}, 1), 0.05, 3, 50);
  for (index_t b = 0; b < 50; ++b) {
    double sum = 0;
    for (index_t p = 0; p < 333; ++p) {
      const double q = codes.data()[b * 333 + p];
      ASSERT_GE(q, 0);
      sum += q;
    }
    EXPECT_NEAR(sum, 1, 1e-6);
  }
}

TEST(Sinkhorn, ManyIterationsShareTheSamplesEqually) {
  const index_t N = 30, P = 6;
  const auto codes = sinkhorn(random_tensor<double>({N, P}, 1), 0.5, 200, N);
  for (index_t p = 0; p < P; ++p) {
    double sum = 0;
    for (index_t n = 0; n < N; ++n) sum += codes.data()[n * P + p];
    EXPECT_NEAR(sum, static_cast<double>(N) / P, 1e-10);
  }
}

TEST(Sinkhorn, NoIterationIsASoftmax) {
  const auto codes = sinkhorn(Tensor<float>::from({0, std::log(3.0f), 5, 5}, {2, 2}), 1.0, 0, 2);
  EXPECT_TRUE(test::near_abs(values(codes), std::vector<double>{0.25, 0.75, 0.5, 0.5}, 1e-6));
}

TEST(Sinkhorn, EqualScoresGiveUniformCodes) {
  const auto codes = sinkhorn(Tensor<float>::full({7, 16}, 1e4f), 0.05, 3, 7);
  for (const double q : values(codes)) EXPECT_EQ(q, 1.0 / 16);
}

TEST(Sinkhorn, ExtremeScoresAreFinite) {
  for (const float size : {100.0f, 1e4f, 1e30f}) {
    const auto codes = sinkhorn(random_tensor<float>({20, 30}, 1, -size, size), 0.05, 3, 20);
    for (index_t b = 0; b < 20; ++b) {
      double sum = 0;
      for (index_t p = 0; p < 30; ++p) sum += codes.data()[b * 30 + p];
      EXPECT_NEAR(sum, 1, 1e-5) << size;
    }
  }
}

// Rows are shifted by different amounts: that changes the first step, as in the definition.
TEST(Sinkhorn, RowsOfDifferentLevelsMatchTheReference) {
  auto x = random_tensor<float>({24, 18}, 1);
  for (index_t n = 0; n < 24; ++n) {
    for (index_t p = 0; p < 18; ++p) x.data()[n * 18 + p] += static_cast<float>(n) / 8;
  }
  EXPECT_TRUE(test::near_l2(values(sinkhorn(x, 0.1, 2, 24)), reference(x, 0.1, 2, 24), 4e-6));
}

TEST(Sinkhorn, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({211, 500}, 1);
  test::expect_same_on_any_threads([&] {
    auto all = values(sinkhorn(x, 0.05, 3, 100));
    append(all, sinkhorn(x.slice(0, 0, 20), 0.0005, 2, 20));  // by logarithms
    return all;
  });
}

TEST(Sinkhorn, CropsShareTheQueueBehindThem) {
  const index_t A = 2, B = 3, L = 5, P = 11;
  const auto scores = random_tensor<float>({A, B, P}, 1), queue = random_tensor<float>({L, P}, 2);
  for (const double rows : {5.0, 9.0, 2.0, 0.0, -1.0, std::nan("")}) {
    const index_t used = rows >= 5 ? 5 : rows > 0 ? 2 : 0;
    const auto codes = sinkhorn(scores, queue, rows, 0.05, 3);
    ASSERT_EQ(codes.shape(), scores.shape());
    for (index_t a = 0; a < A; ++a) {
      auto joined = Tensor<float>::empty({B + used, P});
      joined.slice(0, 0, B).copy_from(scores.slice(0, a, a + 1).reshape({B, P}));
      joined.slice(0, B, B + used).copy_from(queue.slice(0, 0, used));
      EXPECT_EQ(values(codes.slice(0, a, a + 1)), values(sinkhorn(joined, 0.05, 3, B))) << rows;
    }
  }
  EXPECT_EQ(values(sinkhorn(test::channels_of_wider(scores), test::channels_of_wider(queue), 5.0,
                            0.05, 3)),
            values(sinkhorn(scores, queue, 5.0, 0.05, 3)));
  test::expect_error<ShapeError>(
      [&] { sinkhorn(scores, queue.reshape({P, L}), 5.0, 0.05, 3); },
      "sinkhorn: want scores (A, B, P) and a queue (L, P), got (2, 3, 11) and (11, 5)");
}

TEST(Sinkhorn, RejectsWhatItCannotAssign) {
  const auto x = random_tensor<float>({4, 3}, 1);
  test::expect_error<ShapeError>([&] { sinkhorn(x, 0.05, 3, 5); },
                                 "sinkhorn: want 1 to 4 rows kept, got 5");
  test::expect_error<ShapeError>([&] { sinkhorn(x.reshape({12}), 0.05, 3, 1); },
                                 "sinkhorn: want scores (N, P), got (12)");
  test::expect_error<ValueError>([&] { sinkhorn(x, 0.0, 3, 4); }, "sinkhorn: want eps > 0, got 0");
  test::expect_error<ValueError>([&] { sinkhorn(x, 0.05, -1, 4); }, "want 0 iterations or more");
}

TEST(Sinkhorn, ExpMatchesTheLibrary) {
  double worst = 0;
  for (int i = 0; i <= 870000; ++i) {
    const float x = -static_cast<float>(i) * 1e-4f;
    const double want = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(detail::exp_nonpositive(x) - want) / want);
  }
  EXPECT_LT(worst, 2 * 0x1.0p-23);
  EXPECT_EQ(detail::exp_nonpositive(0.0f), 1.0f);
  EXPECT_EQ(detail::exp_nonpositive(-88.0f), 0.0f);
  EXPECT_EQ(detail::exp_nonpositive(-INFINITY), 0.0f);
  EXPECT_TRUE(std::isnan(detail::exp_nonpositive(std::nanf(""))));
}

TEST(CodeStatistics, OfKnownCodes) {
  const auto codes = Tensor<float>::from(
      {1, 0, 0, 0, 0.25f, 0.25f, 0.25f, 0.25f, 0, 0.5f, 0.5f, 0, 0, 0.125f, 0.875f, 0}, {2, 2, 4});
  const auto found = code_statistics(codes);
  EXPECT_EQ(found.entropy.shape(), (Shape{2, 2}));
  EXPECT_TRUE(test::near_abs(values(found.entropy),
                             std::vector<double>{0, std::log(4), std::log(2), 0.376770}, 1e-6));
  EXPECT_EQ(values(found.largest), (std::vector<double>{1, 0.25, 0.5, 0.875}));
  EXPECT_EQ(prototypes_used(codes), 3);  // 0, 0 (the first of equals), 1, 2
  test::expect_error<ShapeError>([] { code_statistics(Tensor<float>::zeros({3})); },
                                 "code_statistics: want (..., P), got (3)");
}

TEST(SwavStatistics, FillARingOfSteps) {
  const auto codes = Tensor<float>::from(
      {1, 0, 0, 0, 0.25f, 0.25f, 0.25f, 0.25f, 0, 0.5f, 0.5f, 0, 0, 0.125f, 0.875f, 0}, {2, 2, 4});
  auto history = Tensor<float>::full({2, kSwavStatistics + 3}, -1);
  const auto crops = Tensor<float>::from({9, 10, 11}, {3});
  swav_statistics(codes, Tensor<float>::scalar(7), Tensor<float>::scalar(8), crops, 5.0, history);
  const double entropy = (std::log(4) + std::log(2) + 0.376770) / 4;
  double mean_entropy = 0;
  for (const double share : {0.3125, 0.21875, 0.40625, 0.0625}) mean_entropy -= share * std::log(share);
  EXPECT_TRUE(test::near_abs(
      values(history),
      std::vector<double>{-1, -1, -1, -1, -1, -1, -1, -1, -1, 7, 8, entropy,
                          (1 + 0.25 + 0.5 + 0.875) / 4, 3, mean_entropy, 9, 10, 11},
      1e-6));
  test::expect_error<ShapeError>(
      [&] {
        auto narrow = Tensor<float>::zeros({2, 4});
        swav_statistics(codes, Tensor<float>::scalar(7), Tensor<float>::scalar(8), crops, 0.0,
                        narrow);
      },
      "swav_statistics: want a contiguous history (S, 9), got (2, 4)");
}

// Rows of unit length, as the golden programs make them: in double from the float32 fill.
std::vector<double> unit_rows(const std::vector<float>& x, std::size_t D) {
  std::vector<double> y = test::to_double(x);
  for (std::size_t r = 0; r < y.size(); r += D) {
    double square = 0;
    for (std::size_t d = 0; d < D; ++d) square += y[r + d] * y[r + d];
    for (std::size_t d = 0; d < D; ++d) y[r + d] /= std::sqrt(square);
  }
  return y;
}

// c (rows, columns) = a (rows, inner) b^T, b (columns, inner).
Tensor<float> product(const std::vector<double>& a, const std::vector<double>& b, index_t rows,
                      index_t columns, index_t inner) {
  auto c = Tensor<float>::empty({rows, columns});
  parallel_for(rows, 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      for (index_t k = 0; k < columns; ++k) {
        const double* x = a.data() + r * inner;
        const double* y = b.data() + k * inner;
        double sum = 0;
        for (index_t d = 0; d < inner; ++d) sum += x[d] * y[d];
        c.data()[r * columns + k] = static_cast<float>(sum);
      }
    }
  });
  return c;
}

std::vector<double> transposed(const std::vector<double>& a, index_t rows, index_t columns) {
  std::vector<double> b(a.size());
  for (index_t r = 0; r < rows; ++r) {
    for (index_t c = 0; c < columns; ++c) {
      b[static_cast<std::size_t>(c * rows + r)] = a[static_cast<std::size_t>(r * columns + c)];
    }
  }
  return b;
}

double norm(const std::vector<double>& v) {
  double square = 0;
  for (const double x : v) square += x * x;
  return std::sqrt(square);
}

// From features to both gradients: the network's own operations, products in plain loops.
TEST(SwavGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "swav");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const index_t B = c.at("B"), P = c.at("P"), D = c.at("D"), V = c.at("V"), L = c.at("queue_len");
    const double eps = c.at("eps"), tau = c.at("temp");
    const int iterations = c.at("iters");
    const auto assign = c.at("assign").get<std::vector<index_t>>();

    const auto features = Variable<float>::leaf(
        Tensor<float>::from(c.fill("features", {V * B, D}, golden::Fill::input), {V * B, D}));
    const auto prototypes = unit_rows(c.fill("prototypes.weight", {P, D}, golden::Fill::weight),
                                      static_cast<std::size_t>(D));
    const auto z = l2_normalize(features);
    const auto scores = Variable<float>::leaf(product(values(z.value()), prototypes, V * B, P, D));

    // The queue's scores; rows 0 .. B - 1 are crop 0's own where it was enqueued first.
    auto queue = Tensor<float>::empty({L, P});
    if (L > 0) {
      queue = product(
          unit_rows(c.fill("queue", {L, D}, golden::Fill::input), static_cast<std::size_t>(D)),
          prototypes, L, P, D);
      if (c.at("enqueue_first").get<bool>()) {
        queue.slice(0, 0, B).copy_from(scores.value().slice(0, 0, B));
      }
    }
    auto codes = Tensor<float>::empty({static_cast<index_t>(assign.size()), B, P});
    for (std::size_t i = 0; i < assign.size(); ++i) {
      auto all = Tensor<float>::empty({B + L, P});
      all.slice(0, 0, B).copy_from(scores.value().slice(0, assign[i] * B, assign[i] * B + B));
      all.slice(0, B, B + L).copy_from(queue);
      const auto at = static_cast<index_t>(i);
      codes.slice(0, at, at + 1).copy_from(sinkhorn(all, eps, iterations, B).reshape({1, B, P}));
    }
    const auto result = swav_prediction_loss(scores, codes, assign, V, tau);
    result.loss.backward();
    const auto dscores = values(scores.grad());
    z.backward(product(dscores, transposed(prototypes, P, D), V * B, D, P));
    const auto dfeatures = values(features.grad());
    const auto dprototypes = values(product(transposed(dscores, V * B, P),
                                            transposed(values(z.value()), V * B, D), P, D, V * B));
    const auto statistics = code_statistics(codes);

    EXPECT_TRUE(c.near("loss", values(result.loss.value())));
    EXPECT_TRUE(c.near("code_entropy", values(statistics.entropy)));
    EXPECT_TRUE(c.near("code_max", values(statistics.largest)));
    if (c.has_tensor("codes")) {
      EXPECT_TRUE(c.near("z", values(z.value())));
      EXPECT_TRUE(c.near("scores", values(scores.value())));
      EXPECT_TRUE(c.near("codes", values(codes)));
      EXPECT_TRUE(c.near("grad_features", dfeatures));
      EXPECT_TRUE(c.near("grad_prototypes", dprototypes));
    } else {
      const auto first = [&](const std::vector<double>& v) {
        return std::vector<double>(v.begin(), v.begin() + 4 * D);
      };
      const auto near = [&](const char* name, const std::vector<double>& got,
                            const char* tolerance) {
        return c.near(name, got, c.tensor(name).values, tolerance);
      };
      EXPECT_TRUE(near("codes_slice", values(codes.slice(1, 0, 4).slice(2, 0, 64)), "codes"));
      EXPECT_TRUE(near("grad_features_slice", first(dfeatures), "grad_features"));
      EXPECT_TRUE(near("grad_prototypes_slice", first(dprototypes), "grad_prototypes"));
      EXPECT_TRUE(near("grad_features_norm", {norm(dfeatures)}, "grad_features"));
      EXPECT_TRUE(near("grad_prototypes_norm", {norm(dprototypes)}, "grad_prototypes"));
    }
  }
}

}  // namespace
}  // namespace mwalimu::ops
