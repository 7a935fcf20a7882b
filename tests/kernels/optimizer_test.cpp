// One step of every optimiser on a device, against the host's.
#include "mwalimu/optim/optimizer.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "kernels/captured.hpp"
#include "kernels/device.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/nn/layers.hpp"
#include "mwalimu/optim/gradient_control.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/train/model_checkpoint.hpp"
#include "support/compare.hpp"
#include "support/temp_dir.hpp"
#if defined(MWALIMU_EMULATED)
#include "emulated/stream.hpp"
#endif

namespace mwalimu::optim {
namespace {

using test::under_schedules;

constexpr index_t kChunkSize = detail::kDeviceChunk;

// A convolution, whose weights a device wants in another order, and vectors around the sizes of a
// pack and of a chunk; every other one is exempt from weight decay.
struct Net {
  nn::Conv2d convolution{3, 5, 3};
  std::vector<nn::Parameter> vectors;
  Tensor<float> buffer = Tensor<float>::full({3}, 2.5f);

  explicit Net(std::vector<index_t> sizes = {1, 3, 17, kChunkSize - 1, kChunkSize + 1,
                                             31}) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      vectors.emplace_back(i % 2 == 0 ? nn::Parameter::Kind::weight : nn::Parameter::Kind::bias,
                           Shape{sizes[i]});
    }
    nn::for_each_parameter(*this, [](const std::string& path, nn::Parameter& parameter) {
      RandomStream random(1, Purpose::test, 0, std::hash<std::string>{}(path));
      auto values = Tensor<float>::empty(parameter.shape());
      for (float& value : values.span()) value = random.normal();
      parameter.mutable_value().copy_from(values);
    });
  }
  template <class V>
  void visit(V&& v) {
    v("convolution", convolution);
    for (std::size_t i = 0; i < vectors.size(); ++i) v(std::to_string(i), vectors[i]);
    v("buffer", buffer);
  }
};

int group_of(const std::string& path) { return path == "0" || path == "3" ? 0 : 1; }

// A model with its arena and its optimiser on one device.
struct Bench {
  Net net;
  ParameterArena arena;
  Optimizer optimizer;

  Bench(const OptimizerOptions& options, Device device,
        ElementType compute = ElementType::float32, Net model = Net())
      : net(std::move(model)), arena(net, device, compute, group_of), optimizer(options, arena) {}

  // The gradients of a step: by the parameters' own indices, whatever their order in memory.
  void draw_gradients(int t, float scale = 1) {
    const auto segments = arena.segments();
    for (std::size_t s = 0; s < segments.size(); ++s) {
      RandomStream random(7, Purpose::test, static_cast<std::uint64_t>(t), s);
      auto to = arena.part(arena.gradient_buffer(), s);
      auto values = Tensor<float>::empty(to.shape());
      for (float& value : values.span()) value = scale * random.uniform(-0.2f, 0.2f);
      to.copy_from(values);
    }
  }
  std::vector<float> part(const Tensor<float>& buffer, std::size_t s) {
    return arena.part(buffer, s).to_vector();
  }
  std::vector<std::vector<float>> values() {
    std::vector<std::vector<float>> all;
    for (std::size_t s = 0; s < arena.segments().size(); ++s) {
      all.push_back(part(arena.value_buffer(), s));
    }
    return all;
  }
  std::vector<std::int64_t> steps() {
    std::vector<std::int64_t> result;
    optimizer.for_each_counter([&](std::string_view, const Tensor<std::int64_t>& counts) {
      result = counts.to_vector();
    });
    return result;
  }
};

