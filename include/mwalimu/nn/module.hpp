// nn/module: what makes a struct a module, and walks over all that one holds.
//
// A module is any struct with `template <class V> void visit(V&& v)` that calls v(name, child) for
// every child it has, in PyTorch's order and with PyTorch's names (a name may hold dots). A child is
// a Parameter, a buffer (a Tensor that training updates but no gradient reaches) or a module.
#pragma once

#include <optional>
#include <string>
#include <type_traits>

#include "mwalimu/nn/parameter.hpp"

namespace mwalimu::nn {

namespace detail {
struct AnyVisitor {
  template <class Child>
  void operator()(const std::string&, Child&) const {}
};
template <class T>
struct IsTensor : std::false_type {};
template <class T>
struct IsTensor<Tensor<T>> : std::true_type {};
}  // namespace detail

template <class M>
concept Module = requires(M& module) { module.visit(detail::AnyVisitor{}); };
template <class T>
concept Buffer = detail::IsTensor<T>::value;

/// Calls f(path, child) for the module's children and theirs, depth first, in state_dict order;
/// a path joins names with dots.
template <Module M, class F>
void walk(M& module, F&& f, const std::string& prefix = "") {
  module.visit([&](const std::string& name, auto& child) {
    const std::string path = prefix.empty() ? name : prefix + "." + name;
    f(path, child);
    if constexpr (Module<std::remove_reference_t<decltype(child)>>) walk(child, f, path);
  });
}

/// Calls f(path, Parameter&) for every parameter.
template <Module M, class F>
void for_each_parameter(M& module, F&& f) {
  walk(module, [&](const std::string& path, auto& child) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(child)>, Parameter>) f(path, child);
  });
}
/// Calls f(path, Tensor<T>&) for every buffer; T is float or int64.
template <Module M, class F>
void for_each_buffer(M& module, F&& f) {
  walk(module, [&](const std::string& path, auto& child) {
    if constexpr (Buffer<std::remove_cvref_t<decltype(child)>>) f(path, child);
  });
}
/// Calls f(path, Child&) for every module of type Child inside.
template <class Child, Module M, class F>
void for_each_module(M& module, F&& f) {
  walk(module, [&](const std::string& path, auto& child) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(child)>, Child>) f(path, child);
  });
}

/// Elements of all parameters.
template <Module M>
index_t parameter_count(M& module) {
  index_t count = 0;
  for_each_parameter(module, [&](const std::string&, Parameter& p) { count += p.value().count(); });
  return count;
}

/// Where the module's first parameter lies; the cpu if it has none.
template <Module M>
Device device_of(M& module) {
  std::optional<Device> device;
  for_each_parameter(module, [&](const std::string&, Parameter& p) {
    if (!device) device = p.value().device();
  });
  return device.value_or(Device::cpu());
}

/// Freezes or unfreezes every parameter inside.
template <Module M>
void set_trainable(M& module, bool trainable) {
  for_each_parameter(module, [&](const std::string&, Parameter& p) { p.trainable = trainable; });
}

}  // namespace mwalimu::nn
