#include "mwalimu/ops/conv2d.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
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
  index_t N, H, W, Cin, Cout, kh, kw;
  Conv2dOptions options = {};

  Shape x() const { return {N, H, W, Cin}; }
  Shape weight() const { return {Cout, Cin / options.groups, kh, kw}; }
  friend std::ostream& operator<<(std::ostream& out, const Problem& p) {
    return out << p.x() << " weight " << p.weight() << " stride " << p.options.stride << " padding "
               << p.options.padding << " groups " << p.options.groups;
  }
};

// One extent, primes, odd and even sizes at stride 2, kernels of all our networks, channels that do
// not fill a register, groups of 4, 8 and 1 channels, an image smaller than the kernel.
const std::vector<Problem> kProblems{
    {1, 1, 1, 1, 1, 1, 1, {}},
    {2, 7, 11, 5, 3, 3, 3, {1, 1, 1}},
    {2, 15, 13, 3, 32, 3, 3, {2, 1, 1}},
    {3, 16, 16, 3, 64, 7, 7, {2, 3, 1}},
    {2, 8, 8, 64, 128, 3, 3, {2, 1, 1}},
    {2, 9, 7, 64, 128, 3, 3, {2, 1, 1}},
    {2, 5, 6, 64, 48, 1, 1, {}},
    {2, 7, 7, 32, 64, 1, 1, {2, 0, 1}},
    {2, 6, 6, 32, 32, 3, 3, {1, 1, 8}},
    {2, 7, 6, 64, 64, 3, 3, {2, 1, 8}},
    {2, 5, 5, 26, 26, 3, 3, {1, 1, 1}},
    {2, 5, 4, 12, 12, 3, 3, {1, 1, 12}},
    {1, 2, 2, 128, 512, 3, 3, {1, 1, 1}},
    {2, 3, 5, 17, 31, 1, 3, {1, 2, 1}},
    {1, 1, 1, 16, 16, 3, 3, {1, 1, 1}},
};

