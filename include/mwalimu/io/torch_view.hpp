// io/torch_view: what a torch file's pickle says of one tensor: a storage and the part of it shown.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/pickle.hpp"
#include "mwalimu/io/torch_globals.hpp"

namespace mwalimu::io::detail {

/// A storage and the part of it that a tensor shows, in elements.
struct TorchView {
  Dtype dtype = Dtype::f32;
  std::string_view key;     ///< the storage is the archive's member data/KEY
  std::int64_t stored = 0;  ///< elements of the storage
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape, strides;
};

/// Reads the calls in a pickle that make tensors.
class TorchViewReader {
 public:
  using Index = Pickle::Index;
  using Kind = Pickle::Kind;

  /// @param source  what errors call the file. Both must outlive this.
  TorchViewReader(const Pickle& pickle, const std::string& source)
      : pickle_(pickle), source_(source) {}

  /// What a value is made by; TensorCall::none: it is no tensor.
  TensorCall call_of(Index i) const {
    const PickleValue& v = value(i);
    if (v.kind != Kind::object) return TensorCall::none;
    return tensor_call(pickle_.global_name(v.items[PickleValue::kCallable]));
  }

  /// @param i     a value for which call_of is not none.
  /// @param path  the tensor's name, for errors.
  /// @throws FileError  its numbers are none, or its type is not supported. They are not yet
  ///                    checked against each other.
  TorchView view(Index i, const std::string& path) const {
    TorchView view;
    resolve(i, view, path, 0);
    return view;
  }

 private:
  template <class... Args>
  void check(bool sound, const Args&... args) const {
    require<FileError>(sound, source_, " ", args...);
  }
  const PickleValue& value(Index i) const { return pickle_[i]; }

  void resolve(Index i, TorchView& view, const std::string& path, int depth) const {
    resolve(call_of(i), value(value(i).items[PickleValue::kArguments]).items, view, path, depth);
  }
  void resolve(TensorCall call, std::span<const Index> arguments, TorchView& view,
               const std::string& path, int depth) const {
    const auto sound = [&](bool condition, const char* what) {
      check(condition, "has a malformed tensor ", quoted_text(path), ": ", what);
    };
    sound(depth < 4, "calls inside calls");
    switch (call) {
      case TensorCall::delegated: {
        sound(arguments.size() == 4 && value(arguments[2]).kind == Kind::tuple, "its arguments");
        const TensorCall inner = tensor_call(pickle_.global_name(arguments[0]));
        return resolve(inner, value(arguments[2]).items, view, path, depth + 1);
      }
      case TensorCall::wrapped:
        sound(!arguments.empty() && call_of(arguments[0]) != TensorCall::none, "its arguments");
        return resolve(arguments[0], view, path, depth + 1);
      case TensorCall::subclass:
        sound(!arguments.empty(), "its arguments");
        return resolve(TensorCall::rebuild, arguments.subspan(1), view, path, depth + 1);
      case TensorCall::rebuild:
        break;
      case TensorCall::none:
        sound(false, "it is made by a function that makes no tensors");
    }
    sound(arguments.size() >= 4 && value(arguments[0]).kind == Kind::persistent,
          "it has no storage");
    sound(integer(arguments[1], view.offset), "its offset");
    sound(integers(arguments[2], view.shape), "its shape");
    sound(integers(arguments[3], view.strides) && view.strides.size() == view.shape.size(),
          "its strides");
    // ("storage", class, key, device, elements)
    const PickleValue& id = value(value(arguments[0]).items[0]);
    sound(id.kind == Kind::tuple && id.items.size() >= 5 && value(id.items[0]).text == "storage" &&
              value(id.items[2]).kind == Kind::text && value(id.items[2]).text.size() <= 64 &&
              integer(id.items[4], view.stored),
          "its storage");
    view.key = value(id.items[2]).text;
    const std::string type = pickle_.global_name(id.items[1]);
    const auto dtype = dtype_of_storage(type);
    check(dtype.has_value(), "has a tensor ", quoted_text(path),
          " with elements of a type that is not supported (", quoted_text(type), ")");
    view.dtype = *dtype;
  }
  bool integer(Index i, std::int64_t& to) const {
    to = value(i).kind == Kind::integer ? value(i).integer : -1;
    return to >= 0;
  }
  bool integers(Index i, std::vector<std::int64_t>& to) const {
    const PickleValue* v = &value(i);
    if (v->kind == Kind::object &&  // torch.Size((2, 3))
        pickle_.global_name(v->items[PickleValue::kCallable]) == "torch.Size") {
      const auto& arguments = value(v->items[PickleValue::kArguments]).items;
      if (arguments.size() != 1) return false;
      v = &value(arguments[0]);
    }
    if ((v->kind != Kind::tuple && v->kind != Kind::list) || v->items.size() > 64) return false;
    to.resize(v->items.size());
    for (std::size_t k = 0; k < to.size(); ++k) {
      if (!integer(v->items[k], to[k])) return false;
    }
    return true;
  }

  const Pickle& pickle_;
  const std::string& source_;
};

}  // namespace mwalimu::io::detail
