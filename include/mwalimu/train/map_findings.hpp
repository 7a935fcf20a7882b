// train/map_findings: what a map shows about one sensor against the other, in numbers and sentences.
//
// The two images of a plant are no two independent observations: intervals come from plants drawn
// with replacement, and comparisons from the plants on which the two sensors disagree. Neighbours
// of an image never include the other image of its plant, which shares its label by construction.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "mwalimu/core/random.hpp"
#include "mwalimu/embedding/neighbors.hpp"
#include "mwalimu/eval/confidence.hpp"
#include "mwalimu/report/html.hpp"
#include "mwalimu/report/map_points.hpp"

namespace mwalimu::train {

/// How often one side won and how often the other; `p` is the chance that fair coins are as uneven.
struct SignTest {
  index_t first = 0, second = 0;
  double p = 1;
};

/// The exact two-sided sign test; ties are left out before. With right and wrong predictions of
/// the same plants it is McNemar's test.
inline SignTest sign_test(index_t first, index_t second) {
  const double n = static_cast<double>(first + second);
  double tail = 0;
  for (index_t k = 0; k <= std::min(first, second); ++k) {
    const double x = static_cast<double>(k);
    tail += std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) -
                     n * std::log(2.0));
  }
  return {first, second, std::min(1.0, 2 * tail)};
}

/// A number of every image, averaged over each sensor and compared plant by plant.
struct SensorComparison {
  std::array<double, 2> mean{std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::quiet_NaN()};  ///< RGB, RGN
  std::array<index_t, 2> images{};
  eval::Interval difference;  ///< of mean RGN - mean RGB: 95 % of the resamples
  SignTest pairs;             ///< first: RGB's number is the larger, second: RGN's

  bool known() const { return images[0] > 0 && images[1] > 0; }
  /// The interval excludes 0, and so does the sign test at 5 % where there are pairs that disagree.
  bool beyond_noise() const {
    return known() && difference.known() && !difference.contains(0) &&
           (pairs.first + pairs.second == 0 || pairs.p < 0.05);
  }
};

/// @param value  (n); NaN: nothing known of this image.
inline SensorComparison compare_sensors(const report::MapPoints& p, std::span<const double> value,
                                        std::uint64_t seed) {
  struct Plant {
    double sum[2] = {0, 0};
    double count[2] = {0, 0};
  };
  SensorComparison out;
  std::vector<Plant> plants;
  double sum[2] = {0, 0};
  const std::size_t n = value.size();
  for (std::size_t i = 0; i < n; ++i) {
    const int j = p.pair_of(i);
    if (j >= 0 && j < static_cast<int>(i)) continue;  // with its partner, earlier
    Plant plant;
    const auto add = [&](std::size_t at) {
      if (std::isnan(value[at])) return;
      const int s = p.sensor_of(at) == 1 ? 1 : 0;
      plant.sum[s] += value[at];
      plant.count[s] += 1;
      sum[s] += value[at];
      ++out.images[static_cast<std::size_t>(s)];
    };
    add(i);
    if (j >= 0) add(static_cast<std::size_t>(j));
    if (plant.count[0] > 0 && plant.count[1] > 0) {
      out.pairs.first += plant.sum[0] > plant.sum[1];
      out.pairs.second += plant.sum[0] < plant.sum[1];
    }
    if (plant.count[0] + plant.count[1] > 0) plants.push_back(plant);
  }
  for (std::size_t s = 0; s < 2; ++s) {
    if (out.images[s] > 0) out.mean[s] = sum[s] / static_cast<double>(out.images[s]);
  }
  out.pairs = sign_test(out.pairs.first, out.pairs.second);
  if (!out.known() || plants.size() < 2) return out;
  constexpr std::uint64_t kResamples = 1000;
  std::vector<double> differences;
  for (std::uint64_t r = 0; r < kResamples; ++r) {
    RandomStream random(seed, Purpose::bootstrap, r);
    double drawn[2] = {0, 0}, count[2] = {0, 0};
    for (std::size_t k = 0; k < plants.size(); ++k) {
      const Plant& plant = plants[random.below(plants.size())];
      for (int s = 0; s < 2; ++s) drawn[s] += plant.sum[s], count[s] += plant.count[s];
    }
    if (count[0] > 0 && count[1] > 0) {
      differences.push_back(drawn[1] / count[1] - drawn[0] / count[0]);
    }
  }
  out.difference = eval::percentile_interval(std::move(differences), 0.95);
  return out;
}

