// report/text: numbers and text as they stand in SVG and HTML.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace mwalimu::report {

namespace detail {

/// Bytes of the UTF-8 sequence that starts at text[at], 0 if none does.
inline std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return 0;
  std::uint32_t code = first & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(at + i) & 0x3Fu);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool unusable =
      (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF || code == 0xFFFE || code == 0xFFFF;
  return overlong || unusable ? 0 : length;
}

}  // namespace detail

/// Text safe inside XML and HTML, in elements and in quoted attributes: & < > " ' become entities,
/// control characters that XML forbids and bytes that are not UTF-8 become U+FFFD.
inline std::string escaped(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = detail::utf8_length(text, at);
    if (length == 0) {
      out += kReplacement;
      ++at;
      continue;
    }
    const char c = text[at];
    if (length > 1) {
      out += text.substr(at, length);
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' && c != '\r') ||
               c == 0x7F) {
      out += kReplacement;
    } else {
      out += c;
    }
    at += length;
  }
  return out;
}

/// A number in decimal notation with so many digits after the point, whatever the locale. Zeros at
/// the end stay; "-0.00" loses its sign; NaN and infinities are "nan", "inf" and "-inf".
inline std::string fixed(double value, int digits) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[400];  // 309 digits of the largest double, a sign, a point and the fraction
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed,
                                 std::clamp(digits, 0, 40))
                       .ptr;
  std::string out(buffer, end);
  if (out[0] == '-' && out.find_first_not_of("-0.") == std::string::npos) out.erase(0, 1);
  return out;
}

/// A coordinate for SVG: two digits after the point, zeros at the end dropped.
inline std::string coordinate(double value) {
  std::string out = fixed(value, 2);
  if (out.find('.') == std::string::npos) return out;
  while (out.back() == '0') out.pop_back();
  if (out.back() == '.') out.pop_back();
  return out;
}

/// About how wide a line of sans-serif text is, in units of its font size: for layout, on the safe
/// side for ordinary words. ASCII counts by class of letter, everything else as a full square.
inline double text_width(std::string_view text) {
  double width = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = std::max<std::size_t>(1, detail::utf8_length(text, at));
    const char c = text[at];
    if (length > 1) {
      width += length == 2 ? 0.62 : 1.0;
    } else if (std::string_view("iljtfrI.,:;'|!()[] -").find(c) != std::string_view::npos) {
      width += 0.36;
    } else if (std::string_view("mwMW@%").find(c) != std::string_view::npos) {
      width += 0.92;
    } else if (c >= 'A' && c <= 'Z') {
      width += 0.7;
    } else {
      width += 0.58;
    }
    at += length;
  }
  return width;
}

}  // namespace mwalimu::report
