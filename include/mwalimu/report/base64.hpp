// report/base64: bytes as text, for images inside an HTML file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace mwalimu::report {

/// RFC 4648, section 4: the standard alphabet, padded with '='. Four characters for three bytes.
inline std::string base64(std::span<const std::byte> bytes) {
  constexpr const char* kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = bytes.size() - at < 3 ? bytes.size() - at : 3;
    std::uint32_t word = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      word = word << 8 | (i < count ? std::to_integer<std::uint32_t>(bytes[at + i]) : 0u);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      out += i <= count ? kAlphabet[word >> (18 - 6 * i) & 63] : '=';
    }
  }
  return out;
}

}  // namespace mwalimu::report