/// Neighbours of every point in a map, the other image of its plant left out.
struct MapNeighbors {
  index_t k = 0;
  std::vector<std::int32_t> index;  ///< (n, k), nearest first
};

/// @param k  1 <= k <= n - 2.
inline MapNeighbors map_neighbors(const report::MapPoints& p, index_t k) {
  const index_t n = static_cast<index_t>(p.size());
  const auto list = embedding::nearest_neighbors(embedding::Points(p.xy, n, 2), k + 1);
  MapNeighbors out{k, {}};
  for (index_t i = 0; i < n; ++i) {
    index_t taken = 0;
    for (index_t r = 0; r <= k && taken < k; ++r) {
      const std::int32_t j = list.index[static_cast<std::size_t>(i * list.k + r)];
      if (j == p.pair_of(static_cast<std::size_t>(i))) continue;
      out.index.push_back(j);
      ++taken;
    }
  }
  return out;
}

/// How near the two images of a plant lie to each other, against images of other plants.
struct PairDistances {
  index_t pairs = 0;
  double median_pair = 0;    ///< between the two images of a plant
  double median_random = 0;  ///< between an RGB and an RGN image of two plants of the same class
  /// Mean share of those RGN images that lie farther away than the plant's own: 0.5 by chance.
  double nearer_than = 0;
  SignTest test;  ///< plants whose own is nearer than half of them, and those where it is farther
  bool same_class = true;  ///< false: labels are not known, other plants are any
};

/// @param x  (n, d) where distances are measured: the map, or what it was made from.
inline PairDistances pair_distances(const report::MapPoints& p, const embedding::Points& x,
                                    std::uint64_t seed) {
  PairDistances out;
  out.same_class = p.labelled();
  std::vector<std::size_t> rgb;
  for (std::size_t i = 0; i < p.pair.size(); ++i) {
    if (p.pair[i] >= 0 && p.sensor_of(i) == 0 && (!out.same_class || p.label_of(i) >= 0)) {
      rgb.push_back(i);
    }
  }
  constexpr std::int64_t kMost = 1500;  // plants looked at; all distances between them are taken
  if (static_cast<std::int64_t>(rgb.size()) > kMost) {
    const auto order = random_permutation(static_cast<std::int64_t>(rgb.size()),
                                          RandomStream(seed, Purpose::bootstrap, 1u << 20));
    std::vector<std::size_t> some;
    for (std::int64_t k = 0; k < kMost; ++k) {
      some.push_back(rgb[static_cast<std::size_t>(order[static_cast<std::size_t>(k)])]);
    }
    rgb = std::move(some);
  }
  const auto distance = [&](std::size_t i, int j) {
    double sum = 0;
    for (index_t c = 0; c < x.d(); ++c) {
      const double d = double{x.row(static_cast<index_t>(i))[c]} - x.row(j)[c];
      sum += d * d;
    }
    return std::sqrt(sum);
  };
  std::vector<double> own, random;
  double shares = 0;
  index_t nearer = 0, farther_ones = 0;
  for (const std::size_t i : rgb) {
    const double mine = distance(i, p.pair[i]);
    double others = 0, farther = 0;
    for (const std::size_t other : rgb) {
      if (other == i || (out.same_class && p.label_of(other) != p.label_of(i))) continue;
      const double d = distance(i, p.pair[other]);
      random.push_back(d);
      others += 1;
      farther += d > mine ? 1 : d == mine ? 0.5 : 0;
    }
    if (others == 0) continue;
    own.push_back(mine);
    shares += farther / others;
    nearer += 2 * farther > others;
    farther_ones += 2 * farther < others;
  }
  out.pairs = static_cast<index_t>(own.size());
  if (out.pairs == 0) return out;
  out.median_pair = eval::quantile(own, 0.5);
  out.median_random = eval::quantile(random, 0.5);
  out.nearer_than = shares / static_cast<double>(out.pairs);
  out.test = sign_test(nearer, farther_ones);
  return out;
}

