#include "mwalimu/io/pickle.hpp"

#include <gtest/gtest.h>

#include <string>

namespace mwalimu::io {
namespace {

using Kind = PickleValue::Kind;
using namespace std::string_literals;

bool allow(std::string_view name) { return name == "collections.OrderedDict" || name == "a.B"; }

Pickle read(const std::string& text, const PickleLimits& limits = {}) {
  return Pickle(std::as_bytes(std::span(text.data(), text.size())), "pickle 't'", allow, limits);
}
std::string refusal(const std::string& text, const PickleLimits& limits = {}) {
  try {
    read(text, limits);
  } catch (const FileError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "(accepted)";
}
#define EXPECT_REFUSED(text, ...) \
  EXPECT_NE(refusal(__VA_ARGS__).find(text), std::string::npos) << refusal(__VA_ARGS__)

// Bytes of pickle.dumps(x, protocol) by CPython 3.11.
TEST(Pickle, ReadsNumbersAndText) {
  // (None, True, False, 7, 300, -1, 1 << 40, -(1 << 40), 0.5, "é", b"x")
  const std::string text =
      "\x80\x04\x95\x31\0\0\0\0\0\0\0(N\x88\x89K\x07M,\x01J\xff\xff\xff\xff\x8a\x06\0\0\0\0\0\x01"
      "\x8a\x06\0\0\0\0\0\xffG?\xe0\0\0\0\0\0\0\x8c\x02\xc3\xa9\x94"s +
      "C\x01x\x94t\x94."s;
  const Pickle pickle = read(text);
  const auto& items = pickle[pickle.root()].items;
  ASSERT_EQ(pickle[pickle.root()].kind, Kind::tuple);
  ASSERT_EQ(items.size(), 11u);
  EXPECT_EQ(pickle[items[0]].kind, Kind::none);
  EXPECT_EQ(pickle[items[1]].kind, Kind::boolean);
  EXPECT_EQ(pickle[items[1]].integer, 1);
  EXPECT_EQ(pickle[items[2]].integer, 0);
  EXPECT_EQ(pickle[items[3]].integer, 7);
  EXPECT_EQ(pickle[items[4]].integer, 300);
  EXPECT_EQ(pickle[items[5]].integer, -1);
  EXPECT_EQ(pickle[items[6]].integer, std::int64_t{1} << 40);
  EXPECT_EQ(pickle[items[7]].integer, -(std::int64_t{1} << 40));
  EXPECT_EQ(pickle[items[8]].real, 0.5);
  EXPECT_EQ(pickle[items[9]].text, "\xc3\xa9");
  EXPECT_EQ(pickle[items[10]].text, "x");
}

TEST(Pickle, ReadsContainersThatShareValues) {
  // x = [1]; {"a": x, "b": x}, protocol 2
  const std::string text =
      "\x80\x02}q\0(X\x01\0\0\0aq\x01]q\x02K\x01"
      "aX\x01\0\0\0bq\x03h\x02u."s;
  const Pickle pickle = read(text);
  const auto& items = pickle[pickle.root()].items;
  ASSERT_EQ(pickle[pickle.root()].kind, Kind::dict);
  ASSERT_EQ(items.size(), 4u);
  EXPECT_EQ(pickle[items[0]].text, "a");
  EXPECT_EQ(items[1], items[3]);
  EXPECT_EQ(pickle[items[1]].kind, Kind::list);
  EXPECT_EQ(pickle[pickle[items[1]].items[0]].integer, 1);
}

TEST(Pickle, KeepsCallsAsObjects) {
  // OrderedDict() with one pair and a state
  const std::string text =
      "\x80\x02"
      "ccollections\nOrderedDict\n)R(X\x01\0\0\0kK\x01u}b."s;
  const Pickle pickle = read(text);
  const PickleValue& object = pickle[pickle.root()];
  ASSERT_EQ(object.kind, Kind::object);
  EXPECT_EQ(pickle.global_name(object.items[PickleValue::kCallable]), "collections.OrderedDict");
  EXPECT_EQ(pickle[object.items[PickleValue::kPairs]].items.size(), 2u);
  EXPECT_EQ(pickle[object.items[PickleValue::kState]].kind, Kind::dict);
  EXPECT_EQ(object.items[PickleValue::kElements], 0u);
  const std::string call =
      "\x80\x04\x8c\x01"
      "a\x8c\x01"
      "B\x93)\x81."s;  // a.B.__new__(a.B)
  const Pickle stacked = read(call);
  EXPECT_EQ(stacked.global_name(stacked[stacked.root()].items[PickleValue::kCallable]), "a.B");
}

TEST(Pickle, RefusesNamesThatAreNotAllowed) {
  EXPECT_REFUSED("asks for 'posix.system', which is not allowed in weights; nothing was executed",
                 "\x80\x02"
                 "cposix\nsystem\nX\x02\0\0\0ls\x85R."s);
  EXPECT_REFUSED("asks for 'os.system'", "\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R."s);
  EXPECT_REFUSED("the opcode 105", "\x80\x02(X\x02\0\0\0lsios\nsystem\n."s);  // INST
  EXPECT_REFUSED("calls what cannot be called", "\x80\x02K\x01)R."s);
}

TEST(Pickle, RefusesABrokenStack) {
  EXPECT_REFUSED("does not start as one", "}."s);
  EXPECT_REFUSED("is of protocol 1", "\x80\x01}."s);
  EXPECT_REFUSED("is cut short", "\x80\x02}"s);
  EXPECT_REFUSED("is cut short",
                 "\x80\x02X\xff\xff\xff\xff"
                 "a."s);
  EXPECT_REFUSED("is cut short",
                 "\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                 "a."s);
  EXPECT_REFUSED("does not end with one value", "\x80\x02."s);
  EXPECT_REFUSED("does not end with one value", "\x80\x02NN."s);
  EXPECT_REFUSED("a value that is not there", "\x80\x02\x85."s);
  EXPECT_REFUSED("a value that is not there", "\x80\x02N(\x85."s);  // below the mark
  EXPECT_REFUSED("a mark that is not there", "\x80\x02t."s);
  EXPECT_REFUSED("a key without a value", "\x80\x02}(Nu."s);
  EXPECT_REFUSED("adds to what is no list",
                 "\x80\x02}K\x01"
                 "a."s);
  EXPECT_REFUSED("a memo that is not there", "\x80\x02h\x05."s);
  EXPECT_REFUSED("gives a state to what has none", "\x80\x02]}b."s);
  EXPECT_REFUSED("arguments that are no tuple",
                 "\x80\x02"
                 "ca\nB\nNR."s);
}

TEST(Pickle, BoundsMemory) {
  EXPECT_REFUSED("numbers a memo", "\x80\x02Nr\xff\xff\xff\xff."s);
  std::string many = "\x80\x02(";
  for (int i = 0; i < 100; ++i) many += ']';
  EXPECT_REFUSED("more than the 50 values", many + "t.", {.values = 50});
  EXPECT_REFUSED("more than the 50 allowed", many + "t.", {.bytes = 50});
  EXPECT_EQ(refusal(many + "t.", {.values = 200}), "(accepted)");
}

// A list that holds itself is a value like any other here; walkers bound their depth.
TEST(Pickle, ReadsAListThatHoldsItself) {
  const Pickle pickle = read("\x80\x02]q\0h\0a."s);
  EXPECT_EQ(pickle[pickle.root()].items[0], pickle.root());
}

}  // namespace
}  // namespace mwalimu::io
