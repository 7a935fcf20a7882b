#include "mwalimu/eval/submission.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "support/temp_dir.hpp"

namespace mwalimu::eval {
namespace {

data::Dataset example() {
  data::Dataset test;
  test.classes = {"blast", "brown", "healthy"};
  const auto add = [&](const char* id, data::Sensor sensor, index_t pair) {
    data::Sample sample;
    sample.id = id;
    sample.sensor = sensor;
    sample.pair = pair;
    test.samples.push_back(sample);
  };
  add("id_b_rgn.jpg", data::Sensor::rgn, 2);
  add("id_a.jpg", data::Sensor::rgb, 3);
  add("id_b.jpg", data::Sensor::rgb, 0);
  add("id_a_rgn.jpg", data::Sensor::rgn, 1);
  add("id_c_rgn.jpg", data::Sensor::rgn, -1);
  return test;
}

TEST(Submission, HasARowAPairThatSumsToOne) {
  const test::TempDir dir;
  const std::vector<double> p{.25, .25, .5, 1, 0, 0, .75, .25, 0, .5, .5, 0, 2, 1, 1};
  write_submission(dir / "submission.csv", example(), p);
  EXPECT_EQ(io::read_file(dir / "submission.csv"),
            "Image_id,blast,brown,healthy\n"
            "id_b.jpg,0.5,0.25,0.25\n"
            "id_a.jpg,0.75,0.25,0\n"
            "id_c.jpg,0.5,0.25,0.25\n");
}

TEST(Submission, RowsSumToOneAsTheyAreRead) {
  const test::TempDir dir;
  std::vector<double> p;
  for (int i = 0; i < 15; ++i) p.push_back(0.1 + 0.07 * (i * 7 % 11));
  write_submission(dir / "s.csv", example(), p);
  const auto table = io::read_csv(dir / "s.csv");
  ASSERT_EQ(table.rows.size(), 3u);
  for (std::size_t r = 0; r < 3; ++r) {
    EXPECT_NEAR(table.number(r, 1) + table.number(r, 2) + table.number(r, 3), 1, 1e-15);
  }
}

TEST(Submission, RefusesWhatIsNoProbability) {
  const test::TempDir dir;
  std::vector<double> p(15, 0.5);
  EXPECT_THROW(write_submission(dir / "s.csv", example(), std::span(p).first(12)), ShapeError);
  p[4] = -1;
  EXPECT_THROW(write_submission(dir / "s.csv", example(), p), ValueError);
  p[4] = std::nan("");
  EXPECT_THROW(write_submission(dir / "s.csv", example(), p), ValueError);
  EXPECT_THROW(write_submission(dir / "s.csv", example(), std::vector<double>(15, 0.0)),
               ValueError);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_THROW(write_submission(dir / "none/s.csv", example(), std::vector<double>(15, 0.5)),
               FileError);
}

}  // namespace
}  // namespace mwalimu::eval
