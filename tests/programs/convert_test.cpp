#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "mwalimu/io/any_tensor_file.hpp"
#include "mwalimu/io/tensor_file.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/input_channels.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/nn/state_dict.hpp"
#include "programs/run_program.hpp"
#include "support/compare.hpp"

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
  void load(models::XResNet& encoder, const char* name) {
    nn::load_state_dict(encoder, io::SafetensorsFile(dir_ / name));
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
  load(loaded, "c.safetensors");
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

// A checkpoint as training programs save it: dicts in a dict.
TEST_F(Convert, FindsTheWeightsInNestedDicts) {
  io::detail::PickleWriter p;
  const auto tensor = [&] {
    p.global("torch._utils", "_rebuild_tensor_v2").opcode('(').opcode('(').text("storage");
    p.global("torch", "FloatStorage").text("0").text("cpu").integer(1).opcode('t').opcode('Q');
    p.integer(0).opcode(')').opcode(')').opcode('\x89').opcode('N').opcode('t').opcode('R');
  };
  p.opcode('}').opcode('(').text("a").opcode('}').text("w");
  tensor();
  p.opcode('s').text("b").opcode('}').text("v");
  tensor();
  p.opcode('s').opcode('u').opcode('.');
  const auto write = [&](const std::string& pickle) {
    io::ZipWriter zip(dir_ / "a.pth");
    zip.add("t/data.pkl", pickle);
    zip.add("t/data/0", std::string_view("\0\0\x80\x3f", 4));
    zip.commit();
  };
  write(p.bytes());
  expect_wrong({"a.pth", "b.npz"},
               "holds 'a.' (1 tensors), 'b.' (1 tensors); choose one by --prefix");
  EXPECT_EQ(convert({"a.pth", "b.npz", "--prefix", "b."}).code, 0);
  EXPECT_EQ(io::NpzFile(dir_ / "b.npz").tensors().at(0).name, "v");
  EXPECT_EQ(convert({"a.pth", "c.npz", "--prefix", ""}).code, 0);
  EXPECT_EQ(io::NpzFile(dir_ / "c.npz").tensors().size(), 2u);
  std::string known = p.bytes();  // "state_dict" for "a"
  known.replace(known.find("X\1"), 6, std::string("X\x0a\0\0\0state_dict", 15));
  write(known);
  const Outcome result = convert({"a.pth", "d.npz"});
  EXPECT_NE(result.out.find("taking 'state_dict.'"), std::string::npos) << result.out << result.err;
  EXPECT_EQ(io::NpzFile(dir_ / "d.npz").tensors().at(0).name, "w");
}

// timm's resnet18d, written out in PyTorch by its description, and the xresnet18 that its weights
// become: the same numbers.
TEST_F(Convert, TimmsNetworkComputesTheSameHere) {
  std::ofstream(dir_ / "timm.py") << R"(
import torch
from torch import nn
import torch.nn.functional as F
torch.manual_seed(3)
class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.downsample = None if i == o else nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))
    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))
