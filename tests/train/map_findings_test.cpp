#include "mwalimu/train/map_findings.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "mwalimu/io/npy.hpp"
#include "mwalimu/train/map_alignment.hpp"
#include "mwalimu/train/map_findings_text.hpp"
#include "mwalimu/train/map_table.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// `plants` plants of two classes, an RGB and an RGN image each; class c about (20 c, 0), and the
/// RGN image `apart` away from its RGB image.
report::MapPoints plants_of(index_t plants, float apart, std::uint64_t seed = 1) {
  report::MapPoints p{.classes = {"blast", "brown"}};
  RandomStream random(seed, Purpose::test);
  for (index_t i = 0; i < plants; ++i) {
    const int label = static_cast<int>(i % 2);
    const float x = 20.0f * static_cast<float>(label) + random.normal(), y = random.normal();
    const float angle = 6.28f * random.uniform();
    p.xy.insert(p.xy.end(), {x, y, x + apart * std::cos(angle), y + apart * std::sin(angle)});
    for (const int sensor : {0, 1}) {
      p.label.push_back(label);
      p.predicted.push_back(label);
      p.sensor.push_back(sensor);
      p.pair.push_back(static_cast<int>(2 * i + 1 - sensor));
    }
  }
  return p;
}

embedding::Points points(const report::MapPoints& p) {
  return {p.xy, static_cast<index_t>(p.size()), 2};
}

TEST(SignTest, IsTheBinomialTail) {
  EXPECT_DOUBLE_EQ(sign_test(0, 0).p, 1);
  EXPECT_DOUBLE_EQ(sign_test(3, 3).p, 1);
  EXPECT_NEAR(sign_test(0, 5).p, 2.0 / 32, 1e-12);         // 2 * (1/2)^5
  EXPECT_NEAR(sign_test(1, 9).p, 2 * 11.0 / 1024, 1e-12);  // 1 + 10 of 1024
  EXPECT_DOUBLE_EQ(sign_test(9, 1).p, sign_test(1, 9).p);
  EXPECT_NEAR(sign_test(400, 400).p, 1, 1e-9);
  EXPECT_GT(sign_test(5000, 5100).p, 0.3);  // no overflow
}

TEST(CompareSensors, CountsPlantsAndBringsAnInterval) {
  const report::MapPoints p = plants_of(100, 1);
  std::vector<double> value(200, 0.0);
  for (std::size_t i = 0; i < 30; ++i) value[2 * i] = 1;          // RGB wrong on 30 plants
  for (std::size_t i = 25; i < 35; ++i) value[2 * i + 1] = 1;     // RGN on 10, five of them the same
  const SensorComparison c = compare_sensors(p, value, 7);
  EXPECT_DOUBLE_EQ(c.mean[0], 0.3);
  EXPECT_DOUBLE_EQ(c.mean[1], 0.1);
  EXPECT_EQ(c.pairs.first, 25);
  EXPECT_EQ(c.pairs.second, 5);
  // The difference of paired shares has a standard error of sqrt(0.3 - 0.04) / 10 = 0.051.
  EXPECT_NEAR(c.difference.low, -0.2 - 1.96 * 0.051, 0.02);
  EXPECT_NEAR(c.difference.high, -0.2 + 1.96 * 0.051, 0.02);
  EXPECT_TRUE(c.beyond_noise());
  EXPECT_DOUBLE_EQ(compare_sensors(p, value, 7).difference.low, c.difference.low);
  bool moved = false;  // shares of 100 plants are few values: one seed may give the same ends
  for (std::uint64_t seed = 8; seed < 20; ++seed) {
    moved = moved || compare_sensors(p, value, seed).difference.low != c.difference.low;
  }
  EXPECT_TRUE(moved);
}

TEST(CompareSensors, ChanceIsCalledNoise) {
  const report::MapPoints p = plants_of(100, 1);
  int claims = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomStream random(seed, Purpose::test, 3);
    std::vector<double> value;
    for (int i = 0; i < 200; ++i) value.push_back(random.chance(0.2f));
    claims += compare_sensors(p, value, seed).beyond_noise();
  }
  EXPECT_LE(claims, 8);  // 5 % of 60 is 3; more than 8 has a chance below 0.01
}

