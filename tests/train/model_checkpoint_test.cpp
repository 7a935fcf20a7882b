#include "mwalimu/train/model_checkpoint.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/nn/layers.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

const CheckpointIdentity kIdentity{.kind = "test", .architecture = "net"};

struct Net {
  nn::Conv2d convolution{3, 4, 3};
  nn::Linear linear{5, 2, true};

  template <class V>
  void visit(V&& v) {
    v("convolution", convolution);
    v("linear", linear);
  }
};

struct DeeperNet : Net {
  nn::Linear extra{2, 2, false};

  template <class V>
  void visit(V&& v) {
    Net::visit(v);
    v("extra", extra);
  }
};

struct Training {
  Net net;
  optim::ParameterArena arena{net};
  optim::Optimizer optimizer{optim::LambOptions{}, arena};

  void steps(int first, int last) {
    for (int t = first; t <= last; ++t) {
      RandomStream random(3, Purpose::test, static_cast<std::uint64_t>(t));
      for (float& g : arena.gradients()) g = random.uniform(-1.0f, 1.0f);
      optimizer.step(arena, {.lr = 0.1});
    }
  }
  std::vector<float> values() { return arena.value_buffer().to_vector(); }
};

class ModelCheckpoint : public ::testing::Test {
 protected:
  test::TempDir folder_;
  std::filesystem::path path_ = folder_ / "checkpoint.safetensors";
};

TEST_F(ModelCheckpoint, OptimizerGoesOnBitForBit) {
  Training run, resumed;
  run.steps(1, 4);
  CheckpointWriter writer(kIdentity);
  put_model(writer, "model.", run.net);
  put_optimizer(writer, run.optimizer, run.arena);
  writer.save(path_);
  resumed.steps(10, 12);
  const CheckpointReader reader(path_, kIdentity);
  get_model(reader, "model.", resumed.net);
  get_optimizer(reader, resumed.optimizer, resumed.arena);
  run.steps(5, 8);
  resumed.steps(5, 8);
  EXPECT_EQ(run.values(), resumed.values());
}

TEST_F(ModelCheckpoint, StateIsNamedAndShapedAsTheParameters) {
  Training run;
  run.steps(1, 1);
  CheckpointWriter writer(kIdentity);
  put_optimizer(writer, run.optimizer, run.arena);
  writer.save(path_);
  const io::SafetensorsFile file(path_);
  const auto& momentum = file.at("optimizer.momentum.convolution.weight");
  EXPECT_EQ(momentum.shape, (std::vector<std::int64_t>{4, 3, 3, 3}));
  EXPECT_EQ(file.at("optimizer.squared_momentum.linear.bias").shape,
            (std::vector<std::int64_t>{2}));
  // Row-major: element (o, i, h, w) is that of the parameter's gradient after one step, scaled.
  std::vector<float> stored(4 * 3 * 3 * 3);
  std::memcpy(stored.data(), momentum.bytes.data(), momentum.bytes.size());
  const auto gradient = run.net.convolution.weight.grad().to_vector();
  const float gain = static_cast<float>(1 - 0.9);
  for (std::size_t i = 0; i < stored.size(); ++i) EXPECT_EQ(stored[i], gain * gradient[i]) << i;
}

TEST_F(ModelCheckpoint, ReadsTheStateAsEarlierVersionsWroteIt) {
  Training run, resumed;
  run.steps(1, 4);
  CheckpointWriter writer(kIdentity);
  put_model(writer, "model.", run.net);
  // One array a running average, in the order of the cpu's arena.
  run.optimizer.for_each_state([&](std::string_view name, const Tensor<float>& state) {
    writer.put("optimizer." + std::string(name), state.span());
  });
  run.optimizer.for_each_counter([&](std::string_view name, const Tensor<std::int64_t>& counts) {
    writer.put("optimizer." + std::string(name), counts.span());
  });
  writer.save(path_);
  const CheckpointReader reader(path_, kIdentity);
  get_model(reader, "model.", resumed.net);
  get_optimizer(reader, resumed.optimizer, resumed.arena);
  run.steps(5, 8);
  resumed.steps(5, 8);
  EXPECT_EQ(run.values(), resumed.values());
}

TEST_F(ModelCheckpoint, AMissingStateIsNamed) {
  Training run;
  CheckpointWriter writer(kIdentity);
  put_optimizer(writer, run.optimizer, run.arena);
  writer.save(path_);
  DeeperNet deeper;
  optim::ParameterArena arena(deeper);
  optim::Optimizer optimizer(optim::LambOptions{}, arena);
  const CheckpointReader reader(path_, kIdentity);
  try {
    get_optimizer(reader, optimizer, arena);
    FAIL() << "no error";
  } catch (const FileError& error) {
    EXPECT_NE(std::string(error.what()).find("optimizer.momentum.extra.weight"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace mwalimu::train
