#include "mwalimu/io/npz.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

TEST(Npz, ReadsBackWhatWasWritten) {
  const test::TempDir dir;
  const std::vector<float> weight{1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> steps{-7};
  const std::vector<TensorInfo> arrays{tensor_info<float>("0.weight", {2, 3}, weight),
                                       tensor_info<std::int64_t>("steps", {}, steps),
                                       tensor_info<double>("none", {0, 3}, {})};
  write_npz(dir / "t.npz", arrays);
  const NpzFile file(dir / "t.npz");
  ASSERT_EQ(file.tensors().size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(file.tensors()[i].name, arrays[i].name);
    EXPECT_EQ(file.tensors()[i].dtype, arrays[i].dtype);
    EXPECT_EQ(file.tensors()[i].shape, arrays[i].shape);
  }
  EXPECT_EQ(file.tensors()[0].values<float>(), weight);
  EXPECT_EQ(file.tensors()[1].values<std::int64_t>(), steps);
}

TEST(Npz, RefusesWhatNumpyLacksAndLeavesNoFile) {
  const test::TempDir dir;
  const std::vector<bfloat16> values{bfloat16(1.0f)};
  const std::vector<TensorInfo> arrays{tensor_info<bfloat16>("x", {1}, values)};
  EXPECT_THROW(write_npz(dir / "t.npz", arrays), ValueError);
  EXPECT_FALSE(std::filesystem::exists(dir / "t.npz"));
}

TEST(Npz, RefusesAMemberThatIsNoArray) {
  const test::TempDir dir;
  const auto refusal = [&](const char* name, const char* content) -> std::string {
    ZipWriter zip(dir / "t.npz");
    zip.add(name, std::string_view(content));
    zip.commit();
    try {
      NpzFile file(dir / "t.npz");
    } catch (const FileError& error) {
      return error.what();
    }
    return "(accepted)";
  };
  EXPECT_NE(refusal("readme.txt", "x").find("'readme.txt' that is no array"), std::string::npos);
  EXPECT_NE(refusal("a.npy", "x").find("member 'a.npy' of npz file"), std::string::npos);
  EXPECT_NE(refusal("a.npy", "x").find("does not start as one"), std::string::npos);
}

}  // namespace
}  // namespace mwalimu::io