TEST(CompareSensors, LeavesOutWhatIsNotKnown) {
  report::MapPoints p = plants_of(2, 1);
  const SensorComparison c = compare_sensors(p, std::vector<double>{1, kNone, 0, 1}, 0);
  EXPECT_EQ(c.images[0], 2);
  EXPECT_EQ(c.images[1], 1);
  EXPECT_DOUBLE_EQ(c.mean[1], 1);
  EXPECT_EQ(c.pairs.first + c.pairs.second, 1);  // the plant with both
  p.sensor.assign(4, 0);
  p.pair.assign(4, -1);
  EXPECT_FALSE(compare_sensors(p, std::vector<double>{1, 0, 0, 1}, 0).known());
}

TEST(MapNeighbors, AreTheNearestWithoutTheOtherImageOfThePlant) {
  report::MapPoints p{.xy = {0, 0, 1, 0, 3, 0, 6, 0, 10, 0}, .sensor = {0, 1, 0, 1, 0},
                      .pair = {1, 0, 3, 2, -1}};
  const MapNeighbors near = map_neighbors(p, 2);
  EXPECT_EQ(near.index, (std::vector<std::int32_t>{2, 3, 2, 3, 1, 0, 4, 1, 3, 2}));
}

TEST(PairDistances, TellPairsThatLieTogetherFromThoseThatDoNot) {
  const report::MapPoints near = plants_of(60, 0.2f);
  const PairDistances together = pair_distances(near, points(near), 0);
  EXPECT_EQ(together.pairs, 60);
  EXPECT_TRUE(together.same_class);
  EXPECT_NEAR(together.median_pair, 0.2, 0.01);
  EXPECT_NEAR(together.median_random, 1.7, 0.4);  // of two normal points: sqrt(2) sqrt(2 ln 2)
  EXPECT_GT(together.nearer_than, 0.9);
  EXPECT_LT(together.test.p, 1e-6);

  // The RGN images of another plant each: no plant is nearer to its own than to others.
  report::MapPoints mixed = near;
  for (std::size_t i = 0; i < 60; ++i) {
    const std::size_t other = (i + 2) % 60;
    mixed.xy[4 * i + 2] = near.xy[4 * other + 2];
    mixed.xy[4 * i + 3] = near.xy[4 * other + 3];
  }
  const PairDistances apart = pair_distances(mixed, points(mixed), 0);
  EXPECT_NEAR(apart.nearer_than, 0.5, 0.12);
  EXPECT_GT(apart.test.p, 0.01);
}

TEST(MapFindings, SeeWhichSensorLiesInAWrongCluster) {
  report::MapPoints p = plants_of(60, 0.5f);
  // A quarter of the blast plants: their RGB image lies among brown and is predicted so.
  for (std::size_t i = 0; i < 60; i += 8) {
    p.xy[4 * i] += 20;
    p.predicted[2 * i] = 1;
  }
  const MapFindings f = find_in_map(p, points(p), 10, 3);
  EXPECT_NEAR(f.error.mean[0], 8.0 / 60, 1e-12);
  EXPECT_EQ(f.error.mean[1], 0);
  EXPECT_NEAR(f.misplaced.mean[0], 8.0 / 60, 1e-12);
  EXPECT_EQ(f.misplaced.pairs.first, 8);
  EXPECT_NEAR(f.knn_accuracy, 112.0 / 120, 1e-12);
  ASSERT_EQ(f.where.size(), 1u);
  EXPECT_EQ(f.where[0].sensor, 0);
  EXPECT_EQ(f.where[0].label, 0);
  EXPECT_EQ(f.where[0].among, 1);
  EXPECT_EQ(f.where[0].images, 8);
  EXPECT_NEAR(f.same_sensor_by_chance, 59.0 / 118, 1e-12);
  const auto text = findings_text(f, p);
  ASSERT_EQ(text.size(), 2u);
  EXPECT_NE(text[0].find("wrong on 13.3 % of the 60 RGB images and on 0.0 % of the 60 RGN"),
            std::string::npos) << text[0];
  EXPECT_NE(text[0].find("RGB alone is right for 0 plants, RGN alone for 8."), std::string::npos);
  EXPECT_NE(text[0].find("more than chance explains"), std::string::npos);
  EXPECT_NE(text[0].find("RGB images of blast among brown (8)"), std::string::npos);
  const auto json = findings_json(f, p);
  EXPECT_EQ(json["error"]["pairs_rgb_larger"], 8);
  EXPECT_EQ(json["error"]["beyond_noise"], true);
  EXPECT_EQ(findings_table(f).rows.size(), 3u);
  EXPECT_EQ(misplaced_table(f, p).rows[0], (std::vector<std::string>{"RGB", "blast", "brown", "8"}));
}