std::vector<std::uint32_t> bits_of(const Tensor<float>& tensor) {
  std::vector<std::uint32_t> bits;
  for (const float value : tensor.to_vector()) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

// Values and state of two optimisers, by parameter. Each step rounds every number a few times, and
// a device contracts a * b + c to one rounding: the bound of the host against fp64.
void expect_alike(Bench& got, Bench& want, double tolerance = 5e-7) {
  EXPECT_EQ(got.steps(), want.steps());
  const auto compare = [&](const std::string& what, const Tensor<float>& a, const Tensor<float>& b) {
    for (std::size_t s = 0; s < want.arena.segments().size(); ++s) {
      EXPECT_TRUE(test::near_l2(test::to_double(got.part(a, s)), test::to_double(want.part(b, s)),
                                tolerance))
          << what << " of " << want.arena.segments()[s].name;
    }
  };
  compare("values", got.arena.value_buffer(), want.arena.value_buffer());
  std::vector<Tensor<float>> states;
  want.optimizer.for_each_state(
      [&](std::string_view, const Tensor<float>& state) { states.push_back(state); });
  std::size_t at = 0;
  got.optimizer.for_each_state([&](std::string_view name, const Tensor<float>& state) {
    compare(std::string(name), state, states.at(at++));
  });
  EXPECT_EQ(at, states.size());
}

const std::vector<std::pair<std::string, OptimizerOptions>>& every_rule() {
  static const std::vector<std::pair<std::string, OptimizerOptions>> rules = {
      {"sgd", SgdOptions{.weight_decay = 0.01}},
      {"sgd l2", SgdOptions{.weight_decay = 0.01, .decay_rule = WeightDecay::l2}},
      {"adam", AdamOptions{}},
      {"lamb", LambOptions{.weight_decay = 0.01}},
      {"larc", LarcOptions{.weight_decay = 0.01}},
      {"larc without clip", LarcOptions{.weight_decay = 0.01, .trust = 0.5, .clip = false}},
      {"lars", LarsOptions{.weight_decay = 0.01, .trust = 0.5}},
      {"lars with clip", LarsOptions{.weight_decay = 0.01, .clip = true}},
      {"lars lightly", LarsOptions{.weight_decay = 0.01, .scale_undecayed = false}},
      {"radam", RadamOptions{.weight_decay = 0.01}},
      {"radam softplus", RadamOptions{.weight_decay = 0.01, .softplus_beta = 50}},
      {"ranger", RangerOptions{.epsilon = 1e-4}},
  };
  return rules;
}

TEST(DeviceOptimizer, EveryRuleMatchesTheHost) {
  MWALIMU_NEEDS_DEVICE();
  const std::vector<double> group_scale = {0.25, 1};
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Bench host(options, Device::cpu()), device(options, Device::cuda());
    // 13 steps: RAdam's denominator sets in at 6, Lookahead acts at 6 and 12. One parameter is
    // frozen for three of them.
    for (int t = 1; t <= 13; ++t) {
      for (Bench* bench : {&host, &device}) {
        bench->net.vectors[3].trainable = t < 4 || t > 6;
        bench->draw_gradients(t);
        bench->optimizer.step(bench->arena, {.lr = 0.01 + 0.001 * t,
                                             .group_scale = group_scale,
                                             .momentum = 0.85 + 0.005 * t,
                                             .gradient_scale = 0.75});
      }
    }
    EXPECT_EQ(device.steps(), (std::vector<std::int64_t>{13, 13, 13, 13, 10, 13, 13}));
    expect_alike(device, host);
#if defined(MWALIMU_EMULATED)
    // No contraction here, and no sums: the same operations in the same order.
    if (!name.starts_with("la")) {
      for (std::size_t s = 0; s < 7; ++s) {
        EXPECT_EQ(device.part(device.arena.value_buffer(), s),
                  host.part(host.arena.value_buffer(), s));
      }
    }
#endif
  }
}

TEST(DeviceOptimizer, GivesTheSameBitsInEveryOrderOfThreads) {
  MWALIMU_NEEDS_DEVICE();
  for (const OptimizerOptions& options :
       std::vector<OptimizerOptions>{SgdOptions{}, LarsOptions{}, LambOptions{}, RangerOptions{}}) {
    std::vector<std::uint32_t> first;
    under_schedules(2, [&] {
      Bench bench(options, Device::cuda(), ElementType::float32, Net({5, 2 * kChunkSize + 7}));
      for (int t = 1; t <= 2; ++t) {
        bench.draw_gradients(t);
        bench.optimizer.step(bench.arena, {.lr = 0.02});
      }
      const auto bits = bits_of(bench.arena.value_buffer());
      if (first.empty()) first = bits;
      EXPECT_EQ(bits, first);
    });
  }
}

