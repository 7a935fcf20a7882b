// io/npy: one array a file, as numpy.load and numpy.save have it.
//
// Layout: "\x93NUMPY", two bytes of version, the header's length (2 bytes in version 1, 4 in
// version 2), the header: a Python dict {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3),
// }, then the data, row-major.  Source: NumPy Enhancement Proposal 1 and numpy.lib.format's text.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/mapped_file.hpp"
#include "mwalimu/io/tensor_info.hpp"

namespace mwalimu::io {
namespace detail {

// The descr of every Dtype, in its order; bfloat16 has none.
inline constexpr std::array<std::string_view, 8> kNpyDescr{"<f2", "",    "<f4", "<f8",
                                                           "<i8", "<i4", "|u1", "|b1"};

/// The header's dict, read by a parser for exactly this grammar: three known keys in any order,
/// text without escapes, True or False, a tuple of numbers, an optional comma at the end.
class NpyHeader {
 public:
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;

  /// False where the text is anything else.
  bool parse(std::string_view text) {
    text_ = text;
    at_ = 0;
    bool seen[3] = {};
    if (!take('{')) return false;
    while (!take('}')) {
      const auto key = quoted();
      if (!key || !take(':')) return false;
      const int index = *key == "descr" ? 0 : *key == "fortran_order" ? 1 : *key == "shape" ? 2 : 3;
      if (index == 3 || std::exchange(seen[index], true)) return false;
      if (index == 0) {
        const auto value = quoted();
        if (!value) return false;
        descr = *value;
      } else if (index == 1) {
        fortran_order = take_word("True");
        if (!fortran_order && !take_word("False")) return false;
      } else if (!tuple()) {
        return false;
      }
      if (!take(',') && !peek('}')) return false;
    }
    skip_space();
    return at_ == text_.size() && seen[0] && seen[1] && seen[2];
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool peek(char c) {
    skip_space();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    if (!peek(c)) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    skip_space();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  std::optional<std::string_view> quoted() {
    const char quote = peek('"') ? '"' : '\'';
    if (!take(quote)) return std::nullopt;
    const std::size_t end = text_.find(quote, at_);
    if (end == text_.npos) return std::nullopt;
    const auto value = text_.substr(at_, end - at_);
    if (value.find('\\') != value.npos) return std::nullopt;
    at_ = end + 1;
    return value;
  }
  bool tuple() {
    if (!take('(')) return false;
    bool comma = true;  // in front of the first number there is nothing to separate
    while (!take(')')) {
      skip_space();
      std::int64_t extent = 0;
      const char* const begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), extent);
      if (!comma || error != std::errc() || extent < 0) return false;
      at_ += static_cast<std::size_t>(end - begin);
      shape.push_back(extent);
      comma = take(',');
    }
    return shape.size() != 1 || comma;  // (3) is a number, (3,) a tuple
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace detail

/// The array in the bytes of an .npy file of version 1 or 2: little endian, row-major, of element type
/// f2, f4, f8, i4, i8, u1 or b1. Its data stay where they are.
/// @param source  what errors call the bytes: "npy file 'a.npy'".
/// @throws FileError  they are malformed, or of another layout or type.
inline TensorInfo parse_npy(std::span<const std::byte> bytes, const std::string& source) {
  constexpr std::uint64_t kMaxHeaderBytes = 1 << 20;  // a dict of three entries
  const auto check = [&](bool sound, const auto&... args) {
    require<FileError>(sound, source, " ", args...);
  };
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  check(text.starts_with("\x93NUMPY") && text.size() >= 10, "does not start as one");
  const int version = std::to_integer<int>(bytes[6]);
  check(version == 1 || version == 2, "has version ", version, ", want 1 or 2");
  const std::size_t width = version == 1 ? 2 : 4, start = 8 + width;
  check(text.size() >= start, "is cut short");
  std::uint64_t length = 0;
  for (std::size_t i = width; i-- > 0;) {
    length = length << 8 | std::to_integer<std::uint64_t>(bytes[8 + i]);
  }
  check(length <= kMaxHeaderBytes, "says its header has ", length, " bytes, more than the ",
        kMaxHeaderBytes, " allowed");
  check(length <= text.size() - start, "is cut short: its header has ", length, " bytes, only ",
        text.size() - start, " follow");

  detail::NpyHeader header;
  check(header.parse(text.substr(start, static_cast<std::size_t>(length))),
        "has a header that is not one of an array");
  check(!header.fortran_order || header.shape.size() < 2,
        "is in column-major order; save numpy.ascontiguousarray(x)");
  TensorInfo array;
  const auto descr = std::find(detail::kNpyDescr.begin(), detail::kNpyDescr.end(), header.descr);
  check(!header.descr.empty() && descr != detail::kNpyDescr.end(), "has elements of type ",
        detail::quoted_text(header.descr), ", want little-endian f2, f4, f8, i4, i8, u1 or b1");
  array.dtype = static_cast<Dtype>(descr - detail::kNpyDescr.begin());
  array.shape = std::move(header.shape);
  array.bytes = bytes.subspan(start + static_cast<std::size_t>(length));
  const auto size = detail::byte_size(array.shape, array.dtype);
  check(size && *size == array.bytes.size(), "has ", array.bytes.size(),
        " bytes of data, which its shape and type do not fill");
  return array;
}

/// An .npy file, mapped and checked as parse_npy does.
class NpyFile {
 public:
  /// @throws FileError  the file is missing, unreadable, malformed or of another layout or type.
  explicit NpyFile(const std::filesystem::path& path) : file_(path) {
    array_ = parse_npy(file_.bytes(), "npy file " + detail::quoted(path));
    array_.name = path.filename().string();
  }

  /// The array; its name is the file's.
  const TensorInfo& array() const { return array_; }

 private:
  MappedFile file_;
  TensorInfo array_;
};

/// The bytes in front of the data: version 1, padded so that the data starts at a multiple of 64.
/// @throws ValueError  numpy has no such type, or there are too many extents.
inline std::string npy_header(const std::vector<std::int64_t>& shape, Dtype dtype) {
  const std::string_view descr = detail::kNpyDescr[static_cast<std::size_t>(dtype)];
  require<ValueError>(!descr.empty(), "npy: numpy has no ", dtype_name(dtype),
                      ", convert to float32 first");
  std::string dict = "{'descr': '";
  dict.append(descr).append("', 'fortran_order': False, 'shape': (");
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (d > 0) dict += ' ';
    dict += std::to_string(shape[d]);
    if (d == 0 || d + 1 < shape.size()) dict += ',';
  }
  dict += "), }";
  dict.append(63 - (10 + dict.size()) % 64, ' ').append("\n");
  require<ValueError>(dict.size() <= 0xffff, "npy: ", shape.size(), " extents are too many");
  std::string header = "\x93NUMPY\x01";
  header += '\0';
  header += static_cast<char>(dict.size() & 0xff);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

/// Writes row-major values, atomically, as numpy.save does.
/// @throws ValueError  the values do not fill the shape, or numpy has no such type.
/// @throws FileError   the file cannot be written.
template <class T>
void write_npy(const std::filesystem::path& path, const std::vector<std::int64_t>& shape,
               std::span<const T> values) {
  const auto size = detail::byte_size(shape, dtype_of<T>);
  require<ValueError>(size && *size == values.size_bytes(), "write_npy: ", values.size(),
                      " values do not fill the shape of ", detail::quoted(path));
  AtomicFile file(path);
  file.write(npy_header(shape, dtype_of<T>));
  file.write(std::as_bytes(values));
  file.commit();
}

}  // namespace mwalimu::io
