// io/pickle_machine: the stack machine that a pickle is a program for.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/pickle.hpp"

namespace mwalimu::io {

/// The stack machine. Every opcode checks what it takes from the stack.
class Pickle::Machine {
 public:
  Machine(Pickle& pickle, std::span<const std::byte> bytes, const Allow& allow,
          const PickleLimits& limits)
      : pickle_(pickle),
        text_(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
        allow_(allow),
        limits_(limits) {}

  void run() {
    check(text_.size() <= limits_.bytes, "has ", text_.size(), " bytes, more than the ",
          limits_.bytes, " allowed");
    make(Kind::none);  // value 0
    check(text_.starts_with('\x80'), "does not start as one of protocol 2 or later");
    while (step()) {
    }
    check(stack_.size() == 1 && marks_.empty(), "does not end with one value");
    pickle_.root_ = stack_[0];
  }

 private:
  template <class... Args>
  void check(bool sound, const Args&... args) const {
    require<FileError>(sound, pickle_.source_, " ", args...);
  }
  PickleValue& value(Index i) { return pickle_.values_[i]; }
  Index make(Kind kind) {
    check(pickle_.values_.size() < limits_.values, "makes more than the ", limits_.values,
          " values allowed");
    pickle_.values_.emplace_back().kind = kind;
    return static_cast<Index>(pickle_.values_.size() - 1);
  }

  std::uint64_t number(int width) {
    const std::string_view bytes = take(static_cast<std::uint64_t>(width));
    return read_number(bytes);
  }
  static std::uint64_t read_number(std::string_view bytes) {
    std::uint64_t result = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) {
      result = result << 8 | static_cast<unsigned char>(bytes[i]);
    }
    return result;
  }
  std::string_view take(std::uint64_t length) {
    check(length <= text_.size() - at_, "is cut short");
    const std::string_view bytes = text_.substr(at_, static_cast<std::size_t>(length));
    at_ += static_cast<std::size_t>(length);
    return bytes;
  }
  std::string_view line() {
    const std::size_t end = text_.find('\n', at_);
    check(end != text_.npos, "is cut short");
    const std::string_view bytes = text_.substr(at_, end - at_);
    at_ = end + 1;
    return bytes;
  }

