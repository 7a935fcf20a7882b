#include "mwalimu/train/pseudo_labels.hpp"

#include <gtest/gtest.h>

#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

/// Three plants: two pairs and one without a partner.
data::Dataset plants() {
  data::Dataset set;
  set.classes = {"blast", "healthy"};
  const auto add = [&](const std::string& id, data::Sensor sensor, index_t pair) {
    data::Sample sample;
    sample.id = id;
    sample.sensor = sensor;
    sample.pair = pair;
    set.samples.push_back(sample);
  };
  add("a.jpg", data::Sensor::rgb, 1);
  add("a_rgn.jpg", data::Sensor::rgn, 0);
  add("b.jpg", data::Sensor::rgb, 3);
  add("b_rgn.jpg", data::Sensor::rgn, 2);
  add("c.jpg", data::Sensor::rgb, -1);
  return set;
}

TEST(PseudoLabels, BothSensorsMustBeSureOfTheSameClass) {
  const auto set = plants();
  // a: both sure of class 0; b: sure, but of different classes; c: alone and sure.
  const std::vector<double> rows{0.95, 0.05, 0.91, 0.09, 0.95, 0.05, 0.05, 0.95, 0.02, 0.98};
  const auto found = confident_plants(set, rows, 0.9);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].plant.rgb, 0);
  EXPECT_EQ(found[0].label, 0);
  EXPECT_DOUBLE_EQ(found[0].confidence, 0.91);  // of the less sure side
  EXPECT_EQ(found[1].plant.rgb, 4);
  EXPECT_EQ(found[1].label, 1);
}

TEST(PseudoLabels, TheThresholdIsReachedByEverySide) {
  const auto set = plants();
  const std::vector<double> rows{0.95, 0.05, 0.89, 0.11, 0.9, 0.1, 0.9, 0.1, 0.5, 0.5};
  const auto found = confident_plants(set, rows, 0.9);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].plant.rgb, 2);
  EXPECT_THROW(confident_plants(set, rows, 0), ValueError);
  EXPECT_THROW(confident_plants(set, rows, 1.1), ValueError);
}

TEST(PseudoLabels, TheTableSaysWhoseLabelsTheyAre) {
  test::TempDir folder;
  auto set = plants();
  for (auto& sample : set.samples) sample.label = 1;
  write_training_table(folder.path() / "Train.csv", set, std::vector<index_t>{0, 1, 4}, 2);
  const auto table = io::read_csv(folder.path() / "Train.csv");
  ASSERT_EQ(table.rows.size(), 3u);
  EXPECT_EQ(table.rows[0], (std::vector<std::string>{"a.jpg", "healthy", "given"}));
  EXPECT_EQ(table.rows[2], (std::vector<std::string>{"c.jpg", "healthy", "model"}));
}

}  // namespace
}  // namespace mwalimu::train
