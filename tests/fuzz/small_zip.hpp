// fuzz/small_zip: archives in memory, without checksums, so that changed bytes get past them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mwalimu::fuzz {

inline std::string little_endian(std::uint64_t value, int width) {
  std::string bytes;
  for (int i = 0; i < width; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

/// Members by name, stored.
inline std::string small_zip(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string out, directory;
  for (const auto& [name, bytes] : members) {
    // Version, flags, method, time, date, checksum; both sizes; the lengths of the name and extras.
    const std::string common = little_endian(20, 2) + std::string(12, '\0') +
                               little_endian(bytes.size(), 4) + little_endian(bytes.size(), 4) +
                               little_endian(name.size(), 2) + little_endian(0, 2);
    directory += "PK\1\2" + little_endian(20, 2) + common + std::string(10, '\0') +
                 little_endian(out.size(), 4) + name;
    out += "PK\3\4" + common + name + bytes;
  }
  const std::size_t begin = out.size();
  out += directory;
  return out + "PK\5\6" + std::string(4, '\0') + little_endian(members.size(), 2) +
         little_endian(members.size(), 2) + little_endian(directory.size(), 4) +
         little_endian(begin, 4) + little_endian(0, 2);
}

}  // namespace mwalimu::fuzz
