#include "mwalimu/core/tensor.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include "support/reference.hpp"

namespace mwalimu {
namespace {

Tensor<float> counting(const Shape& shape) {
  auto tensor = Tensor<float>::empty(shape);
  std::iota(tensor.data(), tensor.data() + tensor.count(), 0.0f);
  return tensor;
}

TEST(Half, RoundsToNearestEvenOverItsWholeRange) {
  // Every half is a float: going there and back is the identity.
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    half value;
    value.bits = static_cast<std::uint16_t>(bits);
    const float wide = static_cast<float>(value);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(half(wide))));
    } else {
      ASSERT_EQ(half(wide).bits, bits);
    }
  }
  EXPECT_EQ(half(65504.0f).bits, 0x7BFF);
  EXPECT_EQ(half(65519.0f).bits, 0x7BFF);
  EXPECT_EQ(half(65520.0f).bits, 0x7C00);  // the midpoint to 2^16 is even: infinity
  EXPECT_EQ(half(1.0f + 0x1.0p-11f).bits, 0x3C00);
  EXPECT_EQ(half(1.0f + 3 * 0x1.0p-11f).bits, 0x3C02);
  EXPECT_EQ(half(0x1.0p-25f).bits, 0);
  EXPECT_EQ(half(1.5f * 0x1.0p-25f).bits, 1);
  EXPECT_EQ(half(1.5f * 0x1.0p-24f).bits, 2);
}