/// Images of one sensor and class whose neighbours are mostly of another class.
struct Misplaced {
  int sensor = 0, label = 0, among = 0;
  index_t images = 0;
};

struct MapFindings {
  index_t neighbors = 0;
  double knn_accuracy = std::numeric_limits<double>::quiet_NaN();  ///< of all labelled images
  SensorComparison error;      ///< wrong predictions
  SensorComparison agreement;  ///< share of an image's neighbours that have its label
  SensorComparison misplaced;  ///< most of its neighbours have another label
  double same_sensor = 0;      ///< share of neighbours that are of the image's own sensor
  double same_sensor_by_chance = 0;
  PairDistances on_map, in_input;
  std::vector<Misplaced> where;  ///< the most frequent first
  index_t images[2] = {0, 0};    ///< RGB, RGN
};

/// @param p          points with their map in xy.
/// @param x          (n, d) what the map was made from.
/// @param neighbors  looked at, 1 <= neighbors <= n - 2.
inline MapFindings find_in_map(const report::MapPoints& p, const embedding::Points& x,
                               index_t neighbors, std::uint64_t seed) {
  const std::size_t n = p.size();
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  MapFindings f;
  f.neighbors = neighbors;
  const MapNeighbors near = map_neighbors(p, neighbors);
  std::vector<double> error(n, kNone), agreement(n, kNone), misplaced(n, kNone);
  std::map<std::array<int, 3>, index_t> where;
  double right = 0, labelled = 0, same = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const int label = p.label_of(i), sensor = p.sensor_of(i);
    ++f.images[sensor == 1];
    if (label >= 0 && p.predicted_of(i) >= 0) error[i] = p.wrong(i);
    std::map<int, index_t> votes;
    index_t known = 0;
    for (index_t r = 0; r < near.k; ++r) {
      const auto j = static_cast<std::size_t>(
          near.index[i * static_cast<std::size_t>(near.k) + static_cast<std::size_t>(r)]);
      same += p.sensor_of(j) == sensor;
      if (p.label_of(j) < 0) continue;
      ++votes[p.label_of(j)];
      ++known;
    }
    if (label < 0 || known == 0) continue;
    agreement[i] = static_cast<double>(votes[label]) / static_cast<double>(known);
    const auto winner = std::max_element(
        votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    misplaced[i] = winner->first != label;
    labelled += 1;
    right += winner->first == label;
    if (winner->first != label) ++where[{sensor, label, winner->first}];
  }
  if (labelled > 0) f.knn_accuracy = right / labelled;
  f.error = compare_sensors(p, error, seed);
  f.agreement = compare_sensors(p, agreement, seed);
  f.misplaced = compare_sensors(p, misplaced, seed);
  f.same_sensor = same / static_cast<double>(n * static_cast<std::size_t>(near.k));
  for (std::size_t i = 0; i < n; ++i) {
    // Of the points that can be neighbours: not itself, not its partner, who is of the other sensor.
    const double own = static_cast<double>(f.images[p.sensor_of(i) == 1]) - 1;
    const double all = static_cast<double>(n) - (p.pair_of(i) >= 0 ? 2 : 1);
    f.same_sensor_by_chance += own / all / static_cast<double>(n);
  }
  if (f.images[0] > 0 && f.images[1] > 0 && !p.pair.empty()) {
    f.on_map = pair_distances(p, embedding::Points(p.xy, static_cast<index_t>(n), 2), seed);
    f.in_input = pair_distances(p, x, seed);
  }
  for (const auto& [key, images] : where) f.where.push_back({key[0], key[1], key[2], images});
  std::stable_sort(f.where.begin(), f.where.end(),
                   [](const Misplaced& a, const Misplaced& b) { return a.images > b.images; });
  return f;
}

}  // namespace mwalimu::train
