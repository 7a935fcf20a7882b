// io/crc32: the checksum that zip archives carry.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mwalimu::io {
namespace detail {

// kCrcTables[j][b]: what byte b does to the remainder when j more bytes follow it.
inline constexpr auto kCrcTables = [] {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t remainder = b;
    for (int bit = 0; bit < 8; ++bit) {
      remainder = remainder >> 1 ^ ((remainder & 1u) != 0 ? 0xEDB88320u : 0u);
    }
    tables[0][b] = remainder;
  }
  for (std::size_t j = 1; j < 8; ++j) {
    for (std::size_t b = 0; b < 256; ++b) {
      const std::uint32_t before = tables[j - 1][b];
      tables[j][b] = before >> 8 ^ tables[0][before & 0xFFu];
    }
  }
  return tables;
}();

}  // namespace detail

/// CRC-32 of ISO 3309, polynomial 0x04C11DB7 reflected, as zip, gzip and PNG use it.
/// @param before  the checksum of what stands in front of `bytes`; 0: nothing does.
inline std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t before = 0) {
  const auto& t = detail::kCrcTables;
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint32_t>(bytes[i]); };
  std::uint32_t crc = ~before;
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {  // eight independent look-ups a turn
    crc ^= byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24;
    crc = t[7][crc & 0xFFu] ^ t[6][crc >> 8 & 0xFFu] ^ t[5][crc >> 16 & 0xFFu] ^ t[4][crc >> 24] ^
          t[3][byte(i + 4)] ^ t[2][byte(i + 5)] ^ t[1][byte(i + 6)] ^ t[0][byte(i + 7)];
  }
  for (; i < bytes.size(); ++i) crc = crc >> 8 ^ t[0][(crc ^ byte(i)) & 0xFFu];
  return ~crc;
}

}  // namespace mwalimu::io
