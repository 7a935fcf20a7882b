// data/image_store: every image of a data set, decoded once to bytes of one size.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/data/image.hpp"
#include "mwalimu/data/pixels.hpp"
#include "mwalimu/data/resize.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/mapped_file.hpp"

namespace mwalimu::data {

/// How an image becomes a square. stretch: the whole image, aspect ratio not kept, as the study
/// did. crop: the largest centred square.
enum class Fit { stretch, crop };

/// MWALIMU_CACHE, else empty: no cache.
inline std::filesystem::path cache_folder() {
  const char* named = std::getenv("MWALIMU_CACHE");
  return named == nullptr ? std::filesystem::path() : std::filesystem::path(named);
}

struct StoreOptions {
  int size = 128;  ///< height and width of every stored image
  Fit fit = Fit::stretch;
  Interpolation interpolation = Interpolation::bicubic;
  bool skip_bad = false;                         ///< drop plants with an undecodable image
  std::filesystem::path cache = cache_folder();  ///< made if missing; empty: nothing is kept
  DecodeOptions decode{};
};

/// Called as images are decoded, from one thread at a time, with how many of how many are done.
using StoreProgress = std::function<void(index_t done, index_t total)>;

namespace detail {

// 64 bits of a byte string: multiply and fold, eight bytes at a time, each word from its position
// on its own way through, so that swapped or shifted words differ. Not for adversaries.
inline std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t seed) {
  std::uint64_t hash = seed ^ (bytes.size() * 0x9E3779B97F4A7C15u);
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    hash = std::rotl((hash ^ word) * 0xBF58476D1CE4E5B9u, 29);
  }
  for (; i < bytes.size(); ++i) {
    hash = std::rotl((hash ^ static_cast<std::uint64_t>(bytes[i])) * 0x94D049BB133111EBu, 29);
  }
  hash ^= hash >> 32;
  return hash * 0x9E3779B97F4A7C15u;
}

// What a cache file starts with; then one byte an image (1: it does not decode), then the pixels.
struct StoreHeader {
  char magic[8] = {'m', 'w', 's', 't', 'o', 'r', 'e', '1'};
  std::uint64_t key = 0;  // of the list of files and the options
  std::uint64_t count = 0;
  std::uint64_t size = 0;
  std::uint64_t checksum = 0;  // of everything behind the header
  bool operator==(const StoreHeader&) const = default;
};

}  // namespace detail

/// Row i holds the pixels of sample i of the data set it was built from. Copies share the pixels.
class ImageStore {
 public:
  ImageStore() = default;

  /// Decodes and resizes every image of `data`, in parallel, or maps the result of an earlier run.
  /// Of a stacked sample both photographs are, alike, and become one image of four channels.
  ///
  /// The cache file is named by the list of paths, their sizes and times of change, and the
  /// options; its header and checksum are verified, and a file that fails either is made anew.
  ///
  /// @param data      where skip_bad is on, plants with an image that does not decode are removed
  ///                  from it and added to data.skipped; rows are those of what is left.
  /// @param progress  may be empty; not called where the cache answers.
  /// @throws BadDataError  an image does not decode and skip_bad is off, or no image is left.
  /// @throws FileError     the cache cannot be written.
  /// @throws ValueError    size < 1, or `data` is empty, or only a part of it is stacked.
  static ImageStore build(Dataset& data, const StoreOptions& options = {},
                          const StoreProgress& progress = {});

  /// A store of pixels that are in memory already: count * height * width * channels bytes.
  /// @param channels  3, or 4 of stacked pairs.
  /// @throws ShapeError  the pixels do not make whole images.
  static ImageStore from_pixels(std::vector<std::uint8_t> pixels, int height, int width,
                                int channels = 3) {
    const std::size_t bytes = static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
                              static_cast<std::size_t>(channels);
    require<ShapeError>(height >= 1 && width >= 1 && (channels == 3 || channels == 4) &&
                            pixels.size() % bytes == 0,
                        "ImageStore: ", pixels.size(), " bytes are not images of ", height, " x ",
                        width, " x ", channels);
    ImageStore store;
    store.channels_ = channels;
    store.height_ = height;
    store.width_ = width;
    const std::size_t count = pixels.size() / bytes;
    auto owner = std::make_shared<const std::vector<std::uint8_t>>(std::move(pixels));
    for (std::size_t i = 0; i < count; ++i) store.images_.push_back(owner->data() + i * bytes);
    store.owner_ = std::move(owner);
    return store;
  }

  index_t size() const { return static_cast<index_t>(images_.size()); }
  int height() const { return height_; }
  int width() const { return width_; }
  /// 3: R, G, B; 4: and near infra-red.
  int channels() const { return channels_; }

