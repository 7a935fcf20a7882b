// nn/state_dict: a model's tensors by PyTorch's names, in files that PyTorch reads.
#pragma once

#include <cstring>
#include <filesystem>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "mwalimu/io/safetensors.hpp"
#include "mwalimu/nn/module.hpp"

namespace mwalimu::nn {

namespace detail {

/// Calls f(path, const Tensor&) for every parameter's value and every buffer, in state_dict order.
template <Module M, class F>
void for_each_state_tensor(M& module, F&& f) {
  walk(module, [&](const std::string& path, Child child) {
    if (const auto* parameter = child.as<Parameter>()) f(path, parameter->value());
    if (const auto* floats = child.as<Tensor<float>>()) f(path, *floats);
    if (const auto* integers = child.as<Tensor<std::int64_t>>()) f(path, *integers);
  });
}

/// The same tensors, to be overwritten.
template <Module M, class F>
void for_each_mutable_state_tensor(M& module, F&& f) {
  walk(module, [&](const std::string& path, Child child) {
    if (auto* parameter = child.as<Parameter>()) f(path, parameter->mutable_value());
    if (auto* floats = child.as<Tensor<float>>()) f(path, *floats);
    if (auto* integers = child.as<Tensor<std::int64_t>>()) f(path, *integers);
  });
}

inline std::vector<index_t> extents(const Shape& shape) { return {shape.begin(), shape.end()}; }

}  // namespace detail

/// Tensors copied out of a model, ready to be written: row-major, PyTorch's names and shapes.
struct StateDict {
  std::vector<io::TensorInfo> tensors;
  std::vector<std::shared_ptr<std::byte>> storage;  ///< what the tensors' bytes lie in

  template <Element T>
  void add(const std::string& name, const Tensor<T>& tensor) {
    auto copy = Tensor<T>::empty(tensor.shape());
    copy.copy_from(tensor);
    tensors.push_back(io::tensor_info<T>(name, detail::extents(copy.shape()),
                                         std::span<const T>(copy.span())));
    storage.push_back(copy.storage());
  }
};

template <Module M>
StateDict state_dict(M& module, const std::string& prefix = "") {
  StateDict state;
  detail::for_each_state_tensor(module, [&](const std::string& path, const auto& tensor) {
    state.add(prefix + path, tensor);
  });
  return state;
}

/// Writes the model's state_dict, atomically.
/// @throws FileError  the file cannot be written.
template <Module M>
void save_state_dict(const std::filesystem::path& path, M& module,
                     const io::Metadata& metadata = {}) {
  const StateDict state = state_dict(module);
  io::write_safetensors(path, state.tensors, metadata);
}

/// Copies the tensors under `prefix` into the model, strictly: every tensor of the model must be
/// there with its shape and type, and nothing else under the prefix. The model is unchanged if not.
/// @throws ShapeError  naming each missing, unexpected and misshapen tensor (the first of each).
template <Module M>
void load_state_dict(M& module, const io::SafetensorsFile& file, const std::string& prefix = "") {
  std::string missing, misshapen, unexpected;
  int missing_count = 0, misshapen_count = 0, unexpected_count = 0;
  const auto note = [](std::string& first, int& count, const std::string& text) {
    if (count++ == 0) first = text;
  };
  std::unordered_set<std::string> expected;
  detail::for_each_state_tensor(module, [&](const std::string& path, const auto& tensor) {
    using T = std::remove_cvref_t<decltype(tensor.item())>;
    const std::string name = prefix + path;
    expected.insert(name);
    const io::TensorInfo* found = file.find(name);
    if (found == nullptr) {
      note(missing, missing_count, name);
    } else if (found->dtype != io::dtype_of<T> || found->shape != detail::extents(tensor.shape())) {
      note(misshapen, misshapen_count,
           mwalimu::detail::concatenate(name, " is ", io::dtype_name(found->dtype), ' ',
                                        Shape(std::span<const index_t>(found->shape)), ", want ",
                                        type_name<T>(), ' ', tensor.shape()));
    }
  });
  for (const io::TensorInfo& tensor : file.tensors()) {
    if (tensor.name.starts_with(prefix) && !expected.contains(tensor.name)) {
      note(unexpected, unexpected_count, tensor.name);
    }
  }
  if (missing_count + misshapen_count + unexpected_count > 0) {
    std::string text = file.path().string() + " does not fit the model:";
    const auto list = [&](int count, const char* what, const std::string& first) {
      if (count > 0) {
        text += mwalimu::detail::concatenate(' ', count, ' ', what, " (", first,
                                             count > 1 ? ", ...)" : ")");
      }
    };
    list(missing_count, "missing", missing);
    list(misshapen_count, "of another shape", misshapen);
    list(unexpected_count, "unexpected", unexpected);
    throw ShapeError(text + "; was it made with the same --arch and --width?");
  }
  detail::for_each_mutable_state_tensor(module, [&](const std::string& path, auto& tensor) {
    using T = std::remove_cvref_t<decltype(tensor.item())>;
    auto values = Tensor<T>::empty(tensor.shape());
    const std::span<const std::byte> bytes = file.at(prefix + path).bytes;
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    tensor.copy_from(values);
  });
}

template <Module M>
void load_state_dict(M& module, const std::filesystem::path& path, const std::string& prefix = "") {
  load_state_dict(module, io::SafetensorsFile(path), prefix);
}

}  // namespace mwalimu::nn
