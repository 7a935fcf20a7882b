#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mwalimu/io/any_tensor_file.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/nn/state_dict.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

using io::TensorInfo;
using test::Outcome;

class Convert : public testing::Test {
 protected:
  Outcome convert(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "convert");
    for (std::string& a : arguments) {
      if (a.find('.') != a.npos && !a.ends_with('.')) a = (dir_ / a).string();
    }
    return test::run(dir_.path(), arguments);
  }
  // Exit code 2 and one line that says `text`.
  void expect_wrong(const std::vector<std::string>& arguments, const std::string& text) {
    const Outcome result = convert(arguments);
    EXPECT_EQ(result.code, 2);
    EXPECT_EQ(result.error_lines(), 1) << result.err;
    EXPECT_NE(result.err.find(text), std::string::npos) << result.err;
  }
  models::XResNet small_encoder() {
    auto options = models::xresnet_options("xresnet18");
    options.width = 4;
    models::XResNet encoder(options);
    encoder.initialize(7);
    return encoder;
  }
  test::TempDir dir_;
};

TEST_F(Convert, RoundTripKeepsEveryBit) {
  models::XResNet encoder = small_encoder();
  nn::save_state_dict(dir_ / "a.safetensors", encoder);
  const std::string before = io::read_file(dir_ / "a.safetensors");
  EXPECT_EQ(convert({"a.safetensors", "b.pth"}).code, 0);
  EXPECT_EQ(convert({"b.pth", "c.npz"}).code, 0);
  EXPECT_EQ(convert({"c.npz", "d.safetensors"}).code, 0);
  EXPECT_EQ(io::read_file(dir_ / "d.safetensors"), before);
}

// Ours, under timm's names and back, load as the same network.
TEST_F(Convert, NamesGoThereAndBack) {
  models::XResNet encoder = small_encoder();
  nn::save_state_dict(dir_ / "a.safetensors", encoder);
  EXPECT_EQ(convert({"a.safetensors", "b.pth", "--map-to", "timm"}).code, 0);
  EXPECT_NE(io::TorchFile(dir_ / "b.pth").find("layer2.0.downsample.1.weight"), nullptr);
  const Outcome back =
      convert({"b.pth", "c.safetensors", "--map", "timm", "--arch", "xresnet18", "--width", "4"});
  EXPECT_EQ(back.code, 0) << back.err;
  const io::SafetensorsFile file(dir_ / "c.safetensors");
  EXPECT_EQ(file.metadata().at("arch"), "xresnet18");
  EXPECT_EQ(file.metadata().at("width"), "4");
  models::XResNet loaded = small_encoder();
  nn::load_state_dict(loaded, file);
}

TEST_F(Convert, TakesTheModelOutOfACheckpoint) {
  const std::vector<float> one{1, 2};
  const std::vector<TensorInfo> tensors{io::tensor_info<float>("model.w", {2}, one),
                                        io::tensor_info<float>("opt.w", {2}, one)};
  io::write_tensors(dir_ / "a.safetensors", tensors);
  EXPECT_EQ(convert({"a.safetensors", "b.npz", "--prefix", "model."}).code, 0);
  const io::NpzFile file(dir_ / "b.npz");
  ASSERT_EQ(file.tensors().size(), 1u);
  EXPECT_EQ(file.tensors()[0].name, "w");
  expect_wrong({"a.safetensors", "c.npz", "--prefix", "none."}, "no tensor under 'none.'");
}

TEST_F(Convert, ConvertsRealTensorsOnly) {
  const std::vector<float> values{1.5f, 1e30f};
  const std::vector<std::int64_t> steps{7};
  const std::vector<TensorInfo> tensors{io::tensor_info<float>("w", {2}, values),
                                        io::tensor_info<std::int64_t>("n", {}, steps)};
  io::write_tensors(dir_ / "a.safetensors", tensors);
  EXPECT_EQ(convert({"a.safetensors", "b.pth", "--dtype", "bfloat16"}).code, 0);
  const io::TorchFile file(dir_ / "b.pth");
  EXPECT_EQ(file.at("w").values<bfloat16>()[0], bfloat16(1.5f));
  EXPECT_EQ(file.at("n").values<std::int64_t>(), steps);
  expect_wrong({"a.safetensors", "c.pth", "--dtype", "float16"}, "w: 1 values are too large");
  const Outcome loose =
      convert({"a.safetensors", "c.pth", "--dtype", "float16", "--strict", "off"});
  EXPECT_EQ(loose.code, 0);
  EXPECT_NE(loose.out.find("became infinite"), std::string::npos);
}

TEST_F(Convert, WrongInputLeavesNoFileAndReplacesNone) {
  models::XResNet encoder = small_encoder();
  nn::save_state_dict(dir_ / "a.safetensors", encoder);
  expect_wrong({"a.safetensors", "a.safetensors"}, "--overwrite");
  expect_wrong({"a.safetensors", "b.h5"}, "want a name that ends in");
  expect_wrong({"none.pth", "b.npz"}, "none.pth");
  expect_wrong({"a.safetensors", "b.pth", "--map", "timm"}, "name map timm");
  expect_wrong({"a.safetensors", "b.pth", "--map", "torchvision"}, "does not know");
  expect_wrong({"a.safetensors", "b.pth", "--arch", "xresnet34", "--width", "4"}, "missing");
  expect_wrong({"a.safetensors", "b.pth", "--arch", "xresnet18", "--width", "8"},
               "of another shape");
  io::write_file(dir_ / "cut.pth", io::read_file(dir_ / "a.safetensors").substr(0, 1000));
  expect_wrong({"cut.pth", "b.pth"}, "cut.pth' is not a zip archive");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "b.pth"));
  EXPECT_EQ(convert({"a.safetensors", "a.safetensors", "--overwrite"}).code, 0);
}

}  // namespace
}  // namespace mwalimu
