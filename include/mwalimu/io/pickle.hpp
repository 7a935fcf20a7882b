// io/pickle: Python's pickles as inert values. Nothing is imported, called or executed: what a
// pickle would call becomes an object value that names it, and names that are not allowed are
// refused.
//
// A pickle is a program for a stack machine; the opcodes here are those of protocols 2 to 4 that
// CPython writes for numbers, text, containers and objects.
// Source: CPython's pickletools (the opcodes' documentation) and PEP 307, PEP 3154.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::io {

/// A value of a pickle. Values refer to each other by their index in Pickle; they may be shared
/// and, in a hostile file, contain themselves: whoever walks over them bounds the depth and the
/// steps.
struct PickleValue {
  using Index = std::uint32_t;
  enum class Kind : std::uint8_t {
    none,
    boolean,  ///< integer: 0 or 1
    integer,  ///< 64 bits
    real,
    text,   ///< text: UTF-8 or bytes
    other,  ///< of no use to us: an integer of more than 64 bits
    tuple,
    list,
    set,
    dict,        ///< items: key, value, key, value, ...
    global,      ///< items: module, name, both text
    object,      ///< items: kCallable .. kState; those absent are value 0, which is None
    persistent,  ///< items: the id that stands for something outside the pickle
  };
  enum ObjectPart { kCallable, kArguments, kElements, kPairs, kState, kObjectParts };

  Kind kind = Kind::none;
  union {
    std::int64_t integer = 0;
    double real;
  };
  std::string_view text;  ///< in the pickle's own bytes
  std::vector<Index> items;
};

struct PickleLimits {
  std::size_t bytes = std::size_t{32} << 20;  ///< of the pickle
  std::size_t values = 1'000'000;             ///< made by it: about 64 bytes of memory each
};

/// All values of one pickle. Memory is bounded by the pickle's size and PickleLimits.
class Pickle {
 public:
  using Index = PickleValue::Index;
  using Kind = PickleValue::Kind;
  /// Which names a pickle may mention: allow("collections.OrderedDict").
  using Allow = std::function<bool(std::string_view name)>;

  /// @param bytes   the pickle; must outlive this.
  /// @param source  what errors call it.
  /// @throws FileError  the bytes are no sound pickle, pass the limits, or name what is not
  /// allowed.
  Pickle(std::span<const std::byte> bytes, std::string source, const Allow& allow,
         const PickleLimits& limits = {});

  Index root() const { return root_; }
  const PickleValue& operator[](Index i) const { return values_[i]; }
  const std::string& source() const { return source_; }

  /// "module.name" of a global, else empty.
  std::string global_name(Index i) const {
    const PickleValue& value = values_[i];
    if (value.kind != Kind::global) return {};
    return std::string(values_[value.items[0]].text) + "." +
           std::string(values_[value.items[1]].text);
  }

 private:
  class Machine;

  std::string source_;
  std::vector<PickleValue> values_;
  Index root_ = 0;
};

}  // namespace mwalimu::io

#include "mwalimu/io/pickle_machine.hpp"
