// io/torch_tensors: from the pickle of a torch file and its storages to tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/pickle.hpp"
#include "mwalimu/io/tensor_info.hpp"
#include "mwalimu/io/torch_globals.hpp"
#include "mwalimu/io/torch_view.hpp"
#include "mwalimu/io/zip.hpp"

namespace mwalimu::io {

/// Tensors that a checkpoint holds under one name, such as "model." beside "opt.".
struct TensorGroup {
  std::string prefix;     ///< with its dot; empty: tensors that the file holds directly
  std::size_t count = 0;  ///< tensors under it
};

namespace detail {

/// Walks over the pickle of a torch file and gathers its tensors. Memory and time are bounded by
/// the file's size, however its tensors overlap.
class TorchTensors {
 public:
  std::vector<TensorInfo> tensors;
  std::vector<std::unique_ptr<std::byte[]>> copies;
  std::vector<TensorGroup> groups;

  TorchTensors(const ZipArchive& archive, std::uint64_t file_bytes)
      : archive_(archive), folder_(find_folder()), budget_(kMostViews * file_bytes) {
    if (const ZipMember* order = archive.find(folder_ + "byteorder")) {
      const auto text = archive.verified(*order);
      check(text_of(text) != "big",
            "is of a big-endian machine; save it again on a little-endian one");
    }
    for (const char* code : {"constants.pkl", "code/__torch__.py"}) {
      check(archive.find(folder_ + code) == nullptr,
            "holds a TorchScript program; save the model's state_dict() instead");
    }
    const Pickle pickle(archive.verified(*archive.find(folder_ + "data.pkl")),
                        "the pickle in " + archive.source(), torch_global_allowed);
    const TorchViewReader views(pickle, archive.source());
    pickle_ = &pickle;
    views_ = &views;
    if (views.call_of(pickle.root()) != TensorCall::none) {
      walk(pickle.root(), "tensor", 0);  // the saved object is a single tensor
    } else {
      walk(pickle.root(), "", 0);
    }
    if (groups.empty()) note_group("", tensors.size());
    pickle_ = nullptr;
    views_ = nullptr;
  }

 private:
  using Index = Pickle::Index;
  using Kind = Pickle::Kind;

  static constexpr int kDepth = 64;                 // of nested containers
  static constexpr std::size_t kSteps = 1'000'000;  // values visited: shared ones count each time
  static constexpr std::size_t kLongestName = 1024, kMostTensors = 100'000;
  static constexpr std::uint64_t kMostViews = 8;  // bytes of tensors and names over the file's

  template <class... Args>
  void check(bool sound, const Args&... args) const {
    require<FileError>(sound, archive_.source(), " ", args...);
  }
  static std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  const PickleValue& value(Index i) const { return (*pickle_)[i]; }

  // "archive/" of "archive/data.pkl".
  std::string find_folder() const {
    constexpr std::string_view kPickle = "data.pkl";
    for (const ZipMember& member : archive_.members()) {
      const std::string_view name = member.name;
      if (!name.ends_with(kPickle)) continue;
      const std::string_view folder = name.substr(0, name.size() - kPickle.size());
      if (folder.empty() || folder.find('/') == folder.size() - 1) return std::string(folder);
    }
    mwalimu::detail::fail<FileError>(archive_.source(),
                                     " is a zip archive without data.pkl, so not of torch.save");
  }

  void walk(Index i, const std::string& path, int depth) {
    check(++steps_ <= kSteps, "nests values without end: more than ", kSteps, " in all");
    check(depth <= kDepth, "nests values deeper than ", kDepth);
    const PickleValue& v = value(i);
    switch (v.kind) {
      case Kind::dict:
        return walk_pairs(v.items, path, depth);
      case Kind::tuple:
      case Kind::list:
      case Kind::set:
        for (std::size_t k = 0; k < v.items.size(); ++k) {
          walk_entry(v.items[k], path, std::to_string(k), depth);
        }
        return;
      case Kind::object:
        return walk_object(i, path, depth);
      default:
        return;
    }
  }
  void walk_entry(Index i, const std::string& path, std::string_view key, int depth) {
    const Kind kind = value(i).kind;
    const bool holds = kind == Kind::dict || kind == Kind::list || kind == Kind::tuple ||
                       kind == Kind::set || kind == Kind::object;
    if (!holds) {
      check(++steps_ <= kSteps, "nests values without end: more than ", kSteps, " in all");
      return;
    }
    check(path.size() + key.size() < kLongestName, "has a tensor whose name passes ", kLongestName,
          " bytes");
    const std::size_t before = tensors.size();
    const bool is_tensor = views_->call_of(i) != TensorCall::none;
    std::string name = path;
    if (!path.empty()) name += '.';
    name += key;
    walk(i, name, depth + 1);
    if (depth == 0) note_group(is_tensor ? "" : name + ".", tensors.size() - before);
  }
  void walk_pairs(const std::vector<Index>& items, const std::string& path, int depth) {
    for (std::size_t k = 0; k + 1 < items.size(); k += 2) {
      const PickleValue& key = value(items[k]);
      if (key.kind == Kind::text) {
        walk_entry(items[k + 1], path, key.text, depth);  // not copied: it may be megabytes long
      } else if (key.kind == Kind::integer) {
        walk_entry(items[k + 1], path, std::to_string(key.integer), depth);
      } else {
        walk_entry(items[k + 1], path, "#", depth);
      }
    }
  }
  void walk_object(Index i, const std::string& path, int depth) {
    if (views_->call_of(i) != TensorCall::none) return place(path, views_->view(i, path));
    const PickleValue& v = value(i);
    const std::string callable = pickle_->global_name(v.items[PickleValue::kCallable]);
    check(!callable.starts_with("torch._utils._rebuild"), "has a tensor ", quoted_text(path),
          " of a kind that is not supported (", callable, "); save dense tensors");
    // OrderedDict([(key, value), ...]) or OrderedDict({...}), as older Pythons wrote it.
    if (is_dict_class(callable)) {
      for (const Index argument : value(v.items[PickleValue::kArguments]).items) {
        if (value(argument).kind == Kind::dict) walk(argument, path, depth);
        if (value(argument).kind != Kind::list) continue;
        for (const Index pair : value(argument).items) {
          const auto& items = value(pair).items;
          if (value(pair).kind == Kind::tuple || value(pair).kind == Kind::list) {
            if (items.size() == 2) walk_pairs(items, path, depth);
          }
        }
      }
    } else {
      walk(v.items[PickleValue::kState], path, depth + 1);  // a dictionary's is _metadata
    }
    walk(v.items[PickleValue::kElements], path, depth + 1);
    if (const Index pairs = v.items[PickleValue::kPairs]; pairs != 0) {
      walk_pairs(value(pairs).items, path, depth);
    }
  }
  void note_group(const std::string& prefix, std::size_t count) {
    if (count == 0) return;
    for (TensorGroup& group : groups) {
      if (group.prefix == prefix) {
        group.count += count;
        return;
      }
    }
    check(groups.size() < 4096, "has more than 4096 entries that hold tensors");
    groups.push_back({prefix, count});
  }

