// data/dataset: reading a data set from a folder, in the challenge's layout or one folder a class.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/image.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/io/csv.hpp"

namespace mwalimu::data {

enum class Split { train, test };

struct LoadOptions {
  bool skip_bad = false;  ///< leave defective items out and report them, instead of an error
  /// The classes that labels may name, such as those of a trained classifier; empty: those of the
  /// training part, sorted by name.
  std::vector<std::string> classes;
};

namespace detail {

namespace fs = std::filesystem;

inline std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

// "a_rgn.jpg" -> "a.jpg"; nothing for another name.
inline std::optional<std::string> rgb_side_of(const std::string& name) {
  const std::size_t dot = std::min(name.rfind('.'), name.size());
  if (dot < 4 || name.compare(dot - 4, 4, "_rgn") != 0) return std::nullopt;
  return name.substr(0, dot - 4) + name.substr(dot);
}

// Collects samples and defects; the rules that both layouts share.
class DatasetBuilder {
 public:
  /// @param classes  sorted.
  void set_classes(std::vector<std::string> classes) { data_.classes = std::move(classes); }

  void defect(Defect kind, std::string text) { data_.skipped.add(kind, std::move(text)); }

  /// @param where  the row that names the image, empty in a layout without rows.
  void add(const fs::path& path, const std::string& where, std::optional<std::string> label) {
    Sample sample{path.filename().string(), path, Sensor::rgb, -1, -1, where};
    const std::string named = (where.empty() ? "" : where + ": ") + path.string();
    if (label) {
      const auto found = std::lower_bound(data_.classes.begin(), data_.classes.end(), *label);
      if (found == data_.classes.end() || *found != *label) {
        return defect(Defect::unknown_label, named + ": the label '" + *label + "' is not known");
      }
      sample.label = static_cast<int>(found - data_.classes.begin());
    }
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) {
      return defect(Defect::missing_file, named + ": no such file");
    }
    if (rgb_side_of(sample.id)) sample.sensor = Sensor::rgn;
    data_.samples.push_back(std::move(sample));
  }

  /// Joins the two sides of each plant; drops plants that cannot be joined.
  /// @throws BadDataError  there are defects and they are not to be skipped, or nothing is left.
  Dataset finish(const fs::path& where, bool skip_bad) {
    join_pairs();
    if (!data_.skipped.empty() && !skip_bad) {
      throw BadDataError(
          where.string() + ": " + data_.skipped.summary() + "; --skip-bad leaves them out",
          data_.skipped);
    }
    if (data_.samples.empty()) {
      throw BadDataError(where.string() + ": no images" +
                             (data_.skipped.empty() ? std::string(" are listed or found")
                                                    : " are left of " + data_.skipped.summary()),
                         data_.skipped);
    }
    return std::move(data_);
  }

 private:
  static std::string described(const Sample& sample) {
    return (sample.origin.empty() ? "" : sample.origin + ": ") + sample.path.string();
  }

  void join_pairs() {
    std::vector<Sample>& samples = data_.samples;
    std::map<fs::path, index_t> by_path;
    bool paired = false;
    for (index_t i = 0; i < data_.size(); ++i) {
      by_path[data_[i].path] = i;
      paired = paired || data_[i].sensor == Sensor::rgn;
    }
    if (!paired) return;  // one sensor: no image lacks another side
    for (index_t i = 0; i < data_.size(); ++i) {
      if (data_[i].sensor == Sensor::rgb) continue;
      const auto rgb = by_path.find(data_[i].path.parent_path() / *rgb_side_of(data_[i].id));
      if (rgb == by_path.end()) continue;
      data_[i].pair = rgb->second;
      data_[rgb->second].pair = i;
    }
    std::vector<index_t> kept;
    for (index_t i = 0; i < data_.size(); ++i) {
      const Sample& sample = samples[static_cast<std::size_t>(i)];
      if (sample.pair < 0) {
        defect(Defect::missing_side,
               described(sample) + ": its " +
                   (sample.sensor == Sensor::rgb ? "rgn image (the name with _rgn)" : "rgb image") +
                   " is missing");
      } else if (sample.label != data_[sample.pair].label) {
        if (sample.sensor == Sensor::rgn) continue;  // told once a pair
        defect(Defect::different_labels, described(sample) + ": labelled '" + label_text(sample) +
                                             "', but its rgn image '" +
                                             label_text(data_[sample.pair]) + "'");
      } else {
        kept.push_back(i);
      }
    }
    data_ = subset(data_, kept);
  }

