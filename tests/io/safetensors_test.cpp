#include "mwalimu/io/safetensors.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

std::string with_length(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return bytes + header + data;
}

// The error that a file of these bytes is refused with.
std::string refusal(const std::string& bytes) {
  const test::TempDir dir;
  write_file(dir / "t.safetensors", bytes);
  try {
    SafetensorsFile file(dir / "t.safetensors");
  } catch (const FileError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("t.safetensors"), std::string::npos);
    return error.what();
  }
  return "(accepted)";
}

std::string refusal(const std::string& header, const std::string& data) {
  return refusal(with_length(header, data));
}

#define EXPECT_REFUSED(text, ...) \
  EXPECT_NE(refusal(__VA_ARGS__).find(text), std::string::npos) << refusal(__VA_ARGS__)

TEST(Safetensors, ReadsBackWhatWasWritten) {
  const test::TempDir dir;
  const std::vector<float> weight{1, 2, 3, 4, 5, 6};
  const std::vector<std::uint8_t> bytes{7, 8, 9};
  const std::vector<double> scalar{0.1};
  const std::vector<std::int64_t> steps{-1, std::numeric_limits<std::int64_t>::min()};
  const std::vector<half> halves{half(0.5f)};
  const std::vector<TensorInfo> tensors{
      tensor_info<std::uint8_t>("bytes", {3}, bytes),
      tensor_info<float>("0.weight \"\\\xc3\xa9\n", {2, 3}, weight),
      tensor_info<double>("scalar", {}, scalar),
      tensor_info<std::int64_t>("steps", {2}, steps),
      tensor_info<half>("halves", {1}, halves),
      tensor_info<float>("empty", {0, 4}, {}),
  };
  write_safetensors(dir / "t.safetensors", tensors, {{"format", "pt"}, {"note", "a\"b"}});

  const SafetensorsFile file(dir / "t.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("note"), "a\"b");
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors()[i].name, tensors[i].name);
    EXPECT_EQ(file.tensors()[i].dtype, tensors[i].dtype);
    EXPECT_EQ(file.tensors()[i].shape, tensors[i].shape);
    // Aligned to its element: what PyTorch's loader asks for.
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.tensors()[i].bytes.data()) %
                  dtype_size(tensors[i].dtype),
              0u);
  }
  EXPECT_EQ(file.at("bytes").values<std::uint8_t>(), bytes);
  EXPECT_EQ(file.at(tensors[1].name).values<float>(), weight);
  EXPECT_EQ(file.at("scalar").values<double>(), scalar);
  EXPECT_EQ(file.at("scalar").numel(), 1);
  EXPECT_EQ(file.at("steps").values<std::int64_t>(), steps);
  EXPECT_EQ(file.at("halves").values<half>(), halves);
  EXPECT_EQ(file.at("empty").numel(), 0);
  EXPECT_EQ(file.find("none"), nullptr);
  EXPECT_THROW(file.at("none"), FileError);
  EXPECT_THROW(file.at("scalar").values<float>(), ValueError);
}

// The bytes themselves, by hand: what another program will read.
TEST(Safetensors, WritesTheFormatsBytes) {
  const test::TempDir dir;
  const std::vector<std::int32_t> values{1, -2};
  const std::vector<TensorInfo> tensors{tensor_info<std::int32_t>("a", {2}, values)};
  write_safetensors(dir / "t", tensors);
  const std::string header = R"({"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}  )";
  ASSERT_EQ(header.size() % 8, 0u);
  EXPECT_EQ(read_file(dir / "t"),
            with_length(header, std::string("\x01\0\0\0\xfe\xff\xff\xff", 8)));
  write_safetensors(dir / "none", {});
  EXPECT_EQ(read_file(dir / "none"), with_length("{}      ", ""));
  EXPECT_TRUE(SafetensorsFile(dir / "none").tensors().empty());
}

TEST(Safetensors, ReadsDataThatIsNotAligned) {
  const test::TempDir dir;
  write_file(dir / "t", with_length(R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},)"
                                    R"("a":{"data_offsets":[0,1],"shape":[1],"dtype":"U8"}})",
                                    std::string("\x05\0\0\x80\x3f", 5)));
  const SafetensorsFile file(dir / "t");
  EXPECT_EQ(file.tensors()[0].name, "b");
  EXPECT_EQ(file.at("b").values<float>(), std::vector<float>{1.0f});
  EXPECT_EQ(file.at("a").values<std::uint8_t>(), std::vector<std::uint8_t>{5});
}

