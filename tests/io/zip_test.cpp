#include "mwalimu/io/zip.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mwalimu/io/zip_writer.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Two members, "a/one" and "two", as ZipWriter writes them.
std::string archive(ZipOptions options = {}) {
  const test::TempDir dir;
  ZipWriter zip(dir / "t.zip", options);
  zip.add("a/one", std::string_view("first"));
  zip.add("two", std::string_view(""));
  zip.commit();
  return read_file(dir / "t.zip");
}

std::string refusal(const std::string& bytes) {
  try {
    const ZipArchive zip(bytes_of(bytes), "file 't'");
    for (const ZipMember& member : zip.members()) zip.verified(member);
  } catch (const FileError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("file 't' ")) << error.what();
    return error.what();
  }
  return "(accepted)";
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}
#define EXPECT_REFUSED(text, bytes) \
  EXPECT_NE(refusal(bytes).find(text), std::string::npos) << refusal(bytes)

TEST(Zip, ChecksumIsTheStandardsOwn) {
  EXPECT_EQ(crc32(bytes_of("123456789")), 0xCBF43926u);  // the check value of CRC-32
  EXPECT_EQ(crc32(bytes_of("")), 0u);
  const std::string text(1000, 'x');
  for (const std::size_t cut : {0u, 1u, 7u, 8u, 9u, 999u}) {
    const auto whole = bytes_of(text);
    EXPECT_EQ(crc32(whole.subspan(cut), crc32(whole.first(cut))), crc32(whole)) << cut;
  }
}

TEST(Zip, ReadsBackWhatWasWritten) {
  for (const bool wide : {false, true}) {
    const std::string bytes = archive({.always_wide = wide});
    const ZipArchive zip(bytes_of(bytes), "t");
    ASSERT_EQ(zip.members().size(), 2u);
    EXPECT_EQ(zip.members()[0].name, "a/one");
    EXPECT_EQ(text_of(zip.verified(*zip.find("a/one"))), "first");
    EXPECT_TRUE(zip.verified(*zip.find("two")).empty());
    EXPECT_EQ(zip.find("three"), nullptr);
    for (const ZipMember& member : zip.members()) {
      EXPECT_EQ((member.bytes.data() - bytes_of(bytes).data()) % 64, 0);
    }
    EXPECT_EQ(archive({.always_wide = wide}), bytes);  // the same members, the same bytes
  }
  EXPECT_NE(archive({.always_wide = true}), archive());
}

TEST(Zip, ReadsAnArchiveWithAComment) {
  std::string bytes = archive();
  bytes[bytes.size() - 2] = 5;
  const ZipArchive zip(bytes_of(bytes += "PK\5\6!"), "t");
  EXPECT_EQ(zip.members().size(), 2u);
}

TEST(Zip, WritesNoNameTwice) {
  const test::TempDir dir;
  ZipWriter zip(dir / "t.zip");
  zip.add("a", std::string_view("1"));
  EXPECT_THROW(zip.add("a", std::string_view("2")), ValueError);
  EXPECT_THROW(zip.add("", std::string_view("2")), ValueError);
}

TEST(Zip, RefusesWhatIsNoArchive) {
  EXPECT_REFUSED("too few for a zip", "");
  EXPECT_REFUSED("no end record", std::string(100, 'x'));
  const std::string whole = archive();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(refusal(whole.substr(0, size)), "(accepted)") << size;
  }
  EXPECT_EQ(refusal(whole), "(accepted)");
}

TEST(Zip, RefusesDamage) {
  const std::string whole = archive();
  EXPECT_REFUSED("checksum differs", replaced(whole, "first", "firsT"));
  std::string changed = whole;
  changed.replace(changed.size() - 6, 4, "\xff\xff\xff\x7f");
  EXPECT_REFUSED("does not lie inside", changed);
  changed = whole;
  changed.replace(changed.size() - 12, 2, "\xfe\xff");
  EXPECT_REFUSED("which its directory does not hold", changed);
}

TEST(Zip, RefusesAMemberThatLeavesTheFile) {
  for (const std::uint64_t size : {std::uint64_t{2}, std::uint64_t{300}, std::uint64_t{1} << 31}) {
    std::string bytes = archive();
    const std::size_t entry = bytes.rfind("PK\1\2");
    for (std::size_t i = 0; i < 4; ++i) {  // both sizes of the empty second member
      bytes[entry + 20 + i] = bytes[entry + 24 + i] = static_cast<char>(size >> (8 * i) & 0xff);
    }
    EXPECT_REFUSED("which do not lie inside the file", bytes);
  }
}

TEST(Zip, RefusesMembersThatOverlap) {
  const test::TempDir dir;
  ZipWriter inner(dir / "inner.zip"), outer(dir / "outer.zip");
  inner.add("b", std::string_view("data"));
  inner.commit();
  outer.add("a", read_file(dir / "inner.zip"));  // holds a member b of its own
  outer.add("b", std::string_view("data"));
  outer.commit();
  std::string bytes = read_file(dir / "outer.zip");
  EXPECT_EQ(refusal(bytes), "(accepted)");
  bytes.replace(bytes.rfind("PK\1\2") + 42, 4, std::string("\x40\0\0\0", 4));
  EXPECT_REFUSED("members that overlap: 'a' and 'b'", bytes);
}

TEST(Zip, RefusesWhatItDoesNotRead) {
  std::string bytes = archive();
  const std::size_t entry = bytes.find("PK\1\2");
  bytes[entry + 10] = 8;
  EXPECT_REFUSED("compressed member 'a/one' (zip method 8, deflate)", bytes);
  bytes = archive();
  bytes[entry + 8] = 1;
  EXPECT_REFUSED("encrypted member 'a/one'", bytes);
}

// Any single byte changed: an error or an archive whose members lie inside; never anything else.
TEST(Zip, SurvivesEveryChangedByte) {
  for (const bool wide : {false, true}) {
    const std::string whole = archive({.always_wide = wide});
    for (std::size_t i = 0; i < whole.size(); ++i) {
      for (const int change : {0x01, 0x80, 0xff}) {
        std::string bytes = whole;
        bytes[i] = static_cast<char>(bytes[i] ^ change);
        refusal(bytes);
      }
    }
  }
}

}  // namespace
}  // namespace mwalimu::io
