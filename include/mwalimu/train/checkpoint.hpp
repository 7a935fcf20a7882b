// train/checkpoint: all that a run needs to go on bit for bit, in one safetensors file that is
// whole or absent.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/io/safetensors.hpp"

namespace mwalimu::train {

/// The version of the layout below. A file of another version is refused.
inline constexpr int kCheckpointVersion = 1;

/// What a checkpoint is of. A reader refuses a file whose identity differs from the run's.
struct CheckpointIdentity {
  std::string kind;          ///< the loop: "pretrain", "finetune", ...
  std::string architecture;  ///< the network: "xresnet34", ...
};

namespace detail {

// safetensors files hold no unsigned 64-bit numbers here: they are stored as the signed number of
// the same bits.
template <class T>
using stored_t = std::conditional_t<std::is_same_v<T, std::uint64_t>, std::int64_t, T>;

inline constexpr std::string_view kTextPrefix = "text.";

}  // namespace detail

/// Gathers named values and writes them at once.
///
///     CheckpointWriter checkpoint({.kind = "pretrain", .architecture = "xresnet34"});
///     checkpoint.put("parameters", arena.values());        // borrowed: not copied
///     checkpoint.put("step", step);                        // a single number: copied
///     checkpoint.put_text("config", config.dump());
///     checkpoint.save(out / "checkpoint.safetensors");
class CheckpointWriter {
 public:
  explicit CheckpointWriter(CheckpointIdentity identity) : identity_(std::move(identity)) {}

  /// Elements in memory of the caller's, which must stay as they are until save().
  template <class T>
  void put(std::string name, std::span<const T> values) {
    entries_.push_back({std::move(name),
                        io::dtype_of<detail::stored_t<T>>,
                        {static_cast<std::int64_t>(values.size())},
                        std::as_bytes(values)});
  }
  template <class T>
  void put(std::string name, std::span<T> values) {
    put(std::move(name), std::span<const T>(values));
  }
  template <class T>
  void put(std::string name, const std::vector<T>& values) {
    put(std::move(name), std::span<const T>(values));
  }
  template <class T>
  void put(std::string name, std::vector<T>&& values) {  // a temporary: kept until save()
    const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    put(std::move(name), std::span<const T>(*kept));
    kept_.push_back(kept);
  }
  /// A tensor with its shape, row-major. One of the host's may be shared, so its elements must stay
  /// as they are until save().
  template <Element T>
  void put(std::string name, const Tensor<T>& tensor) {
    const Tensor<T> dense = tensor.to(Device::cpu()).contiguous();
    entries_.push_back({std::move(name),
                        io::dtype_of<T>,
                        {dense.shape().begin(), dense.shape().end()},
                        std::as_bytes(dense.span())});
    kept_.push_back(dense.storage());
  }
  /// A single number.
  template <class T>
  requires std::is_arithmetic_v<T>
  void put(std::string name, T value) {
    const auto kept =
        std::make_shared<const detail::stored_t<T>>(std::bit_cast<detail::stored_t<T>>(value));
    entries_.push_back({std::move(name),
                        io::dtype_of<detail::stored_t<T>>,
                        {},
                        std::as_bytes(std::span<const detail::stored_t<T>>(kept.get(), 1))});
    kept_.push_back(kept);
  }
  /// A text, such as the configuration as JSON.
  void put_text(const std::string& name, std::string text) {
    metadata_[std::string(detail::kTextPrefix) + name] = std::move(text);
  }

  /// Writes the file. Whatever happens in between, a kill included, either the file that was there
  /// before or the new one is there, whole.
  /// @throws FileError   the file cannot be written.
  /// @throws ValueError  two values have one name.
  void save(const std::filesystem::path& path) const {
    io::Metadata metadata = metadata_;
    metadata["format"] = "mwalimu.checkpoint";
    metadata["version"] = std::to_string(kCheckpointVersion);
    metadata["kind"] = identity_.kind;
    metadata["architecture"] = identity_.architecture;
    io::write_safetensors(path, entries_, metadata);
  }

