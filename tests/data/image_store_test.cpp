#include "mwalimu/data/image_store.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/put_file.hpp"
#include "data/put_pairs.hpp"
#include "mwalimu/data/dataset.hpp"

namespace mwalimu::data {
namespace {

using test::noise;
using test::put_file;
using test::put_pairs;
using test::small_store;
using test::TempDir;

std::vector<std::uint8_t> pixels_of(const ImageStore& store) {
  std::vector<std::uint8_t> all;
  for (index_t i = 0; i < store.size(); ++i) {
    all.insert(all.end(), store.image(i).begin(), store.image(i).end());
  }
  return all;
}

std::filesystem::path only_file(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry);
  EXPECT_EQ(files.size(), 1u);
  return files.empty() ? std::filesystem::path() : files[0];
}

// Builds, and says whether images were decoded (else the cache answered).
struct Built {
  ImageStore store;
  bool decoded = false;
};
Built build(Dataset& data, const StoreOptions& options) {
  Built built;
  built.store = ImageStore::build(data, options, [&](index_t, index_t) { built.decoded = true; });
  return built;
}

TEST(ImageStore, HoldsEveryImageAtOneSize) {
  const TempDir dir;
  Dataset data = put_pairs(dir, 4);
  const ImageStore store = ImageStore::build(data, small_store());
  ASSERT_EQ(store.size(), 8);
  EXPECT_EQ(store.height(), 12);
  EXPECT_EQ(store.width(), 12);
  for (index_t i = 0; i < store.size(); ++i) {
    const Image want = resize(read_image(data[i].path), 12, 12);
    const auto got = store.image(i);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), want.pixels.begin(), want.pixels.end())) << i;
  }
  EXPECT_THROW(store.image(8), ValueError);
  EXPECT_THROW(store.image(-1), ValueError);
}

TEST(ImageStore, CropTakesTheCentredSquare) {
  const TempDir dir;
  Dataset data = put_pairs(dir, 1);
  StoreOptions options = small_store();
  options.fit = Fit::crop;
  options.interpolation = Interpolation::bilinear;
  const ImageStore store = ImageStore::build(data, options);
  const Image want =
      resize(center_square(read_image(data[0].path)), 12, 12, Interpolation::bilinear);
  EXPECT_TRUE(std::equal(want.pixels.begin(), want.pixels.end(), store.image(0).begin()));
}

