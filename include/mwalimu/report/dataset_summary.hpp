// report/dataset_summary: what a data set holds, and what is wrong with it: counts by class and
// sensor, sizes, broken files, the same picture twice.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/data/dataset.hpp"
#include "mwalimu/data/image.hpp"

namespace mwalimu::report {

/// One image of a data set, opened.
struct ImageRecord {
  data::Sample sample;
  std::size_t part = 0;       ///< index into DatasetSummary::parts
  int height = 0, width = 0;  ///< 0: it does not decode
  std::uint64_t hash = 0;     ///< of the pixels
  std::string error;          ///< why it does not decode
};

struct DatasetPart {
  std::string name;  ///< "train" or "test"
  data::Dataset data;
};

struct DatasetSummary {
  std::filesystem::path folder;
  std::vector<DatasetPart> parts;
  std::vector<ImageRecord> images;  ///< of all parts, in their order
  /// Images whose pixels are the same: indices into `images`, each group in their order.
  std::vector<std::vector<std::size_t>> duplicates;
};

/// Reads both parts of the data set in `folder` and decodes every image, in parallel.
/// @param progress  called with the images done, now and then, from one thread; may be empty.
/// @throws FileError  the folder is no data set, or neither part can be read.
inline DatasetSummary summarize_dataset(
    const std::filesystem::path& folder,
    const std::function<void(index_t, index_t)>& progress = {}) {
  DatasetSummary out{.folder = folder, .parts = {}, .images = {}, .duplicates = {}};
  std::string first_error;
  for (const auto split : {data::Split::train, data::Split::test}) {
    try {
      out.parts.push_back({split == data::Split::train ? "train" : "test",
                           data::load_dataset(folder, split, {.skip_bad = true, .classes = {}})});
    } catch (const FileError& error) {
      if (first_error.empty()) first_error = error.what();
    }
  }
  if (out.parts.empty()) throw FileError(first_error);
  for (std::size_t part = 0; part < out.parts.size(); ++part) {
    for (const data::Sample& sample : out.parts[part].data.samples) {
      out.images.push_back({.sample = sample, .part = part, .error = {}});
    }
  }
  const auto total = static_cast<index_t>(out.images.size());
  std::atomic<index_t> done{0};
  parallel_for(total, 1, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      ImageRecord& record = out.images[static_cast<std::size_t>(i)];
      try {
        const data::Image image = data::read_image(record.sample.path);
        record.height = image.height;
        record.width = image.width;
        const auto* first = reinterpret_cast<const char*>(image.pixels.data());
        record.hash = std::hash<std::string_view>()({first, image.pixels.size()});
      } catch (const std::exception& error) {
        record.error = error.what();
      }
      ++done;
      if (progress && begin == 0) progress(done, total);
    }
  });
  if (progress) progress(total, total);
  std::map<std::array<std::uint64_t, 3>, std::vector<std::size_t>> by_pixels;
  for (std::size_t i = 0; i < out.images.size(); ++i) {
    const ImageRecord& r = out.images[i];
    if (r.height == 0) continue;
    by_pixels[{r.hash, static_cast<std::uint64_t>(r.height), static_cast<std::uint64_t>(r.width)}]
        .push_back(i);
  }
  for (auto& [key, group] : by_pixels) {
    if (group.size() > 1) out.duplicates.push_back(std::move(group));
  }
  std::sort(out.duplicates.begin(), out.duplicates.end());
  return out;
}

