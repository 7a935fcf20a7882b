// io/torch_writer: tensors into a file that torch.load reads, weights_only or not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/tensor_info.hpp"
#include "mwalimu/io/torch_globals.hpp"
#include "mwalimu/io/zip_writer.hpp"

namespace mwalimu::io {
namespace detail {

/// Writes the opcodes of protocol 2 that a state_dict needs, without memos: equal values repeat.
class PickleWriter {
 public:
  PickleWriter() : out_("\x80\x02", 2) {}

  PickleWriter& opcode(char c) {
    out_ += c;
    return *this;
  }
  PickleWriter& global(std::string_view module, std::string_view name) {
    out_.append(1, 'c').append(module).append(1, '\n').append(name).append(1, '\n');
    return *this;
  }
  PickleWriter& text(std::string_view text) {
    out_ += 'X';
    number(text.size(), 4);
    out_ += text;
    return *this;
  }
  PickleWriter& integer(std::int64_t value) {
    if (value >= 0 && value < 256) {
      out_ += 'K';
      number(static_cast<std::uint64_t>(value), 1);
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
      out_ += 'J';
      number(static_cast<std::uint64_t>(value), 4);
    } else {
      out_.append("\x8a\x08");
      number(static_cast<std::uint64_t>(value), 8);
    }
    return *this;
  }
  PickleWriter& tuple(std::span<const std::int64_t> values) {
    out_ += '(';
    for (const std::int64_t value : values) integer(value);
    out_ += 't';
    return *this;
  }
  const std::string& bytes() const { return out_; }

 private:
  void number(std::uint64_t value, int width) {
    for (int i = 0; i < width; ++i) out_ += static_cast<char>(value >> (8 * i) & 0xff);
  }
  std::string out_;
};

/// True for well-formed UTF-8, which torch.load requires of names.
inline bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
    const unsigned char first = byte(i);
    const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if ((first >= 0x80 && first < 0xC2) || first > 0xF4 || length > text.size() - i) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    if (length > 2) {  // overlong forms, surrogates, beyond U+10FFFF
      const unsigned char second = byte(i + 1);
      if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
          (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) {
        return false;
      }
    }
    i += length;
  }
  return true;
}

}  // namespace detail

/// Writes tensors under their names, atomically, as torch.save(OrderedDict(...)) does from
/// PyTorch 1.6 on: torch.load returns an OrderedDict of row-major CPU tensors, in the order given.
/// @throws ValueError  a name is repeated or not UTF-8, or a shape does not match its bytes.
/// @throws FileError   the file cannot be written.
inline void write_torch(const std::filesystem::path& path, std::span<const TensorInfo> tensors) {
  detail::PickleWriter pickle;
  pickle.global("collections", "OrderedDict").opcode(')').opcode('R').opcode('(');
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = tensors[i];
    require<ValueError>(names.insert(tensor.name).second, "write_torch: two tensors named ",
                        detail::quoted_text(tensor.name));
    require<ValueError>(detail::is_utf8(tensor.name),
                        "write_torch: ", detail::quoted_text(tensor.name), " is not UTF-8");
    const auto size = detail::byte_size(tensor.shape, tensor.dtype);
    require<ValueError>(size && *size == tensor.bytes.size(), "write_torch: tensor ",
                        detail::quoted_text(tensor.name), " has ", tensor.bytes.size(),
                        " bytes, which its shape and type do not fill");
    std::vector<std::int64_t> strides(tensor.shape.size());
    std::int64_t step = 1;
    for (std::size_t d = strides.size(); d-- > 0;) {
      strides[d] = step;
      if (tensor.shape[d] > 1) step *= tensor.shape[d];
    }
    // key: _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, OrderedDict())
    pickle.text(tensor.name).global("torch._utils", "_rebuild_tensor_v2").opcode('(').opcode('(');
    pickle.text("storage").global("torch", detail::storage_class(tensor.dtype));
    pickle.text(std::to_string(i)).text("cpu").integer(tensor.numel()).opcode('t').opcode('Q');
    pickle.integer(0).tuple(tensor.shape).tuple(strides).opcode('\x89');
    pickle.global("collections", "OrderedDict").opcode(')').opcode('R').opcode('t').opcode('R');
  }
  pickle.opcode('u').opcode('.');

  ZipWriter zip(path);
  zip.add("archive/data.pkl", pickle.bytes());
  zip.add("archive/byteorder", std::string_view("little"));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    zip.add("archive/data/" + std::to_string(i), tensors[i].bytes);
  }
  zip.add("archive/version", std::string_view("3\n"));
  zip.commit();
}

}  // namespace mwalimu::io