  Index pop() {
    // What lies below a mark belongs to the value that the mark begins.
    check(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "takes a value that is not there");
    const Index top = stack_.back();
    stack_.pop_back();
    return top;
  }
  Index top() const {
    check(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "takes a value that is not there");
    return stack_.back();
  }
  std::vector<Index> pop_to_mark() {
    check(!marks_.empty(), "takes a mark that is not there");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Index> taken(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return taken;
  }

  bool push(Index i) {
    stack_.push_back(i);
    return true;
  }
  bool push_integer(std::int64_t n, Kind kind = Kind::integer) {
    const Index i = make(kind);
    value(i).integer = n;
    return push(i);
  }
  bool push_text(std::string_view text) {
    const Index i = make(Kind::text);
    value(i).text = text;
    return push(i);
  }
  bool push_items(Kind kind, std::vector<Index> items) {
    const Index i = make(kind);
    value(i).items = std::move(items);
    return push(i);
  }
  // Two's complement of any width.
  bool push_long(std::uint64_t width) {
    const std::string_view bytes = take(width);
    if (bytes.size() > 8) return push(make(Kind::other));
    std::uint64_t bits = read_number(bytes);
    const bool negative = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80) != 0;
    if (negative && bytes.size() < 8) bits |= ~std::uint64_t{0} << (8 * bytes.size());
    return push_integer(static_cast<std::int64_t>(bits));
  }
  bool push_global(Index module, Index name) {
    check(value(module).kind == Kind::text && value(name).kind == Kind::text,
          "names something by what is no text");
    const Index i = make(Kind::global);
    value(i).items = {module, name};
    const std::string full = pickle_.global_name(i);
    check(allow_(full), "asks for ", detail::quoted_text(full),
          ", which is not allowed in weights; "
          "nothing was executed. If the file is to be trusted, load it in PyTorch and save the "
          "model's state_dict()");
    return push(i);
  }
  bool push_object(Index callable, Index arguments) {
    check(value(callable).kind == Kind::global, "calls what cannot be called");
    check(value(arguments).kind == Kind::tuple, "calls something with arguments that are no tuple");
    std::vector<Index> parts(PickleValue::kObjectParts, 0);
    parts[PickleValue::kCallable] = callable;
    parts[PickleValue::kArguments] = arguments;
    return push_items(Kind::object, std::move(parts));
  }
  // The container that elements or pairs go into: the value itself, or an object's part.
  Index container(Kind wanted, PickleValue::ObjectPart part) {
    const Index i = top();
    if (value(i).kind == wanted) return i;
    check(value(i).kind == Kind::object, "adds to what is no ",
          wanted == Kind::dict  ? "dict"
          : wanted == Kind::set ? "set"
                                : "list");
    if (value(i).items[part] == 0) {
      const Index made = make(wanted);
      value(i).items[part] = made;
    }
    return value(i).items[part];
  }
  bool add(Kind wanted, PickleValue::ObjectPart part, const std::vector<Index>& added) {
    check(wanted != Kind::dict || added.size() % 2 == 0, "adds a key without a value");
    auto& items = value(container(wanted, part)).items;
    items.insert(items.end(), added.begin(), added.end());
    return true;
  }
  bool build() {
    const Index state = pop();
    // Attributes of an OrderedDict come this way; those of plain containers do not exist.
    check(value(top()).kind == Kind::object, "gives a state to what has none");
    value(top()).items[PickleValue::kState] = state;
    return true;
  }
  bool remember(std::uint64_t slot) {
    // CPython numbers them without gaps, so a larger one is no memo but an attack on memory.
    check(slot <= limits_.values, "numbers a memo ", slot);
    if (slot >= memo_.size()) memo_.resize(static_cast<std::size_t>(slot) + 1, kUnset);
    if (memo_[static_cast<std::size_t>(slot)] == kUnset) ++memoized_;
    memo_[static_cast<std::size_t>(slot)] = top();
    return true;
  }
  bool recall(std::uint64_t slot) {
    check(slot < memo_.size() && memo_[static_cast<std::size_t>(slot)] != kUnset,
          "recalls a memo that is not there");
    return push(memo_[static_cast<std::size_t>(slot)]);
  }

  bool step();

  static constexpr Index kUnset = std::numeric_limits<Index>::max();

