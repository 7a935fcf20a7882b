// data_bench: what stands between the files and a step, and how it grows with the data.
//
//   crops/make, augment/make   the inputs of one batch, by one thread, as a loader's worker makes them
//   sampler/epoch              the order of an epoch of N images
//   sampler/batch              one batch of it, once the order is known
//   split/by_pair              training and validation part of N images
//   index/read_csv             a list of N images with their labels
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/sampler.hpp"
#include "mwalimu/data/split.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/train/swav_trainer.hpp"
#include "support.hpp"

namespace mwalimu::bench {
namespace {

data::ImageStore random_images(index_t count, index_t side) {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count * side * side * 3));
  RandomStream random(0, Purpose::test);
  for (std::uint8_t& value : pixels) value = static_cast<std::uint8_t>(random.below(256));
  return data::ImageStore::from_pixels(std::move(pixels), static_cast<int>(side),
                                       static_cast<int>(side));
}

// Normalised random pixels: finite, about 0 on average, about 1 wide.
bool sane(benchmark::State& state, const Tensor<float>& images) {
  double sum = 0, squares = 0;
  for (const float value : images.span()) {
    sum += double{value};
    squares += double{value} * double{value};
  }
  const auto n = static_cast<double>(images.count());
  const double deviation = std::sqrt(squares / n - sum * sum / (n * n));
  if (std::abs(sum / n) < 1 && deviation > 0.1 && deviation < 3) return true;
  state.SkipWithError("the inputs are not normalised images");
  return false;
}

void crops(benchmark::State& state, const std::string& text) {
  constexpr index_t kBatch = 32, kSide = 128;
  const auto options = data::MultiCropOptions::study(text);
  const auto store = random_images(2 * kBatch, kSide);
  std::vector<train::ViewPair> samples;
  std::vector<index_t> rows;
  for (index_t i = 0; i < kBatch; ++i) {
    samples.push_back({2 * i, 2 * i + 1});
    rows.push_back(i);
  }
  train::CropBatch batch;
  std::int64_t step = 0;
  const auto make = [&] { train::make_crops(options, 0, step++, store, samples, rows, batch); };
  make();
  if (!sane(state, batch.groups.front())) return;
  double bytes = 0;  // each crop written once, and its box read
  for (const auto& group : options.groups) {
    const double share = (double{group.scale.low} + double{group.scale.high}) / 2;
    bytes += static_cast<double>(group.count * kBatch) * 3 *
             (share * kSide * kSide + 4.0 * group.size * group.size);
  }
  time_host(state, {.bytes = bytes, .flop = 0}, make);
  state.counters["images_per_second"] = static_cast<double>(options.views() * kBatch) * 1e3 /
                                        state.counters["best_ms"].value;
}

void augment(benchmark::State& state) {
  constexpr index_t kBatch = 32;
  const index_t side = state.range(0);
  data::AugmentOptions options;
  options.size = static_cast<int>(side);
  const auto store = random_images(kBatch, side);
  auto images = Tensor<float>::empty({kBatch, side, side, 3});
  data::AugmentScratch scratch;
  std::uint64_t step = 0;
  const auto make = [&] {
    ++step;
    for (index_t r = 0; r < kBatch; ++r) {
      const data::ByteImage pixels{store.image(r).data(), store.height(), store.width()};
      const auto drawn = data::draw_augment(options, 0, step, static_cast<std::uint64_t>(r),
                                            pixels.height, pixels.width);
      data::apply_augment(pixels, drawn, options.size, options.normalisation,
                          images.data() + r * side * side * 3, scratch);
    }
  };
  make();
  if (!sane(state, images)) return;
  time_host(state, {.bytes = static_cast<double>(images.count()) * 5, .flop = 0}, make);
  state.counters["images_per_second"] = kBatch * 1e3 / state.counters["best_ms"].value;
}

void epoch(benchmark::State& state) {
  const index_t N = state.range(0);
  const data::BatchSampler sampler(N, std::min<index_t>(32, N), 0);
  std::int64_t number = 0;  // another epoch every time: nothing is remembered
  time_host(state, {.bytes = 8.0 * static_cast<double>(N), .flop = 0}, [&] {
    benchmark::DoNotOptimize(sampler.indices(number++ * sampler.steps_per_epoch()).data());
  });
}
void sampled_batch(benchmark::State& state) {
  const index_t N = state.range(0);
  const data::BatchSampler sampler(N, 32, 0);
  if (sampler.indices(0) == sampler.indices(1)) {
    return state.SkipWithError("two batches are the same");
  }
  std::int64_t step = 0;
  time_host(state, {}, [&] {
    benchmark::DoNotOptimize(sampler.indices(step++ % sampler.steps_per_epoch()).data());
  });
}

void split(benchmark::State& state) {
  const index_t N = state.range(0);
  data::Dataset dataset;
  dataset.classes = {"a", "b", "c"};
  for (index_t i = 0; i < N; ++i) {
    data::Sample sample;
    sample.sensor = i % 2 == 0 ? data::Sensor::rgb : data::Sensor::rgn;
    sample.pair = i % 2 == 0 ? i + 1 : i - 1;
    sample.label = static_cast<int>(i / 2 % 3);
    dataset.samples.push_back(sample);
  }
  const auto parts = data::split_by_pair(dataset, 0.2, 0);
  if (static_cast<index_t>(parts.train.size() + parts.valid.size()) != N) {
    return state.SkipWithError("the parts are not the whole");
  }
  time_host(state, {}, [&] {
    benchmark::DoNotOptimize(data::split_by_pair(dataset, 0.2, 0).train.data());
  });
}

void read_csv(benchmark::State& state) {
  const index_t N = state.range(0);
  const auto path = std::filesystem::temp_directory_path() /
                    ("mwalimu_index_" + std::to_string(getpid()) + ".csv");
  {
    std::ofstream file(path);
    file << "Image_id,Label\n";
    for (index_t i = 0; i < N; ++i) file << "id_" << i << ".jpg,healthy\n";
  }
  const auto bytes = static_cast<double>(std::filesystem::file_size(path));
  if (static_cast<index_t>(io::read_csv(path).rows.size()) != N) {
    state.SkipWithError("rows are missing");
  } else {
    time_host(state, {.bytes = bytes, .flop = 0},
              [&] { benchmark::DoNotOptimize(io::read_csv(path).rows.data()); });
  }
  std::filesystem::remove(path);
}

const bool registered = [] {
  for (const char* text : {"2x128,6x96", "2x64,4x48", "2x48,4x32"}) {
    on_host(benchmark::RegisterBenchmark(
        (std::string("crops/make/cpu/f32/") + text + "/B:32").c_str(), crops, std::string(text)));
  }
  on_host(benchmark::RegisterBenchmark("augment/make/cpu/f32/B:32", augment))
      ->ArgName("px")
      ->Arg(64)
      ->Arg(128)
      ->Arg(224);
  const auto grow = [](const char* name, void (*function)(benchmark::State&)) {
    auto* row = on_host(benchmark::RegisterBenchmark(name, function))->ArgName("N");
    for (const int n : {100, 1000, 10000, 100000, 1000000}) row->Arg(n);
  };
  grow("sampler/epoch/cpu/i64", epoch);
  grow("sampler/batch/cpu/i64", sampled_batch);
  grow("split/by_pair/cpu/i64", split);
  grow("index/read_csv/cpu/text", read_csv);
  return true;
}();

}  // namespace
}  // namespace mwalimu::bench