  /// height() * width() * channels() bytes, interleaved, valid as long as any copy of the store
  /// lives.
  /// @throws ValueError  no such row.
  std::span<const std::uint8_t> image(index_t i) const {
    require<ValueError>(i >= 0 && i < size(), "ImageStore: image ", i, " of ", size());
    return {images_[static_cast<std::size_t>(i)],
            static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_) *
                static_cast<std::size_t>(channels_)};
  }
  /// f of image i, a ByteImage or a StackedByteImage as channels() says.
  template <class F>
  decltype(auto) visit(index_t i, F&& f) const {
    const std::uint8_t* pixels = image(i).data();
    if (channels_ == 4) return f(StackedByteImage{pixels, height_, width_});
    return f(ByteImage{pixels, height_, width_});
  }

 private:
  struct Builder;

  int height_ = 0, width_ = 0, channels_ = 3;
  std::vector<const std::uint8_t*> images_;
  std::shared_ptr<const void> owner_;
};

struct ImageStore::Builder {
  Dataset& data;
  const StoreOptions& options;
  const StoreProgress& progress;

  detail::StoreHeader head{};                // of the cache file, but for the checksum
  std::vector<std::byte> body{};             // decoded here: flags, then pixels
  std::shared_ptr<io::MappedFile> mapped{};  // or lying in a cache
  std::vector<std::pair<index_t, std::string>> failures{};  // samples that do not decode, and why

  std::size_t count() const { return data.samples.size(); }
  int channels() const { return data[0].sensor == Sensor::stacked ? 4 : Image::channels; }
  std::size_t image_bytes() const {
    return static_cast<std::size_t>(options.size) * static_cast<std::size_t>(options.size) *
           static_cast<std::size_t>(channels());
  }
  std::size_t body_bytes() const { return count() * (1 + image_bytes()); }

  Image square_image(const std::filesystem::path& path) const {
    const Image whole = read_image(path, options.decode);
    return resize(options.fit == Fit::crop ? center_square(whole) : whole, options.size,
                  options.size, options.interpolation);
  }

  // Decodes sample i into `to`; empty on success, else why it failed.
  std::string decode_one(index_t i, std::byte* to) const {
    try {
      const Image image = square_image(data[i].path);
      if (channels() == Image::channels) {
        std::memcpy(to, image.pixels.data(), image.pixels.size());
        return "";
      }
      const Image other = square_image(data[i].near_infrared);
      for (std::size_t p = 0; p < image.pixels.size(); p += 3) {
        std::memcpy(to, image.pixels.data() + p, 3);
        to[3] = std::byte{other.pixels[p + 2]};
        to += 4;
      }
      return "";
    } catch (const std::exception& error) {
      return *error.what() == '\0' ? "does not decode" : error.what();
    }
  }

  void decode() {
    body.assign(body_bytes(), std::byte{0});
    std::mutex mutex;  // guards failures, done, broken and the calls of progress
    index_t done = 0;
    std::exception_ptr broken;  // thrown by progress
    const index_t n = data.size();
    std::atomic<index_t> next{0};  // images differ in cost: each thread takes the next one
    parallel_for(num_threads(), 1, [&](std::int64_t, std::int64_t) {
      for (index_t i; (i = next.fetch_add(1)) < n;) {
        const auto row = static_cast<std::size_t>(i);
        std::string error = decode_one(i, body.data() + count() + row * image_bytes());
        if (!error.empty()) body[row] = std::byte{1};
        const std::lock_guard lock(mutex);
        if (!error.empty()) failures.emplace_back(i, std::move(error));
        ++done;
        if (!progress || broken) continue;
        try {
          progress(done, n);
        } catch (...) {
          broken = std::current_exception();
          next = n;
        }
      }
    });
    if (broken) std::rethrow_exception(broken);
    std::sort(failures.begin(), failures.end());
  }

  // Before anything is decoded: a file changed meanwhile must not pass for what was read.
  void list_files() {
    std::string list = "store 1 " + std::to_string(options.size) + " " +
                       std::to_string(static_cast<int>(options.fit)) + " " +
                       std::to_string(static_cast<int>(options.interpolation)) + " " +
                       std::to_string(options.decode.max_pixels);
    const auto add = [&](char mark, const std::filesystem::path& file) {
      std::error_code ignored;  // a file that is gone by now fails in decode, with its name
      const auto path = std::filesystem::absolute(file, ignored).lexically_normal();
      const auto size = std::filesystem::file_size(file, ignored);
      const auto time = std::filesystem::last_write_time(file, ignored);
      list += mark + path.string() + '\t' + std::to_string(size) + '\t' +
              std::to_string(time.time_since_epoch().count());
    };
    for (const Sample& sample : data.samples) {
      add('\n', sample.path);
      if (sample.sensor == Sensor::stacked) add('\v', sample.near_infrared);
    }
    head.key = detail::hash_bytes(std::as_bytes(std::span(list)), 1);
    head.count = count();
    head.size = static_cast<std::uint64_t>(options.size);
  }