TEST(ImageStore, ThreadsDoNotChangeItAndProgressCountsUp) {
  const TempDir dir;
  Dataset data = put_pairs(dir, 6);
  const int threads = num_threads();
  std::vector<index_t> counts;
  set_num_threads(3);
  const auto three = ImageStore::build(data, small_store(), [&](index_t done, index_t total) {
    EXPECT_EQ(total, 12);
    counts.push_back(done);
  });
  set_num_threads(1);
  const auto one = ImageStore::build(data, small_store());
  set_num_threads(threads);
  EXPECT_EQ(pixels_of(one), pixels_of(three));
  EXPECT_EQ(counts, (std::vector<index_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
}

TEST(ImageStore, AnExceptionOfProgressArrives) {
  const TempDir dir;
  Dataset data = put_pairs(dir, 6);
  EXPECT_THROW(ImageStore::build(data, small_store(),
                                 [](index_t, index_t) { throw std::logic_error("stop"); }),
               std::logic_error);
}

TEST(ImageStore, TheSecondRunReadsTheCache) {
  const TempDir dir, cache;
  Dataset data = put_pairs(dir, 3);
  const auto options = small_store(cache / "deep" / "er");
  const Built first = build(data, options), second = build(data, options);
  EXPECT_TRUE(first.decoded);
  EXPECT_FALSE(second.decoded);
  EXPECT_EQ(pixels_of(first.store), pixels_of(second.store));
  const ImageStore copy = second.store;  // outlives the others
  EXPECT_EQ(pixels_of(copy), pixels_of(first.store));
}

TEST(ImageStore, AChangedImageListOrOptionIsDecodedAgain) {
  const TempDir dir, cache;
  Dataset data = put_pairs(dir, 3);
  auto options = small_store(cache.path());
  build(data, options);
  options.size = 13;
  EXPECT_TRUE(build(data, options).decoded);
  options.size = 12;
  options.fit = Fit::crop;
  EXPECT_TRUE(build(data, options).decoded);
  options.fit = Fit::stretch;
  Dataset fewer = subset(data, std::vector<index_t>{0, 1, 2, 3});
  EXPECT_TRUE(build(fewer, options).decoded);
  Dataset swapped = subset(data, std::vector<index_t>{1, 0, 2, 3, 4, 5});
  EXPECT_TRUE(build(swapped, options).decoded);

  EXPECT_FALSE(build(data, options).decoded);
  const auto before = std::filesystem::last_write_time(data[2].path);
  write_image(data[2].path, noise(9, 30, 77));
  std::filesystem::last_write_time(data[2].path, before + std::chrono::seconds(2));
  const Built again = build(data, options);
  EXPECT_TRUE(again.decoded);
  const Image want = resize(noise(9, 30, 77), 12, 12);
  EXPECT_TRUE(std::equal(want.pixels.begin(), want.pixels.end(), again.store.image(2).begin()));
  std::filesystem::last_write_time(data[2].path, before + std::chrono::seconds(4));
  EXPECT_TRUE(build(data, options).decoded);  // the time alone: its content may have changed
}

TEST(ImageStore, ADamagedCacheIsMadeAnew) {
  const TempDir dir, cache;
  Dataset data = put_pairs(dir, 3);
  const auto options = small_store(cache.path());
  const auto pixels = pixels_of(build(data, options).store);
  const auto path = only_file(cache.path());
  const std::string whole = io::read_file(path);
  std::string flipped = whole, header = whole;
  flipped[flipped.size() - 5] = static_cast<char>(flipped[flipped.size() - 5] ^ 16);
  header[9] = static_cast<char>(header[9] ^ 1);
  for (const std::string& bad : {flipped, header, whole.substr(0, whole.size() - 1), whole + "x",
                                 whole.substr(0, 20), std::string()}) {
    io::write_file(path, bad);
    const Built again = build(data, options);
    EXPECT_TRUE(again.decoded);
    EXPECT_EQ(pixels_of(again.store), pixels);
    EXPECT_EQ(io::read_file(path), whole);
  }
}

TEST(ImageStore, AnImageThatDoesNotDecodeIsNamedWithItsRow) {
  const TempDir dir, cache;
  Dataset data = put_pairs(dir, 3);
  put_file(dir, "images/p1.png", "not a picture");
  put_file(dir, "images/p2_rgn.png", "");
  try {
    ImageStore::build(data, small_store(cache.path()));
    FAIL() << "no error";
  } catch (const BadDataError& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.report.count(Defect::undecodable), 2u);
    EXPECT_NE(text.find("2 files that do not decode"), std::string::npos) << text;
    EXPECT_NE(text.find("Train.csv:4: "), std::string::npos) << text;
    EXPECT_NE(text.find("p2_rgn.png: the file is empty"), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
  EXPECT_TRUE(std::filesystem::is_empty(cache.path()));
}

TEST(ImageStore, SkippingDropsBothSidesAndIsCached) {
  const TempDir dir, cache;
  const Dataset all = put_pairs(dir, 3);
  put_file(dir, "images/p1.png", "not a picture");
  auto options = small_store(cache.path());
  options.skip_bad = true;
  for (const bool first : {true, false}) {
    Dataset data = all;
    const Built built = build(data, options);
    EXPECT_EQ(built.decoded, first);
    ASSERT_EQ(data.size(), 4);
    EXPECT_EQ(data[2].id, "p2.png");
    EXPECT_EQ(data[2].pair, 3);
    EXPECT_EQ(data.skipped.count(Defect::undecodable), 1u);
    ASSERT_EQ(built.store.size(), 4);
    const Image want = resize(read_image(data[2].path), 12, 12);
    EXPECT_TRUE(std::equal(want.pixels.begin(), want.pixels.end(), built.store.image(2).begin()));
  }
  // Without skipping, the cached failure is still an error.
  Dataset data = all;
  options.skip_bad = false;
  EXPECT_THROW(ImageStore::build(data, options), BadDataError);
}

TEST(ImageStore, NothingLeftIsAnError) {
  const TempDir dir;
  Dataset data = put_pairs(dir, 1);
  put_file(dir, "images/p0.png", "");
  StoreOptions options = small_store();
  options.skip_bad = true;
  EXPECT_THROW(ImageStore::build(data, options), BadDataError);
  Dataset empty;
  EXPECT_THROW(ImageStore::build(empty, options), ValueError);
  options.size = 0;
  EXPECT_THROW(ImageStore::build(data, options), ValueError);
}

TEST(ImageStore, ACacheThatCannotBeMadeIsAnError) {
  const TempDir dir, cache;
  Dataset data = put_pairs(dir, 1);
  put_file(cache, "file", "");
  EXPECT_THROW(ImageStore::build(data, small_store(cache / "file" / "sub")), FileError);
}

TEST(ImageStore, TakesPixelsFromMemory) {
  const auto store = ImageStore::from_pixels({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 1, 2);
  ASSERT_EQ(store.size(), 2);
  EXPECT_EQ(store.image(1)[0], 7);
  EXPECT_THROW(ImageStore::from_pixels({1, 2, 3, 4}, 1, 1), ShapeError);
}

}  // namespace
}  // namespace mwalimu::data
