#include "mwalimu/io/atomic_file.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "mwalimu/io/mapped_file.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

namespace fs = std::filesystem;

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const FileError& error) {
    return error.what();
  }
  return "(no FileError)";
}

TEST(AtomicFile, AppearsOnlyAtCommit) {
  const test::TempDir dir;
  AtomicFile file(dir / "a.txt");
  file.write("one ");
  file.write("two");
  EXPECT_FALSE(fs::exists(dir / "a.txt"));
  file.commit();
  EXPECT_EQ(read_file(dir / "a.txt"), "one two");
  EXPECT_EQ(files_in(dir.path()), 1u);
  EXPECT_THROW(file.commit(), FileError);
}

TEST(AtomicFile, WithoutCommitLeavesTheOldFileAndNothingElse) {
  const test::TempDir dir;
  write_file(dir / "a.txt", "old");
  {
    AtomicFile file(dir / "a.txt");
    file.write(std::string(1 << 20, 'x'));  // past the buffer: on the disk already
    EXPECT_EQ(files_in(dir.path()), 2u);
  }
  EXPECT_EQ(read_file(dir / "a.txt"), "old");
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(AtomicFile, KeepsTheOrderOfSmallAndLargeWrites) {
  const test::TempDir dir;
  std::string want;
  AtomicFile file(dir / "a.bin");
  for (const std::size_t size : {0u, 1u, 65535u, 2u, 65536u, 65537u, 3u, 1000000u, 5u}) {
    const std::string part(size, static_cast<char>('a' + want.size() % 26));
    file.write(part);
    want += part;
  }
  file.commit();
  EXPECT_EQ(read_file(dir / "a.bin"), want);
}

TEST(AtomicFile, FollowsASymbolicLink) {
  const test::TempDir dir;
  fs::create_directory(dir / "real");
  write_file(dir / "real/a.txt", "old");
  fs::create_symlink("real/a.txt", dir / "link.txt");
  write_file(dir / "link.txt", "new");
  EXPECT_TRUE(fs::is_symlink(dir / "link.txt"));
  EXPECT_EQ(read_file(dir / "real/a.txt"), "new");
}

TEST(AtomicFile, TakesANameOfTheGreatestLength) {
  const test::TempDir dir;
  const std::string name(255, 'n');
  write_file(dir / name, "x");
  EXPECT_EQ(read_file(dir / name), "x");
  EXPECT_NE(error_of([&] { write_file(dir / (name + "n"), "x"); }).find("too long"),
            std::string::npos);
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(AtomicFile, NamesAMissingFolder) {
  const test::TempDir dir;
  const std::string error = error_of([&] { AtomicFile file(dir / "missing/a.txt"); });
  EXPECT_NE(error.find("missing/a.txt"), std::string::npos) << error;
  EXPECT_NE(error.find("No such file or directory"), std::string::npos) << error;
  EXPECT_NE(error.find("does not exist, create it first"), std::string::npos) << error;
  write_file(dir / "file", "x");
  EXPECT_NE(error_of([&] { AtomicFile file(dir / "file/a.txt"); }).find("Not a directory"),
            std::string::npos);
  EXPECT_NE(error_of([&] { AtomicFile file(dir.path()); }).find("a folder of that name"),
            std::string::npos);
}

// /proc takes no new files, from anybody: what a read-only folder is to one who may write anywhere.
TEST(AtomicFile, NamesAFolderThatTakesNoFiles) {
  if (!fs::is_directory("/proc/self")) GTEST_SKIP() << "no /proc";
  EXPECT_NE(error_of([&] { AtomicFile file("/proc/self/a.txt"); }).find("cannot write"),
            std::string::npos);
}

TEST(AtomicFile, NamesAFolderThatIsNotWritable) {
  const test::TempDir dir;
  fs::create_directory(dir / "closed");
  fs::permissions(dir / "closed", fs::perms::owner_read | fs::perms::owner_exec);
  if (::access((dir / "closed").c_str(), W_OK) == 0) GTEST_SKIP() << "this user may write anywhere";
  EXPECT_NE(error_of([&] { AtomicFile file(dir / "closed/a.txt"); }).find("is not writable"),
            std::string::npos);
}

TEST(AtomicFile, NamesAFullDisk) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const std::string error = error_of([&] { write_file("/dev/full", "x"); });
  EXPECT_NE(error.find("'/dev/full': No space left on device; free some space"), std::string::npos)
      << error;
  EXPECT_TRUE(fs::is_character_file("/dev/full"));  // written to, not replaced
  AtomicFile large("/dev/full");
  EXPECT_THROW(large.write(std::string(1 << 20, 'x')), FileError);
}

TEST(AtomicFile, WritesToADevice) {
  write_file("/dev/null", "x");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST(ReadFile, RefusesWhatIsNotAFile) {
  const test::TempDir dir;
  EXPECT_NE(error_of([&] { read_file(dir / "none"); }).find("No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { read_file(dir.path()); }).find("is a folder"), std::string::npos);
  EXPECT_NE(error_of([&] { read_file("/dev/zero"); }).find("not a regular file"),
            std::string::npos);
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { read_file(dir / "fifo"); }).find("not a regular file"),
            std::string::npos);
  write_file(dir / "large", "12345");
  EXPECT_EQ(read_file(dir / "large", 5), "12345");
  EXPECT_NE(error_of([&] { read_file(dir / "large", 4); }).find("more than the 4 expected"),
            std::string::npos);
}

TEST(ReadFile, ErrorsAreOneLine) {
  const std::string error = error_of([&] { read_file("no\nsuch\nfile"); });
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

TEST(MappedFile, HoldsTheBytesAfterTheFileIsReplaced) {
  const test::TempDir dir;
  write_file(dir / "a", "before");
  const MappedFile map(dir / "a");
  write_file(dir / "a", "after!");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size()),
            "before");
  write_file(dir / "empty", "");
  EXPECT_TRUE(MappedFile(dir / "empty").bytes().empty());
}

}  // namespace
}  // namespace mwalimu::io
