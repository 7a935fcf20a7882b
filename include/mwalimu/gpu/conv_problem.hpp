// gpu/conv_problem: one convolution as a library sees it: which pass, which types, which extents and
// where the elements lie. Also the key under which the plan for it is kept.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>
#include <string_view>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/gpu/math_options.hpp"

namespace mwalimu::gpu {

enum class ConvPass { forward, backward_data, backward_weight };

constexpr std::string_view name(ConvPass pass) {
  switch (pass) {
    case ConvPass::forward: return "forward";
    case ConvPass::backward_data: return "backward_data";
    case ConvPass::backward_weight: return "backward_weight";
  }
  return "?";
}

/// A convolution of NHWC images, x (N, H, W, Cin), weight (Cout, Cin / groups, kh, kw), out (N, Ho, Wo,
/// Cout), all of one type. Memory: images dense in that order; weights (Cout, kh, kw, Cin / groups),
/// input channels densest.
struct ConvProblem {
  ConvPass pass = ConvPass::forward;
  std::string_view type = "float32";  ///< of images and weights, as core/types names it
  std::array<index_t, 4> x{}, weight{}, out{};
  index_t stride = 1, padding = 0, groups = 1;
  Float32Math float32 = Float32Math::ieee;  ///< means something for float alone
  bool deterministic = true;
  int alignment = 16;  ///< bytes that all three addresses are multiples of: 16, 8, 4 or 2

  bool operator==(const ConvProblem&) const = default;

  std::size_t hash() const {
    std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
    const auto mix = [&](auto value) {
      hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001b3u;
    };
    mix(pass);
    for (const char c : type) mix(c);
    for (const index_t extent : x) mix(extent);
    for (const index_t extent : weight) mix(extent);
    for (const index_t value : {stride, padding, groups}) mix(value);
    mix(alignment);
    return static_cast<std::size_t>(hash ^ hash >> 32);
  }

  /// "forward bfloat16 32x64x64x3 * 32x3x3x3 stride 2 padding 1 groups 1": for errors.
  friend std::ostream& operator<<(std::ostream& text, const ConvProblem& p) {
    const auto extents = [&](const std::array<index_t, 4>& e) {
      text << e[0] << 'x' << e[1] << 'x' << e[2] << 'x' << e[3];
    };
    text << name(p.pass) << ' ' << p.type << ' ';
    extents(p.x);
    text << " * ";
    extents(p.weight);
    return text << " stride " << p.stride << " padding " << p.padding << " groups " << p.groups;
  }

  /// All that decides which plans exist and which is fast, but for device and library version.
  std::string key() const {
    std::string options;
    if (type == "float32" && float32 == Float32Math::tf32) options += " tf32";
    if (!deterministic) options += " any order";
    if (alignment != 16) options += " aligned " + std::to_string(alignment);
    return mwalimu::detail::concatenate(*this, options);
  }
};

/// Strides of cuDNN's descriptors, whose extents are always (N, C, H, W): NHWC in memory. The same
/// formula gives weights (O, I, kh, kw) as (O, kh, kw, I).
constexpr std::array<std::int64_t, 4> channels_last_strides(
    const std::array<std::int64_t, 4>& nchw) {
  const auto [n, c, h, w] = nchw;
  (void)n;
  return {c * h * w, 1, c * w, c};
}
/// (N, H, W, C) as (N, C, H, W).
constexpr std::array<std::int64_t, 4> nchw_extents(const std::array<index_t, 4>& nhwc) {
  return {nhwc[0], nhwc[3], nhwc[1], nhwc[2]};
}

/// The largest of 16, 8, 4, 2, 1 that divides all addresses. Dense NHWC tensors of our allocator start
/// at multiples of 256; a slice of a batch of small images may not.
inline int common_alignment(std::initializer_list<const void*> addresses) {
  std::uintptr_t bits = 16;
  for (const void* address : addresses) bits |= reinterpret_cast<std::uintptr_t>(address);
  return 1 << std::min(std::countr_zero(bits), 4);
}

/// The library that convolves: cuDNN (gpu/cudnn_device.hpp, in kernels/cudnn.cpp), or plain loops where
/// tests emulate a device. A template so that it need not be defined where it is declared.
template <class = void>
struct BasicConvolution {
  /// Queues the convolution on the place's stream; the problem's pass says which operand is
  /// overwritten.
  /// @throws CudnnError  no engine takes the problem.
  static void run(Gpu on, const ConvProblem& problem, const void* x, const void* weight,
                  const void* out);
};
using Convolution = BasicConvolution<>;

}  // namespace mwalimu::gpu