 private:
  CheckpointIdentity identity_;
  std::vector<io::TensorInfo> entries_;
  std::vector<std::shared_ptr<const void>> kept_;
  io::Metadata metadata_;
};

/// Reads what CheckpointWriter wrote.
class CheckpointReader {
 public:
  /// @throws FileError  the file is missing or damaged, is no checkpoint, has another version, or
  ///                    is of another kind of run or another network than `expected`.
  CheckpointReader(const std::filesystem::path& path, const CheckpointIdentity& expected)
      : file_(path) {
    check(metadata("format") == "mwalimu.checkpoint",
          ": is no checkpoint of Mwalimu; choose a checkpoint.safetensors");
    check(metadata("version") == std::to_string(kCheckpointVersion), ": has version ",
          metadata("version"), ", this program reads version ", kCheckpointVersion,
          "; use the program that wrote it");
    check(metadata("kind") == expected.kind, ": is of a ", metadata("kind"), " run, this is a ",
          expected.kind, " run; choose its own folder");
    check(metadata("architecture") == expected.architecture, ": is of the network ",
          metadata("architecture"), ", this run has ", expected.architecture,
          "; choose the same --arch");
  }

  bool has(std::string_view name) const { return file_.find(name) != nullptr; }

  /// Copies values into memory of the caller's.
  /// @throws FileError  there is no such value, or it has another type or count.
  template <class T>
  void get(std::string_view name, std::span<T> into) const {
    const io::TensorInfo& info = find<T>(name);
    check(static_cast<std::size_t>(info.numel()) == into.size(), ": '", name, "' has ",
          info.numel(), " values, this run has ", into.size(),
          "; it was written with other options");
    if (!into.empty()) std::memcpy(into.data(), info.bytes.data(), info.bytes.size());
  }
  /// Copies into a tensor, which must have the shape that was put.
  template <Element T>
  void get(std::string_view name, Tensor<T>& into) const {
    const io::TensorInfo& info = find<T>(name);
    const std::vector<std::int64_t> shape(into.shape().begin(), into.shape().end());
    check(info.shape == shape, ": '", name, "' has ", info.numel(),
          " values in another shape than ", into.shape(), "; it was written with other options");
    auto dense = Tensor<T>::empty(into.shape());
    get(name, dense.span());
    into.copy_from(dense);
  }
  /// All values of that name.
  template <class T>
  std::vector<T> values(std::string_view name) const {
    std::vector<T> out(static_cast<std::size_t>(find<T>(name).numel()));
    get(name, std::span<T>(out));
    return out;
  }
  /// A single number.
  template <class T>
  T value(std::string_view name) const {
    T out{};
    get(name, std::span<T>(&out, 1));
    return out;
  }
  /// @throws FileError  there is no text of that name.
  const std::string& text(std::string_view name) const {
    const auto it = file_.metadata().find(std::string(detail::kTextPrefix) + std::string(name));
    check(it != file_.metadata().end(), ": has no text '", name, "'");
    return it->second;
  }

 private:
  template <class... Args>
  void check(bool condition, const Args&... args) const {
    require<FileError>(condition, io::detail::quoted(file_.path()), args...);
  }
  std::string metadata(std::string_view name) const {
    const auto it = file_.metadata().find(name);
    return it == file_.metadata().end() ? "?" : it->second;
  }
  template <class T>
  const io::TensorInfo& find(std::string_view name) const {
    const io::TensorInfo* info = file_.find(name);
    check(info != nullptr, ": has no '", name, "'; it was written with other options");
    check(info->dtype == io::dtype_of<detail::stored_t<T>>, ": '", name, "' is ",
          io::dtype_name(info->dtype), ", want ",
          io::dtype_name(io::dtype_of<detail::stored_t<T>>));
    return *info;
  }

  io::SafetensorsFile file_;
};

}  // namespace mwalimu::train
