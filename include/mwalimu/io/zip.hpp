// io/zip: archives whose members are stored as they are, which torch.save and numpy.savez write.
//
// Layout: members (a local header, then the data), the central directory (a header a member, which
// is what counts), its end record. Sizes and offsets beyond 32 bits stand in zip64 fields. Source:
// PKWARE's APPNOTE.TXT 6.3.3, sections 4.3 to 4.5.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/crc32.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::io {

/// One file of an archive.
struct ZipMember {
  std::string_view name;             ///< with its folders: "archive/data/0"
  std::span<const std::byte> bytes;  ///< at any address
  std::uint32_t checksum = 0;        ///< CRC-32; 0: none was computed
  std::uint16_t method = 0;          ///< how the bytes are compressed; 0: they are not
};

namespace detail {

inline constexpr std::uint32_t kZipLocal = 0x04034b50, kZipCentral = 0x02014b50,
                               kZipEnd = 0x06054b50, kZip64End = 0x06064b50,
                               kZip64Locator = 0x07064b50;

/// Little-endian number of `width` bytes; the caller has checked that they are there.
inline std::uint64_t read_number(std::span<const std::byte> bytes, std::uint64_t at, int width) {
  std::uint64_t value = 0;
  for (int i = width; i-- > 0;) {
    value = value << 8 |
            std::to_integer<std::uint64_t>(bytes[static_cast<std::size_t>(at) + std::size_t(i)]);
  }
  return value;
}

}  // namespace detail

/// The members of an archive in memory: whatever the bytes are, the constructor throws, or every
/// member lies inside them and no two overlap. Members that are compressed or encrypted are
/// refused.
class ZipArchive {
 public:
  /// @param bytes   the whole archive; must outlive this.
  /// @param source  what errors call it: "torch file 'a.pth'".
  /// @throws FileError  the bytes are not a sound archive, or a member is encrypted.
  ZipArchive(std::span<const std::byte> bytes, std::string source)
      : bytes_(bytes), source_(std::move(source)) {
    const Directory directory = find_directory();
    // The smallest entry bounds their number before anything is allocated for them.
    check(directory.count <= directory.size / kCentralBytes && directory.count <= kMaxMembers,
          "says it has ", directory.count, " members, which its directory does not hold");
    members_.reserve(static_cast<std::size_t>(directory.count));
    by_name_.reserve(static_cast<std::size_t>(directory.count));
    std::vector<Extent> extents;
    std::uint64_t at = directory.begin;
    const std::uint64_t end = directory.begin + directory.size;
    for (std::uint64_t i = 0; i < directory.count; ++i) {
      at += read_member(at, end, directory.begin, extents);
    }
    check_overlaps(extents);
  }

  const std::vector<ZipMember>& members() const { return members_; }
  const std::string& source() const { return source_; }

  /// The member of that name, or nullptr.
  const ZipMember* find(std::string_view name) const {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : &members_[it->second];
  }
  /// The content of a member.
  /// @throws FileError  it is compressed, or does not have the checksum noted beside it.
  std::span<const std::byte> verified(const ZipMember& member) const {
    check(member.method == 0, "has a compressed member ", detail::quoted_text(member.name),
          " (zip method ", member.method, member.method == 8 ? ", deflate" : "",
          "); save without compression: numpy.savez, not savez_compressed");
    check(member.checksum == 0 || crc32(member.bytes) == member.checksum, "has a damaged member ",
          detail::quoted_text(member.name), ": its checksum differs; fetch the file again");
    return member.bytes;
  }

 private:
  struct Directory {
    std::uint64_t begin = 0, size = 0, count = 0;
  };
  struct Extent {  // of a member with its local header
    std::uint64_t begin, end;
    std::size_t member;
  };
  static constexpr std::uint64_t kEndBytes = 22, kCentralBytes = 46, kLocalBytes = 30;
  static constexpr std::uint64_t kMaxMembers = 1'000'000;

