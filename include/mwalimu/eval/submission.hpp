// eval/submission: submission.csv, one row of probabilities a plant.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/eval/tta.hpp"
#include "mwalimu/io/csv.hpp"

namespace mwalimu::eval {
namespace detail {

// id_x.jpg for id_x_rgn.jpg: a plant is named by its rgb image, also where that was left out.
inline std::string rgb_id(std::string id) {
  const std::size_t dot = std::min(id.rfind('.'), id.size());
  if (dot >= 4 && id.compare(dot - 4, 4, "_rgn") == 0) id.erase(dot - 4, 4);
  return id;
}

}  // namespace detail

/// Writes `Image_id,<classes...>`: one row a plant in the order of the samples, named by its rgb
/// image; the mean of its images' probabilities, scaled to sum to 1.
///
/// @param probabilities  (samples, classes), finite and >= 0, no row all zero.
/// @throws ShapeError, ValueError  the probabilities do not fit.  @throws FileError  cannot write.
inline void write_submission(const std::filesystem::path& path, const data::Dataset& test,
                             std::span<const double> probabilities) {
  const auto C = static_cast<index_t>(test.classes.size());
  require<ShapeError>(C >= 1 && static_cast<index_t>(probabilities.size()) == test.size() * C,
                      "submission: want ", test.size(), " x ", C, " probabilities, got ",
                      probabilities.size());
  const std::vector<data::Plant> plants = data::plants(test);
  const std::vector<double> rows = pair_mean(probabilities, C, plants);

  std::vector<std::string> fields{"Image_id"};
  fields.insert(fields.end(), test.classes.begin(), test.classes.end());
  io::CsvWriter csv(path, fields);
  for (std::size_t i = 0; i < plants.size(); ++i) {
    const auto row = std::span(rows).subspan(i * test.classes.size(), test.classes.size());
    const std::string& id = test[plants[i].any()].id;
    double sum = 0;
    for (const double p : row) {
      require<ValueError>(p >= 0 && std::isfinite(p), "submission: probability ", p, " of ", id);
      sum += p;
    }
    require<ValueError>(sum > 0, "submission: the probabilities of ", id, " are all zero");
    fields.assign(1, detail::rgb_id(id));
    for (const double p : row) {
      fields.emplace_back();
      io::detail::append_csv(fields.back(), p / sum);
    }
    csv.row(fields);
  }
  csv.commit();
}

}  // namespace mwalimu::eval