template <class T>
Tensor<T> random_tensor(const Shape& shape, const Shape& strides, std::uint64_t sample) {
  auto tensor = Tensor<T>::with_strides(shape, strides);
  RandomStream random(1, Purpose::test, 0, sample);
  auto values = Tensor<T>::empty(shape);
  for (T& value : values.span()) value = random.uniform(-1.0f, 1.0f);
  tensor.copy_from(values);
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
struct Results {
  Tensor<T> out, dx;
  Tensor<accumulate_t<T>> dweight;
};

// Forward and backward with leaves of their own.
template <class T>
Results<T> run(const Tensor<T>& x, const Tensor<accumulate_t<T>>& weight, const Tensor<T>& dout,
               const Conv2dOptions& options, std::shared_ptr<PackedWeights> packed = nullptr) {
  const auto a = Variable<T>::leaf(x);
  const auto w = Variable<accumulate_t<T>>::leaf(weight);
  const auto out = conv2d(a, w, options, std::move(packed));
  out.backward(dout.clone());
  return {out.value(), a.grad(), w.grad()};
}

template <class T>
std::vector<double> doubles(const Tensor<T>& tensor) {
  return tensor.template to<double>().to_vector();
}

Shape output_shape(const Problem& p) {
  return detail::conv2d_output_shape(p.x(), p.weight(), p.options);
}

TEST(Conv2d, MatchesFp64Reference) {
  for (const Problem& p : kProblems) {
    SCOPED_TRACE(testing::Message() << p);
    const auto strides = conv2d_weight_strides(p.weight());
    const auto out = output_shape(p);
    const auto x = random_tensor<float>(p.x(), contiguous_strides(p.x()), 1);
    const auto weight = random_tensor<float>(p.weight(), strides, 2);
    const auto dout = random_tensor<float>(out, contiguous_strides(out), 3);
    const auto got = run(x, weight, dout, p.options);
    const auto want = run(x.to<double>(), weight.to<double>(), dout.to<double>(), p.options);
    // Rounding of float products and sums, 6e-8 each, of random sign: grows with the square root of
    // the number of terms, at most 9 * 128 here, and blocked sums grow slower still.
    EXPECT_TRUE(near_l2(doubles(got.out), doubles(want.out), 1e-6));
    EXPECT_TRUE(near_l2(doubles(got.dx), doubles(want.dx), 1e-6));
    EXPECT_TRUE(near_l2(doubles(got.dweight), doubles(want.dweight), 1e-6));
  }
}

// The definition, term by term; both element types must reach it exactly.
template <class T>
void expect_exact(const Problem& p) {
  const auto out_shape = output_shape(p);
  const auto x = integer_tensor<T>(p.x(), 1), weight = integer_tensor<T>(p.weight(), 2);
  const auto dout = integer_tensor<T>(out_shape, 3);
  auto out = Tensor<T>::zeros(out_shape), dx = Tensor<T>::zeros(p.x());
  auto dweight = Tensor<T>::zeros(p.weight());
  const auto a = x.template view<4>(), w = weight.template view<4>(), d = dout.template view<4>();
  auto o = out.template view<4>(), da = dx.template view<4>(), dw = dweight.template view<4>();
  const index_t O = p.Cout / p.options.groups, I = p.Cin / p.options.groups;
  for (index_t n = 0; n < p.N; ++n)
    for (index_t y = 0; y < out_shape[1]; ++y)
      for (index_t c = 0; c < out_shape[2]; ++c)
        for (index_t k = 0; k < p.Cout; ++k)
          for (index_t h = 0; h < p.kh; ++h)
            for (index_t v = 0; v < p.kw; ++v)
              for (index_t i = 0; i < I; ++i) {
                const index_t iy = y * p.options.stride - p.options.padding + h;
                const index_t ix = c * p.options.stride - p.options.padding + v;
                if (iy < 0 || iy >= p.H || ix < 0 || ix >= p.W) continue;
                const index_t ci = k / O * I + i;
                o(n, y, c, k) += a(n, iy, ix, ci) * w(k, i, h, v);
                da(n, iy, ix, ci) += d(n, y, c, k) * w(k, i, h, v);
                dw(k, i, h, v) += d(n, y, c, k) * a(n, iy, ix, ci);
              }
  const auto got = run(x, weight, dout, p.options);
  EXPECT_EQ(got.out.to_vector(), out.to_vector());
  EXPECT_EQ(got.dx.to_vector(), dx.to_vector());
  EXPECT_EQ(got.dweight.to_vector(), dweight.to_vector());
}

TEST(Conv2d, IsExactOnIntegers) {
  for (const Problem& p : kProblems) {
    SCOPED_TRACE(testing::Message() << p);
    expect_exact<float>(p);
    expect_exact<double>(p);
  }
}

// Images and weights of 16 bits, float weights and their float gradient beside them. All sums are
// exact here, so each result must be the exact one, rounded once to T.
template <class T>
void expect_rounded_once(const Problem& p) {
  const auto x = integer_tensor<double>(p.x(), 1), weight = integer_tensor<double>(p.weight(), 2);
  const auto dout = integer_tensor<double>(output_shape(p), 3);
  const auto want = run(x, weight, dout, p.options);
  const auto got = run(x.to<T>(), weight.to<float>(), dout.to<T>(), p.options);
  EXPECT_EQ(got.out.to_vector(), want.out.template to<T>().to_vector());
  EXPECT_EQ(got.dx.to_vector(), want.dx.template to<T>().to_vector());
  EXPECT_EQ(got.dweight.to_vector(), want.dweight.template to<float>().to_vector());
}

TEST(Conv2d, SixteenBitTypesRoundOnce) {
  for (const Problem& p : kProblems) {
    SCOPED_TRACE(testing::Message() << p);
    expect_rounded_once<bfloat16>(p);
    expect_rounded_once<half>(p);
  }
}

// `digits`: significant bits of T. A rounding is off by 2^-digits of the value at most.
template <class T>
void expect_near_fp64(const Problem& p, int digits) {
  const auto out = output_shape(p);
  const auto x = random_tensor<float>(p.x(), contiguous_strides(p.x()), 1).to<T>();
  const auto weight = random_tensor<float>(p.weight(), conv2d_weight_strides(p.weight()), 2);
  const auto dout = random_tensor<float>(out, contiguous_strides(out), 3).to<T>();
  const auto got = run(x, weight, dout, p.options);
  const auto want = run(x.template to<double>(), weight.to<T>().template to<double>(),
                        dout.template to<double>(), p.options);
  // The reference sees the same rounded inputs, so what is left is float's sums and one rounding.
  const double rounding = std::ldexp(1.0, -digits);
  EXPECT_TRUE(near_l2(doubles(got.out), doubles(want.out), rounding + 1e-6));
  EXPECT_TRUE(near_l2(doubles(got.dx), doubles(want.dx), rounding + 1e-6));
  EXPECT_TRUE(near_l2(doubles(got.dweight), doubles(want.dweight), 1e-6));  // float: as in float
}

TEST(Conv2d, SixteenBitTypesMatchFp64Reference) {
  for (const Problem& p : kProblems) {
    SCOPED_TRACE(testing::Message() << p);
    expect_near_fp64<bfloat16>(p, 8);
    expect_near_fp64<half>(p, 11);
  }
}

TEST(Conv2d, GradientMatchesDifferences) {
  for (const Problem& p : {Problem{2, 5, 4, 4, 6, 3, 3, {2, 1, 2}}, {1, 4, 3, 3, 5, 2, 1, {}}}) {
    SCOPED_TRACE(testing::Message() << p);
    const auto check = check_gradients(
        [&](const std::vector<Variable<double>>& in) { return conv2d(in[0], in[1], p.options); },
        {random_tensor<double>(p.x(), contiguous_strides(p.x()), 1),
         random_tensor<double>(p.weight(), conv2d_weight_strides(p.weight()), 2)});
    EXPECT_LT(check.worst, 1e-8)
        << check.describe();  // bilinear: differences have no error but rounding
  }
}

TEST(Conv2d, AcceptsWeightsInAnyMemoryOrder) {
  const Problem p{2, 6, 5, 24, 40, 3, 3, {1, 1, 1}};
  const auto x = integer_tensor<float>(p.x(), 1);
  const auto dout = integer_tensor<float>(output_shape(p), 3);
  const auto row_major = integer_tensor<float>(p.weight(), 2);
  const auto want = run(x, row_major, dout, p.options);
  for (const Shape& strides :
       {conv2d_weight_strides(p.weight()), Shape{9 * 24, 1, 3 * 24, 24}, Shape{9, 9 * 40, 1, 3}}) {
    SCOPED_TRACE(testing::Message() << strides);
    auto weight = Tensor<float>::with_strides(p.weight(), strides);
    ASSERT_TRUE(weight.is_dense());
    weight.copy_from(row_major);
    const auto got = run(x, weight, dout, p.options);
    EXPECT_EQ(got.out.to_vector(), want.out.to_vector());
    EXPECT_EQ(got.dx.to_vector(), want.dx.to_vector());
    EXPECT_EQ(got.dweight.to_vector(), want.dweight.to_vector());
    EXPECT_EQ(got.dweight.strides(), strides);
  }
}

TEST(Conv2d, TakesSlicesOfLargerTensors) {
  const Problem p{2, 6, 5, 16, 24, 3, 3, {1, 1, 1}};
  const auto dout = integer_tensor<float>(output_shape(p), 3);
  const auto weight = integer_tensor<float>(p.weight(), 2);
  // Images 1 and 2 of four (an offset, contiguous), then channels 5 to 20 of 24 (strided).
  const auto batch = integer_tensor<float>({4, 6, 5, 16}, 1).slice(0, 1, 3);
  const auto wide = integer_tensor<float>({2, 6, 5, 24}, 4).slice(3, 5, 21);
  for (const auto& x : {batch, wide}) {
    const auto got = run(x, weight, dout, p.options);
    const auto want = run(Tensor<float>::from(x.to_vector(), x.shape()), weight, dout, p.options);
    EXPECT_EQ(got.out.to_vector(), want.out.to_vector());
    EXPECT_EQ(got.dx.to_vector(), want.dx.to_vector());
    EXPECT_EQ(got.dweight.to_vector(), want.dweight.to_vector());
  }
}

template <class T>
void expect_whole_overwrites(const Problem& p) {
  constexpr T kNan = std::numeric_limits<T>::quiet_NaN();
  constexpr index_t kGuard = 64;
  const auto x = integer_tensor<T>(p.x(), 1), weight = integer_tensor<T>(p.weight(), 2);
  const auto dout = integer_tensor<T>(output_shape(p), 3);
  const auto want = run(x, weight, dout, p.options);
  const auto check = [&](const Tensor<T>& expected, auto&& write) {
    const index_t count = expected.count();
    auto memory = Tensor<T>::full({count + kGuard}, kNan);
    auto target = Tensor<T>::borrow(memory.data(), expected.shape(),
                                    contiguous_strides(expected.shape()), memory.storage());
    write(target.template view<4>());
    EXPECT_EQ(target.to_vector(), expected.to_vector());
    for (index_t i = count; i < count + kGuard; ++i) {
      ASSERT_TRUE(std::isnan(memory.data()[i])) << "wrote " << i - count << " past the end";
    }
  };
  const auto a = x.template view<4>(), w = weight.template view<4>(), d = dout.template view<4>();
  check(want.out, [&](View<T, 4> out) { conv2d_forward<T>(Cpu{}, a, w, p.options, nullptr, out); });
  check(want.dx,
        [&](View<T, 4> dx) { conv2d_backward_data<T>(Cpu{}, d, w, p.options, nullptr, dx); });
  check(want.dweight, [&](View<T, 4> dweight) {
    conv2d_backward_weight<T>(Cpu{}, a, d, p.options, false, dweight);
  });
}

TEST(Conv2d, OverwritesTheWholeOutputAndNothingElse) {
  for (const Problem& p : kProblems) {
    SCOPED_TRACE(testing::Message() << p);
    expect_whole_overwrites<float>(p);
    expect_whole_overwrites<double>(p);
  }
}

TEST(Conv2d, AddsToTheGradientOfAParameter) {
  const Problem p{2, 5, 5, 20, 24, 3, 3, {1, 1, 1}};
  const auto x = integer_tensor<float>(p.x(), 1), dout = integer_tensor<float>(output_shape(p), 3);
  const auto strides = conv2d_weight_strides(p.weight());
  auto value = Tensor<float>::with_strides(p.weight(), strides);
  value.copy_from(integer_tensor<float>(p.weight(), 2));
  auto grad = Tensor<float>::with_strides(p.weight(), strides);
  grad.fill(0.5f);
  const auto weight = Variable<float>::leaf(value, grad);
  const auto once = run(x, value, dout, p.options).dweight.to_vector();
  for (int pass = 0; pass < 2; ++pass) {
    conv2d(Variable<float>(x), weight, p.options).backward(dout.clone());
  }
  std::vector<float> want;
  for (const float g : once) want.push_back(0.5f + 2 * g);
  EXPECT_EQ(grad.to_vector(), want);
}

TEST(Conv2d, FrozenWeightsKeepNothingOfTheInput) {
  const Problem p{1, 4, 4, 16, 16, 3, 3, {1, 1, 1}};
  const auto weight = integer_tensor<float>(p.weight(), 2);
  const auto dout = integer_tensor<float>(output_shape(p), 3);
  for (const bool frozen : {true, false}) {
    const auto x = Variable<float>::leaf(integer_tensor<float>(p.x(), 1));
    const auto w = Variable<float>::leaf(weight);
    // A result in between, which lives only as long as a closure holds it.
    auto between = Variable<float>(x.value().clone(), {x},
                                   [](Inputs in, const Tensor<float>& d) { in.add_grad(0, d); });
    const std::weak_ptr<std::byte> memory = between.value().storage();
    const auto out = conv2d(between, frozen ? w.detach() : w, p.options);
    between = Variable<float>();
    EXPECT_EQ(memory.expired(), frozen);
    out.backward(dout.clone());
    EXPECT_EQ(x.grad().to_vector(), run(x.value(), weight, dout, p.options).dx.to_vector());
    EXPECT_EQ(w.has_grad(), !frozen);
  }
}

TEST(Conv2d, GivesTheSameBitsOnEveryRun) {
  const Problem p{8, 16, 16, 64, 64, 3, 3, {1, 1, 1}};
  const auto x = random_tensor<float>(p.x(), contiguous_strides(p.x()), 1);
  const auto weight = random_tensor<float>(p.weight(), conv2d_weight_strides(p.weight()), 2);
  const auto dout = random_tensor<float>(output_shape(p), contiguous_strides(output_shape(p)), 3);
  const auto first = run(x, weight, dout, p.options);
  for (int i = 0; i < 5; ++i) {
    const auto again = run(x, weight, dout, p.options);
    EXPECT_EQ(again.out.to_vector(), first.out.to_vector());
    EXPECT_EQ(again.dx.to_vector(), first.dx.to_vector());
    EXPECT_EQ(again.dweight.to_vector(), first.dweight.to_vector());
  }
}

TEST(Conv2d, FollowsAChangedNumberOfThreads) {
  const Problem p{4, 8, 8, 32, 32, 3, 3, {1, 1, 1}};
  const auto x = integer_tensor<float>(p.x(), 1), weight = integer_tensor<float>(p.weight(), 2);
  const auto dout = integer_tensor<float>(output_shape(p), 3);
  const auto want = run(x, weight, dout, p.options);
  const auto plan = [&] {
    return cpu::detail::conv2d_primitive(cpu::Conv2dDirection::forward, x.view<4>().extents(),
                                         weight.view<4>().extents(), dout.view<4>().extents(),
                                         p.options);
  };
  const int before = num_threads();
  std::shared_ptr<const cpu::Conv2dPrimitive> last = nullptr;
  for (const int threads : {1, 3, 2}) {
    set_num_threads(threads);
    const auto got = run(x, weight, dout, p.options);
    EXPECT_EQ(got.out.to_vector(), want.out.to_vector());
    EXPECT_EQ(got.dweight.to_vector(), want.dweight.to_vector());
    EXPECT_NE(plan(), last) << "planned for another number of threads";
    last = plan();
    EXPECT_EQ(plan(), last);
  }
  set_num_threads(before);
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

TEST(Conv2d, ErrorsSayWhatDoesNotFit) {
  const auto call = [](const Shape& x, const Shape& weight, const Conv2dOptions& options) {
    return [=] {
      conv2d(Variable<float>(Tensor<float>::zeros(x)),
             Variable<float>(Tensor<float>::zeros(weight)), options);
    };
  };
  expect_error<ShapeError>(call({2, 4, 4}, {8, 3, 3, 3}, {}), "want x (N, H, W, Cin)");
  expect_error<ShapeError>(call({2, 4, 4, 3}, {8, 4, 3, 3}, {}), "x has 3 channels");
  expect_error<ShapeError>(call({2, 4, 4, 6}, {7, 3, 3, 3}, {1, 0, 2}), "among the groups");
  expect_error<ShapeError>(call({2, 2, 4, 3}, {8, 3, 3, 3}, {}), "kernel 3 x 3 is larger");
  expect_error<ShapeError>(call({0, 4, 4, 3}, {8, 3, 3, 3}, {}), "nothing to convolve");
  expect_error<ValueError>(call({2, 4, 4, 3}, {8, 3, 3, 3}, {0, 0, 1}), "want stride >= 1");
}

TEST(Conv2d, OneDnnsRefusalIsADnnlError) {
  expect_error<DnnlError>(
      [] { (void)cpu::dnnl_layout("conv2d forward", dnnl_f32, {1, 2, 3, -4}, dnnl_nhwc); },
      "conv2d forward: oneDNN: ");
}

TEST(PackedWeights, AreReusedUntilInvalidated) {
  const Problem p{2, 6, 6, 32, 32, 3, 3, {1, 1, 1}};
  const auto x = integer_tensor<float>(p.x(), 1), dout = integer_tensor<float>(output_shape(p), 3);
  auto weight = integer_tensor<float>(p.weight(), 2);
  const auto before = run(x, weight, dout, p.options);
  const auto packed = std::make_shared<PackedWeights>();
  for (int pass = 0; pass < 3; ++pass) {
    const auto got = run(x, weight, dout, p.options, packed);
    EXPECT_EQ(got.out.to_vector(), before.out.to_vector());
    EXPECT_EQ(got.dx.to_vector(), before.dx.to_vector());
  }
  EXPECT_EQ(packed->packings(), 2);  // one layout forward, one backward

  for (float& value : weight.span()) value = -value;
  const auto stale = run(x, weight, dout, p.options, packed);
  EXPECT_EQ(stale.out.to_vector(), before.out.to_vector()) << "nobody has said that they changed";
  packed->invalidate();
  const auto fresh = run(x, weight, dout, p.options, packed);
  const auto want = run(x, weight, dout, p.options);
  EXPECT_EQ(fresh.out.to_vector(), want.out.to_vector());
  EXPECT_EQ(fresh.dx.to_vector(), want.dx.to_vector());
  EXPECT_NE(fresh.out.to_vector(), before.out.to_vector());
  EXPECT_EQ(packed->packings(), 4);
}

TEST(PackedWeights, OfOtherMemoryAreNotUsed) {
  const Problem p{2, 6, 6, 32, 32, 3, 3, {1, 1, 1}};
  const auto x = integer_tensor<float>(p.x(), 1), dout = integer_tensor<float>(output_shape(p), 3);
  const auto first = integer_tensor<float>(p.weight(), 2);
  const auto second = integer_tensor<float>(p.weight(), 4);
  const auto packed = std::make_shared<PackedWeights>();
  run(x, first, dout, p.options, packed);
  EXPECT_EQ(run(x, second, dout, p.options, packed).out.to_vector(),
            run(x, second, dout, p.options).out.to_vector());
}

TEST(PackedWeights, CastsAreReusedUntilInvalidated) {
  auto weight = integer_tensor<float>({4, 3, 2, 2}, 2);
  PackedWeights packed;
  const bfloat16* first = packed.cast<bfloat16>(weight).data();
  EXPECT_EQ(packed.cast<bfloat16>(weight).data(), first);
  EXPECT_EQ(packed.casts(), 1);
  EXPECT_EQ(packed.cast<half>(weight).to_vector(), weight.to<half>().to_vector());
  EXPECT_EQ(packed.casts(), 2);
  for (float& value : weight.span()) value += 1;
  packed.invalidate();
  EXPECT_EQ(packed.cast<bfloat16>(weight).to_vector(), weight.to<bfloat16>().to_vector());
  EXPECT_EQ(packed.cast<bfloat16>(weight).data(), first) << "want the same memory again";
  // Of other weights, and while somebody still reads the old copy.
  const auto other = integer_tensor<float>({4, 3, 2, 2}, 4);
  const auto held = packed.cast<bfloat16>(weight);
  EXPECT_EQ(packed.cast<bfloat16>(other).to_vector(), other.to<bfloat16>().to_vector());
  EXPECT_EQ(held.to_vector(), weight.to<bfloat16>().to_vector());
}

TEST(PackedWeights, ABoundCopyIsItsOwnersBusiness) {
  const auto weight = integer_tensor<float>({4, 3, 2, 2}, 2);
  auto copy = Tensor<bfloat16>::full(weight.shape(), bfloat16(0.5f));
  PackedWeights packed;
  packed.bind_copy(copy);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(packed.cast<bfloat16>(weight).data(), copy.data());
    packed.invalidate();
  }
  EXPECT_EQ(packed.casts(), 0);
  EXPECT_EQ(copy.data()[0], bfloat16(0.5f));
  packed.invalidate_all();
  EXPECT_EQ(packed.cast<bfloat16>(weight).data(), copy.data());
  EXPECT_EQ(copy.to_vector(), weight.to<bfloat16>().to_vector());
  EXPECT_EQ(packed.casts(), 1);
  expect_error<ShapeError>([&] { packed.cast<bfloat16>(weight.slice(0, 0, 2)); },
                           "is not laid out as the weights");
}

// The layouts that kernels read are made from the 16-bit copy: they follow it.
TEST(PackedWeights, FollowTheCastWeights) {
  const Problem p{2, 6, 6, 32, 32, 3, 3, {1, 1, 1}};
  const auto x = integer_tensor<float>(p.x(), 1).to<bfloat16>();
  const auto dout = integer_tensor<float>(output_shape(p), 3).to<bfloat16>();
  auto weight = integer_tensor<float>(p.weight(), 2);
  const auto packed = std::make_shared<PackedWeights>();
  const auto expect_fresh = [&] {
    const auto got = run(x, weight, dout, p.options, packed),
               want = run(x, weight, dout, p.options);
    EXPECT_EQ(got.out.to_vector(), want.out.to_vector());
    EXPECT_EQ(got.dx.to_vector(), want.dx.to_vector());
  };
  expect_fresh();
  for (float& value : weight.span()) value = -value;
  packed->invalidate();
  expect_fresh();
  weight = integer_tensor<float>(p.weight(), 5);  // other memory, nobody says so
  expect_fresh();
  auto copy = weight.to<bfloat16>();
  packed->bind_copy(copy);
  expect_fresh();
  for (float& value : weight.span()) value += 1;
  copy.copy_from(weight);  // as an optimiser's step
  packed->invalidate();
  expect_fresh();
}

TEST(PackedWeights, FillUpBlocksWithZeros) {
  // 26 of 32 channels, 3 of 16, 12 of 16 groups.
  for (const Problem& p : {Problem{2, 5, 5, 26, 26, 3, 3, {1, 1, 1}},
                           {2, 9, 9, 3, 20, 3, 3, {2, 1, 1}},
                           {2, 5, 4, 12, 12, 3, 3, {1, 1, 12}}}) {
    SCOPED_TRACE(testing::Message() << p);
    const auto array = [](const Shape& s) { return std::array{s[0], s[1], s[2], s[3]}; };
    auto weight = integer_tensor<float>(p.weight(), 2);
    for (float& value : weight.span()) value += 4;  // 1 to 7: none is zero
    using enum cpu::Conv2dDirection;
    for (const auto direction : {forward, backward_data, backward_weight}) {
      const auto layout = cpu::detail::conv2d_primitive(direction, array(p.x()), array(p.weight()),
                                                        array(output_shape(p)), p.options)
                              ->weight_layout;
      auto packed = Tensor<float>::full({layout.count}, std::numeric_limits<float>::quiet_NaN());
      cpu::pack_weights<float>(std::as_const(weight).view<4>(), layout, packed.data());
      index_t zeros = 0;
      for (const float value : packed.span()) {
        EXPECT_FALSE(std::isnan(value));
        zeros += value == 0 ? 1 : 0;
      }
      EXPECT_EQ(zeros, layout.count - weight.count());
      auto back = Tensor<float>::full(p.weight(), std::numeric_limits<float>::quiet_NaN());
      cpu::unpack_weights<float>(packed.data(), layout, false, back.view<4>());
      EXPECT_EQ(back.to_vector(), weight.to_vector());
    }
  }
}

// oneDNN's own reorder from the same plain weights is the oracle for every layout that its kernels
// have asked for, padding included.
template <class T>
void expect_packed_as_onednn_does(const Problem& p) {
  const auto array = [](const Shape& s) { return std::array{s[0], s[1], s[2], s[3]}; };
  auto weight = Tensor<T>::with_strides(p.weight(), conv2d_weight_strides(p.weight()));
  weight.copy_from(random_tensor<float>(p.weight(), contiguous_strides(p.weight()), 2));
  const Shape& s = weight.strides();
  const index_t g = p.options.groups, O = p.Cout / g, I = p.Cin / g;
  const auto type = cpu::dnnl_type<T>();
  const cpu::DnnlLayout plain =
      g == 1 ? cpu::dnnl_layout("plain", type, {O, I, p.kh, p.kw}, {s[0], s[1], s[2], s[3]})
             : cpu::dnnl_layout("plain", type, {g, O, I, p.kh, p.kw},
                                {O * s[0], s[0], s[1], s[2], s[3]});
  using enum cpu::Conv2dDirection;
  for (const auto direction : {forward, backward_data}) {
    const auto made = cpu::detail::conv2d_primitive<T>(direction, array(p.x()), array(p.weight()),
                                                       array(output_shape(p)), p.options);
    const auto count = made->weight_layout.count;
    auto want = Tensor<T>::full({count}, T(std::numeric_limits<float>::quiet_NaN()));
    const auto attributes = cpu::user_scratchpad("reorder");
    const auto chosen = cpu::dnnl_make<cpu::DnnlPrimitiveDescriptor>(
        "reorder", dnnl_reorder_primitive_desc_create, &plain, cpu::engine(), &made->weight,
        cpu::engine(), attributes.get());
    cpu::execute("reorder",
                 cpu::dnnl_make<cpu::DnnlPrimitive>("reorder", dnnl_primitive_create, chosen.get()),
                 cpu::dnnl_layout_of(chosen, dnnl_query_scratchpad_md),
                 {{DNNL_ARG_FROM, plain, weight.data()}, {DNNL_ARG_TO, made->weight, want.data()}});
    auto got = Tensor<T>::full({count}, T(std::numeric_limits<float>::quiet_NaN()));
    cpu::pack_weights<T>(std::as_const(weight).template view<4>(), made->weight_layout, got.data());
    EXPECT_EQ(std::memcmp(got.data(), want.data(), static_cast<std::size_t>(count) * sizeof(T)), 0)
        << (direction == forward ? "forward" : "backward data");
  }
}

TEST(PackedWeights, AreWhatOneDnnsReorderGives) {
  auto problems = kProblems;
  // Whole blocks of all sizes, and images of several so that other kernels are chosen.
  problems.insert(problems.end(), {{2, 8, 8, 64, 64, 3, 3, {1, 1, 1}},
                                   {2, 4, 4, 128, 256, 3, 3, {2, 1, 1}},
                                   {2, 8, 8, 32, 96, 3, 3, {1, 1, 1}},
                                   {2, 8, 8, 96, 160, 1, 1, {}},
                                   {2, 4, 4, 256, 512, 1, 1, {}},
                                   {2, 8, 8, 128, 128, 3, 3, {1, 1, 8}}});
  for (const Problem& p : problems) {
    SCOPED_TRACE(testing::Message() << p);
    expect_packed_as_onednn_does<float>(p);
    if (cpu::dnnl_computes<bfloat16>()) expect_packed_as_onednn_does<bfloat16>(p);
  }
}

// All convolutions of an xresnet for images of px x px (fastai's: three stem layers, a max pool,
// four stages; average pool before the 1 x 1 shortcut of a strided block).
std::vector<Problem> xresnet_convolutions(const std::vector<int>& blocks, index_t expansion,
                                          index_t batch, index_t px) {
  std::vector<Problem> all;
  index_t side = px;
  const auto add = [&](index_t in, index_t out, index_t kernel, index_t stride) {
    all.push_back({batch, side, side, in, out, kernel, kernel, {stride, kernel / 2, 1}});
    side = (side + stride - 1) / stride;
  };
  add(3, 32, 3, 2);
  add(32, 32, 3, 1);
  add(32, 64, 3, 1);
  side = (side + 1) / 2;
  index_t channels = 64;
  for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
    const index_t width = index_t{64} << stage, wide = width * expansion;
    for (int block = 0; block < blocks[stage]; ++block) {
      const index_t stride = block == 0 && stage > 0 ? 2 : 1;
      if (expansion == 1) {
        add(channels, width, 3, stride);
        add(width, wide, 3, 1);
      } else {
        add(channels, width, 1, 1);
        add(width, width, 3, stride);
        add(width, wide, 1, 1);
      }
      if (channels != wide) add(channels, wide, 1, 1);
      channels = wide;
    }
  }
  return all;
}

