#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "mwalimu/data/image.hpp"
#include "mwalimu/io/any_tensor_file.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

using test::Outcome;
using test::run;

class Inspect : public testing::Test {
 protected:
  void expect_says(const std::vector<std::string>& arguments,
                   const std::vector<std::string>& texts) {
    const Outcome result = run(dir_.path(), arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    for (const std::string& text : texts) {
      EXPECT_NE(result.out.find(text), std::string::npos) << text << "\n" << result.out;
    }
  }
  test::TempDir dir_;
};

TEST_F(Inspect, TensorsAreALineEachInEveryFormat) {
  const std::vector<float> values{1, 2, std::numeric_limits<float>::quiet_NaN()};
  const std::vector<io::TensorInfo> one{io::tensor_info<float>("layer.weight", {3}, values)};
  for (const char* name : {"t.safetensors", "t.pth", "t.npz"}) {
    io::write_tensors(dir_ / name, one);
    expect_says({"inspect", (dir_ / name).string()},
                {"1 tensor, 3 elements, 12 bytes\n",
                 "layer.weight  float32 [3] n=3 x∈[1, 2] μ=1.5 σ=0.707 [1, 2, nan] 1 NaN!\n",
                 "1 tensor holds NaN or Inf! (layer.weight)\n"});
  }
  io::write_tensors(dir_ / "t.npy", one);
  expect_says({"inspect", (dir_ / "t.npy").string()}, {"t.npy  float32 [3] n=3"});
  const Outcome filtered =
      run(dir_.path(), {"inspect", (dir_ / "t.npz").string(), "--filter", "x"});
  EXPECT_EQ(filtered.out.find("layer.weight"), std::string::npos);
}

TEST_F(Inspect, ImagesShowTheirStatisticsAndThemselvesWhereAsked) {
  data::Image image(4, 6);
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) image.pixels[i] = 200;
  data::write_image(dir_ / "a.png", image);
  const std::string path = (dir_ / "a.png").string();
  expect_says({"inspect", path},
              {"4 x 6 pixels", "red   x∈[200, 200] μ=200 σ=0", "green x∈[0, 0]"});
  EXPECT_EQ(run(dir_.path(), {"inspect", path}).out.find('\x1b'), std::string::npos);
  expect_says({"inspect", path, "--picture", "on", "--columns", "6"},
              {"\x1b[38;2;200;0;0m", "▀▀▀▀▀▀"});
}

TEST_F(Inspect, DataSetsAreCounted) {
  ASSERT_EQ(run(dir_.path(), {"make_rice", "--out", (dir_ / "rice").string(), "--pairs", "3",
                              "--test-pairs", "1", "--size", "16"})
                .code,
            0);
  expect_says({"inspect", (dir_ / "rice").string()},
              {"a data set of 8 images", "train: 6 images, 3 pairs, 3 rgb, 3 rgn", "8 of 16 x 16",
               "the same picture more than once: 0"});
}

// Statistics are summed in an order that does not depend on the threads.
TEST_F(Inspect, ThreadsCountAndNotTheResult) {
  std::vector<float> values(200'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1001) / 7;
  const std::vector<io::TensorInfo> one{io::tensor_info<float>("w", {200'000}, values)};
  io::write_tensors(dir_ / "t.npz", one);
  const std::string path = (dir_ / "t.npz").string();
  const Outcome alone = run(dir_.path(), {"inspect", path, "--threads", "1"});
  EXPECT_EQ(alone.code, 0);
  EXPECT_EQ(run(dir_.path(), {"inspect", path, "--threads", "3"}).out, alone.out);
  EXPECT_EQ(run(dir_.path(), {"inspect", path, "--threads", "-1"}).code, 2);
}

TEST_F(Inspect, WrongInputIsOneLine) {
  io::write_file(dir_ / "notes.txt", "x");
  io::write_file(dir_ / "t.pth", "x");
  for (const char* name : {"notes.txt", "t.pth", "none.npz", "."}) {
    const Outcome result = run(dir_.path(), {"inspect", (dir_ / name).string()});
    EXPECT_EQ(result.code, 2) << name;
    EXPECT_EQ(result.error_lines(), 1) << result.err;
  }
}

}  // namespace
}  // namespace mwalimu
