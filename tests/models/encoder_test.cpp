#include "mwalimu/models/encoder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "models/model_support.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/nn/state_dict.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "support/compare.hpp"
#include "support/reference.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::models {
namespace {

Variable<float> random_images(index_t n, index_t h, index_t w, index_t channels = 3) {
  auto images = Tensor<float>::empty({n, h, w, channels});
  RandomStream random(1, Purpose::test);
  for (float& x : images.span()) x = random.normal();
  return Variable<float>(std::move(images));
}

// Two blocks a stage: the first one and one of the others.
Encoder shallow(const Architecture& architecture) {
  auto options = architecture.options();
  std::visit([](auto& o) { o.blocks = {2, 2, 2, 2}; }, options);
  return Encoder(options);
}

// One small network of each family.
std::vector<Architecture> small_ones() {
  std::vector<Architecture> all;
  for (const char* arch : {"xresnet18", "xresnet50", "resnet50", "res2net50", "res2next50"}) {
    all.push_back({.arch = arch, .width = 16, .channels = 3, .pooling = Pooling::concat});
  }
  return all;
}

TEST(Encoder, CountsAreThoseOfTheOriginals) {
  struct Expected {
    const char* name;
    index_t parameters, features;
    int tensors, state;
  };
  for (const Expected& want : {Expected{"xresnet34", 21303904, 1024, 114, 228},
                               // torchvision's 25,557,032 less the 2,049,000 of its fc.
                               Expected{"resnet50", 23508032, 4096, 159, 318},
                               Expected{"res2net50", 23650120, 4096, 255, 510},
                               Expected{"res2net50_26w_4s", 23650120, 4096, 255, 510},
                               Expected{"res2next50", 22622464, 4096, 255, 510}}) {
    SCOPED_TRACE(want.name);
    Encoder encoder(encoder_options(want.name));
    EXPECT_EQ(nn::parameter_count(encoder), want.parameters);
    EXPECT_EQ(encoder.features(), want.features);
    int parameters = 0, buffers = 0;
    nn::for_each_parameter(encoder, [&](const auto&, auto&) { ++parameters; });
    nn::for_each_buffer(encoder, [&](const auto&, auto&) { ++buffers; });
    EXPECT_EQ(parameters, want.tensors);
    EXPECT_EQ(parameters + buffers, want.state);
  }
}

TEST(Encoder, TorchvisionsNamesAndShapes) {
  Encoder encoder(encoder_options("resnet50"));
  std::map<std::string, Shape> shapes;
  nn::for_each_parameter(encoder, [&](const std::string& path, nn::Parameter& p) {
    shapes[path] = p.shape();
  });
  EXPECT_EQ(shapes.at("conv1.weight"), (Shape{64, 3, 7, 7}));
  EXPECT_EQ(shapes.at("layer1.0.downsample.0.weight"), (Shape{256, 64, 1, 1}));
  EXPECT_EQ(shapes.at("layer2.0.conv1.weight"), (Shape{128, 256, 1, 1}));
  EXPECT_EQ(shapes.at("layer3.5.conv2.weight"), (Shape{256, 256, 3, 3}));
  EXPECT_EQ(shapes.at("layer4.2.bn3.bias"), (Shape{2048}));
  EXPECT_FALSE(shapes.contains("layer1.1.downsample.0.weight"));
  // "v1.5": the 3x3 convolution has the stride.
  const auto& block = std::get<ResNet>(encoder.network).stages[2][0];
  EXPECT_EQ(block.conv1.options.stride, 1);
  EXPECT_EQ(block.conv2.options.stride, 2);
}

TEST(Encoder, OddExtentsMeetOnAllPaths) {
  for (const Architecture& small : small_ones()) {
    SCOPED_TRACE(small.arch);
    Encoder encoder = shallow(small);
    encoder.initialize(0);
    std::vector<std::string> stages;
    std::vector<index_t> heights, widths;
    const auto features = encoder.forward(
        random_images(2, 168, 105), [&](const std::string& stage, const Variable<float>& x) {
          stages.push_back(stage);
          heights.push_back(x.dim(1));
          widths.push_back(x.dim(2));
        });
    EXPECT_EQ(stages, (std::vector<std::string>{"stem", "pool", "layer1", "layer2", "layer3",
                                                "layer4"}));
    EXPECT_EQ(heights, (std::vector<index_t>{84, 42, 42, 21, 11, 6}));
    EXPECT_EQ(widths, (std::vector<index_t>{53, 27, 27, 14, 7, 4}));
    EXPECT_EQ(features.shape(), (Shape{2, encoder.features()}));
    // Down to a single pixel.
    nn::set_training(encoder, false);
    EXPECT_EQ(encoder(random_images(1, 1, 1)).shape(), (Shape{1, encoder.features()}));
  }
}

TEST(Encoder, TakesOneToEightChannels) {
  for (Architecture small : small_ones()) {
    SCOPED_TRACE(small.arch);
    for (const index_t channels : {1, 2, 3, 4, 5, 6, 7, 8}) {
      small.channels = channels;
      Encoder encoder = shallow(small);
      encoder.initialize(0);
      EXPECT_EQ(encoder.in_channels(), channels);
      EXPECT_EQ(encoder.input_weight().shape()[1], channels);
      const auto features = encoder(random_images(2, 24, 24, channels));
      EXPECT_EQ(features.shape(), (Shape{2, encoder.features()}));
      features.backward(Tensor<float>::full(features.shape(), 1));
      EXPECT_GT(test::norm(encoder.input_weight().grad()), 0);
    }
    Encoder three = shallow(small_ones()[0]);
    test::expect_error<ShapeError>([&] { three(random_images(1, 8, 8, 4)); },
                                   "xresnet: want images (N, H, W, 3), got (1, 8, 8, 4)");
  }
}

TEST(Encoder, PoolingsArePartsOfTheConcatenation) {
  for (Architecture small : small_ones()) {
    SCOPED_TRACE(small.arch);
    const auto features = [&](Pooling pooling) {
      small.pooling = pooling;
      Encoder encoder = shallow(small);
      encoder.initialize(0);
      const NoGrad no_grad;
      const auto y = encoder(random_images(2, 40, 40)).value();
      EXPECT_EQ(y.dim(1), encoder.features());
      EXPECT_TRUE(y.is_contiguous());
      return y;
    };
    const auto concat = features(Pooling::concat), average = features(Pooling::average),
               maximum = features(Pooling::maximum);
    const index_t C = average.dim(1);
    ASSERT_EQ(concat.dim(1), 2 * C);
    ASSERT_EQ(maximum.dim(1), C);
    const bool fastai = small.arch.starts_with("xresnet");  // the maximum comes first
    const auto first = concat.slice(1, 0, C).to_vector(), second = concat.slice(1, C, 2 * C).to_vector();
    EXPECT_EQ(first, (fastai ? maximum : average).to_vector());
    EXPECT_EQ(second, (fastai ? average : maximum).to_vector());
    EXPECT_NE(first, second);
  }
}

TEST(Encoder, MaximumPoolingPassesItsGradient) {
  Encoder encoder = Architecture{.arch = "resnet50", .width = 8, .channels = 3,
                                 .pooling = Pooling::maximum}.encoder();
  encoder.initialize(0);
  const auto x = Variable<float>::leaf(random_images(2, 33, 33).value());
  const auto y = encoder(x);
  y.backward(Tensor<float>::full(y.shape(), 1));
  EXPECT_GT(test::norm(x.grad()), 0);
}

TEST(Encoder, WidthScalesEveryLayer) {
  for (const Architecture& small : small_ones()) {
    SCOPED_TRACE(small.arch);
    Architecture whole = small;
    whole.width = 64;
    Encoder narrow = shallow(small), full = shallow(whole);
    EXPECT_EQ(4 * narrow.features(), full.features());
    std::map<std::string, Shape> shapes;
    nn::for_each_parameter(full, [&](const auto& path, auto& p) { shapes[path] = p.shape(); });
    nn::for_each_parameter(narrow, [&](const auto& path, auto& p) {
      const index_t want = shapes.at(path)[0];
      // Quarters of res2net50 are floor(26 / 64 planes): 6 to 26 channels, and so on.
      if (small.arch != "res2net50" || path.find("conv3") != path.npos) {
        EXPECT_EQ(4 * p.shape()[0], want) << path;
      } else {
        EXPECT_LE(4 * p.shape()[0], want) << path;
        EXPECT_GE(5 * p.shape()[0], want) << path;
      }
    });
  }
}

// N(0, 2 / fan_out) for timm's and torchvision's, groups not counted; the last scale of a Res2Net
// block starts at 0, that of a ResNet block at 1.
TEST(Encoder, InitialValuesAreThoseOfTheFamily) {
  for (const auto& [arch, last_scale] :
       {std::pair{"resnet50", 1.0f}, {"res2net50", 0.0f}, {"res2next50", 0.0f}}) {
    SCOPED_TRACE(arch);
    const Architecture narrow{.arch = arch, .width = 32, .channels = 3, .pooling = Pooling::concat};
    Encoder encoder = shallow(narrow), again = shallow(narrow);
    encoder.initialize(3);
    again.initialize(3);
    std::map<std::string, std::vector<float>> values;
    nn::for_each_parameter(encoder, [&](const auto& path, nn::Parameter& p) {
      values[path] = p.value().to_vector();
      if (p.shape().rank() == 4 && p.value().count() > 4000) {
        double squares = 0, sum = 0;
        for (const float w : values[path]) squares += double{w} * w, sum += w;
        const double n = static_cast<double>(p.value().count());
        const double variance = 2.0 / static_cast<double>(p.shape()[0] * p.shape()[2] * p.shape()[3]);
        EXPECT_NEAR(squares / n, variance, 6 * variance * std::sqrt(2 / n)) << path;
        EXPECT_NEAR(sum / n, 0, 6 * std::sqrt(variance / n)) << path;
      } else if (p.kind() == nn::Parameter::Kind::norm_scale) {
        const bool last = path.find("bn3") != path.npos;
        for (const float g : values[path]) ASSERT_EQ(g, last ? last_scale : 1.0f) << path;
      } else if (p.kind() == nn::Parameter::Kind::norm_shift) {
        for (const float b : values[path]) ASSERT_EQ(b, 0.0f) << path;
      }
    });
    nn::for_each_parameter(again, [&](const auto& path, nn::Parameter& p) {
      ASSERT_EQ(p.value().to_vector(), values.at(path)) << path;
    });
  }
}

TEST(Encoder, EveryFamilyTrainsInAClassifierAndInSwav) {
  for (const Architecture& small : small_ones()) {
    SCOPED_TRACE(small.arch);
    Classifier classifier(shallow(small), 3);
    classifier.encoder.initialize(1);
    classifier.head.initialize(1);
    auto labels = Tensor<std::int64_t>::zeros({4});
    const auto loss = ops::cross_entropy(classifier(random_images(4, 32, 32)), labels);
    loss.backward();
    EXPECT_TRUE(std::isfinite(loss.value().item()));
    nn::for_each_parameter(classifier, [&](const auto& path, nn::Parameter& p) {
      EXPECT_TRUE(p.has_grad()) << path;
    });
    SwavNetwork swav(shallow(small), {.hidden = 16, .embedding = 8, .prototypes = 5});
    swav.initialize(1);
    const std::vector<Variable<float>> crops{random_images(4, 32, 32), random_images(4, 24, 24)};
    EXPECT_EQ(swav(crops).scores.shape(), (Shape{8, 5}));
    std::set<std::string> names;
    nn::for_each_parameter(swav, [&](const auto& path, auto&) { names.insert(path); });
    EXPECT_TRUE(names.contains(small.arch.starts_with("xresnet") ? "encoder.0.0.weight"
                                                                 : "encoder.conv1.weight"));
  }
}

// The same network in 16 bits: nothing but rounding differs.
TEST(Encoder, ComputesInTheTypeOfItsInput) {
  for (const Architecture& small : small_ones()) {
    SCOPED_TRACE(small.arch);
    Encoder encoder = shallow(small);
    encoder.initialize(2);
    nn::for_each_module<nn::BatchNorm>(encoder, [](const auto&, nn::BatchNorm& norm) {
      nn::fill(norm.weight, 0.8f);  // last scales of 0 would hide what is in front of them
    });
    // With statistics of a batch, a deep random network turns roundings into other numbers.
    nn::set_training(encoder, false);
    const NoGrad no_grad;
    const auto images = random_images(8, 32, 32).value();
    const auto want = test::doubles(encoder(Variable<float>(images)).value());
    const auto near = [&]<class T>(T, double bound) {
      const Variable<T> y = encoder(Variable<T>(images.to<T>()));
      EXPECT_TRUE(test::near_l2(test::doubles(y.value()), want, bound));
    };
    // A rounding of up to 2^-9 or 2^-12 behind each of up to 60 operations in a row, at random.
    near(bfloat16{}, 8 * 0x1p-9);
    near(half{}, 8 * 0x1p-12);
  }
}

TEST(Encoder, AFileOfAnotherFamilyIsRefusedByName) {
  test::TempDir folder;
  Encoder res2net = shallow(small_ones()[3]), res2next = shallow(small_ones()[4]);
  nn::save_state_dict(folder / "a.safetensors", res2net);
  test::expect_error<ShapeError>(
      [&] { nn::load_state_dict(res2next, folder / "a.safetensors"); }, "of another shape");
}

TEST(Encoder, ErrorsNameWhatCannotBe) {
  test::expect_error<ValueError>([] { Res2Net({.width = 8, .base_width = 4, .cardinality = 8}); },
                                 "want a width of at least 16");
  test::expect_error<ValueError>([] { ResNet({.width = 0}); }, "resnet: want a positive width");
  test::expect_error<ValueError>([] { ResNet({.blocks = {1, 0, 1, 1}}); },
                                 "resnet: stage 2 has no block");
  test::expect_error<ValueError>([] { Res2Net({.in_channels = 0}); },
                                 "res2net: want at least one input channel, got 0");
}

}  // namespace
}  // namespace mwalimu::models
