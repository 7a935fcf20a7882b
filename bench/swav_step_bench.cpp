// bench/swav_step: one SwAV training step, as bench/peers/gpu_step.py takes it.
//
// Forward, codes, loss, backward and SGD with momentum on random images; prints a JSON object with
// the milliseconds of each step. On a GPU the clock is the device's, and making the crops is part of
// the step, as in training: `augment_ms` has the time of the crops alone. On the cpu the crops of the
// first step are used again, unless --augment on.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/program.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/gpu/graph.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/train/swav_trainer.hpp"

namespace {

using namespace mwalimu;

struct Options {
  std::string device = "cpu", precision = "float32", arch = "xresnet34", crops = "2x128,6x96";
  std::string graph = "on", augment;
  index_t batch = 32, prototypes = 3000, width = 64, queue_length = 0;
  int steps = 10, warm_up = 3, threads = 0;

  bool augments() const { return augment.empty() ? device == "cuda" : augment == "on"; }
  int all_steps() const { return warm_up + steps; }
};

train::SwavTrainerOptions trainer_options(const Options& options) {
  train::SwavTrainerOptions trainer;
  trainer.encoder = models::Architecture{.arch = options.arch,
                                         .width = options.width,
                                         .channels = 3,
                                         .pooling = models::Pooling::concat}
                        .options();
  trainer.head.prototypes = options.prototypes;
  trainer.batch = options.batch;
  trainer.steps = options.all_steps();
  trainer.queue = {.length = options.queue_length, .start = 0};  // joins from the second step on
  trainer.optimizer = optim::SgdOptions{.momentum = 0.9};
  trainer.schedule = optim::Constant{.lr = 1e-3};
  trainer.precision = train::precision_of(options.precision);
  trainer.crops = data::MultiCropOptions::study(options.crops);
  return trainer;
}

// Two sensors' images for each sample of one batch.
data::ImageStore random_images(const Options& options, const data::MultiCropOptions& crops) {
  int side = 0;
  for (const auto& group : crops.groups) side = std::max(side, group.size);
  const auto count = static_cast<std::size_t>(2 * options.batch * side * side * 3);
  std::vector<std::uint8_t> pixels(count);
  RandomStream random(0, Purpose::test);
  for (std::uint8_t& value : pixels) value = static_cast<std::uint8_t>(random.below(256));
  return data::ImageStore::from_pixels(std::move(pixels), side, side);
}

struct Times {
  std::vector<double> steps, crops;  // milliseconds
  double first_loss = 0, last_loss = 0;
  std::string device;
  std::size_t graph_memory = 0;
  index_t parameters = 0;
};

template <class F>
double wall_milliseconds(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  std::forward<F>(f)();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

Times run_on_cpu(const Options& options) {
  const auto settings = trainer_options(options);
  const auto store = random_images(options, settings.crops);
  std::vector<train::ViewPair> samples;
  std::vector<index_t> indices;
  for (index_t i = 0; i < options.batch; ++i) {
    samples.push_back({2 * i, 2 * i + 1});
    indices.push_back(i);
  }
  train::SwavTrainer trainer(settings);
  train::CropBatch batch;
  const auto make = [&] {
    train::make_crops(settings.crops, 0, trainer.step(), store, samples, indices, batch);
  };
  make();

  Times times;
  times.device = "cpu";
  times.parameters = nn::parameter_count(trainer.network());
  for (int step = 0; step < options.all_steps(); ++step) {
    double crops = 0;
    const double whole = wall_milliseconds([&] {
      if (options.augments()) crops = wall_milliseconds(make);
      times.last_loss = trainer.step([&]() -> const train::CropBatch& { return batch; }).codes.loss;
    });
    if (step == 0) times.first_loss = times.last_loss;
    if (step < options.warm_up) continue;
    times.steps.push_back(whole);
    if (options.augments()) times.crops.push_back(crops);
  }
  return times;
}

// The milliseconds of each call of f(), which queues work on the stream.
template <class F>
std::vector<double> device_milliseconds(const gpu::Stream& stream, const Options& options, F&& f) {
  gpu::Event begin(0, gpu::Event::Kind::timed), end(0, gpu::Event::Kind::timed);
  std::vector<double> all;
  for (int step = 0; step < options.all_steps(); ++step) {
    begin.record(stream.handle());
    f(step);
    end.record(stream.handle());
    end.synchronize();
    if (step >= options.warm_up) all.push_back(end.milliseconds_since(begin));
  }
  return all;
}

// As the step makes them, and nothing else.
std::vector<double> crop_milliseconds(const Options& options,
                                      const train::SwavTrainerOptions& settings,
                                      const gpu::DeviceStore& store) {
  const gpu::Stream stream(0);
  const gpu::StreamScope on_stream(stream);
  auto rows = Tensor<index_t>::empty({options.batch, 2});
  for (index_t i = 0; i < rows.count(); ++i) rows.data()[i] = i;
  const Tensor<index_t> pairs = rows.to(Device::cuda());
  return train::with_precision(settings.precision, [&]<class T>(T) {
    std::vector<Tensor<T>> crops;
    gpu::Graph graph(stream);
    const auto make = [&] {
      data::multi_crop<T>(settings.crops, 0, 0.0, store.images(), pairs, crops);
    };
    make();
    graph.record(make);
    return device_milliseconds(stream, options, [&](int) { graph.launch(); });
  });
}

// A template, so that a build without CUDA compiles none of it.
template <class Step = train::DeviceSwavStep<>>
Times run_on_gpu(const Options& options) {
  const Device device = Device::cuda();
  const auto settings = trainer_options(options);
  models::SwavNetwork network(models::Encoder(settings.encoder), settings.head);
  network.initialize(0);
  nn::set_training(network, true);
  optim::ParameterArena arena(network, device, train::element_type_of(settings.precision));
  optim::Optimizer optimizer(settings.optimizer, arena);
  train::EmbeddingQueues queues(settings.queue, settings.loss.code_crops, settings.head.embedding,
                                options.batch, 0, device);
  Step step(network, arena, optimizer, queues,
            {.crops = settings.crops,
             .loss = settings.loss,
             .batch = options.batch,
             .precision = settings.precision,
             .loss_scale = train::loss_scale_options(settings.precision, std::nullopt),
             .graph = options.graph == "on",
             .history = options.all_steps()});
  const gpu::DeviceStore store(random_images(options, settings.crops), device,
                               gpu::StorePlacement::device);
  gpu::BatchFeed feed(store, 2 * options.batch, 0, options.all_steps(),
                      [&](std::int64_t, gpu::BatchRequest& want) {
                        for (index_t i = 0; i < 2 * options.batch; ++i) want.images.push_back(i);
                      });

  Times times;
  times.device = gpu::Driver::info(device.index).name;
  times.parameters = nn::parameter_count(network);
  times.steps = device_milliseconds(step.stream(), options, [&](int number) {
    step.run(number, {.lr = 1e-3, .momentum = 0.9}, options.queue_length > 0 && number > 0, feed);
  });
  const auto rows = step.read();
  times.first_loss = rows.front().codes.loss;
  times.last_loss = rows.back().codes.loss;
  times.graph_memory = step.graph_memory();
  times.crops = crop_milliseconds(options, settings, store);
  return times;
}

nlohmann::json run(const Options& options) {
  configure_threads(options.threads);
  const Times times = [&] {
    if (options.device == "cpu") return run_on_cpu(options);
    if constexpr (kCuda) {
      require<DeviceError>(cuda_available(), "--device cuda: ", gpu::Driver::why_no_device());
      require<ValueError>(options.augments(),
                          "--augment off: on a device the crops are made within the step; subtract "
                          "augment_ms");
      return run_on_gpu(options);
    }
    mwalimu::detail::fail<DeviceError>("--device cuda: built without CUDA; use the preset `cuda`");
  }();
  require<Error>(std::isfinite(times.first_loss) && std::isfinite(times.last_loss),
                 "the loss is not finite: ", times.first_loss, ", then ", times.last_loss);
  nlohmann::json json = {{"ms", times.steps},
                         {"augment", options.augments()},
                         {"device", times.device},
                         {"precision", options.precision},
                         {"arch", options.arch},
                         {"batch", options.batch},
                         {"crops", options.crops},
                         {"parameters", times.parameters},
                         {"prototypes", options.prototypes},
                         {"queue_length", options.queue_length},
                         {"first_loss", times.first_loss},
                         {"last_loss", times.last_loss},
                         {"version", "Mwalimu " MWALIMU_VERSION}};
  if (options.augments()) json["augment_ms"] = times.crops;
  if (options.device == "cuda") {
    json["graph"] = options.graph == "on";
    json["graph_bytes"] = times.graph_memory;
  } else {
    json["threads"] = num_threads();
    json["peak_bytes"] = CachingAllocator::instance().statistics().peak;
  }
  return json;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description = "Times SwAV's training steps on random images.",
       .example = "swav_step_bench --device cuda --precision bfloat16 --batch 32 --graph on"},
      [&](CLI::App& app) {
        app.add_option("--device", options.device, "cpu or cuda")
            ->check(CLI::IsMember({"cpu", "cuda"}));
        app.add_option("--precision", options.precision, "float32, bfloat16 or float16")
            ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
        app.add_option("--arch", options.arch, models::architecture_names());
        app.add_option("--width", options.width, "channels of the encoder's first stage")
            ->check(CLI::Range(2, 1024));
        app.add_option("--batch", options.batch, "samples a step")->check(CLI::Range(2, 65536));
        app.add_option("--crops", options.crops, "count x side of each group, comma-separated");
        app.add_option("--prototypes", options.prototypes, "K")->check(CLI::Range(1, 1000000));
        app.add_option("--queue-length", options.queue_length,
                       "embeddings that join the codes, a multiple of the batch; 0: no queue")
            ->check(CLI::Range(0, 1000000));
        app.add_option("--graph", options.graph, "on: the step as one CUDA graph; off")
            ->check(CLI::IsMember({"on", "off"}));
        app.add_option("--augment", options.augment,
                       "on: new crops for every step; off: those of the first (default: on for "
                       "cuda, where off is not possible, else off)")
            ->check(CLI::IsMember({"on", "off"}));
        app.add_option("--steps", options.steps, "timed steps")->check(CLI::Range(1, 100000));
        app.add_option("--warm-up", options.warm_up, "steps before them; the second records the graph")
            ->check(CLI::Range(2, 1000));
        app.add_option("--threads", options.threads, "host threads; 0: all cores")
            ->check(CLI::Range(0, 4095));
      },
      [&](const CLI::App&) { std::cout << run(options) << std::endl; });
}
