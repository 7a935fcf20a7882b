#include "mwalimu/io/npy.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "mwalimu/io/tensor_file.hpp"
#include "support/golden.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

// A file of version 1 with that dict and that data.
std::string npy(const std::string& dict, const std::string& data) {
  std::string bytes = "\x93NUMPY\x01";
  bytes += '\0';
  bytes += static_cast<char>(dict.size() & 0xff);
  bytes += static_cast<char>(dict.size() >> 8);
  return bytes + dict + data;
}

std::string refusal(const std::string& bytes) {
  const test::TempDir dir;
  write_file(dir / "a.npy", bytes);
  try {
    NpyFile file(dir / "a.npy");
  } catch (const FileError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("a.npy"), std::string::npos);
    return error.what();
  }
  return "(accepted)";
}

#define EXPECT_REFUSED(text, bytes) \
  EXPECT_NE(refusal(bytes).find(text), std::string::npos) << refusal(bytes)

template <class T>
void round_trip(const std::vector<std::int64_t>& shape, const std::vector<T>& values) {
  const test::TempDir dir;
  write_npy<T>(dir / "a.npy", shape, values);
  const NpyFile file(dir / "a.npy");
  EXPECT_EQ(file.array().shape, shape);
  EXPECT_EQ(file.array().dtype, dtype_of<T>);
  EXPECT_EQ(file.array().values<T>(), values);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.array().bytes.data()) % 64, 0u);
}

TEST(Npy, ReadsBackWhatWasWritten) {
  round_trip<float>({2, 3}, {1, -2, 0.1f, std::numeric_limits<float>::infinity(), 5, 1e-40f});
  round_trip<double>({}, {0.1});
  round_trip<std::int32_t>({2}, {1, std::numeric_limits<std::int32_t>::min()});
  round_trip<std::int64_t>({1, 1, 1}, {std::numeric_limits<std::int64_t>::max()});
  round_trip<std::uint8_t>({0, 4}, {});
  round_trip<std::uint8_t>({3}, {0, 128, 255});
}

// The file of numpy.arange(2, dtype='i4') by the format's rules, written out by hand.
TEST(Npy, WritesNumpysBytes) {
  const test::TempDir dir;
  const std::vector<std::int32_t> values{0, 1};
  write_npy<std::int32_t>(dir / "a.npy", {2}, values);
  std::string dict = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }";
  dict.resize(117, ' ');
  EXPECT_EQ(read_file(dir / "a.npy"), npy(dict + "\n", std::string("\0\0\0\0\x01\0\0\0", 8)));
}

TEST(Npy, ReadsEveryLegalSpelling) {
  const auto accepts = [](const std::string& dict) {
    return refusal(npy(dict, "12345678")) == "(accepted)";
  };
  EXPECT_TRUE(accepts("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"));
  EXPECT_TRUE(accepts("{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"<f4\"}   \n"));
  EXPECT_TRUE(accepts("{'descr': '<f8', 'fortran_order': False, 'shape': (), }"));
  EXPECT_TRUE(accepts("{'descr': '|u1', 'fortran_order': True, 'shape': (8,), }"));
  std::string two = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", "12345678");
  two[6] = 2;
  two.insert(10, std::string(2, '\0'));
  EXPECT_EQ(refusal(two), "(accepted)");
}

TEST(Npy, RefusesAMalformedFile) {
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  const auto bad = [&](const std::string& from, const std::string& to) {
    std::string dict = good;
    dict.replace(dict.find(from), from.size(), to);
    return npy(dict, "12345678");
  };
  EXPECT_EQ(refusal(bad("<f4", "<f4")), "(accepted)");
  EXPECT_REFUSED("does not start as one", "");
  EXPECT_REFUSED("does not start as one", "\x93NUMPY");
  EXPECT_REFUSED("does not start as one", std::string(100, 'x'));
  std::string version = npy(good, "12345678");
  version[6] = 3;
  EXPECT_REFUSED("has version 3", version);
  std::string longer = npy(good, "12345678");
  longer[9] = '\x7f';
  EXPECT_REFUSED("is cut short", longer);
  std::string huge = npy(good, "12345678");
  huge[6] = 2;
  huge[10] = huge[11] = '\xff';
  EXPECT_REFUSED("more than the", huge);
  EXPECT_REFUSED("not one of an array", bad("{", "["));
  EXPECT_REFUSED("not one of an array", bad("}", ""));
  EXPECT_REFUSED("not one of an array", bad("}", "} x"));
  EXPECT_REFUSED("not one of an array", bad("'fortran_order': False, ", ""));
  EXPECT_REFUSED("not one of an array", bad("'shape': (2,)", "'descr': '<f4'"));
  EXPECT_REFUSED("not one of an array", bad("'shape'", "'shape': (2,), 'shape'"));
  EXPECT_REFUSED("not one of an array", bad("False", "0"));
  EXPECT_REFUSED("not one of an array", bad("(2,)", "(2)"));
  EXPECT_REFUSED("not one of an array", bad("(2,)", "(-2,)"));
  EXPECT_REFUSED("not one of an array", bad("(2,)", "(2 2)"));
  EXPECT_REFUSED("not one of an array", bad("(2,)", "(,)"));
  EXPECT_REFUSED("not one of an array", bad("(2,)", "(99999999999999999999,)"));
  EXPECT_REFUSED("not one of an array", bad("'<f4'", "[('a', '<f4')]"));
  EXPECT_REFUSED("type '>f4', want little-endian", bad("<f4", ">f4"));
  EXPECT_REFUSED("type '|O', want little-endian", bad("<f4", "|O"));
  EXPECT_REFUSED("type '', want little-endian", bad("<f4", ""));
  EXPECT_REFUSED("column-major",
                 npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,2), }", "12345678"));
  EXPECT_REFUSED("do not fill", bad("(2,)", "(3,)"));
  EXPECT_REFUSED("do not fill", bad("(2,)", "(1,)"));
  EXPECT_REFUSED("do not fill", bad("(2,)", "(4611686018427387904,4)"));
  const std::string whole = npy(good, "12345678");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_NE(refusal(whole.substr(0, n)), "(accepted)") << n;
  }
}