TEST(MapFindings, SayWhatIsNoiseAndWhatCannotBeSaid) {
  report::MapPoints p = plants_of(40, 0.5f);
  p.predicted[0] = 1;  // RGB of one plant
  p.predicted[5] = 1 - p.label[5];
  const auto text = findings_text(find_in_map(p, points(p), 8, 0), p);
  EXPECT_NE(text[0].find("which is within noise"), std::string::npos) << text[0];
  EXPECT_EQ(text[0].find("more than chance explains"), std::string::npos) << text[0];

  report::MapPoints unlabelled = p;
  unlabelled.label.clear();
  unlabelled.predicted.clear();
  const auto less = findings_text(find_in_map(unlabelled, points(p), 8, 0), unlabelled);
  ASSERT_EQ(less.size(), 1u);
  EXPECT_NE(less[0].find("of other plants (") , std::string::npos) << less[0];
  EXPECT_EQ(less[0].find("label"), std::string::npos);

  report::MapPoints one = p;
  one.sensor.clear();
  one.pair.clear();
  EXPECT_NE(findings_text(find_in_map(one, points(p), 8, 0), one)[0].find("one sensor"),
            std::string::npos);
}

TEST(MapTable, FindsPairsAndProbabilities) {
  eval::LogitTable table;
  table.C = 2;
  table.logits = {0, 0, 1, 3, 5, 1, 2, 0};
  table.id = {"a.jpg", "b.jpg", "b_rgn.jpg", "c_rgn.jpg"};
  table.sensor = {data::Sensor::rgb, data::Sensor::rgb, data::Sensor::rgn, data::Sensor::rgn};
  table.label = {"x", "", "y", "x"};
  table.predicted = {"x", "y", "x", "x"};
  const MapTable with(table);
  ASSERT_EQ(with.probability.size(), 4u);
  EXPECT_FLOAT_EQ(with.probability[0], 0.5f);
  EXPECT_FLOAT_EQ(with.probability[1], static_cast<float>(1 / (1 + std::exp(-2.0))));
  const auto p = map_points(with);
  EXPECT_EQ(p.pair, (std::vector<int>{-1, 2, 1, -1}));
  EXPECT_EQ(p.label, (std::vector<int>{0, -1, 1, 0}));
  table.predicted[0] = "y";  // not the largest column any more: features, not logits
  EXPECT_TRUE(MapTable(table).probability.empty());
}