template <class T>
void expect_copy_follows(ElementType type) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Bench bench(options, Device::cuda(), type, Net({1, 17, kChunkSize + 2}));
    nn::Parameter& weight = bench.net.convolution.weight;
    const index_t casts = weight.packed()->casts();
    for (int t = 1; t <= 7; ++t) {
      bench.draw_gradients(t);
      bench.optimizer.step(bench.arena, {.lr = 0.05});
    }
    const auto& copy = std::get<Tensor<T>>(bench.arena.copy_buffer());
    EXPECT_EQ(copy.to_vector(), bench.arena.value_buffer().template to<T>().to_vector());
    // What the layer reads is the arena's own copy, in the weights' order.
    const auto read = weight.packed()->template cast<T>(weight.value());
    EXPECT_EQ(read.storage(), copy.storage());
    EXPECT_EQ(read.strides(), weight.value().strides());
    EXPECT_EQ(weight.packed()->casts(), casts);
  }
}
TEST(DeviceOptimizer, WritesTheCopyInBfloat16) {
  MWALIMU_NEEDS_DEVICE();
  expect_copy_follows<bfloat16>(ElementType::bfloat16);
}
TEST(DeviceOptimizer, WritesTheCopyInHalf) {
  MWALIMU_NEEDS_DEVICE();
  expect_copy_follows<half>(ElementType::float16);
}

TEST(DeviceOptimizer, LeavesPaddingAndFrozenParametersAlone) {
  MWALIMU_NEEDS_DEVICE();
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Bench bench(options, Device::cuda(), ElementType::bfloat16, Net({3, 17, 33}));
    bench.net.vectors[1].trainable = false;
    // NaN wherever nobody may look: one read would spread.
    bench.arena.gradient_buffer().fill(std::numeric_limits<float>::quiet_NaN());
    bench.draw_gradients(1);
    bench.arena.part(bench.arena.gradient_buffer(), 2).fill(std::nanf(""));
    const auto before = bench.arena.value_buffer().to_vector();
    for (int t = 0; t < 7; ++t) bench.optimizer.step(bench.arena, {.lr = 0.1});
    const auto after = bench.arena.value_buffer().to_vector();
    const auto segments = bench.arena.segments();
    std::vector<bool> trained(after.size(), false);
    for (std::size_t s = 0; s < segments.size(); ++s) {
      for (index_t i = 0; i < segments[s].count; ++i) {
        trained[static_cast<std::size_t>(segments[s].offset + i)] = segments[s].trainable;
      }
    }
    for (std::size_t i = 0; i < after.size(); ++i) {
      EXPECT_TRUE(std::isfinite(after[i])) << i;
      EXPECT_EQ(after[i] != before[i], trained[i]) << i;
    }
    EXPECT_EQ(bench.steps(), (std::vector<std::int64_t>{7, 7, 0, 7}));
  }
}

TEST(DeviceOptimizer, SkipsAStepThatOverflowedAndClips) {
  MWALIMU_NEEDS_DEVICE();
  const GradientControlOptions control_options{.gradient_scale = 0.5,
                                               .max_norm = 3,
                                               .scale_loss = true,
                                               .scaler = {.initial = 1024, .growth_interval = 2}};
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Bench host(options, Device::cpu()), device(options, Device::cuda());
    GradientControl host_control(Device::cpu(), control_options);
    GradientControl device_control(Device::cuda(), control_options);
    for (int t = 1; t <= 7; ++t) {
      const bool overflow = t == 3 || t == 4;
      const auto before = bits_of(device.arena.value_buffer());
      for (auto [bench, control] : {std::pair{&host, &host_control}, {&device, &device_control}}) {
        bench->draw_gradients(t, control->loss_scale().item());
        if (overflow) {
          bench->arena.part(bench->arena.gradient_buffer(), 5)
              .slice(0, 11, 12)
              .fill(std::numeric_limits<float>::infinity());
        }
        control->measure(bench->arena.gradient_buffer());
        bench->optimizer.step(bench->arena, {.lr = 0.02}, control);
      }
      EXPECT_EQ(bits_of(device.arena.value_buffer()) == before, overflow) << "step " << t;
      const auto got = device_control.read(), want = host_control.read();
      EXPECT_EQ(got.take, overflow ? 0 : 1);
      EXPECT_EQ(got.scale, want.scale);
      EXPECT_EQ(got.all_skipped, want.all_skipped);
      if (!overflow) {
        EXPECT_NEAR(got.factor, want.factor, 1e-12 * want.factor);
      }
    }
    EXPECT_EQ(device.steps(), std::vector<std::int64_t>(7, 5));
    expect_alike(device, host);
  }
}