TEST(Npy, WriterRefusesWhatDoesNotFit) {
  const test::TempDir dir;
  const std::vector<float> values{1, 2, 3};
  EXPECT_THROW(write_npy<float>(dir / "a.npy", {2}, values), ValueError);
  const std::vector<bfloat16> narrow{bfloat16(1.0f)};
  EXPECT_THROW(write_npy<bfloat16>(dir / "a.npy", {1}, narrow), ValueError);
  EXPECT_THROW(write_npy<float>(dir / "none/a.npy", {3}, values), FileError);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

// Files that numpy itself wrote.
TEST(NpyGolden, ReadsNumpysFiles) {
  const auto folder = golden::folder() / "tsne" / "digits500_p30";
  if (!std::filesystem::exists(folder / "X.npy")) GTEST_SKIP() << "no " << folder.string();
  const auto x = load_npy<float>(folder / "X.npy");
  EXPECT_EQ(x.shape(), (Shape{500, 64}));
  for (const float value : x.span()) ASSERT_TRUE(value >= 0 && value <= 16);
  const auto y = load_npy<std::int32_t>(folder / "y.npy");
  EXPECT_EQ(y.shape(), (Shape{500}));
  const auto map = load_npy<double>(folder / "Y_fixed.npy");
  EXPECT_EQ(map.shape(), (Shape{500, 2}));
  for (const double value : map.span()) {  // rounded to 3 decimals
    ASSERT_NEAR(value * 1000, std::round(value * 1000), 1e-9);
  }
}

// Our header of a file that numpy wrote is numpy's, to the byte.
TEST(NpyGolden, WritesTheHeadersThatNumpyWrote) {
  const auto folder = golden::folder() / "tsne";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder.string();
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".npy") continue;
    SCOPED_TRACE(entry.path().string());
    const NpyFile file(entry.path());
    const std::string header = npy_header(file.array().shape, file.array().dtype);
    EXPECT_EQ(read_file(entry.path()).substr(0, header.size()), header);
    ++files;
  }
  EXPECT_GT(files, 0);
}

TEST(TensorFile, WritesStridedTensorsAndConvertsFloats) {
  const test::TempDir dir;
  auto weight = Tensor<float>::with_strides({2, 3}, {1, 2});
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 3; ++j) weight.data()[i + 2 * j] = static_cast<float>(10 * i + j);
  }
  SafetensorsWriter writer;
  writer.add("weight", weight);
  writer.add("half", Tensor<half>::full({2}, half(0.25f)));
  writer.add("steps", Tensor<std::int64_t>::scalar(7));
  writer.write(dir / "t.safetensors");
  save_npy(dir / "a.npy", weight);

  const std::vector<float> want{0, 1, 2, 10, 11, 12};
  EXPECT_EQ(load_npy<float>(dir / "a.npy").to_vector(), want);
  const SafetensorsFile file(dir / "t.safetensors");
  EXPECT_EQ(load_tensor<float>(file, "weight").to_vector(), want);
  EXPECT_EQ(load_tensor<float>(file, "weight").shape(), (Shape{2, 3}));
  EXPECT_EQ(load_tensor<double>(file, "half").to_vector(), (std::vector<double>{0.25, 0.25}));
  EXPECT_EQ(load_tensor<bfloat16>(file, "weight").to_vector()[5], bfloat16(12.0f));
  EXPECT_EQ(load_tensor<std::int64_t>(file, "steps").item(), 7);
  EXPECT_THROW(load_tensor<float>(file, "steps"), ValueError);
  EXPECT_THROW(load_tensor<std::int32_t>(file, "steps"), ValueError);
  EXPECT_THROW(load_tensor<float>(file, "none"), FileError);
}

TEST(TensorFile, RefusesMoreExtentsThanATensorHas) {
  const test::TempDir dir;
  write_npy<float>(dir / "a.npy", {1, 1, 1, 1, 1, 1}, std::vector<float>{1});
  EXPECT_THROW(load_npy<float>(dir / "a.npy"), FileError);
}

}  // namespace
}  // namespace mwalimu::io
