// gpu/cudnn_descriptor: cuDNN's graph API in the little form that we use it in: a descriptor that frees
// itself, its attributes by type, and errors with cuDNN's own words.
//
// Nothing of the legacy API is called: almost all of its convolutions are deprecated in cuDNN 9.
#pragma once

#include <cudnn_graph.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"

static_assert(CUDNN_VERSION >= 90800, "Mwalimu wants cuDNN 9.8 or later: plans are made for a device");

namespace mwalimu::gpu::cudnn {

/// cuDNN cannot do it so, and nothing is broken: something else may be tried.
struct NotSupported : CudnnError {
  using CudnnError::CudnnError;
};

/// @throws CudnnError  unless `status` is success: `call`, cuDNN's name for the failure, what its log
///                     says about it, its version. NotSupported where that is the status.
inline void check(const char* call, cudnnStatus_t status) {
  if (status == CUDNN_STATUS_SUCCESS) [[likely]] return;
  std::array<char, 1024> message{};
  cudnnGetLastErrorString(message.data(), message.size());
  const std::string detail = message[0] != '\0' ? ": " + std::string(message.data()) : "";
  const std::string text =
      mwalimu::detail::concatenate(call, ": ", cudnnGetErrorString(status), detail, " (cuDNN ",
                                   cudnnGetVersion(), ")");
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED) throw NotSupported(text);
  throw CudnnError(text);
}

/// Runs f(); a CudnnError gets `what` in front: the operation and its shapes.
template <class What, class F>
decltype(auto) in_context(const What& what, F&& f) {
  try {
    return std::forward<F>(f)();
  } catch (const NotSupported& error) {
    mwalimu::detail::fail<NotSupported>(what, ": ", error.what());
  } catch (const CudnnError& error) {
    mwalimu::detail::fail<CudnnError>(what, ": ", error.what());
  }
}

namespace detail {
template <class T>
constexpr cudnnBackendAttributeType_t attribute_type() {
  if constexpr (std::is_same_v<T, std::int64_t>) return CUDNN_TYPE_INT64;
  if constexpr (std::is_same_v<T, std::int32_t>) return CUDNN_TYPE_INT32;
  if constexpr (std::is_same_v<T, float>) return CUDNN_TYPE_FLOAT;
  if constexpr (std::is_same_v<T, double>) return CUDNN_TYPE_DOUBLE;
  if constexpr (std::is_same_v<T, char>) return CUDNN_TYPE_CHAR;
  if constexpr (std::is_same_v<T, cudnnDataType_t>) return CUDNN_TYPE_DATA_TYPE;
  if constexpr (std::is_same_v<T, cudnnConvolutionMode_t>) return CUDNN_TYPE_CONVOLUTION_MODE;
  if constexpr (std::is_same_v<T, cudnnBackendHeurMode_t>) return CUDNN_TYPE_HEUR_MODE;
  if constexpr (std::is_same_v<T, cudnnBackendKnobType_t>) return CUDNN_TYPE_KNOB_TYPE;
  if constexpr (std::is_same_v<T, cudnnHandle_t>) return CUDNN_TYPE_HANDLE;
}
}  // namespace detail

/// One descriptor of cuDNN's, owned. Attributes are set, then finalize() makes it usable and constant.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check("cudnnBackendCreateDescriptor", cudnnBackendCreateDescriptor(type, &handle_));
  }
  ~Descriptor() {
    if (handle_ != nullptr) cudnnBackendDestroyDescriptor(handle_);
  }
  Descriptor(Descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  cudnnBackendDescriptor_t get() const { return handle_; }

  template <class T>
  void set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    set(name, detail::attribute_type<T>(), values.size(), values.data());
  }
  template <class T>
  void set(cudnnBackendAttributeName_t name, const T& value) {
    set(name, std::span<const T>(&value, 1));
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.handle_);
  }
  void set(cudnnBackendAttributeName_t name, std::span<const Descriptor> values) {
    std::vector<cudnnBackendDescriptor_t> handles;
    for (const Descriptor& value : values) handles.push_back(value.handle_);
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, handles.size(), handles.data());
  }
  void set_pointers(cudnnBackendAttributeName_t name, std::span<void* const> pointers) {
    set(name, CUDNN_TYPE_VOID_PTR, pointers.size(), pointers.data());
  }

  void finalize() { check("cudnnBackendFinalize", cudnnBackendFinalize(handle_)); }

  std::int64_t get_int64(cudnnBackendAttributeName_t name) const {
    std::int64_t value = 0;
    get(name, CUDNN_TYPE_INT64, 1, &value);
    return value;
  }
  /// Values of one of cuDNN's enumerations, as numbers: a newer cuDNN may have more than our header.
  std::vector<int> get_enums(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                             std::size_t most) const {
    static_assert(sizeof(int) == sizeof(cudnnBackendNumericalNote_t));
    std::vector<int> values(most);
    values.resize(get(name, type, most, values.data()));
    return values;
  }
  std::string get_text(cudnnBackendAttributeName_t name) const {
    std::string text(count(name, CUDNN_TYPE_CHAR), '\0');
    text.resize(get(name, CUDNN_TYPE_CHAR, text.size(), text.data()));
    return text;
  }
  /// The descriptors of `type`, at most `most`, that are this one's attribute.
  std::vector<Descriptor> get_descriptors(cudnnBackendAttributeName_t name,
                                          cudnnBackendDescriptorType_t type,
                                          std::size_t most) const {
    if (most == 0) return {};
    std::vector<Descriptor> values;
    std::vector<cudnnBackendDescriptor_t> handles;
    for (std::size_t i = 0; i < most; ++i) handles.push_back(values.emplace_back(type).get());
    const std::size_t got = get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, handles.data());
    while (values.size() > got) values.pop_back();
    return values;
  }
  /// What cuDNN answers when asked for the number of an attribute's values.
  std::size_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
    std::int64_t found = 0;
    check("cudnnBackendGetAttribute",
          cudnnBackendGetAttribute(handle_, name, type, 0, &found, nullptr));
    return static_cast<std::size_t>(found);
  }

 private:
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::size_t count,
           const void* values) {
    check("cudnnBackendSetAttribute",
          cudnnBackendSetAttribute(handle_, name, type, static_cast<std::int64_t>(count), values));
  }
  std::size_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                  std::size_t most, void* values) const {
    std::int64_t got = 0;
    check("cudnnBackendGetAttribute",
          cudnnBackendGetAttribute(handle_, name, type, static_cast<std::int64_t>(most), &got,
                                   values));
    return std::min(static_cast<std::size_t>(got), most);
  }

  cudnnBackendDescriptor_t handle_ = nullptr;
};

}  // namespace mwalimu::gpu::cudnn