  void place(const std::string& path, const TorchView& view);
  std::span<const std::byte> storage(const TorchView& view, const std::string& shown);

  const ZipArchive& archive_;
  std::string folder_;
  std::uint64_t budget_;            ///< bytes that tensors may still have
  const Pickle* pickle_ = nullptr;  // while the constructor runs
  const TorchViewReader* views_ = nullptr;
  std::size_t steps_ = 0;
  std::unordered_set<std::string_view> verified_;
};

/// The bytes of the view's storage, whose checksum has been verified once.
inline std::span<const std::byte> TorchTensors::storage(const TorchView& view,
                                                        const std::string& shown) {
  const ZipMember* member = archive_.find(folder_ + "data/" + std::string(view.key));
  check(member != nullptr, "lacks the storage ", quoted_text(view.key), " of tensor ", shown);
  if (verified_.insert(member->name).second) archive_.verified(*member);
  std::int64_t bytes = 0;
  check(!__builtin_mul_overflow(view.stored, static_cast<std::int64_t>(dtype_size(view.dtype)),
                                &bytes) &&
            static_cast<std::uint64_t>(bytes) == member->bytes.size(),
        "gives the storage of tensor ", shown, " ", view.stored, " elements, which its ",
        member->bytes.size(), " bytes are not");
  return member->bytes;
}

/// Adds the tensor that a view shows, as it lies in the file or, where it is strided, copied.
inline void TorchTensors::place(const std::string& path, const TorchView& view) {
  const std::string shown = quoted_text(path);
  check(tensors.size() < kMostTensors, "has more than ", kMostTensors, " tensors");
  const std::span<const std::byte> stored = storage(view, shown);
  const std::size_t item = dtype_size(view.dtype), rank = view.shape.size();
  const auto size = byte_size(view.shape, view.dtype);
  check(size.has_value(), "gives tensor ", shown, " a shape beyond any memory");
  check(*size <= budget_ && path.size() <= budget_ - *size,
        "shows the same bytes as too many tensors, at tensor ", shown);
  budget_ -= *size + path.size();
  TensorInfo info{path, view.dtype, view.shape, {}};
  if (*size > 0) {
    // The last element, and whether the elements follow each other.
    std::int64_t last = view.offset, step = 1;
    bool dense = true;
    for (std::size_t d = rank; d-- > 0;) {
      if (view.shape[d] == 1) continue;
      std::int64_t reach = 0;
      check(!__builtin_mul_overflow(view.shape[d] - 1, view.strides[d], &reach) &&
                !__builtin_add_overflow(last, reach, &last),
            "gives tensor ", shown, " strides beyond its storage");
      dense = dense && view.strides[d] == step;
      step *= view.shape[d];
    }
    check(last < view.stored, "shows in tensor ", shown, " elements up to ", last,
          ", but its storage has ", view.stored);
    const std::size_t count = static_cast<std::size_t>(*size) / item;
    if (dense) {
      info.bytes = stored.subspan(static_cast<std::size_t>(view.offset) * item, count * item);
    } else {
      check(static_cast<std::int64_t>(count) <= view.stored, "repeats elements in tensor ", shown,
            " (an expanded view); save x.contiguous()");
      auto copy = std::make_unique<std::byte[]>(count * item);
      std::vector<std::int64_t> at(rank, 0), strides = view.strides;
      for (std::size_t d = 0; d < rank; ++d) {
        if (view.shape[d] == 1) strides[d] = 0;  // never stepped by, and of any size
      }
      std::int64_t from = view.offset;
      for (std::size_t n = 0; n < count; ++n) {
        std::memcpy(copy.get() + n * item, stored.data() + static_cast<std::size_t>(from) * item,
                    item);
        for (std::size_t d = rank; d-- > 0;) {
          from += strides[d];
          if (++at[d] < view.shape[d]) break;
          from -= strides[d] * view.shape[d];
          at[d] = 0;
        }
      }
      info.bytes = {copy.get(), count * item};
      copies.push_back(std::move(copy));
    }
  }
  tensors.push_back(std::move(info));
}

}  // namespace detail

}  // namespace mwalimu::io