class Net(nn.Module):
    def __init__(self, w):
        super().__init__()
        c = lambda i, o, s: nn.Conv2d(i, o, 3, s, 1, bias=False)
        self.conv1 = nn.Sequential(c(3, w // 2, 2), nn.BatchNorm2d(w // 2), nn.ReLU(),
                                   c(w // 2, w // 2, 1), nn.BatchNorm2d(w // 2), nn.ReLU(),
                                   c(w // 2, w, 1))
        self.bn1 = nn.BatchNorm2d(w)
        i = w
        for n in range(4):
            o = w << n
            setattr(self, f'layer{n + 1}', nn.Sequential(Block(i, o, 1 if n == 0 else 2), Block(o, o, 1)))
            i = o
        self.fc = nn.Linear(i, 10)
    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for n in range(4): x = getattr(self, f'layer{n + 1}')(x)
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
net = Net(8)
for m in net.modules():
    if isinstance(m, nn.BatchNorm2d):
        nn.init.uniform_(m.weight, 0.5, 1.5); nn.init.normal_(m.bias)
        m.running_mean.normal_(); m.running_var.uniform_(0.5, 1.5)
net.eval()
x = torch.randn(2, 3, 45, 70)
torch.save({'state_dict': net.state_dict(), 'arch': 'resnet18d'}, 'timm.pth')
with torch.no_grad(): torch.save({'x': x.permute(0, 2, 3, 1), 'y': net(x)}, 'values.pth')
)";
  std::ostringstream command;
  command << "cd '" << dir_.path().string() << "' && /usr/bin/python3 timm.py 2>/dev/null";
  if (std::system(command.str().c_str()) != 0) GTEST_SKIP() << "no PyTorch in /usr/bin/python3";
  const Outcome result = convert(
      {"timm.pth", "ours.safetensors", "--map", "timm", "--arch", "xresnet18", "--width", "8"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find("2 left out by the map timm (fc.weight, fc.bias)"), std::string::npos)
      << result.out;
  auto options = models::xresnet_options("xresnet18");
  options.width = 8;
  models::XResNet encoder(options);
  load(encoder, "ours.safetensors");
  nn::set_training(encoder, false);
  const io::TorchFile values(dir_ / "values.pth");
  const NoGrad no_grad;
  const auto y = encoder(Variable<float>(io::to_tensor<float>(values.at("x")))).value();
  // Sums in another order through 20 layers of float.
  EXPECT_TRUE(test::near_l2(test::to_double(y.to_vector()),
                            test::to_double(values.at("y").values<float>()), 1e-5));
}

// torchvision's classifier and facebook's SwAV become encoders and networks of ours, and go back.
TEST_F(Convert, ResNetsOfTorchvisionAndOfFacebooksSwav) {
  models::Architecture chosen{.arch = "resnet50", .width = 8, .channels = 3,
                              .pooling = models::Pooling::average};
  models::SwavNetwork network(chosen.encoder(), {.hidden = 16, .embedding = 8, .prototypes = 5});
  network.initialize(3);
  const std::vector<float> extra(6);
  const auto with = [&](std::vector<TensorInfo> tensors, const std::string& name) {
    tensors.push_back(io::tensor_info<float>(name, {6}, extra));
    return tensors;
  };
  io::write_torch(dir_ / "a.pth", with(nn::state_dict(network.encoder).tensors, "fc.bias"));
  const Outcome plain = convert({"a.pth", "b.safetensors", "--map", "torchvision", "--arch",
                                 "resnet50", "--width", "8", "--pool", "avg"});
  ASSERT_EQ(plain.code, 0) << plain.err;
  EXPECT_NE(plain.out.find("1 left out by the map torchvision (fc.bias)"), std::string::npos);
  const io::SafetensorsFile file(dir_ / "b.safetensors");
  EXPECT_EQ(models::architecture_of(file), chosen);
  models::Encoder loaded = chosen.encoder();
  nn::load_state_dict(loaded, file);
  EXPECT_EQ(loaded.input_weight().value().to_vector(),
            network.encoder.input_weight().value().to_vector());
  // The whole network under facebook's names, and here again: the mean is its pooling.
  nn::save_state_dict(dir_ / "swav.safetensors", network);
  ASSERT_EQ(convert({"swav.safetensors", "c.pth", "--map-to", "swav"}).code, 0);
  const io::TorchFile theirs(dir_ / "c.pth");
  EXPECT_NE(theirs.find("module.layer1.0.downsample.0.weight"), nullptr);
  EXPECT_NE(theirs.find("module.projection_head.1.running_mean"), nullptr);
  const Outcome back = convert(
      {"c.pth", "d.safetensors", "--map", "swav", "--arch", "resnet50", "--width", "8"});
  ASSERT_EQ(back.code, 0) << back.err;
  const io::SafetensorsFile again(dir_ / "d.safetensors");
  EXPECT_EQ(models::architecture_of(again), chosen);
  models::SwavNetwork fresh(chosen.encoder(), {.hidden = 16, .embedding = 8, .prototypes = 5});
  nn::load_state_dict(fresh, again);
  EXPECT_EQ(fresh.prototypes.weight.value().to_vector(),
            network.prototypes.weight.value().to_vector());
  // As an xresnet: the blocks alone.
  const Outcome blocks = convert({"a.pth", "e.safetensors", "--map", "torchvision", "--arch",
                                  "xresnet50", "--width", "8", "--strict", "off"});
  EXPECT_EQ(blocks.code, 0) << blocks.err;
  EXPECT_NE(blocks.out.find("0.0.weight"), std::string::npos) << blocks.out;
}

// --channels: the first convolution alone changes, by models/input_channels.
TEST_F(Convert, ChannelsAdaptTheFirstConvolution) {
  models::XResNet encoder = small_encoder();
  nn::save_state_dict(dir_ / "a.safetensors", encoder);
  const Outcome result = convert({"a.safetensors", "b.safetensors", "--arch", "xresnet18", "--width",
                                  "4", "--channels", "4"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find("0.0.weight: from 3 to 4 channels"), std::string::npos);
  const io::SafetensorsFile file(dir_ / "b.safetensors");
  const auto chosen = models::architecture_of(file);
  ASSERT_TRUE(chosen);
  models::Encoder four = chosen->encoder();
  EXPECT_EQ(four.in_channels(), 4);
  nn::load_state_dict(four, file);
  EXPECT_EQ(four.input_weight().value().to_vector(),
            models::with_input_channels(encoder.input_weight().value(), 4).to_vector());
}

// --strict off takes what fits; the rest has values that a training can begin with.
TEST_F(Convert, WhatFitsIsTakenWhereAsked) {
  models::XResNet encoder = small_encoder();
  const nn::StateDict state = nn::state_dict(encoder);
  auto tensors = state.tensors;
  std::erase_if(tensors, [](const TensorInfo& t) { return t.name == "0.0.weight"; });
  const std::vector<float> one(1);
  tensors.push_back(io::tensor_info<float>("other", {1}, one));
  for (TensorInfo& t : tensors) {
    if (t.name == "1.0.weight") t.shape = {t.shape[0] * t.shape[1], 1, 3, 3};
  }
  io::write_tensors(dir_ / "a.safetensors", tensors);
  const std::vector<std::string> arguments{"a.safetensors", "b.safetensors", "--arch", "xresnet18",
                                           "--width", "4"};
  expect_wrong(arguments, "1 missing (0.0.weight); 1 of another shape (1.0.weight is [4, 1, 3, 3], "
                          "want [2, 2, 3, 3]); 1 unexpected (other)");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "b.safetensors"));
  auto loose = arguments;
  loose.insert(loose.end(), {"--strict", "off"});
  const Outcome result = convert(loose);
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find("1 missing (0.0.weight)"), std::string::npos);
  models::XResNet loaded = small_encoder();
  load(loaded, "b.safetensors");
  const auto weight = [](models::XResNet& net, std::size_t layer) {
    return net.stem[layer].conv.weight.value().to_vector();
  };
  EXPECT_EQ(weight(loaded, 2), weight(encoder, 2));
  EXPECT_NE(weight(loaded, 0), weight(encoder, 0));
  EXPECT_NE(weight(loaded, 1), weight(encoder, 1));
  EXPECT_NE(weight(loaded, 0), std::vector<float>(2 * 3 * 9));
}

TEST_F(Convert, WrongInputLeavesNoFileAndReplacesNone) {
  models::XResNet encoder = small_encoder();
  nn::save_state_dict(dir_ / "a.safetensors", encoder);
  expect_wrong({"a.safetensors", "a.safetensors"}, "--overwrite");
  expect_wrong({"a.safetensors", "b.h5"}, "want a name that ends in");
  expect_wrong({"none.pth", "b.npz"}, "none.pth");
  expect_wrong({"a.safetensors", "b.pth", "--map", "timm"}, "that the map timm does not know");
  expect_wrong({"a.safetensors", "b.pth", "--map", "torchvision"}, "does not know");
  expect_wrong({"a.safetensors", "b.pth", "--arch", "resnet1000"}, "no architecture 'resnet1000'");
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