TEST(Conv2d, HasFastImplementationsForEveryLayerOfTheNetworks) {
  if (!cpu::has_avx512()) GTEST_SKIP() << "fewer fast kernels exist without AVX-512";
  const std::vector<std::pair<std::vector<int>, index_t>> networks{
      {{2, 2, 2, 2}, 1}, {{3, 4, 6, 3}, 1}, {{3, 4, 6, 3}, 4}};
  cpu::forbid_slow_implementations();
  index_t layers = 0;
  for (const auto& [blocks, expansion] : networks) {
    for (const index_t px : {128, 96, 64}) {
      for (const index_t batch : {32, 64, 192}) {
        for (const Problem& p : xresnet_convolutions(blocks, expansion, batch, px)) {
          const auto array = [](const Shape& s) { return std::array{s[0], s[1], s[2], s[3]}; };
          using enum cpu::Conv2dDirection;
          for (const auto direction : {forward, backward_data, backward_weight}) {
            // No gradient flows into images: a network of ours never asks for it.
            if (direction == backward_data && p.Cin == 3) continue;
            EXPECT_NO_THROW(cpu::detail::conv2d_primitive<float>(
                direction, array(p.x()), array(p.weight()), array(output_shape(p)), p.options));
            EXPECT_NO_THROW(cpu::detail::conv2d_primitive<bfloat16>(
                direction, array(p.x()), array(p.weight()), array(output_shape(p)), p.options));
            layers += 2;
          }
        }
      }
    }
  }
  EXPECT_GT(layers, 4000);
  // The check can fail.
  expect_error<DnnlError>(
      [] {
        cpu::record_implementation({"conv2d forward", "ref:any", "1x1"});
      },
      "conv2d forward 1x1: oneDNN has only the slow ref:any");
  cpu::forbid_slow_implementations(false);
}