TEST(Safetensors, RefusesABrokenLength) {
  EXPECT_REFUSED("too few for a header", std::string());
  EXPECT_REFUSED("too few for a header", std::string("\x02\0\0\0", 4));
  EXPECT_REFUSED("but only 2 follow", std::string("\x03\0\0\0\0\0\0\0{}", 10));
  EXPECT_REFUSED("more than the 100000000 allowed", std::string(8, '\xff') + "{}");
  EXPECT_REFUSED("does not start with '{'", "", "");
  EXPECT_REFUSED("does not start with '{'", "\xef\xbb\xbf{}", "");
}

TEST(Safetensors, RefusesABrokenHeader) {
  EXPECT_REFUSED("not JSON", "{", "");
  EXPECT_REFUSED("not JSON", "{}}", "");
  EXPECT_REFUSED("zero byte", std::string("{}\0{", 4), "");
  EXPECT_REFUSED("where none belongs", R"({"a":[]})", "");
  EXPECT_REFUSED("where none belongs", R"({"a":null})", "");
  EXPECT_REFUSED("where none belongs", R"({"a":{"dtype":3,"shape":[],"data_offsets":[0,4]}})",
                 "1234");
  EXPECT_REFUSED("where none belongs", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})",
                 "1234");
  EXPECT_REFUSED("where none belongs",
                 R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "1234");
  EXPECT_REFUSED("where none belongs",
                 R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", "1234");
  EXPECT_REFUSED("where none belongs",
                 R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})",
                 "1234");
  EXPECT_REFUSED("where none belongs",
                 R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", "1234");
  EXPECT_REFUSED("wants two data_offsets",
                 R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "1234");
  EXPECT_REFUSED("wants dtype, shape and data_offsets", R"({"a":{"dtype":"F32","shape":[1]}})", "");
  EXPECT_REFUSED("unknown field 'strides'",
                 R"({"a":{"dtype":"F32","shape":[1],"strides":[1],"data_offsets":[0,4]}})", "1234");
  EXPECT_REFUSED("repeats 'shape'",
                 R"({"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", "1234");
  EXPECT_REFUSED("names 'a' twice",
                 R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                 "12");
  EXPECT_REFUSED("without a name", R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "1");
  EXPECT_REFUSED("where none belongs", R"({"__metadata__":{"a":1}})", "");
  EXPECT_REFUSED("names '__metadata__' twice", R"({"__metadata__":{},"__metadata__":{}})", "");
  EXPECT_REFUSED("names metadata 'a' twice", R"({"__metadata__":{"a":"1","a":"2"}})", "");
  EXPECT_REFUSED("element type 'F8_E4M3', which is not supported",
                 R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "1");
}

// Nesting costs neither stack nor memory: the first bracket out of place ends the reading.
TEST(Safetensors, RefusesDeepNesting) {
  EXPECT_REFUSED("where none belongs", R"({"a":)" + std::string(1 << 20, '[') + "}", "");
  EXPECT_REFUSED("where none belongs", "{\"__metadata__\":{\"a\":" + std::string(1 << 20, '{'), "");
}

TEST(Safetensors, RefusesExtentsThatDoNotCoverTheData) {
  const auto header = [](const std::string& shape, const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + a +
           R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)" + b + "}}";
  };
  EXPECT_EQ(refusal(header("[1]", "[0,4]", "[4,8]"), "12345678"), "(accepted)");
  EXPECT_EQ(refusal(header("[1]", "[4,8]", "[0,4]"), "12345678"), "(accepted)");
  EXPECT_EQ(refusal(header("[0,9223372036854775807,2]", "[4,4]", "[0,4]"), "1234"), "(accepted)");
  EXPECT_REFUSED("cut short", header("[1]", "[0,4]", "[4,8]"), "1234567");
  EXPECT_REFUSED("has 1 bytes after its last tensor", header("[1]", "[0,4]", "[4,8]"), "123456789");
  EXPECT_REFUSED("overlaps another tensor", header("[1]", "[0,4]", "[3,7]"), "1234567");
  EXPECT_REFUSED("overlaps another tensor", header("[1]", "[0,4]", "[0,4]"), "1234");
  EXPECT_REFUSED("leaves a hole", header("[1]", "[0,4]", "[5,9]"), "123456789");
  EXPECT_REFUSED("leaves a hole", header("[1]", "[1,5]", "[5,9]"), "123456789");
  EXPECT_REFUSED("wrong order", header("[1]", "[4,0]", "[4,8]"), "12345678");
  EXPECT_REFUSED("do not fill", header("[2]", "[0,4]", "[4,8]"), "12345678");
  EXPECT_REFUSED("do not fill", header("[]", "[0,8]", "[8,12]"), "123456789012");
  // 4 * 2^31 * 2^31 is 2^64: 0 in 64 bits.
  EXPECT_REFUSED("do not fill", header("[2147483648,2147483648]", "[0,0]", "[0,4]"), "1234");
  EXPECT_REFUSED("do not fill", header("[4611686018427387905]", "[0,4]", "[4,8]"), "12345678");
  EXPECT_REFUSED("cut short", header("[1]", "[0,4]", "[4,18446744073709551615]"), "12345678");
}

