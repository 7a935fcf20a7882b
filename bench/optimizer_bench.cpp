// optimizer_bench: one step of every optimiser, and the norm of all gradients, on the 114
// parameters of xresnet34.
#include <benchmark/benchmark.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/optim/gradients.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "support.hpp"

namespace mwalimu::optim {
namespace {

constexpr index_t kParameters = 21303904;

// Convolution weight, batch norm weight and bias of every layer, each starting a cache line.
std::vector<Segment> xresnet34_segments() {
  std::vector<Segment> segments;
  index_t offset = 0;
  const auto add = [&](index_t count, bool decay) {
    segments.push_back({.name = std::to_string(segments.size()),
                        .offset = offset,
                        .count = count,
                        .decay = decay});
    offset += (count + 15) / 16 * 16;
  };
  const auto convolution = [&](index_t from, index_t to, index_t size) {
    add(from * to * size * size, true);
    add(to, false);
    add(to, false);
  };
  convolution(3, 32, 3);
  convolution(32, 32, 3);
  convolution(32, 64, 3);
  index_t channels = 64;
  for (const auto& [width, blocks] :
       std::vector<std::pair<index_t, int>>{{64, 3}, {128, 4}, {256, 6}, {512, 3}}) {
    for (int block = 0; block < blocks; ++block) {
      convolution(channels, width, 3);
      convolution(width, width, 3);
      if (channels != width) convolution(channels, width, 1);
      channels = width;
    }
  }
  return segments;
}

struct Model {
  std::vector<Segment> segments = xresnet34_segments();
  index_t size = segments.back().offset + segments.back().count;
  Tensor<float> values = Tensor<float>::zeros({size}), gradients = Tensor<float>::zeros({size});

  Model() {
    index_t count = 0;
    for (const Segment& segment : segments) count += segment.count;
    require<ShapeError>(count == kParameters, "xresnet34 has ", kParameters, " parameters, not ",
                        count);
    parallel_for(size, kChunk, [&](index_t begin, index_t end) {
      RandomStream random(1, Purpose::test, 0, static_cast<std::uint64_t>(begin));
      for (index_t i = begin; i < end; ++i) {
        values.data()[i] = random.uniform(-0.1f, 0.1f);
        gradients.data()[i] = random.uniform(-1e-3f, 1e-3f);
      }
    });
  }
};

void step(benchmark::State& state, const OptimizerOptions& options, double bytes_a_parameter) {
  Model model;
  Optimizer optimizer(options, model.segments, model.size);
  const auto step = [&] {
    optimizer.step(model.values.span(), model.gradients.span(), model.segments, {.lr = 1e-4});
  };
  const float before = model.values.data()[0];
  step();
  if (model.values.data()[0] == before || !std::isfinite(gradient_norm(model.values.span()))) {
    return state.SkipWithError("the step left the parameters as they were, or not finite");
  }
  bench::time_host(state, {.bytes = bytes_a_parameter * kParameters, .flop = 0}, step);
}

void norm(benchmark::State& state) {
  const Model model;
  double sum = 0;
  for (const float value : model.gradients.span()) sum += double{value} * double{value};
  if (std::abs(gradient_norm(model.gradients.span()) / std::sqrt(sum) - 1) > 1e-9) {
    return state.SkipWithError("the norm is not the root of the sum of squares");
  }
  bench::time_host(state, {.bytes = 4.0 * kParameters, .flop = 2.0 * kParameters}, [&] {
    benchmark::DoNotOptimize(gradient_norm(model.gradients.span()));
  });
}

void overflow(benchmark::State& state) {
  Model model;
  float& last = model.gradients.data()[model.size - 1];
  const float number = std::exchange(last, std::numeric_limits<float>::infinity());
  const bool found = has_nonfinite(model.gradients.span());
  last = number;
  if (!found || has_nonfinite(model.gradients.span())) {
    return state.SkipWithError("an infinity was not told from a number");
  }
  bench::time_host(state, {.bytes = 4.0 * kParameters, .flop = 1.0 * kParameters}, [&] {
    benchmark::DoNotOptimize(has_nonfinite(model.gradients.span()));
  });
}

const bool registered = [] {
  const std::string suffix = "/cpu/f32/N:" + std::to_string(kParameters);
  const auto add = [&](const std::string& name, const OptimizerOptions& options, double bytes) {
    bench::on_host(
        benchmark::RegisterBenchmark((name + "/step" + suffix).c_str(), step, options, bytes));
  };
  // Bytes a parameter by the Moves line of Optimizer.
  add("sgd", SgdOptions{.weight_decay = 1e-4}, 20);
  add("lars", LarsOptions{}, 28);
  add("larc", LarcOptions{}, 28);
  add("adamw", AdamOptions::pytorch(), 28);
  add("lamb", LambOptions{.weight_decay = 1e-6}, 40);
  add("radam", RadamOptions{}, 28);
  add("ranger", RangerOptions{}, 28 + 8.0 / 6);
  const auto add_reduction = [&](const std::string& name, void (*function)(benchmark::State&)) {
    bench::on_host(benchmark::RegisterBenchmark(("gradients/" + name + suffix).c_str(), function));
  };
  add_reduction("norm", norm);
  add_reduction("overflow", overflow);
  return true;
}();

}  // namespace
}  // namespace mwalimu::optim