TEST(Conv2dGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "conv2d");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const Problem p{
        c.at("N"),    c.at("H"), c.at("W"), c.at("Cin"),
        c.at("Cout"), c.at("k"), c.at("k"), {c.at("stride"), c.at("pad"), c.at("groups")}};
    const auto out = output_shape(p);
    const auto filled = [&](const char* name, const Shape& shape, golden::Fill kind) {
      return Tensor<float>::from(c.fill(name, {shape.begin(), shape.end()}, kind), shape);
    };
    // Stored (N, C, H, W).
    const auto x = filled("input", {p.N, p.Cin, p.H, p.W}, golden::Fill::input);
    const auto weight = filled("weight", p.weight(), golden::Fill::weight);
    const auto dout = filled("dy", {p.N, p.Cout, out[1], out[2]}, golden::Fill::input);
    const auto nhwc = [](const Tensor<float>& t) { return t.permute({0, 2, 3, 1}).contiguous(); };
    const auto nchw = [](const auto& t) { return doubles(t.permute({0, 3, 1, 2})); };
    const auto got = run(nhwc(x), weight, nhwc(dout), p.options);
    EXPECT_TRUE(c.near("y", nchw(got.out)));
    EXPECT_TRUE(c.near("dx", nchw(got.dx)));
    EXPECT_TRUE(c.near("dw", doubles(got.dweight)));
    const auto oracle =
        run(nhwc(x).to<double>(), weight.to<double>(), nhwc(dout).to<double>(), p.options);
    EXPECT_TRUE(c.near("y", nchw(oracle.out)));
    EXPECT_TRUE(c.near("dx", nchw(oracle.dx)));
    EXPECT_TRUE(c.near("dw", doubles(oracle.dweight)));
  }
}

}  // namespace
}  // namespace mwalimu::ops
