// Which of oneDNN's implementations the networks get: never a reference loop. On a machine with
// AVX-512 that is the cheapest test of speed there is; it times nothing.
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <tuple>

#include "mwalimu/cpu/conv2d.hpp"
#include "mwalimu/models/architecture.hpp"

namespace mwalimu::models {
namespace {

index_t after(const nn::Conv2d& conv, index_t side) {
  return ops::detail::conv2d_extent(side, conv.weight.shape()[2], conv.options);
}

// f(convolution, side of its input) for all of a block; returns the side of its output.
template <class F>
index_t visit(ResBlock& block, index_t side, F&& f) {
  if (block.shortcut) f(block.shortcut->conv, block.pool ? (side + 1) / 2 : side);
  for (ConvNorm& layer : block.convpath) {
    f(layer.conv, side);
    side = after(layer.conv, side);
  }
  return side;
}
template <class F>
index_t visit(Bottleneck& block, index_t side, F&& f) {
  if (block.downsample) f(block.downsample->conv, side);
  f(block.conv1, side);
  f(block.conv2, side);
  side = after(block.conv2, side);
  f(block.conv3, side);
  return side;
}
template <class F>
index_t visit(Bottle2neck& block, index_t side, F&& f) {
  if (block.downsample) f(block.downsample->conv, side);
  f(block.conv1, side);
  for (auto& conv : block.convs) f(conv, side);
  side = after(block.convs[0], side);
  f(block.conv3, side);
  return side;
}
template <class Network, class F>
void visit_network(Network& network, index_t side, F&& f) {
  if constexpr (std::is_same_v<Network, XResNet>) {
    for (ConvNorm& layer : network.stem) {
      f(layer.conv, side);
      side = after(layer.conv, side);
    }
  } else {
    f(network.conv1, side);
    side = after(network.conv1, side);
  }
  side = (side + 1) / 2;  // max pool
  for (auto& stage : network.stages) {
    for (auto& block : stage) side = visit(block, side, f);
  }
}

TEST(Implementation, EveryConvolutionOfEveryArchitectureHasAFastOne) {
  if (!cpu::has_avx512()) GTEST_SKIP() << "fewer fast kernels exist without AVX-512";
  using cpu::Conv2dDirection;
  cpu::forbid_slow_implementations();
  // Problems that networks share are asked for once.
  std::set<std::tuple<index_t, index_t, index_t, index_t, index_t, index_t>> asked;
  int convolutions = 0;
  for (const KnownArchitecture& known : known_architectures()) {
    SCOPED_TRACE(known.name);
    for (const index_t channels : {3, 4}) {
      Encoder encoder = Architecture{.arch = std::string(known.name), .width = 64,
                                     .channels = channels, .pooling = Pooling::concat}
                            .encoder();
      const nn::Parameter* first = &encoder.input_weight();
      for (const index_t px : {64, 96, 128}) {
        const auto ask = [&](nn::Conv2d& conv, index_t side) {
          const Shape& w = conv.weight.shape();
          const index_t groups = conv.options.groups, stride = conv.options.stride;
          const index_t to = after(conv, side);
          ++convolutions;
          if (!asked.emplace(side, w[0], w[1], w[2], stride, groups).second) return;
          const std::array<index_t, 4> x{32, side, side, w[1] * groups}, out{32, to, to, w[0]},
              weight{w[0], w[1], w[2], w[3]};
          for (const auto direction : {Conv2dDirection::forward, Conv2dDirection::backward_data,
                                       Conv2dDirection::backward_weight}) {
            // No gradient flows into images: no network asks for it.
            if (direction == Conv2dDirection::backward_data && &conv.weight == first) continue;
            EXPECT_NO_THROW(
                cpu::detail::conv2d_primitive<float>(direction, x, weight, out, conv.options));
            EXPECT_NO_THROW(
                cpu::detail::conv2d_primitive<bfloat16>(direction, x, weight, out, conv.options));
          }
        };
        std::visit([&](auto& network) { visit_network(network, px, ask); }, encoder.network);
      }
    }
  }
  // The check can fail.
  EXPECT_THROW(cpu::record_implementation({"conv2d forward", "ref:any", "1x1"}), DnnlError);
  EXPECT_THROW(cpu::record_implementation({"conv2d forward", "gemm:jit", "1x1"}), DnnlError);
  cpu::forbid_slow_implementations(false);
  EXPECT_GT(convolutions, 1500);
  EXPECT_GT(asked.size(), 150u);
}

// What the networks call, not what they could: a pass of each family, with no slow choice in it.
template <class T>
void train_once(const Architecture& architecture) {
  Encoder encoder = architecture.encoder();  // of zeros: no choice depends on values
  const auto images = Tensor<T>::full({2, 32, 32, 3}, convert<T>(0.5f));
  const auto features = encoder(Variable<T>(images));
  features.backward(Tensor<T>::full(features.shape(), convert<T>(1.0f)));
}
TEST(Implementation, ATrainingPassChoosesNoSlowOne) {
  if (!cpu::has_avx512()) GTEST_SKIP() << "fewer fast kernels exist without AVX-512";
  cpu::forbid_slow_implementations();
  for (const char* arch : {"xresnet18", "resnet50", "res2net50", "res2next50"}) {
    SCOPED_TRACE(arch);
    const Architecture whole{.arch = arch, .width = 64, .channels = 3, .pooling = Pooling::concat};
    EXPECT_NO_THROW(train_once<float>(whole));
    EXPECT_NO_THROW(train_once<bfloat16>(whole));
  }
  cpu::forbid_slow_implementations(false);
}

}  // namespace
}  // namespace mwalimu::models
