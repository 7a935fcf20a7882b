// A data set of pairs of noise, in a folder, and how tests store it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "data/put_file.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/data/dataset.hpp"
#include "mwalimu/data/image_store.hpp"

namespace mwalimu::test {

inline data::Image noise(int height, int width, std::uint64_t seed) {
  data::Image image(height, width);
  RandomStream random(seed, Purpose::test);
  for (auto& p : image.pixels) p = static_cast<std::uint8_t>(random.below(256));
  return image;
}

/// `n` plants p0.png, p0_rgn.png, ... of one class in the challenge's layout. All images have other
/// extents and other pixels.
/// @param rgn  false: the RGB side alone.
inline data::Dataset put_pairs(const TempDir& dir, int n, bool rgn = true) {
  std::filesystem::create_directories(dir / "images");
  std::string rows = "Image_id,Label\n";
  for (int i = 0; i < n; ++i) {
    for (const char* side : {"", "_rgn"}) {
      const bool second = *side != '\0';
      if (second && !rgn) continue;
      std::string id("p");
      id.append(std::to_string(i)).append(side).append(".png");
      data::write_image(dir / "images" / id, noise(9 + i + (second ? 5 : 0), 30 - i, rows.size()));
      rows += id + ",leaf\n";
    }
  }
  put_file(dir, "Train.csv", rows);
  return data::load_dataset(dir.path(), data::Split::train);
}

/// Images of 12 x 12 pixels; an empty cache: none is written.
inline data::StoreOptions small_store(const std::filesystem::path& cache = {}) {
  data::StoreOptions options;
  options.size = 12;
  options.cache = cache;
  return options;
}

}  // namespace mwalimu::test
