// Whole networks, heads and blocks against the reference numbers.
#include <gtest/gtest.h>

#include "models/model_support.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/ops/cross_entropy.hpp"

namespace mwalimu::models {
namespace {

using test::doubles;
using test::nchw;

Tensor<std::int64_t> targets(index_t n, index_t classes) {
  auto labels = Tensor<std::int64_t>::empty({n});
  for (index_t i = 0; i < n; ++i) labels.data()[i] = i % classes;
  return labels;
}

// A gradient that went through a whole network. A unit whose input is within rounding of 0 may pass
// its gradient in one float32 implementation and not in another; each such unit moves the result by
// 1e-4 or so (PyTorch itself, in float32 and channels-last, is 2.6e-4 away from encT_xresnet50_64,
// and 7e-7 in NCHW). So: the case's tolerance, or the distance of a few such units.
testing::AssertionResult near_through_network(const golden::Case& c, const std::string& name,
                                              const std::vector<double>& got) {
  const auto strict = c.near(name, got);
  return strict ? strict : test::near_l2(got, c.tensor(name).values, 1e-3) << name;
}

// Gradient norms: one number a tensor, those that are zero in theory compared absolutely.
// @param flips  what units that switch may move the norms by, as above; 0 for heads and blocks.
void expect_gradient_norms(const golden::Case& c, const std::string& name,
                           const std::vector<double>& got, double flips = 0) {
  const auto want = c.tensor(name).values;
  ASSERT_EQ(got.size(), want.size());
  std::vector<double> kept_got, kept_want;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (want[i] < 1e-9) {
      EXPECT_NEAR(got[i], 0.0, 1e-4);
    } else {
      kept_got.push_back(got[i]);
      kept_want.push_back(want[i]);
    }
  }
  const auto strict = c.near(name, kept_got, kept_want, name);
  EXPECT_TRUE(strict || test::near_l2(kept_got, kept_want, flips)) << strict.message();
}

void expect_probe(const golden::Case& c, const std::string& name, const Tensor<float>& activation) {
  const auto values = nchw(activation);
  const auto want = c.tensor(name).values;
  double squares = 0, sum = 0;
  for (const double x : values) squares += x * x, sum += x;
  std::vector<double> got{std::sqrt(squares), sum / static_cast<double>(values.size())};
  got.insert(got.end(), values.begin(), values.begin() + 8);
  // No tolerance is stated for the probes; they are activations, as the features are.
  const std::string mode = name.substr(0, name.find('.'));
  EXPECT_TRUE(c.near(name, got, want, mode + ".features"));
}

nn::BatchNorm& last_norm(ResBlock& block) { return block.convpath.back().norm; }
nn::BatchNorm& last_norm(Bottleneck& block) { return block.bn3; }
nn::BatchNorm& last_norm(Bottle2neck& block) { return block.bn3; }

void check_encoder(const golden::Case& c) {
  Encoder encoder(encoder_options(c.at("arch").get<std::string>()));
  const auto shape = c.at("input_shape").get<golden::Shape>();
  test::fill_golden(encoder, c.salt());
  const float res_gamma = c.at("res_gamma");
  const auto scale_block_ends = [&](auto& network) {
    for (auto& stage : network.stages) {
      for (auto& block : stage) {
        for (float& gamma : last_norm(block).weight.mutable_value().span()) gamma *= res_gamma;
      }
    }
  };
  std::visit(scale_block_ends, encoder.network);
  nn::Linear fc(encoder.features(), 3, true);
  test::assign(fc.weight.mutable_value(),
               c.fill("fc.weight", {3, encoder.features()}, golden::Fill::weight));
  test::assign(fc.bias.mutable_value(), c.fill("fc.bias", {3}, golden::Fill::small));

  std::vector<double> buffers_before;
  for (const std::string mode : {"eval", "train"}) {
    SCOPED_TRACE(mode);
    nn::set_training(encoder, mode == "train");
    test::clear_gradients(encoder);
    test::clear_gradients(fc);
    const auto images = Variable<float>::leaf(
        test::images_from_nchw(c.fill("input", shape, golden::Fill::input), shape));
    const auto features = encoder.forward(
        images, [&](const std::string& stage, const Variable<float>& activation) {
          expect_probe(c, mode + ".probe." + stage, activation.value());
        });
    const auto logits = fc(features);
    const auto loss = ops::cross_entropy(logits, targets(shape[0], 3));
    EXPECT_TRUE(c.near(mode + ".features", doubles(features.value())));
    EXPECT_TRUE(c.near(mode + ".logits", doubles(logits.value())));
    EXPECT_TRUE(c.near(mode + ".loss", doubles(loss.value())));
    loss.backward();
    EXPECT_TRUE(near_through_network(c, mode + ".grad_conv1", doubles(encoder.input_weight().grad())));
    EXPECT_TRUE(c.near(mode + ".grad_fc_bias", doubles(fc.bias.grad())));
    EXPECT_TRUE(near_through_network(c, mode + ".grad_input_slice",
                       nchw(images.grad().slice(1, 0, 4).slice(2, 0, 4).contiguous())));
    expect_gradient_norms(c, mode + ".gradnorm", test::gradient_norms(encoder), 1e-3);
  }
  std::vector<double> after;
  nn::for_each_buffer(encoder, [&](const std::string& path, auto& buffer) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(buffer)>, Tensor<float>>) {
      after.push_back(test::norm(buffer));
      if (c.has_tensor("train.after." + path)) {
        EXPECT_TRUE(test::near_l2(doubles(buffer), c.tensor("train.after." + path).values, 2e-5));
      }
    } else {
      EXPECT_EQ(buffer.item(), 1);
    }
  });
  EXPECT_TRUE(c.near("train.bufnorm_after", after));
}