TEST(DeviceOptimizer, AGraphIsReplayedWithOtherNumbers) {
  MWALIMU_NEEDS_DEVICE();
  const std::vector<double> group_scale[] = {{1, 1}, {0.5, 1}};
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Bench host(options, Device::cpu()), device(options, Device::cuda());
    GradientControl host_control(Device::cpu(), {.max_norm = 3});
    GradientControl device_control(Device::cuda(), {.max_norm = 3});
    const auto hyper = [&](int t) {
      return HyperParameters{.lr = 0.01 + 0.005 * t,
                             .group_scale = group_scale[t % 2],
                             .momentum = 0.8 + 0.01 * t};
    };
    const auto body = [&] {
      device_control.measure(device.arena.gradient_buffer());
      device.optimizer.run(device.arena, &device_control);
    };
    test::Captured graph;
    for (int t = 1; t <= 8; ++t) {
      for (Bench* bench : {&host, &device}) bench->net.vectors[1].trainable = t % 3 != 0;
      host.draw_gradients(t);
      host_control.measure(host.arena.gradient_buffer());
      host.optimizer.step(host.arena, hyper(t), &host_control);

      graph.run([&] {
        device.draw_gradients(t);
        device.optimizer.prepare(device.arena, hyper(t));
      });
      if (t == 1) {
        graph.run(body);  // allocates; a step like any other
      } else {
        if (t == 2) graph.record(body);
#if defined(MWALIMU_EMULATED)
        const auto before = emulated::counters();
        graph.launch();
        EXPECT_EQ(emulated::counters().synchronizations, before.synchronizations);
        EXPECT_EQ(emulated::counters().device_to_host, before.device_to_host);
#else
        graph.launch();
#endif
      }
      graph.stream().synchronize();
    }
    expect_alike(device, host);
  }
}

TEST(DeviceOptimizer, RefusesWhatAGraphWouldKeepForEver) {
  MWALIMU_NEEDS_DEVICE();
  Bench bench(SgdOptions{}, Device::cuda());
  EXPECT_THROW(bench.optimizer.run(bench.arena), ValueError) << "nothing is prepared";
  test::Captured graph;
  EXPECT_THROW(graph.record([&] { bench.optimizer.step(bench.arena, {.lr = 1}); }), ValueError);
}

TEST(DeviceOptimizer, RefusesAnArenaOnAnotherDevice) {
  MWALIMU_NEEDS_DEVICE();
  Bench host(SgdOptions{}, Device::cpu()), device(SgdOptions{}, Device::cuda());
  EXPECT_THROW(device.optimizer.step(host.arena, {.lr = 1}), DeviceError);
  EXPECT_THROW(host.optimizer.step(device.arena, {.lr = 1}), DeviceError);
  const GradientControl control;
  EXPECT_THROW(device.optimizer.step(device.arena, {.lr = 1}, &control), DeviceError);
  EXPECT_THROW((void)device.arena.values(), DeviceError);
}