TEST(Bfloat16, RoundsToNearestEven) {
  EXPECT_EQ(bfloat16(1.0f).bits, 0x3F80);
  EXPECT_EQ(bfloat16(1.0f + 0x1.0p-8f).bits, 0x3F80);
  EXPECT_EQ(bfloat16(1.0f + 3 * 0x1.0p-8f).bits, 0x3F82);
  EXPECT_TRUE(std::isnan(static_cast<float>(bfloat16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isinf(static_cast<float>(bfloat16(std::numeric_limits<float>::max()))));
}

TEST(Tensor, SliceAndPermuteShareMemory) {
  auto tensor = counting({2, 3, 4});
  auto part = tensor.slice(1, 1, 3).permute({2, 0, 1});
  EXPECT_EQ(part.shape(), (Shape{4, 2, 2}));
  EXPECT_EQ((part.view<3>()(3, 1, 1)), 1 * 12 + 2 * 4 + 3);
  part.fill(-1.0f);
  EXPECT_EQ((tensor.view<3>()(1, 2, 3)), -1.0f);
  EXPECT_EQ((tensor.view<3>()(1, 0, 3)), 15.0f);
  EXPECT_FALSE(part.is_dense());
}

TEST(Tensor, ContiguousCopiesInRowMajorOrder) {
  const auto turned = counting({2, 3}).permute({1, 0});
  EXPECT_TRUE(turned.is_dense());
  EXPECT_FALSE(turned.is_contiguous());
  EXPECT_EQ(turned.to_vector(), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(turned.clone().strides(), turned.strides());
  EXPECT_EQ(turned.clone().to_vector(), turned.to_vector());
}

TEST(Tensor, StridedCopyOfFiveDimensionsIsElementwise) {
  const auto source = counting({2, 3, 4, 5, 6});
  auto target = Tensor<float>::empty({6, 5, 4, 3, 2}).permute({4, 3, 2, 1, 0});
  target.copy_from(source);
  EXPECT_EQ(target.to_vector(), source.to_vector());
}

/// The element at a row-major index, by the strides alone.
template <class T>
T& at(Tensor<T>& tensor, index_t index) {
  index_t offset = 0;
  for (int i = tensor.rank() - 1; i >= 0; --i) {
    offset += index % tensor.dim(i) * tensor.strides()[i];
    index /= tensor.dim(i);
  }
  return tensor.data()[offset];
}

TEST(Tensor, CopiesBetweenAnyStridesAreElementwise) {
  // Beyond whole tiles, runs of a few elements, of lines and of pages; the ranges leave a rest.
  for (const auto& [shape, begin, end] :
       {std::tuple{Shape{2, 37, 70}, 0, 70}, std::tuple{Shape{2, 37, 70}, 3, 4},
        std::tuple{Shape{3, 33, 65}, 1, 34}, std::tuple{Shape{2, 5, 4099}, 2, 4098},
        std::tuple{Shape{1, 129, 18}, 0, 17}}) {
    const auto whole = counting(shape);
    auto part = whole.slice(2, begin, end);
    const auto check = [&]<class T>(Tensor<float> from, Tensor<T> into) {
      auto to = Tensor<T>::full(into.shape(), T{-1});
      auto target = to.slice(2, 1, into.dim(2) - 1);  // a frame that stays
      target.copy_from(from);
      for (index_t i = 0; i < from.count(); ++i) {
        ASSERT_EQ(static_cast<double>(at(target, i)), static_cast<double>(at(from, i))) << i;
      }
      double sum = 0;
      for (const auto value : to.span()) sum += static_cast<double>(value);
      for (index_t i = 0; i < from.count(); ++i) sum -= static_cast<double>(at(from, i));
      EXPECT_EQ(sum, -2.0 * static_cast<double>(into.dim(0) * into.dim(1)));
    };
    const index_t n = part.dim(2) + 2;
    check(part, Tensor<float>::empty({shape[0], shape[1], n}));
    check(part, Tensor<double>::empty({shape[0], shape[1], n}));
    const auto turned = part.permute({0, 2, 1});
    check(turned, Tensor<float>::empty({shape[0], part.dim(2), shape[1] + 2}));
  }
}

TEST(Tensor, FillOfARangeLeavesTheRest) {
  auto whole = counting({3, 5, 4});
  whole.slice(1, 1, 3).slice(2, 2, 4).permute({2, 0, 1}).fill(-1);
  for (index_t i = 0; i < whole.count(); ++i) {
    const index_t row = i / 4 % 5, column = i % 4;
    const bool inside = row >= 1 && row < 3 && column >= 2;
    EXPECT_EQ(whole.data()[i], inside ? -1.0f : static_cast<float>(i)) << i;
  }
}

TEST(Tensor, ConvertsBetweenTypes) {
  const auto source = Tensor<float>::from({0.0f, 1.5f, -2.25f, 255.0f}, {4});
  EXPECT_EQ(source.to<half>().to<float>().to_vector(), source.to_vector());
  EXPECT_EQ(source.to<bfloat16>().to<double>().to_vector(),
            (std::vector<double>{0.0, 1.5, -2.25, 255.0}));
  EXPECT_EQ(source.slice(0, 3, 4).to<std::uint8_t>().item(), 255);
}

TEST(Tensor, ScalarsAndEmptyTensorsWork) {
  EXPECT_EQ(Tensor<float>::scalar(3.0f).item(), 3.0f);
  EXPECT_EQ(Tensor<float>::scalar(3.0f).clone().rank(), 0);
  const auto none = Tensor<float>::zeros({0, 3});
  EXPECT_EQ(none.count(), 0);
  EXPECT_EQ(none.clone().shape(), none.shape());
  EXPECT_TRUE(none.to_vector().empty());
}

TEST(Tensor, ErrorsNameTheShapes) {
  const auto tensor = counting({2, 3});
  EXPECT_THROW(tensor.slice(1, 2, 4), ShapeError);
  EXPECT_THROW(tensor.reshape({5}), ShapeError);
  EXPECT_THROW(tensor.permute({1, 0}).reshape({6}), ShapeError);
  EXPECT_THROW(tensor.permute({0, 0}), ShapeError);
  EXPECT_THROW(tensor.view<3>(), ShapeError);
  EXPECT_THROW(tensor.item(), ShapeError);
  EXPECT_THROW(Tensor<float>::empty({-1}), ShapeError);
  EXPECT_THROW(Tensor<float>::empty({index_t{1} << 40, index_t{1} << 40}), ShapeError);
  EXPECT_THROW(Tensor<float>::empty({0, index_t{1} << 40, index_t{1} << 40}), ShapeError);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1}), ShapeError);
  for (const auto& uses_cuda : std::vector<std::function<void()>>{
           [] { (void)Tensor<float>::empty({1}, Device::cuda()); },
           [&] { (void)tensor.to(Device::cuda()); },
           [] { on_device(Device::cuda(), [](auto) {}); }}) {
    test::expect_error<DeviceError>(uses_cuda, "no backend for device cuda:0 in this build");
  }
  try {
    tensor.slice(1, 2, 4);
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "slice: [2, 4) of dimension 1 leaves the shape (2, 3)");
  }
}

TEST(CachingAllocator, ReusesAFreedBlock) {
  auto& allocator = CachingAllocator::instance();
  const void* first = allocator.allocate(1000003).get();
  const auto misses = allocator.statistics().misses;
  const auto again = allocator.allocate(1000001);
#ifndef MWALIMU_ADDRESS_SANITIZER
  EXPECT_EQ(again.get(), first);
  EXPECT_EQ(allocator.statistics().misses, misses);
#else
  (void)first, (void)misses;
#endif
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(again.get()) % CachingAllocator::kAlignment, 0u);
}

TEST(CachingAllocator, SizeClassesCoverTheRequest) {
  for (std::size_t bytes = 0; bytes < 100000; bytes += 7) {
    const std::size_t size = CachingAllocator::rounded(bytes);
    ASSERT_GE(size, bytes);
    ASSERT_EQ(CachingAllocator::rounded(size), size);
    ASSERT_LE(static_cast<double>(size), 1.125 * static_cast<double>(bytes) + 64);
  }
}

}  // namespace
}  // namespace mwalimu