TEST(EncoderGolden, EveryCaseMatches) {
  MWALIMU_GOLDEN_CASES(cases, "encoder");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    check_encoder(c);
  }
}

TEST(EncoderGolden, NamesAndShapesAreThoseOfTheManifest) {
  if (const auto why = golden::why_absent(""); !why.empty()) GTEST_SKIP() << why;
  for (const std::string arch :
       {"xresnet18", "xresnet34", "xresnet50", "res2net50_26w_4s", "res2next50"}) {
    SCOPED_TRACE(arch);
    Encoder encoder(encoder_options(arch));
    std::vector<std::pair<std::string, golden::Shape>> params, buffers;
    nn::walk(encoder, [&](const std::string& path, nn::Child child) {
      if (const auto* parameter = child.as<nn::Parameter>()) {
        params.emplace_back(path, test::extents(parameter->shape()));
      } else if (const auto* buffer = child.as<Tensor<float>>()) {
        buffers.emplace_back(path, test::extents(buffer->shape()));
      }
    });
    EXPECT_EQ(params, golden::arch_tensors(arch, "params"));
    EXPECT_EQ(buffers, golden::arch_tensors(arch, "buffers"));
  }
}

// One residual block: its output, all gradients, its running statistics.
template <class Block>
void check_block(const golden::Case& c, Block& block) {
  const auto shape = c.at("input_shape").get<golden::Shape>();
  test::fill_golden(block, c.salt());
  for (const std::string mode : {"eval", "train"}) {
    SCOPED_TRACE(mode);
    nn::set_training(block, mode == "train");
    test::clear_gradients(block);
    const auto x = Variable<float>::leaf(
        test::images_from_nchw(c.fill("input", shape, golden::Fill::input), shape));
    const auto y = block(x);
    EXPECT_TRUE(c.near(mode + ".y", nchw(y.value())));
    const auto out = c.tensor(mode + ".y").shape;
    y.backward(test::images_from_nchw(c.fill("dy", out, golden::Fill::input), out));
    EXPECT_TRUE(c.near(mode + ".dx", nchw(x.grad())));
    nn::for_each_parameter(block, [&](const std::string& path, nn::Parameter& p) {
      EXPECT_TRUE(c.near(mode + ".grad." + path, doubles(p.grad())));
    });
  }
  for (const auto& [path, tensor] : test::tensors_by_name(block)) {
    if (c.has_tensor("train.after." + path)) {
      EXPECT_TRUE(c.near("train.after." + path, doubles(tensor)));
    }
  }
}