TEST(MapTable, ReadsAMatrixOfAnyFloatingPointType) {
  const test::TempDir folder;
  const auto read = [&] { return read_map_matrix(folder / "x.npy", {}); };
  const std::vector<double> values{1, -2.5, 0.1, 1e-3, 300, 7};  // 0.1 and 1e-3 are rounded
  std::vector<float> floats;
  std::vector<half> halves;
  for (const double v : values) {
    floats.push_back(static_cast<float>(v));
    halves.emplace_back(static_cast<float>(v));
  }
  io::write_npy<float>(folder / "x.npy", {3, 2}, floats);
  const MapTable single = read();
  EXPECT_EQ(single.logits, floats);
  EXPECT_EQ(single.C, 2);
  EXPECT_EQ(single.id, (std::vector<std::string>{"0", "1", "2"}));
  io::write_npy<double>(folder / "x.npy", {3, 2}, values);
  EXPECT_EQ(read().logits, floats);
  io::write_npy<half>(folder / "x.npy", {3, 2}, halves);
  const auto coarse = read().logits;
  for (std::size_t i = 0; i < floats.size(); ++i) EXPECT_EQ(coarse[i], static_cast<float>(halves[i]));
  EXPECT_NE(coarse[2], floats[2]);
  io::write_npy<std::int32_t>(folder / "x.npy", {3, 2}, std::vector<std::int32_t>(6, 1));
  EXPECT_THROW(read(), FileError);
  io::write_npy<float>(folder / "x.npy", {6}, floats);
  EXPECT_THROW(read(), FileError);
}

TEST(AlignMap, UndoesRotationReflectionAndShift) {
  RandomStream random(5, Purpose::test);
  std::vector<float> target;
  for (int i = 0; i < 50; ++i) target.insert(target.end(), {3 * random.normal(), random.normal()});
  for (const double mirror : {1.0, -1.0}) {
    for (const double angle : {0.0, 0.3, 1.9, 3.1, -2.0}) {
      std::vector<float> map;
      for (std::size_t i = 0; i < 50; ++i) {
        const double x = target[2 * i], y = mirror * target[2 * i + 1];
        map.push_back(static_cast<float>(std::cos(angle) * x - std::sin(angle) * y + 7));
        map.push_back(static_cast<float>(std::sin(angle) * x + std::cos(angle) * y - 2));
      }
      const AlignedMap aligned = align_map(map, target);
      EXPECT_NEAR(aligned.disparity, 0, 1e-6);
      for (std::size_t i = 0; i < 100; ++i) EXPECT_NEAR(aligned.xy[i], target[i], 1e-4);
    }
  }
}

TEST(AlignMap, NoRotationIsBetterAndDisparityIsOfTheShapeAlone) {
  RandomStream random(6, Purpose::test);
  std::vector<float> map, target;
  for (int i = 0; i < 80; ++i) {
    map.push_back(random.normal());
    target.push_back(0.5f * map.back() + random.normal());
  }
  const auto error = [&](const std::vector<float>& xy) {
    double sum = 0;
    for (std::size_t i = 0; i < xy.size(); ++i) sum += std::pow(xy[i] - target[i], 2);
    return sum;
  };
  const AlignedMap aligned = align_map(map, target);
  const double best = error(aligned.xy);
  for (int step = 1; step < 64; ++step) {
    for (const float mirror : {1.0f, -1.0f}) {
      // About the middle, which the best shift keeps.
      double cx = 0, cy = 0;
      for (std::size_t i = 0; i < 40; ++i) cx += aligned.xy[2 * i] / 40, cy += aligned.xy[2 * i + 1] / 40;
      std::vector<float> turned;
      const double a = 0.1 * step;
      for (std::size_t i = 0; i < 40; ++i) {
        const double x = aligned.xy[2 * i] - cx, y = mirror * (aligned.xy[2 * i + 1] - cy);
        turned.push_back(static_cast<float>(std::cos(a) * x - std::sin(a) * y + cx));
        turned.push_back(static_cast<float>(std::sin(a) * x + std::cos(a) * y + cy));
      }
      EXPECT_GE(error(turned), best - 1e-4);
    }
  }
  std::vector<float> larger = map;
  for (float& v : larger) v *= 10;
  EXPECT_NEAR(align_map(larger, target).disparity, aligned.disparity, 1e-6);
  EXPECT_GT(aligned.disparity, 0.1);
  EXPECT_THROW(align_map(std::vector<float>(4), target), ShapeError);
  EXPECT_EQ(align_map(std::vector<float>(80, 1.0f), target).xy.size(), 80u);  // one spot: finite
}

}  // namespace
}  // namespace mwalimu::train