  std::string label_text(const Sample& sample) const {
    return sample.label < 0 ? "?" : data_.classes[static_cast<std::size_t>(sample.label)];
  }

  Dataset data_;
};

inline void require_folder(const fs::path& dir, const std::string& why) {
  std::error_code ignored;
  require<FileError>(fs::is_directory(dir, ignored), dir.string(), ": no such folder; ", why);
}

// A row of a table of images, and where it stands ("Train.csv:12").
struct ImageRow {
  std::string where, id;
  std::optional<std::string> label;
};

// Reads Image_id and, where `labelled`, Label; rows that are no rows go to `builder`.
inline std::vector<ImageRow> read_image_rows(const fs::path& path, bool labelled,
                                             DatasetBuilder& builder) {
  std::vector<io::CsvDefect> defects;
  const io::CsvTable table = io::read_csv(path, &defects);
  for (const io::CsvDefect& defect : defects) {
    const bool blank = defect.text.find("a blank line") != std::string::npos;
    builder.defect(blank ? Defect::empty_row : Defect::malformed_row, defect.text);
  }
  const std::size_t id_column = table.column("Image_id");
  const std::size_t label_column = labelled ? table.column("Label") : 0;
  require<FileError>(!table.rows.empty() || !defects.empty(), path.string(), ": lists no images");

  std::vector<ImageRow> rows;
  std::map<std::string, std::size_t> seen;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const auto& fields = table.rows[r];
    ImageRow row{path.string() + ":" + std::to_string(table.lines[r]), trimmed(fields[id_column]),
                 std::nullopt};
    if (labelled) row.label = trimmed(fields[label_column]);
    if (std::all_of(fields.begin(), fields.end(),
                    [](const auto& f) { return trimmed(f).empty(); })) {
      builder.defect(Defect::empty_row, row.where + ": the row is empty");
    } else if (row.id.empty() || row.id == "." || row.id == ".." ||
               row.id.find('/') != std::string::npos) {
      builder.defect(Defect::malformed_row,
                     row.where + ": want the name of a file in images/, got '" + row.id + "'");
    } else if (const auto [first, fresh] = seen.emplace(row.id, table.lines[r]); !fresh) {
      builder.defect(Defect::duplicate_row, row.where + ": " + row.id +
                                                " is listed already, on line " +
                                                std::to_string(first->second));
    } else {
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

inline std::vector<std::string> labels_of(const std::vector<ImageRow>& rows) {
  std::set<std::string> names;
  for (const ImageRow& row : rows) {
    if (!row.label->empty()) names.insert(*row.label);
  }
  return {names.begin(), names.end()};
}

inline Dataset load_challenge(const fs::path& dir, Split split, const LoadOptions& options) {
  const fs::path images = dir / "images", train = dir / "Train.csv", test = dir / "Test.csv";
  const fs::path answers = dir / "TestLabels.csv";
  const fs::path csv = split == Split::train ? train : test;
  require_folder(images, "the images that " + csv.filename().string() + " lists lie there");
  require<FileError>(fs::exists(csv), csv.string(), ": no such file; it lists the images of the ",
                     split == Split::train ? "training" : "test", " part");
  DatasetBuilder builder;
  const std::vector<ImageRow> rows = read_image_rows(csv, split == Split::train, builder);
  std::optional<std::vector<ImageRow>> known;  // the test part's labels
  if (split == Split::test && fs::exists(answers)) known = read_image_rows(answers, true, builder);

  std::vector<std::string> classes = options.classes;
  if (classes.empty() && split == Split::train) {
    classes = labels_of(rows);
  } else if (classes.empty() && fs::exists(train)) {
    DatasetBuilder elsewhere;  // what is wrong with Train.csv is not told about Test.csv
    classes = labels_of(read_image_rows(train, true, elsewhere));
  } else if (classes.empty() && known) {
    classes = labels_of(*known);
  }
  builder.set_classes(std::move(classes));

  std::map<std::string, std::string> answer;
  if (known) {
    for (const ImageRow& row : *known) answer[row.id] = *row.label;
  }
  for (const ImageRow& row : rows) {
    const auto found = answer.find(row.id);
    builder.add(images / row.id, row.where, found != answer.end() ? found->second : row.label);
  }
  return builder.finish(csv, options.skip_bad);
}

inline std::vector<fs::path> sorted_entries(const fs::path& dir) {
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (!entry.path().filename().string().starts_with('.')) entries.push_back(entry.path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

inline std::vector<std::string> folder_names(const fs::path& dir) {
  std::vector<std::string> names;
  std::error_code ignored;
  if (!fs::is_directory(dir, ignored)) return names;
  for (const fs::path& path : sorted_entries(dir)) {
    if (fs::is_directory(path)) names.push_back(path.filename().string());
  }
  return names;
}

inline Dataset load_class_folders(const fs::path& dir, Split split, const LoadOptions& options) {
  const fs::path part = dir / (split == Split::train ? "train" : "test");
  require_folder(part, "it holds one folder of images a class");
  std::vector<std::string> classes = options.classes;
  if (classes.empty()) classes = folder_names(dir / "train");
  if (classes.empty()) classes = folder_names(part);
  DatasetBuilder builder;
  builder.set_classes(classes);
  const auto add_images = [&](const fs::path& folder, const std::optional<std::string>& label) {
    for (const fs::path& path : sorted_entries(folder)) {
      if (has_image_extension(path) && !fs::is_directory(path)) builder.add(path, "", label);
    }
  };
  for (const std::string& name : folder_names(part)) add_images(part / name, name);
  if (split == Split::test) add_images(part, std::nullopt);  // without a folder: label not known
  return builder.finish(part, options.skip_bad);
}

}  // namespace detail

/// Reads the training or the test part of the data set in `dir`. Images are not opened here:
/// ImageStore::build finds those that do not decode.
///
/// Challenge layout (a Train.csv or Test.csv is there): `images/`; `Train.csv` with the columns
/// Image_id,Label; `Test.csv` with Image_id; optionally `TestLabels.csv` with Image_id,Label. Both
/// sensors' files are listed; the pair of X_rgn.jpg is X.jpg. Samples come in the order of the
/// rows.
///
/// One folder a class: `train/CLASS/*.jpg`, `test/CLASS/*.jpg`, or test images in `test/` itself,
/// whose labels are then not known. Samples come sorted by class and name. Other files are ignored.
///
/// Class numbers are those of the sorted names of the training part's classes, in both parts.
/// A set without any rgn image is a set of one sensor, and has no pairs.
///
/// @throws FileError     `dir` is in neither layout, or a table is missing, empty or not a table.
/// @throws BadDataError  items are missing, doubled, of an unknown class or without their other
///                       side, and skip_bad is off; or no image is left. what() names and counts
///                       them.
inline Dataset load_dataset(const std::filesystem::path& dir, Split split,
                            LoadOptions options = {}) {
  namespace fs = std::filesystem;
  std::sort(options.classes.begin(), options.classes.end());
  detail::require_folder(dir, "want the folder of a data set");
  if (fs::exists(dir / "Train.csv") || fs::exists(dir / "Test.csv")) {
    return detail::load_challenge(dir, split, options);
  }
  if (fs::is_directory(dir / "train") || fs::is_directory(dir / "test")) {
    return detail::load_class_folders(dir, split, options);
  }
  mwalimu::detail::fail<FileError>(
      dir.string(), ": not a data set: looked for Train.csv or Test.csv (beside images/), and for ",
      "train/CLASS/ or test/CLASS/");
}

}  // namespace mwalimu::data
