// io/any_tensor_file: files of named tensors by their extension, whatever program wrote them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/npy.hpp"
#include "mwalimu/io/npz.hpp"
#include "mwalimu/io/safetensors.hpp"
#include "mwalimu/io/torch_file.hpp"
#include "mwalimu/io/torch_writer.hpp"

namespace mwalimu::io {

enum class TensorFormat { safetensors, torch, npz, npy };

/// The format by the file's name: .safetensors; .pth, .pt, .ckpt, .bin and .pth.tar (PyTorch);
/// .npz; .npy. Nothing for another name.
inline std::optional<TensorFormat> tensor_format(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  if (extension == ".safetensors") return TensorFormat::safetensors;
  if (extension == ".npz") return TensorFormat::npz;
  if (extension == ".npy") return TensorFormat::npy;
  for (const std::string_view torch : {".pth", ".pt", ".ckpt", ".bin"}) {
    if (extension == torch) return TensorFormat::torch;
  }
  if (extension == ".tar" && path.stem().extension() == ".pth") return TensorFormat::torch;
  return std::nullopt;
}

/// @throws ValueError  the name is of no format.
inline TensorFormat require_tensor_format(const std::filesystem::path& path) {
  const auto format = tensor_format(path);
  require<ValueError>(format.has_value(), detail::quoted(path),
                      ": want a name that ends in .safetensors, .pth, .pt, .npz or .npy");
  return *format;
}

/// Any of them, open.
class AnyTensorFile {
 public:
  /// @throws ValueError  the name is of no format.
  /// @throws FileError   as the reader of the format.
  explicit AnyTensorFile(const std::filesystem::path& path) : file_(open(path)), path_(path) {
    if (const auto* npy = std::get_if<NpyFile>(&file_)) single_.push_back(npy->array());
  }

  const std::filesystem::path& path() const { return path_; }
  const std::vector<TensorInfo>& tensors() const {
    if (const auto* file = std::get_if<SafetensorsFile>(&file_)) return file->tensors();
    if (const auto* file = std::get_if<TorchFile>(&file_)) return file->tensors();
    if (const auto* file = std::get_if<NpzFile>(&file_)) return file->tensors();
    return single_;
  }
  /// safetensors' own; empty for other formats.
  Metadata metadata() const {
    const auto* file = std::get_if<SafetensorsFile>(&file_);
    return file != nullptr ? file->metadata() : Metadata{};
  }
  /// The PyTorch file where it is one, with its groups; else nullptr.
  const TorchFile* torch() const { return std::get_if<TorchFile>(&file_); }

 private:
  using Variant = std::variant<SafetensorsFile, TorchFile, NpzFile, NpyFile>;
  static Variant open(const std::filesystem::path& path) {
    switch (require_tensor_format(path)) {
      case TensorFormat::torch:
        return TorchFile(path);
      case TensorFormat::npz:
        return NpzFile(path);
      case TensorFormat::npy:
        return NpyFile(path);
      case TensorFormat::safetensors:
        break;
    }
    return SafetensorsFile(path);
  }

  Variant file_;
  std::filesystem::path path_;
  std::vector<TensorInfo> single_;
};

/// Writes tensors in the format of the file's name, atomically.
/// @param metadata    kept by safetensors, dropped by the others.
/// @throws ValueError  the name is of no format, or the tensors do not fit it: .npy takes one,
///                     numpy has no bfloat16.
/// @throws FileError   the file cannot be written.
inline void write_tensors(const std::filesystem::path& path, std::span<const TensorInfo> tensors,
                          const Metadata& metadata = {}) {
  switch (require_tensor_format(path)) {
    case TensorFormat::safetensors:
      return write_safetensors(path, tensors, metadata);
    case TensorFormat::torch:
      return write_torch(path, tensors);
    case TensorFormat::npz:
      return write_npz(path, tensors);
    case TensorFormat::npy:
      break;
  }
  require<ValueError>(tensors.size() == 1, "write_tensors: an .npy file holds one array, not ",
                      tensors.size(), "; choose .npz");
  AtomicFile file(path);
  file.write(npy_header(tensors[0].shape, tensors[0].dtype));
  file.write(tensors[0].bytes);
  file.commit();
}

}  // namespace mwalimu::io