  std::filesystem::path cache_file() const {
    constexpr char digits[] = "0123456789abcdef";
    std::string name;
    for (int shift = 60; shift >= 0; shift -= 4) name += digits[head.key >> shift & 15];
    return options.cache / ("images-" + name + ".mwstore");
  }

  // True if the cache holds this very list, whole; then `mapped` and `failures` are set.
  bool load() {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(cache_file(), ignored)) return false;
    auto file = std::make_shared<io::MappedFile>(cache_file());
    const auto bytes = file->bytes();
    if (bytes.size() != sizeof(head) + body_bytes()) return false;
    const auto rest = bytes.subspan(sizeof(head));
    detail::StoreHeader found;
    std::memcpy(&found, bytes.data(), sizeof(found));
    auto want = head;
    want.checksum = detail::hash_bytes(rest, 2);
    if (found != want) return false;
    for (index_t i = 0; i < data.size(); ++i) {
      if (rest[static_cast<std::size_t>(i)] == std::byte{0}) continue;
      std::vector<std::byte> scratch(image_bytes());  // it failed then: ask again why
      std::string error = decode_one(i, scratch.data());
      if (error.empty()) return false;
      failures.emplace_back(i, std::move(error));
    }
    mapped = std::move(file);
    return true;
  }

  void save() {
    head.checksum = detail::hash_bytes(body, 2);
    std::error_code error;
    std::filesystem::create_directories(options.cache, error);
    require<FileError>(!error, "cannot make the cache folder ", options.cache.string(), ": ",
                       error.message(), "; name another in MWALIMU_CACHE, or none");
    io::AtomicFile file(cache_file());
    file.write(std::as_bytes(std::span(&head, 1)));
    file.write(body);
    file.commit();
  }

  ImageStore finish() {
    std::vector<char> bad(count(), 0);
    Report report;
    for (auto& [i, why] : failures) {
      const Sample& sample = data[i];
      report.add(Defect::undecodable, (sample.origin.empty() ? "" : sample.origin + ": ") + why);
      bad[static_cast<std::size_t>(i)] = 1;
      if (sample.pair >= 0) bad[static_cast<std::size_t>(sample.pair)] = 1;
    }
    if (!report.empty() && !options.skip_bad) {
      throw BadDataError(report.summary() + "; --skip-bad leaves them out", report);
    }
    std::vector<index_t> kept;
    for (index_t i = 0; i < data.size(); ++i) {
      if (bad[static_cast<std::size_t>(i)] == 0) kept.push_back(i);
    }
    if (kept.empty()) throw BadDataError("no images are left of " + report.summary(), report);

    ImageStore store;
    store.height_ = store.width_ = options.size;
    store.channels_ = channels();
    const std::byte* first =
        (mapped ? mapped->bytes().data() + sizeof(detail::StoreHeader) : body.data()) + count();
    for (const index_t i : kept) {
      const std::byte* image = first + static_cast<std::size_t>(i) * image_bytes();
      store.images_.push_back(reinterpret_cast<const std::uint8_t*>(image));
    }
    if (mapped) {
      store.owner_ = std::move(mapped);
    } else {
      store.owner_ = std::make_shared<const std::vector<std::byte>>(std::move(body));
    }
    if (!report.empty()) {
      data = subset(data, kept);
      data.skipped.add(report);
    }
    return store;
  }
};

inline ImageStore ImageStore::build(Dataset& data, const StoreOptions& options,
                                    const StoreProgress& progress) {
  require<ValueError>(options.size >= 1 && options.size <= 4096,
                      "ImageStore: want a size in 1..4096, got ", options.size);
  require<ValueError>(data.size() > 0, "ImageStore: the data set is empty");
  for (const Sample& sample : data.samples) {
    require<ValueError>((sample.sensor == Sensor::stacked) == (data[0].sensor == Sensor::stacked),
                        "ImageStore: ", sample.path.string(), " and ", data[0].path.string(),
                        ": one is stacked, the other is not");
  }
  Builder builder{data, options, progress};
  if (!options.cache.empty()) builder.list_files();
  if (options.cache.empty() || !builder.load()) {
    builder.decode();
    const bool failed = !builder.failures.empty();
    // With defects that end the program there is nothing to keep: they are to be mended.
    if (!options.cache.empty() && (!failed || options.skip_bad)) builder.save();
  }
  return builder.finish();
}

}  // namespace mwalimu::data
