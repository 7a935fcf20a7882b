// io/tensor_file: tensors from files and into files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/tensor.hpp"
#include "mwalimu/io/npy.hpp"
#include "mwalimu/io/safetensors.hpp"

namespace mwalimu::io {
namespace detail {

template <Element T, Element U>
Tensor<T> convert_elements(const TensorInfo& info, const Shape& shape) {
  auto stored = Tensor<U>::empty(shape);
  if (!info.bytes.empty()) std::memcpy(stored.data(), info.bytes.data(), info.bytes.size());
  return stored.template to<T>();
}

}  // namespace detail

/// The elements of a file's tensor as a row-major Tensor on the CPU. Floating-point types convert
/// into each other (weights saved in half load into a float model); integers must be of the type
/// asked for.
/// @throws FileError   the shape has more extents than a Tensor can have.
/// @throws ValueError  the file's elements do not become T.
template <Element T>
Tensor<T> to_tensor(const TensorInfo& info) {
  require<FileError>(info.shape.size() <= Shape::kMaxRank, "tensor ",
                     detail::quoted_text(info.name), " has ", info.shape.size(),
                     " extents, at most ", Shape::kMaxRank, " are supported");
  const Shape shape{std::span<const index_t>(info.shape)};
  if (info.dtype == dtype_of<T>) return detail::convert_elements<T, T>(info, shape);
  if constexpr (Real<T>) {
    switch (info.dtype) {
      case Dtype::f16:
        return detail::convert_elements<T, half>(info, shape);
      case Dtype::bf16:
        return detail::convert_elements<T, bfloat16>(info, shape);
      case Dtype::f32:
        return detail::convert_elements<T, float>(info, shape);
      case Dtype::f64:
        return detail::convert_elements<T, double>(info, shape);
      default:
        break;
    }
  }
  mwalimu::detail::fail<ValueError>("tensor ", detail::quoted_text(info.name), " is ",
                                    dtype_name(info.dtype), ", want ", dtype_name(dtype_of<T>));
}

/// @throws FileError  the file has no tensor of that name; else as to_tensor.
template <Element T>
Tensor<T> load_tensor(const SafetensorsFile& file, std::string_view name) {
  return to_tensor<T>(file.at(name));
}

/// The array of an .npy file. @throws FileError, ValueError  as NpyFile and to_tensor.
template <Element T>
Tensor<T> load_npy(const std::filesystem::path& path) {
  return to_tensor<T>(NpyFile(path).array());
}

/// @throws FileError  the file cannot be written.
template <Element T>
void save_npy(const std::filesystem::path& path, const Tensor<T>& tensor) {
  const Tensor<T> dense = tensor.contiguous();
  write_npy<T>(path, {dense.shape().begin(), dense.shape().end()}, dense.span());
}

/// Gathers tensors of any element types and writes them as one safetensors file.
///
///     SafetensorsWriter writer;
///     writer.add("conv1.weight", weight);
///     writer.write(folder / "encoder.safetensors", {{"format", "pt"}});
///
/// Tensors are shared, not copied (unless they are strided): do not change them in between.
class SafetensorsWriter {
 public:
  template <Element T>
  void add(std::string name, const Tensor<T>& tensor) {
    const Tensor<T> dense = tensor.contiguous();
    kept_.push_back(dense.storage());
    entries_.push_back({std::move(name),
                        dtype_of<T>,
                        {dense.shape().begin(), dense.shape().end()},
                        std::as_bytes(dense.span())});
  }
  /// @throws ValueError, FileError  as write_safetensors.
  void write(const std::filesystem::path& path, const Metadata& metadata = {}) const {
    write_safetensors(path, entries_, metadata);
  }

 private:
  std::vector<TensorInfo> entries_;
  std::vector<std::shared_ptr<std::byte>> kept_;
};

}  // namespace mwalimu::io