namespace detail {

inline void append_part(std::string& text, const DatasetPart& part) {
  const data::Dataset& d = part.data;
  const auto count = [&](auto&& holds) {
    return std::to_string(std::count_if(d.samples.begin(), d.samples.end(), holds));
  };
  std::size_t pairs = 0;
  for (const data::Plant& plant : data::plants(d)) pairs += plant.rgb >= 0 && plant.rgn >= 0;
  text += part.name + ": " + std::to_string(d.size()) + " images, " + std::to_string(pairs) +
          " pairs, " + count([](const data::Sample& s) { return s.sensor == data::Sensor::rgb; }) +
          " rgb, " + count([](const data::Sample& s) { return s.sensor == data::Sensor::rgn; }) +
          " rgn\n";
  for (std::size_t c = 0; c <= d.classes.size(); ++c) {
    const bool known = c < d.classes.size();
    const int label = known ? static_cast<int>(c) : -1;
    const auto n = std::count_if(d.samples.begin(), d.samples.end(),
                                 [&](const data::Sample& s) { return s.label == label; });
    if (n == 0 && !known) continue;
    const auto percent =
        std::lround(100.0 * static_cast<double>(n) / static_cast<double>(d.size()));
    text += "  " + (known ? d.classes[c] : std::string("(no label)")) + ": " + std::to_string(n) +
            " (" + std::to_string(percent) + " %)\n";
  }
  if (!d.skipped.empty()) text += "  " + d.skipped.summary() + "\n";
}

}  // namespace detail

/// The summary as lines of text.
/// @param named  the most items of a kind that are spelled out.
inline std::string to_string(const DatasetSummary& s, std::size_t named = 5) {
  std::string text = s.folder.string() + ": a data set of " + std::to_string(s.images.size()) +
                     (s.images.size() == 1 ? " image\n" : " images\n");
  for (const DatasetPart& part : s.parts) detail::append_part(text, part);

  std::map<std::pair<int, int>, std::size_t> sizes;
  std::vector<const ImageRecord*> broken;
  for (const ImageRecord& image : s.images) {
    if (image.height > 0) {
      ++sizes[{image.height, image.width}];
    } else {
      broken.push_back(&image);
    }
  }
  std::vector<std::pair<std::size_t, std::pair<int, int>>> by_count;
  for (const auto& [size, n] : sizes) by_count.push_back({n, size});
  std::sort(by_count.rbegin(), by_count.rend());
  text += "sizes (height x width): ";
  for (std::size_t i = 0; i < std::min(named, by_count.size()); ++i) {
    const auto& [n, size] = by_count[i];
    text += (i > 0 ? ", " : "") + std::to_string(n) + " of " + std::to_string(size.first) + " x " +
            std::to_string(size.second);
  }
  if (by_count.size() > named) {
    text += ", and " + std::to_string(by_count.size() - named) + " other sizes";
  }
  text += by_count.empty() ? "none\n" : "\n";
  text += "files that do not decode: " + std::to_string(broken.size()) + "\n";
  for (std::size_t i = 0; i < std::min(named, broken.size()); ++i) {
    text += "  " + broken[i]->error + "\n";
  }
  std::size_t across = 0, disagreeing = 0;
  for (const auto& group : s.duplicates) {
    bool parts = false, labels = false;
    for (const std::size_t i : group) {
      parts = parts || s.images[i].part != s.images[group[0]].part;
      labels = labels || s.images[i].sample.label != s.images[group[0]].sample.label;
    }
    across += parts;
    disagreeing += labels && !parts;
  }
  text += "the same picture more than once: " + std::to_string(s.duplicates.size());
  if (across > 0) text += ", " + std::to_string(across) + " in both parts!";
  if (disagreeing > 0) text += ", " + std::to_string(disagreeing) + " with different labels!";
  text += "\n";
  for (std::size_t g = 0; g < std::min(named, s.duplicates.size()); ++g) {
    text += "  ";
    for (std::size_t k = 0; k < s.duplicates[g].size() && k < named; ++k) {
      const ImageRecord& image = s.images[s.duplicates[g][k]];
      text += (k > 0 ? " = " : "") + s.parts[image.part].name + " " + image.sample.id;
    }
    text += s.duplicates[g].size() > named ? " = ...\n" : "\n";
  }
  return text;
}

}  // namespace mwalimu::report
