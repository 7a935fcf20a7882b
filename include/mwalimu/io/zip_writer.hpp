// io/zip_writer: archives of members that are stored as they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/crc32.hpp"
#include "mwalimu/io/zip.hpp"

namespace mwalimu::io {

struct ZipOptions {
  std::uint64_t alignment = 64;  ///< the data of every member starts at a multiple of it
  bool always_wide = false;      ///< zip64 fields even where 32 bits would do
};

/// Writes an archive, atomically; nothing is there before commit(). The same members give the same
/// bytes: every file is dated 1 January 1980, the format's first day.
class ZipWriter {
 public:
  /// @throws FileError  the file cannot be written.
  explicit ZipWriter(const std::filesystem::path& path, ZipOptions options = {})
      : file_(path), options_(options) {}

  /// Appends a member whose data are these pieces, one after the other.
  /// @throws ValueError  the name is empty, repeated, or longer than 65535 bytes.
  /// @throws FileError   the disk is full or failed.
  void add(std::string name, std::span<const std::span<const std::byte>> pieces) {
    require<ValueError>(!name.empty() && name.size() <= 0xffff, "zip: ", detail::quoted_text(name),
                        " cannot name a member");
    require<ValueError>(names_.insert(name).second, "zip: two members named ",
                        detail::quoted_text(name));
    Entry entry{std::move(name), at_, 0, 0};
    for (const auto piece : pieces) {
      entry.size += piece.size();
      entry.checksum = crc32(piece, entry.checksum);
    }
    std::string head;
    const bool wide = options_.always_wide || entry.size >= kNarrow;
    std::string extra;
    if (wide) {
      append(extra, 1, 2);  // zip64: both sizes
      append(extra, 16, 2);
      append(extra, entry.size, 8);
      append(extra, entry.size, 8);
    }
    // The padding is an extra field too; 4 bytes of it name it and count the rest.
    const std::uint64_t start = at_ + 30 + entry.name.size() + extra.size() + 4;
    const std::uint64_t rest =
        (options_.alignment - start % options_.alignment) % options_.alignment;
    append(extra, kPadding, 2);
    append(extra, rest, 2);
    extra.append(static_cast<std::size_t>(rest), '\0');

    append(head, detail::kZipLocal, 4);
    append_common(head, entry, wide, extra.size());
    head += entry.name;
    head += extra;
    write(head);
    for (const auto piece : pieces) {
      file_.write(piece);
      at_ += piece.size();
    }
    entries_.push_back(std::move(entry));
  }
  void add(std::string name, std::span<const std::byte> bytes) {
    add(std::move(name), {&bytes, 1});
  }
  void add(std::string name, std::string_view text) {
    add(std::move(name), std::as_bytes(std::span(text.data(), text.size())));
  }

  /// Writes the directory and makes the file appear. Nothing may be added after it.
  /// @throws FileError  the disk is full or failed.
  void commit() {
    const std::uint64_t begin = at_;
    for (const Entry& entry : entries_) {
      const bool wide = options_.always_wide || entry.size >= kNarrow || entry.offset >= kNarrow;
      std::string extra, head;
      if (wide) {
        append(extra, 1, 2);
        append(extra, 24, 2);
        append(extra, entry.size, 8);
        append(extra, entry.size, 8);
        append(extra, entry.offset, 8);
      }
      append(head, detail::kZipCentral, 4);
      append(head, 45, 2);  // made by version 4.5, on MS-DOS: no permissions
      append_common(head, entry, wide, extra.size());
      head.append(10, '\0');  // no comment, first disk, no attributes
      append(head, wide ? kNarrow : entry.offset, 4);
      head += entry.name;
      head += extra;
      write(head);
    }
    write(end_records(begin, at_ - begin));
    file_.commit();
  }

 private:
  struct Entry {
    std::string name;
    std::uint64_t offset, size;
    std::uint32_t checksum;
  };
  static constexpr std::uint64_t kNarrow = 0xffffffff;  // numbers below it fit the 32-bit fields
  static constexpr std::uint64_t kPadding = 0x4246;     // "FB", as torch.save pads

  static void append(std::string& out, std::uint64_t value, int width) {
    for (int i = 0; i < width; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  }
  // What a local header and an entry of the directory share.
  static void append_common(std::string& out, const Entry& entry, bool wide, std::size_t extra) {
    append(out, wide ? 45 : 20, 2);  // version needed
    append(out, 0x0800, 2);          // the name is UTF-8
    append(out, 0, 2);               // stored
    append(out, 0, 2);               // midnight
    append(out, 1 << 5 | 1, 2);      // 1 January 1980
    append(out, entry.checksum, 4);
    append(out, wide ? kNarrow : entry.size, 4);
    append(out, wide ? kNarrow : entry.size, 4);
    append(out, entry.name.size(), 2);
    append(out, extra, 2);
  }
  std::string end_records(std::uint64_t begin, std::uint64_t size) const {
    const std::uint64_t count = entries_.size();
    const bool wide =
        options_.always_wide || begin >= kNarrow || size >= kNarrow || count >= 0xffff;
    std::string out;
    if (wide) {
      append(out, detail::kZip64End, 4);
      append(out, 44, 8);  // bytes that follow
      append(out, 45, 2);
      append(out, 45, 2);
      append(out, 0, 8);  // first disk, and the directory on it
      append(out, count, 8);
      append(out, count, 8);
      append(out, size, 8);
      append(out, begin, 8);
      append(out, detail::kZip64Locator, 4);
      append(out, 0, 4);
      append(out, begin + size, 8);
      append(out, 1, 4);
    }
    append(out, detail::kZipEnd, 4);
    append(out, 0, 4);
    append(out, wide ? 0xffff : count, 2);
    append(out, wide ? 0xffff : count, 2);
    append(out, wide ? kNarrow : size, 4);
    append(out, wide ? kNarrow : begin, 4);
    append(out, 0, 2);
    return out;
  }
  void write(std::string_view text) {
    file_.write(text);
    at_ += text.size();
  }

  AtomicFile file_;
  ZipOptions options_;
  std::uint64_t at_ = 0;
  std::vector<Entry> entries_;
  std::unordered_set<std::string> names_;
};

}  // namespace mwalimu::io