// Whatever is done to a file, reading it ends in a FileError or in tensors whose bytes are its own.
TEST(Safetensors, SurvivesEveryTruncationAndRandomDamage) {
  const test::TempDir dir;
  const std::vector<float> values{1, 2, 3, 4};
  const std::vector<TensorInfo> tensors{tensor_info<float>("weight", {2, 2}, values),
                                        tensor_info<float>("bias", {4}, values)};
  write_safetensors(dir / "good", tensors, {{"format", "pt"}});
  const std::string good = read_file(dir / "good");
  const auto try_read = [&](const std::string& bytes) {
    write_file(dir / "bad", bytes);
    try {
      const SafetensorsFile file(dir / "bad");
      unsigned sum = 0;
      for (const TensorInfo& tensor : file.tensors()) {
        for (const std::byte b : tensor.bytes) sum += std::to_integer<unsigned>(b);
      }
      return sum < std::numeric_limits<unsigned>::max();
    } catch (const FileError&) {
      return false;
    }
  };
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(try_read(good.substr(0, n))) << n;
  EXPECT_TRUE(try_read(good));
  RandomStream random(1, Purpose::test);
  int accepted = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string bad = good;
    bad[random.below(bad.size())] ^= static_cast<char>(1u << random.below(8));
    accepted += try_read(bad);
  }
  EXPECT_GT(accepted, 0);    // a flip in the data is another number: no format can see it
  EXPECT_LT(accepted, 250);  // one in the structure is seen
}

TEST(Safetensors, WriterRefusesWhatNoReaderCouldTake) {
  const test::TempDir dir;
  const std::vector<float> values{1, 2};
  const auto write = [&](std::vector<TensorInfo> tensors) {
    write_safetensors(dir / "t", tensors);
  };
  const auto one = tensor_info<float>("a", {2}, values);
  EXPECT_THROW(write({one, one}), ValueError);
  EXPECT_THROW(write({tensor_info<float>("", {2}, values)}), ValueError);
  EXPECT_THROW(write({tensor_info<float>("__metadata__", {2}, values)}), ValueError);
  EXPECT_THROW(write({tensor_info<float>("a\xff", {2}, values)}), ValueError);
  EXPECT_THROW(write({tensor_info<float>("a", {3}, values)}), ValueError);
  EXPECT_THROW(write({tensor_info<float>("a", {-2, -1}, values)}), ValueError);
  EXPECT_FALSE(std::filesystem::exists(dir / "t"));
  EXPECT_THROW(write_safetensors(dir / "none/t", {}), FileError);
}

TEST(Safetensors, NamesAMissingFile) {
  try {
    SafetensorsFile file("/nonexistent/w.safetensors");
    FAIL();
  } catch (const FileError& error) {
    EXPECT_STREQ(error.what(),
                 "cannot read '/nonexistent/w.safetensors': No such file or directory");
  }
}

}  // namespace
}  // namespace mwalimu::io
