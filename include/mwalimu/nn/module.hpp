// nn/module: what makes a struct a module, and walks over all that one holds.
//
// A module is any struct with `template <class V> void visit(V&& v)` that calls v(name, child) for
// every child it has, in PyTorch's order and with PyTorch's names (a name may hold dots). A child is
// a Parameter, a buffer (a Tensor of float or int64 that training updates but no gradient reaches)
// or a module.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

#include "mwalimu/nn/parameter.hpp"

namespace mwalimu::nn {

namespace detail {
struct AnyVisitor {
  template <class Child>
  void operator()(const std::string&, Child&) const {}
};
}  // namespace detail

template <class M>
concept Module = requires(M& module) { module.visit(detail::AnyVisitor{}); };

/// A child that a walk meets, of a type that is asked for. Types are told apart at run time so that
/// each module's visit is compiled once, and not once for every use of a walk.
class Child {
 public:
  template <class T>
  explicit Child(T& child) : address_(&child), type_(&typeid(T)) {}

  /// The child if it is exactly a T, else null.
  template <class T>
  T* as() const {
    return *type_ == typeid(T) ? static_cast<T*>(address_) : nullptr;
  }

 private:
  void* address_;
  const std::type_info* type_;
};

using Meet = std::function<void(const std::string& path, Child child)>;

namespace detail {
/// The visitor of walk().
class Walker {
 public:
  explicit Walker(const Meet& meet) : meet_(meet) {}

  template <class T>
  void operator()(std::string_view name, T& child) {
    static_assert(Module<T> || std::is_same_v<T, Parameter> || std::is_same_v<T, Tensor<float>> ||
                      std::is_same_v<T, Tensor<std::int64_t>>,
                  "a module's child is a module, a Parameter or a buffer of float or int64");
    const std::size_t length = enter(name, Child(child));
    if constexpr (Module<T>) child.visit(*this);
    path_.resize(length);
  }

 private:
  std::size_t enter(std::string_view name, Child child) {
    const std::size_t length = path_.size();
    if (length > 0) path_ += '.';
    path_ += name;
    meet_(path_, child);
    return length;
  }

  const Meet& meet_;
  std::string path_;
};
}  // namespace detail

/// Calls meet(path, child) for the root's children and theirs, depth first, in state_dict order;
/// a path joins names with dots.
template <Module M>
void walk(M& root, const Meet& meet) {
  root.visit(detail::Walker(meet));
}

/// Calls f(path, Parameter&) for every parameter.
template <Module M, class F>
void for_each_parameter(M& module, F&& f) {
  walk(module, [&](const std::string& path, Child child) {
    if (auto* parameter = child.as<Parameter>()) f(path, *parameter);
  });
}
/// Calls f(path, Tensor<T>&) for every buffer; T is float or int64.
template <Module M, class F>
void for_each_buffer(M& module, F&& f) {
  walk(module, [&](const std::string& path, Child child) {
    if (auto* floats = child.as<Tensor<float>>()) f(path, *floats);
    if (auto* integers = child.as<Tensor<std::int64_t>>()) f(path, *integers);
  });
}
/// Calls f(path, T&) for every module of type T inside.
template <class T, Module M, class F>
void for_each_module(M& module, F&& f) {
  walk(module, [&](const std::string& path, Child child) {
    if (auto* found = child.as<T>()) f(path, *found);
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
