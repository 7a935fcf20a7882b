// io/safetensors: named tensors in one file, as PyTorch's users load them with `load_file`.
//
// Layout: an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}
// padded with spaces, then row-major little-endian data without holes or overlaps.
// Source: the format's text, github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/mapped_file.hpp"
#include "mwalimu/io/safetensors_header.hpp"
#include "mwalimu/io/tensor_info.hpp"

namespace mwalimu::io {

/// The format's `__metadata__`: text by name.
using Metadata = std::map<std::string, std::string, std::less<>>;

/// A safetensors file, mapped and fully checked: whatever a file holds, the constructor either
/// throws or the tensors below are sound. Memory is the header's, the data stays on the disk until
/// it is read.
class SafetensorsFile {
 public:
  /// @throws FileError  the file is missing, unreadable or not a sound safetensors file.
  explicit SafetensorsFile(std::filesystem::path path) : path_(std::move(path)), file_(path_) {
    const std::span<const std::byte> bytes = file_.bytes();
    check(bytes.size() >= 8, "has ", bytes.size(), " bytes, too few for a header");
    std::uint64_t length = 0;
    for (int i = 7; i >= 0; --i) {
      length = length << 8 | std::to_integer<std::uint64_t>(bytes[static_cast<std::size_t>(i)]);
    }
    check(length <= kMaxHeaderBytes, "says its header has ", length, " bytes, more than the ",
          kMaxHeaderBytes, " allowed");
    check(length <= bytes.size() - 8, "says its header has ", length, " bytes, but only ",
          bytes.size() - 8, " follow: it is cut short or not a safetensors file");
    const auto header = bytes.subspan(8, static_cast<std::size_t>(length));
    const auto data = bytes.subspan(8 + static_cast<std::size_t>(length));

    detail::HeaderReader reader;
    const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
    check(text.starts_with('{'), "has a header that does not start with '{'");
    check(text.find('\0') == text.npos,
          "has a zero byte in its header");  // ends JSON, to the parser
    const bool parsed = nlohmann::json::sax_parse(text, &reader);
    check(parsed && reader.complete, reader.error);
    metadata_ = std::move(reader.metadata);
    place(reader.entries, data);
  }

  /// All tensors, in the order of the header.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return path_; }

  /// The tensor of that name, or nullptr.
  const TensorInfo* find(std::string_view name) const {
    const auto it = by_name_.find(std::string(name));
    return it == by_name_.end() ? nullptr : &tensors_[it->second];
  }
  /// @throws FileError  there is no tensor of that name.
  const TensorInfo& at(std::string_view name) const {
    const TensorInfo* tensor = find(name);
    check(tensor != nullptr, "has no tensor ", detail::quoted_text(name));
    return *tensor;
  }

 private:
  template <class... Args>
  void check(bool sound, const Args&... args) const {
    require<FileError>(sound, "safetensors file ", detail::quoted(path_), " ", args...);
  }

  // Checks every entry's extent and that together they cover the data, then fills tensors_.
  void place(const std::vector<detail::HeaderEntry>& entries, std::span<const std::byte> data) {
    std::vector<std::size_t> order(entries.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::pair(entries[a].begin, entries[a].end) <
             std::pair(entries[b].begin, entries[b].end);
    });
    std::uint64_t end = 0;
    for (const std::size_t i : order) {
      const detail::HeaderEntry& entry = entries[i];
      check(entry.begin <= entry.end, "gives tensor ", detail::quoted_text(entry.name),
            " data offsets in the wrong order: [", entry.begin, ", ", entry.end, "]");
      check(entry.end <= data.size(), "gives tensor ", detail::quoted_text(entry.name),
            " bytes up to ", entry.end, ", but has only ", data.size(),
            " of data: it is cut short");
      check(entry.begin == end,
            entry.begin < end ? "overlaps another tensor at tensor "
                              : "leaves a hole in front of tensor ",
            detail::quoted_text(entry.name));
      end = entry.end;
    }
    check(end == data.size(), "has ", data.size() - end, " bytes after its last tensor");

    tensors_.reserve(entries.size());
    for (const detail::HeaderEntry& entry : entries) {
      const auto dtype = dtype_from_name(entry.dtype);
      check(dtype.has_value(), "gives tensor ", detail::quoted_text(entry.name),
            " the element type ", detail::quoted_text(entry.dtype), ", which is not supported");
      const auto size = detail::byte_size(entry.shape, *dtype);
      check(size && *size == entry.end - entry.begin, "gives tensor ",
            detail::quoted_text(entry.name), " ", entry.end - entry.begin,
            " bytes, which its shape and type do not fill");
      by_name_.emplace(entry.name, tensors_.size());
      tensors_.push_back({entry.name, *dtype, entry.shape,
                          data.subspan(static_cast<std::size_t>(entry.begin),
                                       static_cast<std::size_t>(entry.end - entry.begin))});
    }
  }

  static constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as the format's own reader

  std::filesystem::path path_;
  MappedFile file_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, std::size_t> by_name_;
  Metadata metadata_;
};

/// Writes tensors under their names, atomically; the header lists them in the order given. The data
/// lies by falling element size, so that every tensor is aligned to its element in the file, as
/// PyTorch's loader wants.
/// @throws ValueError  a name is empty, repeated, reserved or not UTF-8; a shape does not match its
///                     bytes.
/// @throws FileError   the file cannot be written.
inline void write_safetensors(const std::filesystem::path& path,
                              std::span<const TensorInfo> tensors, const Metadata& metadata = {}) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& tensor : tensors) {
    require<ValueError>(!tensor.name.empty() && tensor.name != "__metadata__",
                        "write_safetensors: ", detail::quoted_text(tensor.name),
                        " cannot name a tensor");
    require<ValueError>(names.insert(tensor.name).second, "write_safetensors: two tensors named ",
                        detail::quoted_text(tensor.name));
    const auto size = detail::byte_size(tensor.shape, tensor.dtype);
    require<ValueError>(size && *size == tensor.bytes.size(), "write_safetensors: tensor ",
                        detail::quoted_text(tensor.name), " has ", tensor.bytes.size(),
                        " bytes, which its shape and type do not fill");
  }
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return dtype_size(tensors[a].dtype) > dtype_size(tensors[b].dtype);
  });
  std::vector<std::uint64_t> begin(tensors.size());
  std::uint64_t end = 0;
  for (const std::size_t i : order) {
    begin[i] = end;
    end += tensors[i].bytes.size();
  }

  std::string header = "{";
  const auto comma = [&] {
    if (header.back() != '{' && header.back() != '[') header += ',';
  };
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      comma();
      header += detail::json_string(key);
      header += ':';
      header += detail::json_string(value);
    }
    header += '}';
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    comma();
    header += detail::json_string(tensors[i].name);
    header += ":{\"dtype\":\"";
    header += dtype_name(tensors[i].dtype);
    header += "\",\"shape\":[";
    for (const std::int64_t extent : tensors[i].shape) {
      comma();
      header += std::to_string(extent);
    }
    header += "],\"data_offsets\":[";
    header += std::to_string(begin[i]);
    header += ',';
    header += std::to_string(begin[i] + tensors[i].bytes.size());
    header += "]}";
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');

  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    length[i] = static_cast<char>(std::uint64_t{header.size()} >> (8 * i) & 0xff);
  }
  AtomicFile file(path);
  file.write(length);
  file.write(header);
  for (const std::size_t i : order) file.write(tensors[i].bytes);
  file.commit();
}

}  // namespace mwalimu::io