TEST(DeviceOptimizer, CopyHasItsOwnStateAndResetForgetsIt) {
  MWALIMU_NEEDS_DEVICE();
  const OptimizerOptions options = RangerOptions{};
  Bench a(options, Device::cuda()), b(options, Device::cuda());
  for (Bench* bench : {&a, &b}) bench->draw_gradients(1);
  const Optimizer untouched = a.optimizer;
  Bench c(options, Device::cuda());
  c.draw_gradients(1);
  a.optimizer.step(a.arena, {.lr = 0.1});
  a.optimizer.reset();
  Optimizer copy = untouched;
  Optimizer after_reset = a.optimizer;
  for (int t = 0; t < 3; ++t) {
    copy.step(b.arena, {.lr = 0.1});
    after_reset.step(c.arena, {.lr = 0.1});
  }
  EXPECT_EQ(b.values(), c.values());
  EXPECT_EQ(untouched.device(), Device::cuda());
}

TEST(DeviceArena, MovesTheModelInTheOrderOfTheDevicesKernels) {
  MWALIMU_NEEDS_DEVICE();
  Net host, device;
  ParameterArena arena(device, Device::cuda(), ElementType::bfloat16);
  const Shape oihw{5, 3, 3, 3};
  EXPECT_EQ(device.convolution.weight.value().strides(),
            ops::conv2d_weight_strides(oihw, Device::cuda()));
  EXPECT_EQ(device.convolution.weight.grad().strides(),
            device.convolution.weight.value().strides());
  nn::for_each_parameter(host, [&](const std::string& path, nn::Parameter& from) {
    nn::for_each_parameter(device, [&](const std::string& other, nn::Parameter& to) {
      if (other != path) return;
      EXPECT_EQ(to.value().device(), Device::cuda());
      EXPECT_EQ(to.value().to_vector(), from.value().to_vector());
      EXPECT_EQ(to.grad().to_vector(),
                std::vector<float>(static_cast<std::size_t>(from.value().count()), 0.0f));
    });
  });
  EXPECT_EQ(device.buffer.device(), Device::cuda());
  EXPECT_EQ(device.buffer.to_vector(), host.buffer.to_vector());

  nn::to(device, Device::cpu());
  EXPECT_EQ(device.convolution.weight.value().strides(), host.convolution.weight.value().strides());
  EXPECT_EQ(device.convolution.weight.value().to_vector(),
            host.convolution.weight.value().to_vector());
  EXPECT_EQ(device.buffer.device(), Device::cpu());
}

TEST(DeviceArena, AChangeThroughTheParameterReachesTheCopy) {
  MWALIMU_NEEDS_DEVICE();
  Net net({4});
  ParameterArena arena(net, Device::cuda(), ElementType::bfloat16);
  nn::Parameter& weight = net.convolution.weight;
  weight.mutable_value().fill(3.0f);
  const auto copy = weight.packed()->cast<bfloat16>(weight.value());
  EXPECT_EQ(copy.storage(), std::get<Tensor<bfloat16>>(arena.copy_buffer()).storage());
  for (const bfloat16 value : copy.to_vector()) EXPECT_EQ(value, bfloat16(3.0f));
}

