#include "mwalimu/ops/linear.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "mwalimu/autograd/gradient_check.hpp"
#include "mwalimu/core/random.hpp"
#include "support/compare.hpp"
#include "support/golden.hpp"

namespace mwalimu::ops {
namespace {

using test::near_l2;

struct Problem {
  index_t B, in, out;
};
// The head's and the prototypes' extents, one, primes and the neighbours of a register's 16.
const std::vector<Problem> kProblems{{1, 1, 1},   {1, 20, 9},      {7, 13, 3},    {2, 17, 15},
                                     {5, 16, 33}, {32, 2048, 128}, {6, 128, 300}, {3, 512, 3}};

template <class T>
Tensor<T> random_tensor(const Shape& shape, std::uint64_t sample) {
  auto tensor = Tensor<T>::empty(shape);
  RandomStream random(1, Purpose::test, 0, sample);
  for (T& value : tensor.span()) value = random.uniform(-1.0f, 1.0f);
  return tensor;
}
template <class T>
Tensor<T> integer_tensor(const Shape& shape, std::uint64_t sample) {
  auto tensor = Tensor<T>::empty(shape);
  RandomStream random(2, Purpose::test, 0, sample);
  for (T& value : tensor.span()) value = static_cast<T>(random.below(7)) - 3;
  return tensor;
}
template <class T>
std::vector<double> doubles(const Tensor<T>& tensor) {
  return tensor.template to<double>().to_vector();
}

template <class T>
struct Results {
  Tensor<T> out, dx;
  Tensor<accumulate_t<T>> dweight, dbias;
};
template <class T>
Results<T> run(const Tensor<T>& x, const Tensor<accumulate_t<T>>& weight,
               const Tensor<accumulate_t<T>>& bias, const Tensor<T>& dout) {
  using Parameter = Variable<accumulate_t<T>>;
  const auto a = Variable<T>::leaf(x);
  const auto w = Parameter::leaf(weight), b = Parameter::leaf(bias);
  const auto out = linear(a, w, b);
  out.backward(dout.clone());
  return {out.value(), a.grad(), w.grad(), b.grad()};
}

TEST(Linear, MatchesFp64Reference) {
  for (const auto& [B, in, out] : kProblems) {
    SCOPED_TRACE(testing::Message() << B << " x " << in << " x " << out);
    const auto x = random_tensor<float>({B, in}, 1), weight = random_tensor<float>({out, in}, 2);
    const auto bias = random_tensor<float>({out}, 3), dout = random_tensor<float>({B, out}, 4);
    const auto got = run(x, weight, bias, dout);
    const auto want =
        run(x.to<double>(), weight.to<double>(), bias.to<double>(), dout.to<double>());
    // Rounding of up to 2048 sums, 6e-8 each and of random sign, in blocks.
    EXPECT_TRUE(near_l2(doubles(got.out), doubles(want.out), 2e-6));
    EXPECT_TRUE(near_l2(doubles(got.dx), doubles(want.dx), 2e-6));
    EXPECT_TRUE(near_l2(doubles(got.dweight), doubles(want.dweight), 2e-6));
    EXPECT_TRUE(near_l2(doubles(got.dbias), doubles(want.dbias), 2e-6));
  }
}

template <class T>
void expect_exact(const Problem& p) {
  const auto [B, in, out] = p;
  const auto x = integer_tensor<T>({B, in}, 1), weight = integer_tensor<T>({out, in}, 2);
  const auto bias = integer_tensor<T>({out}, 3), dout = integer_tensor<T>({B, out}, 4);
  std::vector<T> y(static_cast<std::size_t>(B * out)), dx(static_cast<std::size_t>(B * in));
  std::vector<T> dweight(static_cast<std::size_t>(out * in)), dbias(static_cast<std::size_t>(out));
  const T *a = x.data(), *w = weight.data(), *d = dout.data();
  for (index_t b = 0; b < B; ++b) {
    for (index_t o = 0; o < out; ++o) {
      T& sum = y[static_cast<std::size_t>(b * out + o)];
      sum = bias.data()[o];
      dbias[static_cast<std::size_t>(o)] += d[b * out + o];
      for (index_t i = 0; i < in; ++i) {
        sum += a[b * in + i] * w[o * in + i];
        dx[static_cast<std::size_t>(b * in + i)] += d[b * out + o] * w[o * in + i];
        dweight[static_cast<std::size_t>(o * in + i)] += d[b * out + o] * a[b * in + i];
      }
    }
  }
  const auto got = run(x, weight, bias, dout);
  EXPECT_EQ(got.out.to_vector(), y);
  EXPECT_EQ(got.dx.to_vector(), dx);
  EXPECT_EQ(got.dweight.to_vector(), dweight);
  EXPECT_EQ(got.dbias.to_vector(), dbias);
  // Without bias the same product, less the bias.
  const auto plain = linear(Variable<T>(x), Variable<T>(weight)).value().to_vector();
  for (std::size_t i = 0; i < plain.size(); ++i) {
    EXPECT_EQ(plain[i], y[i] - bias.data()[i % static_cast<std::size_t>(out)]);
  }
}

TEST(Linear, IsExactOnIntegers) {
  for (const Problem& p : kProblems) {
    SCOPED_TRACE(testing::Message() << p.B << " x " << p.in << " x " << p.out);
    expect_exact<float>(p);
    expect_exact<double>(p);
  }
}

// Rows and weights of 16 bits, float parameters and gradients beside them. All sums are exact here,
// so each result must be the exact one, rounded once to T.
template <class T>
void expect_rounded_once(const Problem& p) {
  const auto [B, in, out] = p;
  const auto x = integer_tensor<double>({B, in}, 1), weight = integer_tensor<double>({out, in}, 2);
  const auto bias = integer_tensor<double>({out}, 3), dout = integer_tensor<double>({B, out}, 4);
  const auto want = run(x, weight, bias, dout);
  const auto got = run(x.to<T>(), weight.to<float>(), bias.to<float>(), dout.to<T>());
  EXPECT_EQ(got.out.to_vector(), want.out.template to<T>().to_vector());
  EXPECT_EQ(got.dx.to_vector(), want.dx.template to<T>().to_vector());
  EXPECT_EQ(got.dweight.to_vector(), want.dweight.template to<float>().to_vector());
  EXPECT_EQ(got.dbias.to_vector(), want.dbias.template to<float>().to_vector());
  const auto plain = linear(Variable<T>(x.to<T>()), Variable<float>(weight.to<float>()));
  const auto exact = linear(Variable<double>(x), Variable<double>(weight));
  EXPECT_EQ(plain.value().to_vector(), exact.value().template to<T>().to_vector());
}

TEST(Linear, SixteenBitTypesRoundOnce) {
  for (const Problem& p : kProblems) {
    SCOPED_TRACE(testing::Message() << p.B << " x " << p.in << " x " << p.out);
    expect_rounded_once<bfloat16>(p);
    expect_rounded_once<half>(p);
  }
}

// `digits`: significant bits of T. A rounding is off by 2^-digits of the value at most.
template <class T>
void expect_near_fp64(const Problem& p, int digits) {
  const auto [B, in, out] = p;
  const auto x = random_tensor<float>({B, in}, 1).to<T>();
  const auto dout = random_tensor<float>({B, out}, 4).to<T>();
  const auto weight = random_tensor<float>({out, in}, 2), bias = random_tensor<float>({out}, 3);
  const auto got = run(x, weight, bias, dout);
  const auto want = run(x.template to<double>(), weight.to<T>().template to<double>(),
                        bias.to<double>(), dout.template to<double>());
  // The reference sees the same rounded inputs, so what is left is float's sums and one rounding.
  const double rounding = std::ldexp(1.0, -digits);
  EXPECT_TRUE(near_l2(doubles(got.out), doubles(want.out), rounding + 2e-6));
  EXPECT_TRUE(near_l2(doubles(got.dx), doubles(want.dx), rounding + 2e-6));
  EXPECT_TRUE(near_l2(doubles(got.dweight), doubles(want.dweight), 2e-6));
  EXPECT_TRUE(near_l2(doubles(got.dbias), doubles(want.dbias), 2e-6));
}

TEST(Linear, SixteenBitTypesMatchFp64Reference) {
  for (const Problem& p : kProblems) {
    SCOPED_TRACE(testing::Message() << p.B << " x " << p.in << " x " << p.out);
    expect_near_fp64<bfloat16>(p, 8);
    expect_near_fp64<half>(p, 11);
  }
}

TEST(Linear, GradientMatchesDifferences) {
  const auto check = check_gradients(
      [](const std::vector<Variable<double>>& v) { return linear(v[0], v[1], v[2]); },
      {random_tensor<double>({3, 5}, 1), random_tensor<double>({4, 5}, 2),
       random_tensor<double>({4}, 3)});
  EXPECT_LT(check.worst, 1e-8) << check.describe();  // bilinear: rounding alone
}

TEST(Linear, AddsToTheGradientsOfParameters) {
  const auto x = integer_tensor<float>({6, 20}, 1), dout = integer_tensor<float>({6, 9}, 4);
  auto weight_grad = Tensor<float>::full({9, 20}, 0.5f),
       bias_grad = Tensor<float>::full({9}, -1.0f);
  const auto weight = Variable<float>::leaf(integer_tensor<float>({9, 20}, 2), weight_grad);
  const auto bias = Variable<float>::leaf(integer_tensor<float>({9}, 3), bias_grad);
  const auto once = run(x, weight.value(), bias.value(), dout);
  for (int pass = 0; pass < 2; ++pass) {
    linear(Variable<float>(x), weight, bias).backward(dout.clone());
  }
  for (index_t i = 0; i < weight_grad.count(); ++i) {
    EXPECT_EQ(weight_grad.data()[i], 0.5f + 2 * once.dweight.data()[i]);
  }
  for (index_t i = 0; i < 9; ++i) EXPECT_EQ(bias_grad.data()[i], -1 + 2 * once.dbias.data()[i]);
}

TEST(Linear, TakesSlicesAndTransposedWeights) {
  const auto wide = integer_tensor<float>({8, 30}, 1);
  const auto stored = integer_tensor<float>({20, 9}, 2);
  const auto bias = integer_tensor<float>({9}, 3), dout = integer_tensor<float>({5, 9}, 4);
  const auto x = wide.slice(0, 2, 7).slice(1, 4, 24), weight = stored.permute({1, 0});
  const auto got = run(x, weight, bias, dout);
  const auto want = run(x.contiguous(), weight.contiguous(), bias, dout);
  EXPECT_EQ(got.out.to_vector(), want.out.to_vector());
  EXPECT_EQ(got.dx.to_vector(), want.dx.to_vector());
  EXPECT_EQ(got.dweight.to_vector(), want.dweight.to_vector());
}

TEST(Linear, BiasGradientDoesNotDependOnTheThreads) {
  const auto dout = random_tensor<float>({4099, 37}, 4);
  const auto sum = [&] {
    auto dbias = Tensor<float>::full({37}, std::numeric_limits<float>::quiet_NaN());
    linear_backward_bias<float>(Cpu{}, dout.view<2>(), false, dbias.view<1>());
    return dbias.to_vector();
  };
  const int before = num_threads();
  set_num_threads(1);
  const auto one = sum();
  set_num_threads(3);
  EXPECT_EQ(sum(), one);
  set_num_threads(before);
}

TEST(Linear, GivesTheSameBitsOnEveryRun) {
  const auto x = random_tensor<float>({48, 300}, 1), weight = random_tensor<float>({200, 300}, 2);
  const auto bias = random_tensor<float>({200}, 3), dout = random_tensor<float>({48, 200}, 4);
  const auto first = run(x, weight, bias, dout);
  for (int i = 0; i < 5; ++i) {
    const auto again = run(x, weight, bias, dout);
    EXPECT_EQ(again.out.to_vector(), first.out.to_vector());
    EXPECT_EQ(again.dx.to_vector(), first.dx.to_vector());
    EXPECT_EQ(again.dweight.to_vector(), first.dweight.to_vector());
  }
}

template <class E, class F>
void expect_error(F&& f, const std::string& text) {
  try {
    f();
    ADD_FAILURE() << "no error; want one that says '" << text << "'";
  } catch (const E& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(Linear, ErrorsSayWhatDoesNotFit) {
  const auto zeros = [](const Shape& shape) {
    return Variable<float>(Tensor<float>::zeros(shape));
  };
  expect_error<ShapeError>(
      [&] {
        linear(zeros({2, 3}), zeros({4, 5}));
      },
      "want x (B, in) and weight (out, in), got (2, 3) and (4, 5)");
  expect_error<ShapeError>([&] { linear(zeros({2, 3, 1}), zeros({4, 3})); }, "want x (B, in)");
  expect_error<ShapeError>([&] { linear(zeros({0, 3}), zeros({4, 3})); }, "want x (B, in)");
  expect_error<ShapeError>(
      [&] {
        linear(zeros({2, 3}), zeros({4, 3}), zeros({5}));
      },
      "want bias (4)");
  expect_error<ShapeError>(
      [&] {
        matmul(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 3}));
      },
      "matmul: (2, 3) times (2, 3)");
  expect_error<ShapeError>(
      [&] {
        matmul(Tensor<float>::zeros({2}), Tensor<float>::zeros({2, 3}));
      },
      "want two matrices");
}

// Every way to lay out three matrices, each inside a larger one, against the definition.
template <class T, class C = T>
void expect_products(index_t M, index_t K, index_t N) {
  enum Layout { rows, columns, gaps };
  // A (r, c) matrix of small integers (or NaN) in a surrounding of NaN.
  const auto laid_out = []<class U>(U, index_t r, index_t c, Layout layout, std::uint64_t sample,
                                    bool fill) {
    const U nan = convert<U>(std::numeric_limits<float>::quiet_NaN());
    Tensor<U> big;
    if (layout == rows) big = Tensor<U>::full({r + 2, c + 3}, nan);
    if (layout == columns) big = Tensor<U>::full({c + 3, r + 2}, nan).permute({1, 0});
    if (layout == gaps) {
      big = Tensor<U>::full({r + 2, c + 3, 2}, nan).slice(2, 0, 1);
      big = Tensor<U>::borrow(big.data(), {r + 2, c + 3}, {2 * (c + 3), 2}, big.storage());
    }
    Tensor<U> part = big.slice(0, 1, r + 1).slice(1, 2, c + 2);
    if (fill) part.copy_from(integer_tensor<double>({r, c}, sample));
    return std::pair(big, part);
  };
  for (const Layout la : {rows, columns, gaps}) {
    for (const Layout lb : {rows, columns, gaps}) {
      for (const Layout lc : {rows, columns, gaps}) {
        for (const bool accumulate : {false, true}) {
          SCOPED_TRACE(testing::Message() << M << ' ' << K << ' ' << N << " layouts " << la << lb
                                          << lc << " accumulate " << accumulate);
          const auto a = laid_out(T{}, M, K, la, 1, true).second;
          const auto b = laid_out(T{}, K, N, lb, 2, true).second;
          auto [big, c] = laid_out(C{}, M, N, lc, 3, accumulate);
          auto want = Tensor<double>::zeros({M, N});  // its sums are exact
          const auto start = integer_tensor<double>({M, N}, 3);
          const auto va = a.template view<2>(), vb = b.template view<2>();
          for (index_t i = 0; i < M; ++i) {
            for (index_t j = 0; j < N; ++j) {
              double sum = accumulate ? start.data()[i * N + j] : 0;
              for (index_t k = 0; k < K; ++k) {
                sum += convert<double>(va(i, k)) * convert<double>(vb(k, j));
              }
              want.data()[i * N + j] = sum;
            }
          }
          matmul<T>(Cpu{}, va, vb, accumulate, c.template view<2>());
          EXPECT_EQ(c.to_vector(), want.to<C>().to_vector());
          index_t numbers = 0;
          for (const double value : doubles(big)) numbers += std::isnan(value) ? 0 : 1;
          EXPECT_EQ(numbers, M * N) << "wrote beside the result";
        }
      }
    }
  }
}

TEST(Matmul, TakesAnyLayoutAndWritesNothingElse) {
  for (const auto& [M, K, N] : std::vector<std::array<index_t, 3>>{
           {1, 1, 1}, {1, 5, 3}, {4, 1, 1}, {17, 16, 15}, {3, 40, 1}}) {
    expect_products<float>(M, K, N);
    expect_products<double>(M, K, N);
    expect_products<bfloat16>(M, K, N);
    expect_products<bfloat16, float>(M, K, N);
    expect_products<half>(M, K, N);
    expect_products<half, float>(M, K, N);
  }
}

TEST(Matmul, TakesOneRowRepeated) {
  // A stride of zero, which BLAS has no leading dimension for.
  const auto row = integer_tensor<float>({5}, 1), b = integer_tensor<float>({5, 4}, 2);
  const auto repeated =
      Tensor<float>::borrow(const_cast<float*>(row.data()), {3, 5}, {0, 1}, row.storage());
  EXPECT_EQ(matmul(repeated, b).to_vector(), matmul(repeated.contiguous(), b).to_vector());
  const auto turned = repeated.permute({1, 0}).slice(0, 0, 4);
  EXPECT_EQ(matmul(b, turned).to_vector(), matmul(b, turned.contiguous()).to_vector());
}

TEST(Matmul, EmptyInnerExtentGivesZeros) {
  auto c = Tensor<float>::full({2, 3}, 7.0f);
  matmul<float>(Cpu{}, Tensor<float>::zeros({2, 0}).view<2>(),
                Tensor<float>::zeros({0, 3}).view<2>(), false, c.view<2>());
  EXPECT_EQ(c.to_vector(), std::vector<float>(6, 0.0f));
}

TEST(Matmul, TransposeFlagsSwapTheExtents) {
  const auto a = integer_tensor<float>({4, 3}, 1), b = integer_tensor<float>({4, 5}, 2);
  const auto want = matmul(a.permute({1, 0}).contiguous(), b);
  ASSERT_EQ(want.dim(0), 3);
  ASSERT_EQ(want.dim(1), 5);
  EXPECT_EQ(matmul(a, b, {.transpose_a = true}).to_vector(), want.to_vector());
  EXPECT_EQ(matmul(b, a, {.transpose_a = true}).to_vector(), want.permute({1, 0}).to_vector());
  const auto right = b.permute({1, 0}).contiguous();
  EXPECT_EQ(matmul(a, right, {.transpose_a = true, .transpose_b = true}).to_vector(),
            want.to_vector());
}

TEST(LinearGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "linear");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const index_t B = c.at("B"), in = c.at("n_in"), out = c.at("n_out");
    const auto filled = [&](const char* name, const Shape& shape, golden::Fill kind) {
      return Tensor<float>::from(c.fill(name, {shape.begin(), shape.end()}, kind), shape);
    };
    const auto x = Variable<float>::leaf(filled("input", {B, in}, golden::Fill::input));
    const auto weight = Variable<float>::leaf(filled("weight", {out, in}, golden::Fill::weight));
    auto bias = Variable<float>();
    if (c.at("bias").get<bool>()) {
      bias = Variable<float>::leaf(filled("bias", {out}, golden::Fill::small));
    }
    const auto y = linear(x, weight, bias);
    y.backward(filled("dy", {B, out}, golden::Fill::input));
    EXPECT_TRUE(c.near("y", doubles(y.value())));
    EXPECT_TRUE(c.near("dx", doubles(x.grad())));
    EXPECT_TRUE(c.near("dw", doubles(weight.grad())));
    if (bias.needs_grad()) {
      EXPECT_TRUE(c.near("db", doubles(bias.grad())));
    }
  }
}

}  // namespace
}  // namespace mwalimu::ops
