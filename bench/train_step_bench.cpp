// bench/train_step: one training step of an encoder, as bench/peers/train_step.py takes it.
//
// Forward, backward and SGD with momentum on one fixed batch of random images; prints a JSON object
// with the milliseconds of each step, which bench/peers/run_peers.py reads.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/program.hpp"
#include "mwalimu/core/allocator.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"

namespace {

using namespace mwalimu;

struct Options {
  std::string arch = "xresnet34", precision = "float32";
  index_t size = 96, batch = 32, classes = 10;
  int steps = 10, warm_up = 3, threads = 0;
};

struct Network {
  models::Encoder encoder;
  nn::Linear head;

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& images) {
    return head(encoder(images));
  }
  template <class V>
  void visit(V&& v) {
    v("0", encoder);
    v("1", head);
  }
};

Network make_network(const Options& options) {
  Network network;
  network.encoder = models::Encoder(models::encoder_options(options.arch));
  network.encoder.initialize(0);
  const index_t features = network.encoder.features();
  network.head = nn::Linear(features, options.classes, false);
  nn::uniform_by_fan(network.head.weight, features, {0, 10000});
  return network;
}

// T: the type of images and activations.
template <nn::ComputeType T>
nlohmann::json run(const Options& options) {
  configure_threads(options.threads);
  Network network = make_network(options);
  const index_t parameters = nn::parameter_count(network);
  optim::ParameterArena arena(network);
  optim::Optimizer optimizer(optim::SgdOptions{.momentum = 0.9}, arena.segments(), arena.size());

  auto images = Tensor<float>::empty({options.batch, options.size, options.size, 3});
  RandomStream random(0, Purpose::test);
  for (float& value : images.span()) value = random.normal();
  auto labels = Tensor<std::int64_t>::empty({options.batch});
  for (index_t i = 0; i < options.batch; ++i) labels.data()[i] = i % options.classes;

  std::vector<double> milliseconds, losses;
  for (int step = 0; step < options.warm_up + options.steps; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    arena.zero_gradients();
    const auto loss = ops::cross_entropy(network(Variable<T>(images.to<T>())), labels);
    loss.backward();
    optimizer.step(arena.values(), arena.gradients(), arena.segments(), {.lr = 1e-3});
    losses.push_back(loss.value().item());
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    if (step >= options.warm_up) milliseconds.push_back(took.count());
  }
  const dnnl_version_t* onednn = dnnl_version();
  return {{"ms", milliseconds},
          {"first_loss", losses.front()},
          {"last_loss", losses.back()},
          {"parameters", parameters},
          {"peak_bytes", CachingAllocator::instance().statistics().peak},
          {"threads", num_threads()},
          {"precision", type_name<T>()},
          {"version", "Mwalimu " MWALIMU_VERSION ", oneDNN " + std::to_string(onednn->major) + "." +
                          std::to_string(onednn->minor) + "." + std::to_string(onednn->patch)}};
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description = "Times training steps on one fixed batch of random images.",
       .example = "train_step_bench --size 96 --batch 32 --steps 10"},
      [&](CLI::App& app) {
        app.add_option("--arch", options.arch, models::architecture_names());
        app.add_option("--precision", options.precision, "float32 or bfloat16")
            ->check(CLI::IsMember({"float32", "bfloat16"}));
        app.add_option("--size", options.size, "pixels a side")->check(CLI::Range(1, 1024));
        app.add_option("--batch", options.batch, "images a step")->check(CLI::Range(1, 4096));
        app.add_option("--classes", options.classes, "outputs")->check(CLI::Range(1, 100000));
        app.add_option("--steps", options.steps, "timed steps")->check(CLI::Range(1, 100000));
        app.add_option("--warm-up", options.warm_up, "steps before them")
            ->check(CLI::Range(0, 1000));
        app.add_option("--threads", options.threads, "host threads; 0: all cores")
            ->check(CLI::Range(0, 4095));
      },
      [&](const CLI::App&) {
        std::cout << (options.precision == "float32" ? run<float>(options) : run<bfloat16>(options))
                  << std::endl;
      });
}
