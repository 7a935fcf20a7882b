// report/axis: from data to pixels, with ticks at round numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/report/text.hpp"

namespace mwalimu::report {

struct Tick {
  double value = 0;
  std::string label;
};

namespace detail {

/// "1.5e-5" with a proper minus sign, from a value whose decimal form would be long.
inline std::string scientific(double value, int digits = 3) {
  char buffer[32];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific, digits)
          .ptr;
  std::string text(buffer, end);
  const std::size_t e = text.find('e');
  std::string mantissa = text.substr(0, e);
  while (mantissa.find('.') != std::string::npos &&
         (mantissa.back() == '0' || mantissa.back() == '.')) {
    const bool point = mantissa.back() == '.';
    mantissa.pop_back();
    if (point) break;
  }
  return mantissa + "e" + std::to_string(std::stoi(text.substr(e + 1)));
}

inline std::string with_minus(std::string text) {
  for (std::size_t at = 0; (at = text.find('-', at)) != std::string::npos;) {
    text.replace(at, 1, "\xE2\x88\x92");
    at += 3;
  }
  return text;
}

}  // namespace detail

/// Ticks at multiples of 1, 2 or 5 times a power of ten inside [low, high], about `wanted` of them
/// (between half and twice as many). All labels have the same number of decimals.
/// @throws ValueError  low >= high, or a bound is not finite, or wanted < 1.
inline std::vector<Tick> linear_ticks(double low, double high, int wanted) {
  require<ValueError>(std::isfinite(low) && std::isfinite(high) && low < high && wanted >= 1,
                      "linear_ticks: want low < high and wanted >= 1, got ", low, ", ", high,
                      " and ", wanted);
  const double rough = (high - low) / wanted;
  const int exponent = static_cast<int>(std::floor(std::log10(rough)));
  const double power = std::pow(10.0, exponent);
  const double scaled = rough / power;
  const int digit = scaled < 1.5 ? 1 : scaled < 3.5 ? 2 : scaled < 7.5 ? 5 : 10;
  const double step = digit * power;
  const int decimals = std::max(0, digit == 10 ? -exponent - 1 : -exponent);
  const double largest = std::max(std::abs(low), std::abs(high));

  const bool plain = largest < 1e6 && decimals <= 4;
  // Digits enough to tell neighbours apart: 1.000002e6 and 1.000004e6, not 1e6 twice.
  const int digits =
      std::clamp(static_cast<int>(std::floor(std::log10(largest))) - exponent, 0, 15);

  std::vector<Tick> ticks;
  const double slack = 1e-9;  // of a step: bounds that are ticks themselves, up to rounding
  const double last = std::floor(high / step + slack);
  for (double i = std::ceil(low / step - slack); i <= last; ++i) {
    // i * step, computed so that 0.3 is 0.3: whole numbers are divided by a power of ten.
    const double value =
        exponent < 0 && exponent > -300 ? i * digit / std::pow(10.0, -exponent) : i * step;
    std::string label = !plain && value == 0 ? "0"
                        : plain              ? fixed(value, decimals)
                                             : detail::scientific(value, digits);
    ticks.push_back({value, detail::with_minus(std::move(label))});
    if (i + 1 == i) break;  // a range at the limit of double: no finer ticks exist
  }
  return ticks;
}

/// Ticks of a logarithmic axis: powers of ten, every second or third of them where they are many,
/// and 2 and 5 times them where they are few.
/// @throws ValueError  want 0 < low < high, both finite.
inline std::vector<Tick> log_ticks(double low, double high, int wanted) {
  require<ValueError>(low > 0 && low < high && std::isfinite(high),
                      "log_ticks: want 0 < low < high, got ", low, " and ", high);
  const double slack = 1e-9;
  const int first = static_cast<int>(std::floor(std::log10(low) + slack));
  const int last = static_cast<int>(std::floor(std::log10(high) + slack));
  const double decades = std::log10(high / low);
  if (decades < 0.7) return linear_ticks(low, high, wanted);
  const int every = std::max(1, static_cast<int>(std::ceil(decades / std::max(wanted, 1))));
  std::vector<Tick> ticks;
  for (int e = first; e <= last; ++e) {
    for (const int digit : {1, 2, 5}) {
      if (digit != 1 && decades > 2.5) continue;
      if (e % every != 0) continue;
      const double value = digit * std::pow(10.0, e);
      if (value < low * (1 - slack) || value > high * (1 + slack)) continue;
      const bool plain = e >= -4 && e < 6;
      ticks.push_back({value, detail::with_minus(plain ? fixed(value, std::max(0, -e))
                                                       : detail::scientific(value))});
    }
  }
  return ticks;
}

/// One axis: a data range, linear or logarithmic, laid over a pixel range.
class Axis {
 public:
  /// The range of the usable values, widened where it is a single value or `margin` (a fraction of
  /// the range, on both sides) asks for it. Values that are not finite, or not positive on a
  /// logarithmic axis, do not count; without any the range is [0, 1] ([0.1, 1]).
  Axis(std::span<const double> values, bool logarithmic, double margin)
      : logarithmic_(logarithmic) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const double v : values) {
      if (!usable(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
    if (low > high) low = logarithmic ? 0.1 : 0, high = 1;
    double a = forward(low), b = forward(high);
    if (!(b - a > 1e-12 * std::max(std::abs(a), std::abs(b)))) {
      const double half = logarithmic ? 0.5 : std::max(0.5 * std::abs(a) * 0.2, 1e-12);
      a -= a == 0 && !logarithmic ? 0.5 : half;
      b += b == 0 && !logarithmic ? 0.5 : half;
    } else {
      const double extra = margin * (b - a);
      a -= extra;
      b += extra;
    }
    low_ = a;
    high_ = b;
  }

  /// Where the range's ends lie: pixels, in either order.
  void place(double low_pixel, double high_pixel) {
    low_pixel_ = low_pixel;
    high_pixel_ = high_pixel;
  }
  bool usable(double v) const { return std::isfinite(v) && (!logarithmic_ || v > 0); }
  /// @param v  a usable value.
  double pixel(double v) const {
    return low_pixel_ + (forward(v) - low_) / (high_ - low_) * (high_pixel_ - low_pixel_);
  }
  std::vector<Tick> ticks(int wanted) const {
    return logarithmic_ ? log_ticks(std::pow(10.0, low_), std::pow(10.0, high_), wanted)
                        : linear_ticks(low_, high_, wanted);
  }
  /// Makes the range start (or end) at a value of the caller's.
  void include(double v) {
    if (!usable(v)) return;
    low_ = std::min(low_, forward(v));
    high_ = std::max(high_, forward(v));
  }

 private:
  double forward(double v) const { return logarithmic_ ? std::log10(v) : v; }

  bool logarithmic_;
  double low_ = 0, high_ = 1;  // data, or its logarithm
  double low_pixel_ = 0, high_pixel_ = 1;
};

}  // namespace mwalimu::report
