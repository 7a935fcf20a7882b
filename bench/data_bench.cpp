// data_bench: what stands between the files and a step, and how it grows with the data.
//
//   crops/make, augment/make   the inputs of one batch, by one thread, as a loader's worker makes them
//   sampler/epoch              the order of an epoch of N images
//   sampler/batch              one batch of it, once the order is known
//   split/by_pair              training and validation part of N images
//   index/read_csv             a list of N images with their labels
//   store/batch                images of a batch, at random from a mapped file of decoded ones: warm,
//                              from memory; cold, from the disk, every page dropped before. The
//                              file has MWALIMU_BENCH_STORE_MIB (256; or a list: 256,8192), in TMPDIR
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/sampler.hpp"
#include "mwalimu/data/split.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/mapped_file.hpp"
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

// Decoded images in a file, mapped as data::ImageStore maps its cache. The file has no name, so
// nothing of it is left whatever ends the program. Each image starts with its number.
class StoreFile {
 public:
  static constexpr index_t kSide = 128, kImage = 3 * kSide * kSide;

  /// @throws FileError  the folder for temporary files is in memory, or has no room.
  explicit StoreFile(index_t mebibytes)
      : mebibytes_(mebibytes), images_((mebibytes << 20) / kImage) {
    const auto folder = std::filesystem::temp_directory_path();
    struct statfs system {};
    require<FileError>(::statfs(folder.c_str(), &system) == 0 && system.f_type != TMPFS_MAGIC,
                       folder.string(), " is not on a disk; name another folder in TMPDIR");
    std::string path = (folder / "mwalimu_store_XXXXXX").string();
    file_ = io::detail::Descriptor(::mkstemp(path.data()));
    require<FileError>(file_.get() >= 0, "cannot make ", path, ": ", io::detail::errno_text(errno));
    const int refused = ::posix_fallocate(file_.get(), 0, images_ * kImage);
    if (refused == 0) pixels_ = io::MappedFile(path);
    std::filesystem::remove(path);
    require<FileError>(refused == 0, "no room for ", mebibytes, " MiB in ", folder.string(), ": ",
                       io::detail::errno_text(refused));
    write();
  }

  index_t mebibytes() const { return mebibytes_; }
  index_t images() const { return images_; }
  std::span<const std::byte> image(index_t i) const {
    return pixels_.bytes().subspan(static_cast<std::size_t>(i * kImage), kImage);
  }
  static std::int64_t number_of(std::span<const std::byte> image) {
    std::int64_t number;
    std::memcpy(&number, image.data(), sizeof(number));
    return number;
  }

  /// Takes every page out of this process and out of the system's cache.
  void drop() const {
    ::madvise(start(), pixels_.bytes().size(), MADV_DONTNEED);
    ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  void touch() const {
    for (std::size_t at = 0; at < pixels_.bytes().size(); at += kPage) {
      benchmark::DoNotOptimize(pixels_.bytes()[at]);
    }
  }
  /// The share of the pages that the system has in memory.
  double resident() const {
    std::vector<unsigned char> pages((pixels_.bytes().size() + kPage - 1) / kPage);
    if (::mincore(start(), pixels_.bytes().size(), pages.data()) != 0) return -1;
    index_t there = 0;
    for (const unsigned char page : pages) there += page & 1;
    return static_cast<double>(there) / static_cast<double>(pages.size());
  }

 private:
  static constexpr std::size_t kPage = 4096;

  void* start() const { return const_cast<std::byte*>(pixels_.bytes().data()); }
  void write() {
    std::vector<std::byte> image(kImage);
    RandomStream random(0, Purpose::test);
    for (std::byte& value : image) value = static_cast<std::byte>(random.below(256));
    for (std::int64_t i = 0; i < images_; ++i) {
      std::memcpy(image.data(), &i, sizeof(i));
      require<FileError>(::pwrite(file_.get(), image.data(), kImage, i * kImage) == kImage,
                         "cannot write a store: ", io::detail::errno_text(errno));
    }
    require<FileError>(::fsync(file_.get()) == 0, "cannot write a store: ",
                       io::detail::errno_text(errno));
  }

  index_t mebibytes_, images_;
  io::detail::Descriptor file_;
  io::MappedFile pixels_;
};

void read_store(benchmark::State& state, index_t mebibytes, bool cold) {
  constexpr index_t kBatch = 64;  // both photographs of 32 plants
  static std::unique_ptr<StoreFile> store;  // several rows' and all their repetitions'
  try {
    if (!store || store->mebibytes() != mebibytes) {
      store.reset();
      store = std::make_unique<StoreFile>(mebibytes);
    }
  } catch (const Error& error) {
    return state.SkipWithError(error.what());
  }
  cold ? store->drop() : store->touch();
  const double resident = store->resident();
  if (cold ? resident > 0.01 : resident < 0.99) {
    return state.SkipWithError(cold ? "the system keeps the pages"
                                    : "memory does not hold the file");
  }
  std::vector<std::byte> batch(kBatch * StoreFile::kImage);
  std::vector<index_t> wanted(kBatch);
  RandomStream random(1, Purpose::test);
  double spent = 0;
  bool right = true;
  for (auto _ : state) {
    if (cold) store->drop();
    for (index_t& i : wanted) {
      i = static_cast<index_t>(random.below(static_cast<std::uint32_t>(store->images())));
    }
    const double once = seconds_of([&] {
      std::byte* to = batch.data();
      for (const index_t i : wanted) {
        std::memcpy(to, store->image(i).data(), StoreFile::kImage);
        to += StoreFile::kImage;
      }
    }).wall;
    state.SetIterationTime(once);
    spent += once;
    for (index_t row = 0; row < kBatch; ++row) {
      const auto image = std::span(batch).subspan(static_cast<std::size_t>(row * StoreFile::kImage));
      right = right && StoreFile::number_of(image) == wanted[static_cast<std::size_t>(row)];
    }
  }
  if (!right) return state.SkipWithError("an image is not the one asked for");
  // Means, not the fastest call: a disk has no time that is its own.
  state.counters["bytes"] = static_cast<double>(batch.size());
  state.counters["images_per_second"] =
      static_cast<double>(kBatch * static_cast<index_t>(state.iterations())) / spent;
}

// Of MWALIMU_BENCH_STORE_MIB; a word that is no number is none.
std::vector<index_t> store_sizes() {
  const char* text = std::getenv("MWALIMU_BENCH_STORE_MIB");
  if (text == nullptr || *text == '\0') return {quick() ? 8 : 256};
  std::vector<index_t> sizes;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    const index_t size = std::atoll(word.c_str());
    if (size > 0) sizes.push_back(size);
  }
  return sizes;
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
  const index_t memory = index_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE) >> 20;
  for (const index_t size : store_sizes()) {
    for (const bool cold : {false, true}) {
      if (!cold && size > memory / 2) continue;  // there is no such store
      on_host(benchmark::RegisterBenchmark((std::string("store/batch/cpu/u8/") +
                                            (cold ? "cold" : "warm") + "/px:128/B:64/MiB:" +
                                            std::to_string(size)).c_str(),
                                           read_store, size, cold));
    }
  }
  return true;
}();

}  // namespace
}  // namespace mwalimu::bench