  template <class... Args>
  void check(bool sound, const Args&... args) const {
    require<FileError>(sound, source_, " ", args...);
  }
  std::uint64_t number(std::uint64_t at, int width) const {
    return detail::read_number(bytes_, at, width);
  }
  std::string_view text(std::uint64_t at, std::uint64_t length) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + at, static_cast<std::size_t>(length)};
  }

  // The end record stands at the very end, behind it at most a comment of 65535 bytes.
  Directory find_directory() const {
    const std::uint64_t size = bytes_.size();
    check(size >= kEndBytes, "has ", size, " bytes, too few for a zip archive");
    for (std::uint64_t comment = 0; comment <= 0xffff && comment + kEndBytes <= size; ++comment) {
      const std::uint64_t at = size - kEndBytes - comment;
      if (number(at, 4) != detail::kZipEnd || number(at + 20, 2) != comment) continue;
      Directory found{number(at + 16, 4), number(at + 12, 4), number(at + 10, 2)};
      const bool disks = number(at + 4, 2) == 0 && number(at + 6, 2) == 0;
      std::uint64_t limit = at;
      if (found.begin == 0xffffffff || found.size == 0xffffffff || found.count == 0xffff ||
          (at >= 20 && number(at - 20, 4) == detail::kZip64Locator)) {
        if (const auto wide = find_wide_directory(at, limit)) found = *wide;
      }
      check(disks, "is one part of an archive in several");
      check(found.begin <= limit && found.size <= limit - found.begin,
            "has a zip directory that does not lie inside the file");
      return found;
    }
    mwalimu::detail::fail<FileError>(
        source_, " is not a zip archive, or is cut short: it has no end record");
  }
  std::optional<Directory> find_wide_directory(std::uint64_t end_at, std::uint64_t& limit) const {
    if (end_at < 20 || number(end_at - 20, 4) != detail::kZip64Locator) return std::nullopt;
    const std::uint64_t at = number(end_at - 12, 8);
    check(at <= end_at - 20 && end_at - 20 - at >= 56 && number(at, 4) == detail::kZip64End,
          "has a broken zip64 end record");
    limit = at;
    return Directory{number(at + 48, 8), number(at + 40, 8), number(at + 32, 8)};
  }

  // Reads one entry of the directory and returns its length.
  std::uint64_t read_member(std::uint64_t at, std::uint64_t end, std::uint64_t directory,
                            std::vector<Extent>& extents) {
    check(end - at >= kCentralBytes && number(at, 4) == detail::kZipCentral,
          "has a broken entry in its zip directory");
    const std::uint64_t name_length = number(at + 28, 2), extra_length = number(at + 30, 2);
    const std::uint64_t length = kCentralBytes + name_length + extra_length + number(at + 32, 2);
    check(length <= end - at, "has a zip directory that is cut short");
    const std::string_view name = text(at + kCentralBytes, name_length);
    const std::string shown = detail::quoted_text(name);
    check((number(at + 8, 2) & 0x2041) == 0, "has an encrypted member ", shown);
    const auto method = static_cast<std::uint16_t>(number(at + 10, 2));
    std::uint64_t packed = number(at + 20, 4), size = number(at + 24, 4);
    std::uint64_t local = number(at + 42, 4);
    read_wide_fields(at + kCentralBytes + name_length, extra_length, size, packed, local);
    check(method != 0 || packed == size, "gives member ", shown, " two sizes");
    check(local <= directory && directory - local >= kLocalBytes &&
              number(local, 4) == detail::kZipLocal,
          "has no member ", shown, " where its directory says");
    const std::uint64_t head = kLocalBytes + number(local + 26, 2) + number(local + 28, 2);
    check(head <= directory - local && packed <= directory - local - head, "gives member ", shown,
          " ", packed, " bytes, which do not lie inside the file");
    check(number(local + 26, 2) == name_length && text(local + kLocalBytes, name_length) == name,
          "names member ", shown, " differently in two places");
    check(by_name_.emplace(name, members_.size()).second, "has two members named ", shown);
    extents.push_back({local, local + head + packed, members_.size()});
    members_.push_back(
        {name,
         bytes_.subspan(static_cast<std::size_t>(local + head), static_cast<std::size_t>(packed)),
         static_cast<std::uint32_t>(number(at + 16, 4)), method});
    return length;
  }
  // Extra field 1 holds, in this order, those numbers that are all ones in the entry itself.
  void read_wide_fields(std::uint64_t at, std::uint64_t length, std::uint64_t& size,
                        std::uint64_t& packed, std::uint64_t& offset) const {
    const std::uint64_t end = at + length;
    while (end - at >= 4) {
      const std::uint64_t id = number(at, 2), bytes = number(at + 2, 2);
      at += 4;
      check(bytes <= end - at, "has an extra field that is cut short");
      if (id == 1) {
        std::uint64_t next = at;
        for (std::uint64_t* value : {&size, &packed, &offset}) {
          if (*value != 0xffffffff) continue;
          check(at + bytes - next >= 8, "has a zip64 field that is cut short");
          *value = number(next, 8);
          next += 8;
        }
      }
      at += bytes;
    }
  }
  void check_overlaps(std::vector<Extent>& extents) const {
    std::sort(extents.begin(), extents.end(),
              [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
    for (std::size_t i = 1; i < extents.size(); ++i) {
      check(extents[i - 1].end <= extents[i].begin,
            "has members that overlap: ", detail::quoted_text(members_[extents[i - 1].member].name),
            " and ", detail::quoted_text(members_[extents[i].member].name));
    }
  }

  std::span<const std::byte> bytes_;
  std::string source_;
  std::vector<ZipMember> members_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

}  // namespace mwalimu::io