  Pickle& pickle_;
  std::string_view text_;
  const Allow& allow_;
  PickleLimits limits_;
  std::size_t at_ = 0;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  std::vector<Index> memo_;
  std::uint64_t memoized_ = 0;
};

// clang-format off
/// Executes one opcode; false: it was the last.
inline bool Pickle::Machine::step() {
  const std::size_t start = at_;
  const unsigned char opcode = static_cast<unsigned char>(take(1)[0]);
  switch (opcode) {
    case 0x80: {  // PROTO
      const std::uint64_t protocol = number(1);
      check(protocol >= 2 && protocol <= 5, "is of protocol ", protocol, ", want 2 to 4");
      return true;
    }
    case 0x95: take(8); return true;  // FRAME: a length, of use to streams
    case '.': return false;           // STOP
    case '(': marks_.push_back(stack_.size()); return true;  // MARK
    case '0': {  // POP, which also takes a mark
      if (!marks_.empty() && marks_.back() == stack_.size()) {
        marks_.pop_back();
      } else {
        pop();
      }
      return true;
    }
    case '1': pop_to_mark(); return true;  // POP_MARK

    case 'N': return push(0);                          // NONE
    case 0x88: return push_integer(1, Kind::boolean);  // NEWTRUE
    case 0x89: return push_integer(0, Kind::boolean);  // NEWFALSE
    case 'J':                                          // BININT
      return push_integer(static_cast<std::int32_t>(static_cast<std::uint32_t>(number(4))));
    case 'K': return push_integer(static_cast<std::int64_t>(number(1)));  // BININT1
    case 'M': return push_integer(static_cast<std::int64_t>(number(2)));  // BININT2
    case 0x8a: return push_long(number(1));                               // LONG1
    case 0x8b: return push_long(number(4));                               // LONG4
    case 'G': {                                                           // BINFLOAT, big-endian
      std::uint64_t bits = 0;
      for (const char c : take(8)) bits = bits << 8 | static_cast<unsigned char>(c);
      const Index i = make(Kind::real);
      value(i).real = std::bit_cast<double>(bits);
      return push(i);
    }
    case 0x8c: case 'U': case 'C': return push_text(take(number(1)));  // SHORT_BINUNICODE, -STRING
    case 'X': case 'T': case 'B': return push_text(take(number(4)));   // BINUNICODE, -STRING, -BYTES
    case 0x8d: case 0x8e: return push_text(take(number(8)));           // BINUNICODE8, BINBYTES8

    case ')': return push_items(Kind::tuple, {});              // EMPTY_TUPLE
    case 't': return push_items(Kind::tuple, pop_to_mark());   // TUPLE
    case 0x85: case 0x86: case 0x87: {                         // TUPLE1, TUPLE2, TUPLE3
      std::vector<Index> items(opcode - 0x84u);
      for (std::size_t i = items.size(); i-- > 0;) items[i] = pop();
      return push_items(Kind::tuple, std::move(items));
    }
    case ']': return push_items(Kind::list, {});              // EMPTY_LIST
    case 'l': return push_items(Kind::list, pop_to_mark());   // LIST
    case 'a': {                                               // APPEND
      const Index item = pop();
      return add(Kind::list, PickleValue::kElements, {item});
    }
    case 'e': return add(Kind::list, PickleValue::kElements, pop_to_mark());  // APPENDS
    case 0x8f: return push_items(Kind::set, {});                              // EMPTY_SET
    case 0x91: return push_items(Kind::set, pop_to_mark());                   // FROZENSET
    case 0x90: return add(Kind::set, PickleValue::kElements, pop_to_mark());  // ADDITEMS
    case '}': return push_items(Kind::dict, {});                              // EMPTY_DICT
    case 's': {                                                               // SETITEM
      const Index item = pop(), key = pop();
      return add(Kind::dict, PickleValue::kPairs, {key, item});
    }
    case 'u': return add(Kind::dict, PickleValue::kPairs, pop_to_mark());  // SETITEMS

    case 'q': return remember(number(1));      // BINPUT
    case 'r': return remember(number(4));      // LONG_BINPUT
    case 0x94: return remember(memoized_);     // MEMOIZE
    case 'h': return recall(number(1));        // BINGET
    case 'j': return recall(number(4));        // LONG_BINGET

    case 'c': {  // GLOBAL
      const Index module = make(Kind::text), name = make(Kind::text);
      value(module).text = line();
      value(name).text = line();
      return push_global(module, name);
    }
    case 0x93: {  // STACK_GLOBAL
      const Index name = pop(), module = pop();
      return push_global(module, name);
    }
    case 'R': case 0x81: {  // REDUCE, NEWOBJ
      const Index arguments = pop(), callable = pop();
      return push_object(callable, arguments);
    }
    case 'b': return build();                              // BUILD
    case 'Q': return push_items(Kind::persistent, {pop()});  // BINPERSID
    default:
      check(false, "has the opcode ", static_cast<int>(opcode), " at its byte ", start,
            ", which weights have no use for");
      return false;
  }
}
// clang-format on

inline Pickle::Pickle(std::span<const std::byte> bytes, std::string source, const Allow& allow,
                      const PickleLimits& limits)
    : source_(std::move(source)) {
  Machine(*this, bytes, allow, limits).run();
}

}  // namespace mwalimu::io
