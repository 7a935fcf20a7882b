#include "mwalimu/eval/temperature.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/eval/metrics.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::eval {
namespace {

struct Labelled {
  std::vector<float> logits;
  std::vector<int> labels;
};

// Labels drawn from softmax(logits / temperature).
Labelled drawn(index_t rows, double temperature) {
  RandomStream random(41, Purpose::test);
  Labelled data;
  for (index_t i = 0; i < rows; ++i) {
    std::vector<float> z(3);
    for (float& value : z) value = 3 * random.normal();
    std::vector<float> scaled;
    for (const float value : z) scaled.push_back(static_cast<float>(value / temperature));
    const auto p = softmax(scaled, 3);
    const double u = random.uniform();
    data.labels.push_back(u < p[0] ? 0 : u < p[0] + p[1] ? 1 : 2);
    data.logits.insert(data.logits.end(), z.begin(), z.end());
  }
  return data;
}

double loss_at(const Labelled& data, double temperature) {
  std::vector<float> scaled;
  for (const float z : data.logits) scaled.push_back(static_cast<float>(z / temperature));
  return log_loss(softmax(scaled, 3), data.labels, 3);
}

// The standard error of log T from n rows of such logits is about 1 / sqrt(n): 0.7 % here.
TEST(Temperature, FindsTheOneThatTheLabelsWereDrawnWith) {
  for (const double t : {0.5, 1.0, 3.0}) {
    EXPECT_NEAR(std::log(fit_temperature(drawn(20'000, t).logits, drawn(20'000, t).labels, 3) / t),
                0, 0.03);
  }
}

TEST(Temperature, IsWhereTheLogLossIsLowest) {
  const Labelled data = drawn(300, 2);
  const double t = fit_temperature(data.logits, data.labels, 3);
  for (const double factor : {0.5, 0.9, 0.99, 1.01, 1.1, 2.0}) {
    EXPECT_LT(loss_at(data, t), loss_at(data, factor * t)) << factor;
  }
}

TEST(Temperature, StaysInItsRange) {
  // All right: the colder the better. Labels against the logits: the hotter.
  EXPECT_EQ(fit_temperature(std::vector<float>{2, 0, 0, 2}, std::vector<int>{0, 1}, 2), 0.01);
  EXPECT_EQ(fit_temperature(std::vector<float>{2, 0, 0, 2}, std::vector<int>{1, 0}, 2), 100);
  const std::vector<float> extreme{1e4f, -1e4f, 0, 1};
  EXPECT_TRUE(std::isfinite(fit_temperature(extreme, std::vector<int>{1, 1}, 2)));
}

TEST(Temperature, RefusesWhatCannotBeFitted) {
  EXPECT_THROW(fit_temperature(std::vector<float>{}, std::vector<int>{}, 2), ValueError);
  EXPECT_THROW(fit_temperature(std::vector<float>{1, NAN}, std::vector<int>{0}, 2), ValueError);
  EXPECT_THROW(fit_temperature(std::vector<float>{1, 0}, std::vector<int>{2}, 2), ValueError);
  EXPECT_THROW(fit_temperature(std::vector<float>{1, 0}, std::vector<int>{0, 1}, 2), ShapeError);
}

TEST(Temperature, OfAFileLeavesOutRowsWithoutALabel) {
  const test::TempDir dir;
  const Labelled data = drawn(200, 2);
  data::Dataset set;
  set.classes = {"a", "b", "c"};
  std::vector<float> logits;
  for (std::size_t i = 0; i < 200; ++i) {
    for (const bool known : {true, false}) {
      set.samples.push_back({.id = std::string{} + std::to_string(i) + (known ? "k" : "u"),
                             .path = {}, .sensor = data::Sensor::rgb,
                             .label = known ? data.labels[i] : -1, .pair = -1, .origin = {}});
      for (std::size_t c = 0; c < 3; ++c) {
        logits.push_back(data.logits[3 * i + (known ? c : 2 - c)]);
      }
    }
  }
  write_logits(dir.path(), set, logits, "oof_logits");
  const double want = fit_temperature(data.logits, data.labels, 3);
  EXPECT_EQ(read_temperature(dir / "oof_logits.csv", set.classes), want);
  EXPECT_EQ(read_temperature(dir / "oof_logits.npy", set.classes), want);
  EXPECT_THROW(read_temperature(dir / "oof_logits.csv", {"a", "b", "x"}), ValueError);
  EXPECT_THROW(read_temperature(dir / "oof_logits.csv", {"a", "b"}), ValueError);
  EXPECT_THROW(read_temperature(dir / "other.csv", set.classes), FileError);
  // What is evaluated must not be fitted on; a row without a label is not.
  EXPECT_THROW(
      read_temperature(dir / "oof_logits.csv", set.classes, std::vector<std::string>{"3k"}),
      ValueError);
  EXPECT_NO_THROW(
      read_temperature(dir / "oof_logits.csv", set.classes, std::vector<std::string>{"3u"}));
}

}  // namespace
}  // namespace mwalimu::eval