// A run that goes on from another device's checkpoint takes the same steps.
void expect_resumes(Device from, Device to) {
  const train::CheckpointIdentity identity{.kind = "test", .architecture = "net"};
  const test::TempDir folder;
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Bench first(options, from), second(options, to);
    const auto run = [](Bench& bench, int begin, int end) {
      for (int t = begin; t <= end; ++t) {
        bench.draw_gradients(t);
        bench.optimizer.step(bench.arena, {.lr = 0.02});
      }
    };
    run(first, 1, 7);
    run(second, 20, 22);  // to be forgotten
    const auto path = folder / "checkpoint.safetensors";
    train::CheckpointWriter writer(identity);
    train::put_model(writer, "model.", first.net);
    train::put_optimizer(writer, first.optimizer, first.arena);
    writer.save(path);
    const train::CheckpointReader reader(path, identity);
    train::get_model(reader, "model.", second.net);
    train::get_optimizer(reader, second.optimizer, second.arena);
    expect_alike(second, first, 0);
    run(first, 8, 13);
    run(second, 8, 13);
    expect_alike(second, first);
  }
}
TEST(DeviceOptimizer, GoesOnFromTheHostsCheckpoint) {
  MWALIMU_NEEDS_DEVICE();
  expect_resumes(Device::cpu(), Device::cuda());
}
TEST(DeviceOptimizer, ItsCheckpointGoesOnOnTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_resumes(Device::cuda(), Device::cpu());
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceOptimizer, MovesTheBytesOfItsTable) {
  if (!simt::checks_accesses()) GTEST_SKIP() << "no traffic but in the check flavour";
  const std::vector<std::pair<OptimizerOptions, std::uint64_t>> bytes_an_element = {
      {SgdOptions{}, 20}, {LarsOptions{}, 28}, {LarcOptions{}, 28}, {AdamOptions{}, 28},
      {LambOptions{}, 40}, {RadamOptions{}, 28}, {RangerOptions{.period = 5}, 28}};
  // Of one kernel: bytes an element, and whether it writes the copy. Those of 0 go over segments.
  struct Share {
    const char* kernel;
    std::uint64_t bytes;
    bool copies;
  };
  constexpr Share shares[] = {{"optimizer_norms", 8, false},  {"momentum_update", 20, true},
                              {"adaptive_update", 28, true},  {"lamb_moments", 24, false},
                              {"lamb_move", 16, true},        {"optimizer_advance", 0, false},
                              {"lamb_trust", 0, false}};
  const index_t n = 2 * kChunkSize;
  for (const auto& [options, bytes] : bytes_an_element) {
    SCOPED_TRACE(options.index());
    for (const auto compute : {ElementType::float32, ElementType::bfloat16}) {
      Bench bench(options, Device::cuda(), compute, Net({n}));
      bench.draw_gradients(1);
      bench.optimizer.step(bench.arena, {.lr = 0.02});  // ranger's copy of p
      const simt::ScopedOptions keep;
      simt::options().traffic = true;
      simt::reset_traffic();
      bench.optimizer.step(bench.arena, {.lr = 0.02});
      const std::uint64_t segments = bench.arena.segments().size();
      std::uint64_t moved = 0;
      for (const simt::LaunchTraffic& launch : simt::traffic()) {
        const Share* const share = std::find_if(
            std::begin(shares), std::end(shares),
            [&](const Share& one) { return launch.kernel.find(one.kernel) != std::string::npos; });
        ASSERT_NE(share, std::end(shares)) << launch.kernel;
        if (share->bytes == 0) {
          // A segment's numbers, what its chunks have added up, and what they are told.
          EXPECT_LE(launch.distinct_read + launch.distinct_written, 512 * segments)
              << simt::describe(launch);
          continue;
        }
        const std::uint64_t before = moved;
        EXPECT_TRUE(launch.each_byte_written_once()) << launch.kernel;
        EXPECT_TRUE(launch.without_bank_conflicts()) << launch.kernel;
        const auto count = [&](const auto& tensor, std::size_t size) {
          const auto traffic =
              launch.of(tensor.data() + bench.arena.segments()[1].offset,
                        static_cast<std::size_t>(n) * size);
          EXPECT_TRUE(traffic.each_byte_read_once() && traffic.each_byte_written_once())
              << launch.kernel;
          return traffic.read_bytes + traffic.write_bytes;
        };
        moved += count(bench.arena.value_buffer(), 4) + count(bench.arena.gradient_buffer(), 4);
        bench.optimizer.for_each_state([&](std::string_view, const Tensor<float>& state) {
          moved += count(state, 4);
        });
        if (compute == ElementType::bfloat16) {
          moved += count(std::get<Tensor<bfloat16>>(bench.arena.copy_buffer()), 2);
        }
        const bool copied = share->copies && compute == ElementType::bfloat16;
        EXPECT_EQ(moved - before,
                  (share->bytes + (copied ? 2 : 0)) * static_cast<std::uint64_t>(n))
            << simt::describe(launch);
      }
      EXPECT_EQ(moved, (bytes + (compute == ElementType::bfloat16 ? 2 : 0)) *
                           static_cast<std::uint64_t>(n));
    }
  }
}
#endif

}  // namespace
}  // namespace mwalimu::optim
