#include "mwalimu/eval/logits_csv.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/temp_dir.hpp"

namespace mwalimu::eval {
namespace {

data::Dataset example() {
  data::Dataset data;
  data.classes = {"blast", "brown"};
  data.samples.resize(3);
  data.samples[0] = {
      .id = "a.jpg", .path = {}, .sensor = data::Sensor::rgb, .label = 1, .pair = 1, .origin = {}};
  data.samples[1] = {.id = "a_rgn.jpg",
                     .path = {},
                     .sensor = data::Sensor::rgn,
                     .label = 1,
                     .pair = 0,
                     .origin = {}};
  data.samples[2] = {.id = "b.jpg",
                     .path = {},
                     .sensor = data::Sensor::rgb,
                     .label = -1,
                     .pair = -1,
                     .origin = {}};
  return data;
}

TEST(LogitsCsv, ReadsBackWhatWasWritten) {
  const test::TempDir dir;
  const std::vector<float> logits{-1, 2, 3, 0.5f, 1, 1};
  write_logits(dir.path(), example(), logits);
  EXPECT_EQ(io::read_file(dir / "logits.csv"),
            "image_id,sensor,label,predicted\n"
            "a.jpg,rgb,brown,brown\n"
            "a_rgn.jpg,rgn,brown,blast\n"
            "b.jpg,rgb,,blast\n");
  const LogitTable table = read_logits(dir.path());
  EXPECT_EQ(table.logits, logits);
  EXPECT_EQ(table.C, 2);
  EXPECT_EQ(table.rows(), 3);
  EXPECT_EQ(table.id, (std::vector<std::string>{"a.jpg", "a_rgn.jpg", "b.jpg"}));
  EXPECT_EQ(table.sensor[1], data::Sensor::rgn);
  EXPECT_EQ(table.label, (std::vector<std::string>{"brown", "brown", ""}));
  EXPECT_EQ(table.predicted[1], "blast");
}

TEST(LogitsCsv, BothFilesAreNamedByTheStem) {
  const test::TempDir dir;
  const std::vector<float> logits{-1, 2, 3, 0.5f, 1, 1};
  write_logits(dir.path(), example(), logits, "oof_logits");
  EXPECT_TRUE(std::filesystem::exists(dir / "oof_logits.npy"));
  EXPECT_EQ(read_logits(dir.path(), "oof_logits").logits, logits);
  EXPECT_THROW(read_logits(dir.path()), FileError);
}

TEST(LogitsCsv, RefusesWhatDoesNotFit) {
  const test::TempDir dir;
  const std::vector<float> logits{-1, 2, 3, 0.5f, 1, 1};
  EXPECT_THROW(write_logits(dir.path(), example(), std::span(logits).first(4)), ShapeError);
  EXPECT_THROW(write_logits(dir.path(), example(), std::vector<float>{1, 2, 3, 4, 5, NAN}),
               ValueError);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  write_logits(dir.path(), example(), logits);
  io::write_file(dir / "logits.csv", "image_id,sensor,label,predicted\na.jpg,rgb,,blast\n");
  EXPECT_THROW(read_logits(dir.path()), FileError);
  io::write_file(dir / "logits.csv", "image_id,sensor,label\n");
  EXPECT_THROW(read_logits(dir.path()), FileError);
}

}  // namespace
}  // namespace mwalimu::eval