TEST(BlockGolden, EveryCaseMatches) {
  MWALIMU_GOLDEN_CASES(cases, "block");
  int res_blocks = 0, res2net_blocks = 0;
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    if (c.at("block") == "xresnet") {
      const index_t expansion = c.at("expansion"), in = c.at("ni"), width = c.at("nh");
      ResBlock block(expansion, in * expansion, width, c.at("stride"));
      check_block(c, block);
      ++res_blocks;
    } else {
      ASSERT_EQ(c.at("block"), "bottle2neck");
      ASSERT_EQ(c.at("scale"), Bottle2neck::kScale);
      Bottle2neck block({.base_width = c.at("base_width"), .cardinality = c.at("cardinality")},
                        c.at("inplanes"), c.at("planes"), c.at("stride"));
      ASSERT_EQ(block.first(), c.at("downsample").get<bool>());
      check_block(c, block);
      ++res2net_blocks;
    }
  }
  EXPECT_GT(res_blocks, 0);
  EXPECT_GT(res2net_blocks, 0);
}

// A head on given features: outputs, input gradient, parameter gradients, their norms.
template <class Head, class Backward>
void check_head(const golden::Case& c, Head& head, const char* loss_name, Backward&& backward) {
  const auto dims = c.at("dims").get<golden::Shape>();
  const index_t B = c.at("B");
  test::fill_golden(head, c.salt());
  for (const std::string mode : {"eval", "train"}) {
    SCOPED_TRACE(mode);
    nn::set_training(head, mode == "train");
    nn::for_each_module<nn::Dropout>(head, [](const auto&, nn::Dropout& d) { d.training = false; });
    test::clear_gradients(head);
    const auto x = Variable<float>::leaf(
        Tensor<float>::from(c.fill("input", {B, dims[0]}, golden::Fill::input), {B, dims[0]}));
    const auto out = head(x);
    EXPECT_TRUE(c.near(mode + ".out", doubles(out.value())));
    const double loss = backward(out);
    EXPECT_TRUE(c.near(mode + "." + loss_name, std::vector<double>{loss}));
    EXPECT_TRUE(c.near(mode + ".grad_input", doubles(x.grad())));
    nn::for_each_parameter(head, [&](const std::string& path, nn::Parameter& p) {
      if (c.has_tensor(mode + ".grad." + path)) {
        EXPECT_TRUE(c.near(mode + ".grad." + path, doubles(p.grad())));
      }
    });
    expect_gradient_norms(c, mode + ".gradnorm", test::gradient_norms(head));
  }
}

TEST(HeadGolden, ClassifierHeadMatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "cls_head");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto dims = c.at("dims").get<golden::Shape>();
    ASSERT_EQ(dims[1], ClassifierHead::kHidden);
    ClassifierHead head(dims[0], dims[2]);
    check_head(c, head, "loss", [&](const Variable<float>& out) {
      const auto loss =
          ops::cross_entropy(out, targets(out.dim(0), dims[2]));
      loss.backward();
      return double{loss.value().item()};
    });
  }
}

TEST(HeadGolden, ProjectorMatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "projector");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto dims = c.at("dims").get<golden::Shape>();
    Projector projector(dims[0], dims[1], dims[2]);
    check_head(c, projector, "loss", [&](const Variable<float>& out) {
      const auto dy = c.fill("dy", test::extents(out.shape()), golden::Fill::input);
      double loss = 0;
      const auto values = out.value().to_vector();
      for (std::size_t i = 0; i < values.size(); ++i) loss += double{values[i]} * dy[i];
      out.backward(Tensor<float>::from(dy, out.shape()));
      return loss;
    });
  }
}

TEST(ClassifierGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "classifier");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    Classifier model(Encoder(encoder_options(c.at("arch").get<std::string>())), 3);
    const auto shape = c.at("input_shape").get<golden::Shape>();
    test::fill_golden(model, c.salt());
    for (const std::string mode : {"eval", "train"}) {
      SCOPED_TRACE(mode);
      nn::set_training(model, mode == "train");
      nn::for_each_module<nn::Dropout>(model, [](const auto&, nn::Dropout& d) { d.training = false; });
      test::clear_gradients(model);
      const auto logits = model(Variable<float>(
          test::images_from_nchw(c.fill("input", shape, golden::Fill::input), shape)));
      const auto loss =
          ops::cross_entropy(logits, targets(shape[0], 3), {.label_smoothing = 0.1});
      EXPECT_TRUE(c.near(mode + ".logits", doubles(logits.value())));
      EXPECT_TRUE(c.near(mode + ".loss", doubles(loss.value())));
      loss.backward();
      EXPECT_TRUE(near_through_network(c, mode + ".grad_conv1", doubles(model.encoder.input_weight().grad())));
      expect_gradient_norms(c, mode + ".gradnorm", test::gradient_norms(model));
    }
  }
}

}  // namespace
}  // namespace mwalimu::models
