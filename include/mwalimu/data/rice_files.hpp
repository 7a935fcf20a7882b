// data/rice_files: a whole data set of synthetic rice leaves on disk, in the challenge's layout.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/data/image.hpp"
#include "mwalimu/data/rice.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::data {

struct RiceSetOptions {
  index_t train_pairs = 600, test_pairs = 300;
  RiceOptions rice{};
  std::uint64_t seed = 0;
  int quality = 92;  ///< of the JPEG files, 1..100
};

/// What write_rice_set puts into its folder.
inline const std::vector<std::string>& rice_set_files() {
  static const std::vector<std::string> names{"images", "Train.csv", "Test.csv", "TestLabels.csv",
                                              "SampleSubmission.csv"};
  return names;
}

namespace detail {

struct RicePlant {
  index_t index;
  std::string id;
  int label;
};

// Test plants are counted from far behind the training ones, so that a set with more of the one has
// the same of the other.
inline constexpr index_t kFirstTestPlant = index_t{3} << 32;

inline std::vector<RicePlant> rice_plants(std::uint64_t seed, index_t first, index_t count) {
  std::vector<RicePlant> plants;
  for (index_t i = first; i < first + count; ++i) {
    plants.push_back({i, rice_id(seed, i), rice_label(seed, i)});
  }
  return plants;
}

// Not io::write_file: these lie in a folder that is not yet there for a reader, and one flush to
// the disk for all of them replaces one a file.
inline void write_plainly(const std::filesystem::path& path,
                          const std::vector<std::uint8_t>& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  require<FileError>(file.good(), "cannot write ", io::detail::quoted(path), ": is the disk full?");
}

inline void write_rice_images(const std::filesystem::path& folder,
                              const std::vector<RicePlant>& plants, const RiceSetOptions& options,
                              const std::function<void(index_t, index_t)>& progress) {
  const auto n = static_cast<index_t>(plants.size());
  std::atomic<index_t> next{0};
  std::mutex mutex;  // guards done, broken and the calls of progress
  index_t done = 0;
  std::exception_ptr broken;
  parallel_for(num_threads(), 1, [&](std::int64_t, std::int64_t) {
    for (index_t i; (i = next.fetch_add(1)) < n;) {
      try {
        const RicePlant& plant = plants[static_cast<std::size_t>(i)];
        const RicePair pair = make_rice(options.seed, plant.index, options.rice);
        write_plainly(folder / (plant.id + ".jpg"), encode_jpeg(pair.rgb, options.quality));
        write_plainly(folder / (plant.id + "_rgn.jpg"), encode_jpeg(pair.rgn, options.quality));
        const std::lock_guard lock(mutex);
        ++done;
        if (progress && !broken) progress(done, n);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!broken) broken = std::current_exception();
        next = n;
      }
    }
  });
  if (broken) std::rethrow_exception(broken);
}

// Removes a folder and what it holds when it goes.
struct Staging {
  std::filesystem::path path;
  ~Staging() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace detail

/// Writes train_pairs + test_pairs plants into `dir`: images/ID.jpg and images/ID_rgn.jpg,
/// Train.csv, Test.csv, TestLabels.csv and SampleSubmission.csv, as load_dataset reads them. The
/// training images are the same for any number of test images, and the other way round.
///
/// Everything is made under a hidden name in `dir` first: on failure nothing is there.
///
/// @param dir       made if missing.
/// @param progress  done and total plants, from one thread at a time; may be empty.
/// @throws ValueError  a count < 1, an option out of range, or `dir` holds one of those names.
/// @throws FileError   the folder cannot be written.
inline void write_rice_set(const std::filesystem::path& dir, const RiceSetOptions& options = {},
                           const std::function<void(index_t, index_t)>& progress = {}) {
  namespace fs = std::filesystem;
  constexpr index_t most = index_t{1} << 32;
  require<ValueError>(options.train_pairs >= 1 && options.train_pairs <= most &&
                          options.test_pairs >= 1 && options.test_pairs <= most,
                      "write_rice_set: want at least one training and one test pair, got ",
                      options.train_pairs, " and ", options.test_pairs);
  require<ValueError>(options.quality >= 1 && options.quality <= 100,
                      "write_rice_set: want quality in 1..100, got ", options.quality);
  make_rice(options.seed, 0, options.rice);  // refuses what it does not take, before a file is made
  for (const std::string& name : rice_set_files()) {
    require<ValueError>(!fs::exists(dir / name), io::detail::quoted(dir / name),
                        " exists already; choose another folder");
  }
  const auto train = detail::rice_plants(options.seed, 0, options.train_pairs);
  const auto test = detail::rice_plants(options.seed, detail::kFirstTestPlant, options.test_pairs);
  std::vector<detail::RicePlant> all = train;
  all.insert(all.end(), test.begin(), test.end());
  std::set<std::string> names;
  for (const auto& plant : all) {
    require<ValueError>(names.insert(plant.id).second, "write_rice_set: two plants are named ",
                        plant.id, "; take another seed");
  }

  std::error_code error;
  fs::create_directories(dir, error);
  const detail::Staging staging{dir / ".mwalimu-rice.tmp"};
  fs::remove_all(staging.path, error);  // of a run that was killed
  fs::create_directories(staging.path / "images", error);
  require<FileError>(!error, "cannot write into ", io::detail::quoted(dir), ": ", error.message());
  detail::write_rice_images(staging.path / "images", all, options, progress);

  const auto write_rows = [&](const char* name, const auto& plants, bool labelled) {
    std::vector<std::string> header{"Image_id"};
    if (labelled) header.emplace_back("Label");
    io::CsvWriter csv(staging.path / name, header);
    for (const auto& plant : plants) {
      for (const char* side : {".jpg", "_rgn.jpg"}) {
        std::vector<std::string> row{plant.id + side};
        if (labelled) row.emplace_back(kRiceClasses[static_cast<std::size_t>(plant.label)]);
        csv.row(row);
      }
    }
    csv.commit();
  };
  write_rows("Train.csv", train, true);
  write_rows("Test.csv", test, false);
  write_rows("TestLabels.csv", test, true);
  std::vector<std::string> header{"Image_id"};
  header.insert(header.end(), kRiceClasses.begin(), kRiceClasses.end());
  io::CsvWriter sample(staging.path / "SampleSubmission.csv", header);
  for (const auto& plant : test) {
    sample.row(std::vector<std::string>{plant.id + ".jpg", "0.333333", "0.333333", "0.333333"});
  }
  sample.commit();

  const io::detail::Descriptor folder(::open(staging.path.c_str(), O_RDONLY | O_CLOEXEC));
  require<FileError>(folder && ::syncfs(folder.get()) == 0, "cannot flush ",
                     io::detail::quoted(dir), " to the disk");
  // The tables last: without them the folder is no data set yet.
  for (const std::string& name : rice_set_files()) {
    fs::rename(staging.path / name, dir / name, error);
    require<FileError>(!error, "cannot write ", io::detail::quoted(dir / name), ": ",
                       error.message());
  }
}

}  // namespace mwalimu::data
