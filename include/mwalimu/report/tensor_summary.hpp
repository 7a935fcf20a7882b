// report/tensor_summary: a tensor in one line: what it is, where its numbers lie, and whether
// something is wrong with them. `std::cout << tensor` prints it.
//
//     float32 [64, 3, 7, 7] n=9408 x∈[-0.671, 0.704] μ=-8.9e-05 σ=0.113 ▁▁▂▅█▅▂▁ 2 NaN!
//
// In the spirit of the Python package lovely-tensors.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/core/tensor.hpp"
#include "mwalimu/io/tensor_fit.hpp"
#include "mwalimu/io/tensor_info.hpp"
#include "mwalimu/io/tensor_values.hpp"

namespace mwalimu::report {

/// What one pass over a tensor tells. Statistics are of the finite elements.
struct TensorSummary {
  static constexpr std::size_t kBins = 16;
  static constexpr std::int64_t kFew = 8;  ///< so many elements are listed one by one

  io::Dtype dtype = io::Dtype::f32;
  std::vector<std::int64_t> shape;
  std::int64_t count = 0;
  std::int64_t nan = 0, positive_infinite = 0, negative_infinite = 0;
  double min = 0, max = 0, mean = 0;
  double std = 0;  ///< sample standard deviation: over n - 1; 0 for a single element
  std::array<std::int64_t, kBins> histogram{};  ///< equal parts of [min, max]
  std::vector<double> values;                   ///< all elements, where they are few

  std::int64_t finite() const { return count - nan - positive_infinite - negative_infinite; }
  /// NaN or an infinity is among the elements.
  bool alarming() const { return finite() != count; }
};

/// Reads the elements twice; sums are in double.
inline TensorSummary summarize(const io::TensorInfo& tensor) {
  TensorSummary s;
  s.dtype = tensor.dtype;
  s.shape = tensor.shape;
  s.count = tensor.numel();
  s.min = std::numeric_limits<double>::infinity();
  s.max = -s.min;
  double sum = 0;
  io::for_each_block(tensor, [&](std::span<const double> values) {
    if (s.count <= TensorSummary::kFew) s.values.assign(values.begin(), values.end());
    for (const double x : values) {
      if (std::isfinite(x)) {
        s.min = std::min(s.min, x);
        s.max = std::max(s.max, x);
        sum += x;
      } else {
        ++(std::isnan(x) ? s.nan : x > 0 ? s.positive_infinite : s.negative_infinite);
      }
    }
  });
  const auto n = static_cast<double>(s.finite());
  if (n == 0) {
    s.min = s.max = 0;
    return s;
  }
  s.mean = sum / n;
  // Halves, so that the range of the largest doubles does not overflow.
  const double low = s.min / 2, range = s.max / 2 - low;
  double squares = 0;
  io::for_each_block(tensor, [&](std::span<const double> values) {
    for (const double x : values) {
      if (!std::isfinite(x)) continue;
      squares += (x - s.mean) * (x - s.mean);
      const double part = range > 0 ? (x / 2 - low) / range : 0.5;
      const auto bin = static_cast<std::size_t>(part * TensorSummary::kBins);
      ++s.histogram[std::min(bin, TensorSummary::kBins - 1)];
    }
  });
  s.std = n > 1 ? std::sqrt(squares / (n - 1)) : 0;
  return s;
}

/// Any strides, any device: copied to the host, row-major, where it is not.
template <Element T>
TensorSummary summarize(const Tensor<T>& tensor) {
  const Tensor<T> host = tensor.to(Device::cpu()).contiguous();
  return summarize(io::tensor_info<T>("", {host.shape().begin(), host.shape().end()}, host.span()));
}

/// "float32" and so on, as PyTorch and NumPy say it.
inline std::string_view dtype_text(io::Dtype dtype) {
  if (dtype == io::Dtype::boolean) return "bool";
  return io::with_element_type(dtype, [](auto zero) { return type_name<decltype(zero)>(); });
}

/// A number in so many significant digits, in the shorter of its two notations.
inline std::string significant(double value, int digits = 3) {
  char text[40];
  const auto end =
      std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits).ptr;
  return {text, end};
}

/// Bars of eight heights, a character a bin; empty bins stay blank.
inline std::string histogram_text(std::span<const std::int64_t> bins) {
  constexpr std::array<std::string_view, 9> kBars{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::int64_t most = bins.empty() ? 0 : *std::max_element(bins.begin(), bins.end());
  std::string text;
  for (const std::int64_t n : bins) {
    const double height = n > 0 ? std::ceil(8.0 * static_cast<double>(n) / double(most)) : 0;
    text += kBars[static_cast<std::size_t>(height)];
  }
  return text;
}

/// The summary as one line of UTF-8, without a line end.
inline std::string to_string(const TensorSummary& s) {
  std::string line(dtype_text(s.dtype));
  line.append(" ").append(io::shape_text(s.shape));
  if (s.count != 1) line.append(" n=").append(std::to_string(s.count));
  const auto alarm = [&](std::int64_t n, std::string_view what) {
    if (n > 0) line.append(" ").append(std::to_string(n)).append(" ").append(what);
  };
  if (s.finite() > 0 && s.count > 1) {
    const bool constant = s.min == s.max;
    if (constant) {
      line.append(s.min == 0 ? " all zero" : " all " + significant(s.min));
    } else {
      line.append(" x∈[").append(significant(s.min)).append(", ").append(significant(s.max));
      line.append("] μ=").append(significant(s.mean)).append(" σ=").append(significant(s.std));
    }
    if (!constant && s.values.empty()) line.append(" ").append(histogram_text(s.histogram));
  }
  if (!s.values.empty()) {
    line += s.shape.empty() ? " " : " [";
    for (std::size_t i = 0; i < s.values.size(); ++i) {
      line.append(i > 0 ? ", " : "").append(significant(s.values[i], 4));
    }
    if (!s.shape.empty()) line += ']';
  }
  alarm(s.nan, "NaN!");
  alarm(s.positive_infinite, "+Inf!");
  alarm(s.negative_infinite, "-Inf!");
  return line;
}

/// One line on a tensor. @throws std::bad_alloc  a copy to the host or into order has no room.
template <Element T>
std::string summary(const Tensor<T>& tensor) {
  return to_string(summarize(tensor));
}

}  // namespace mwalimu::report

namespace mwalimu {

/// Prints report::summary(tensor).
template <Element T>
std::ostream& operator<<(std::ostream& out, const Tensor<T>& tensor) {
  return out << report::summary(tensor);
}

}  // namespace mwalimu
