#include "mwalimu/eval/metrics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/eval/metrics_json.hpp"
#include "mwalimu/io/file.hpp"
#include "support/golden.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::eval {
namespace {

using test::near_abs;

// The reference is float64 of the same formulas: only the order of the sums differs.
TEST(MetricsGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "metrics");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto prob = c.tensor("prob").values;
    std::vector<int> y;
    for (const double label : c.tensor("y").values) y.push_back(static_cast<int>(label));
    const index_t C = c.at("C");
    const Metrics m = compute_metrics(prob, y, C);
    EXPECT_NEAR(m.log_loss, c.scalar("log_loss"), 1e-12);
    EXPECT_NEAR(m.accuracy, c.scalar("accuracy"), 1e-15);
    EXPECT_NEAR(m.macro_f1, c.scalar("macro_f1"), 1e-14);
    EXPECT_NEAR(m.roc_auc, c.scalar("macro_auc"), 1e-14);
    std::vector<double> precision, recall, f1, auc, confusion;
    for (const ClassMetrics& one : m.per_class) {
      precision.push_back(one.precision);
      recall.push_back(one.recall);
      f1.push_back(one.f1);
      auc.push_back(one.roc_auc);
    }
    for (const auto& row : m.confusion) confusion.insert(confusion.end(), row.begin(), row.end());
    EXPECT_TRUE(near_abs(precision, c.tensor("precision").values, 1e-14));
    EXPECT_TRUE(near_abs(recall, c.tensor("recall").values, 1e-14));
    EXPECT_TRUE(near_abs(f1, c.tensor("f1").values, 1e-14));
    EXPECT_TRUE(near_abs(auc, c.tensor("auc_ovr").values, 1e-14));
    EXPECT_EQ(confusion, c.tensor("confusion").values);
  }
}

TEST(Metrics, OfAHandMadeTable) {
  // Truth 0 0 1 1, predicted 0 1 1 1, and class 2 is nobody's and never predicted.
  const std::vector<double> p{.8, .1, .1, .2, .5, .3, .1, .9, 0, .3, .4, .3};
  const std::vector<int> y{0, 0, 1, 1};
  const Metrics m = compute_metrics(p, y, 3);
  EXPECT_EQ(m.samples, 4);
  EXPECT_EQ(m.confusion, (std::vector<std::vector<index_t>>{{1, 1, 0}, {0, 2, 0}, {0, 0, 0}}));
  EXPECT_DOUBLE_EQ(m.accuracy, 0.75);
  EXPECT_NEAR(m.log_loss, -(std::log(.8) + std::log(.2) + std::log(.9) + std::log(.4)) / 4, 1e-14);
  EXPECT_DOUBLE_EQ(m.per_class[0].precision, 1);
  EXPECT_DOUBLE_EQ(m.per_class[0].recall, 0.5);
  EXPECT_DOUBLE_EQ(m.per_class[1].precision, 2.0 / 3);
  EXPECT_DOUBLE_EQ(m.per_class[1].f1, 0.8);
  EXPECT_EQ(m.per_class[2].precision, 0);  // 0/0
  EXPECT_EQ(m.per_class[2].f1, 0);
  EXPECT_EQ(m.per_class[2].support, 0);
  EXPECT_TRUE(std::isnan(m.per_class[2].roc_auc));
  EXPECT_DOUBLE_EQ(m.macro_f1, (2.0 / 3 + 0.8 + 0) / 3);
  // Class 0: positives .8 .2, negatives .1 .3: 3 of 4 pairs in order. Class 1: .9 .4 above .1, .4
  // below .5: 3 of 4.
  EXPECT_DOUBLE_EQ(m.per_class[0].roc_auc, 0.75);
  EXPECT_DOUBLE_EQ(m.roc_auc, 0.75);
  EXPECT_DOUBLE_EQ(m.baseline.majority_accuracy, 0.5);
  EXPECT_NEAR(m.baseline.prior_log_loss, std::log(2.0), 1e-15);
}

TEST(Metrics, BaselineIsThatOfTheConstantAnswer) {
  const std::vector<int> y{0, 0, 0, 1, 2, 2};
  const Baseline baseline = compute_baseline(y, 3);
  std::vector<double> constant;
  for (std::size_t i = 0; i < y.size(); ++i) {
    constant.insert(constant.end(), {3.0 / 6, 1.0 / 6, 2.0 / 6});
  }
  const Metrics m = compute_metrics(constant, y, 3);
  EXPECT_NEAR(m.log_loss, baseline.prior_log_loss, 1e-15);
  EXPECT_DOUBLE_EQ(m.accuracy, baseline.majority_accuracy);
  EXPECT_DOUBLE_EQ(m.roc_auc, 0.5);  // all tied
}

TEST(Metrics, RocAucEqualsTheCountOverAllPairs) {
  RandomStream random(3, Purpose::test);
  for (const std::size_t n : {2u, 3u, 17u, 64u}) {
    std::vector<double> scores;
    std::vector<bool> positive;
    for (std::size_t i = 0; i < n; ++i) {
      scores.push_back(static_cast<double>(random.below(10)));  // many ties
      positive.push_back(i == 0 || (i != 1 && random.chance(0.4f)));
    }
    double wins = 0, pairs = 0;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        if (!positive[i] || positive[j]) continue;
        pairs += 1;
        wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
      }
    }
    EXPECT_NEAR(roc_auc(scores, positive), wins / pairs, 1e-14);
  }
}

TEST(Metrics, LogLossClipsACertainError) {
  const std::vector<double> p{1, 0};
  EXPECT_NEAR(log_loss(p, std::vector<int>{1}, 2), -std::log(1e-15), 1e-9);
  EXPECT_NEAR(log_loss(p, std::vector<int>{0}, 2), 1e-15, 1e-16);
}

TEST(Metrics, TiesGoToTheLowestClass) {
  EXPECT_EQ(arg_max(std::vector<double>{.5, .5, 0, .2, .4, .4}, 3), (std::vector<int>{0, 1}));
}

TEST(Metrics, FloatsGiveWhatDoublesGive) {
  const std::vector<float> p{.75f, .25f, .5f, .5f};
  const std::vector<double> wide{.75, .25, .5, .5};
  const std::vector<int> y{0, 1};
  EXPECT_EQ(compute_metrics(p, y, 2).log_loss, compute_metrics(wide, y, 2).log_loss);
}

TEST(Metrics, RefusesWhatCannotBeMeasured) {
  const std::vector<double> p{.5, .5, .5, .5};
  const std::vector<int> y{0, 1};
  EXPECT_NO_THROW(compute_metrics(p, y, 2));
  EXPECT_THROW(compute_metrics(p, y, 3), ShapeError);
  EXPECT_THROW(compute_metrics(p, y, 0), ShapeError);
  EXPECT_THROW(compute_metrics(p, std::vector<int>{0}, 2), ShapeError);
  EXPECT_THROW(compute_metrics(p, std::vector<int>{0, 2}, 2), ValueError);
  EXPECT_THROW(compute_metrics(p, std::vector<int>{0, -1}, 2), ValueError);
  EXPECT_THROW(compute_metrics(std::vector<double>{}, std::vector<int>{}, 2), ValueError);
  EXPECT_THROW(compute_metrics(std::vector<double>{.5, std::nan(""), .5, .5}, y, 2), ValueError);
  EXPECT_THROW(compute_metrics(std::vector<double>{.5, -.1, .5, .5}, y, 2), ValueError);
}

TEST(Softmax, SumsToOneAndDoesNotOverflow) {
  const auto p = softmax(std::vector<float>{1e4f, 0, -1e4f, 0, 0, 0, 1, 2, 3}, 3);
  EXPECT_EQ(p[0], 1);
  EXPECT_EQ(p[2], 0);
  EXPECT_DOUBLE_EQ(p[4], 1.0 / 3);
  EXPECT_NEAR(p[8], 1 / (1 + std::exp(-1.0) + std::exp(-2.0)), 1e-15);
  EXPECT_THROW(softmax(std::vector<float>{1, INFINITY}, 2), ValueError);
}

// by_sensor, to_json

Evaluation example() {
  using data::Sensor;
  const std::vector<double> p{.8, .2, .3, .7, .4, .6, .9, .1};
  const std::vector<int> y{0, 1, 0, 0};
  const std::vector<Sensor> sensors{Sensor::rgb, Sensor::rgn, Sensor::rgb, Sensor::rgn};
  return evaluate(p, y, sensors, {"blast", "brown"});
}

TEST(Evaluation, SplitsBySensor) {
  const Evaluation e = example();
  ASSERT_TRUE(e.rgb && e.rgn);
  EXPECT_EQ(e.together.samples, 4);
  EXPECT_DOUBLE_EQ(e.together.accuracy, 0.75);
  EXPECT_DOUBLE_EQ(e.rgb->accuracy, 0.5);
  EXPECT_DOUBLE_EQ(e.rgn->accuracy, 1);
  EXPECT_NEAR(e.rgb->log_loss, -(std::log(.8) + std::log(.4)) / 2, 1e-14);
  EXPECT_NEAR(e.together.log_loss, (e.rgb->log_loss + e.rgn->log_loss) / 2, 1e-14);
  const auto one = evaluate(std::vector<double>{.5, .5}, std::vector<int>{0},
                            std::vector<data::Sensor>{data::Sensor::rgn}, {"a", "b"});
  EXPECT_FALSE(one.rgb);
  EXPECT_TRUE(one.rgn);
  EXPECT_THROW(evaluate(std::vector<double>{.5, .5}, std::vector<int>{0},
                        std::vector<data::Sensor>{}, {"a", "b"}),
               ShapeError);
}

TEST(Evaluation, JsonHasThePromisedNames) {
  const test::TempDir dir;
  write_metrics(dir / "metrics.json", example());
  const auto json = nlohmann::json::parse(io::read_file(dir / "metrics.json"));
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_EQ(keys,
            (std::vector<std::string>{"accuracy", "average_precision", "baseline", "by_sensor",
                                      "calibration", "classes", "confusion", "log_loss",
                                      "macro_f1", "per_class", "roc_auc"}));
  EXPECT_EQ(json["classes"], (nlohmann::json{"blast", "brown"}));
  EXPECT_EQ(json["confusion"], (nlohmann::json{{2, 1}, {0, 1}}));
  EXPECT_EQ(json["per_class"]["support"], (nlohmann::json{3, 1}));
  EXPECT_DOUBLE_EQ(json["per_class"]["precision"][1], 0.5);
  EXPECT_DOUBLE_EQ(json["per_class"]["recall"][0], 2.0 / 3);
  EXPECT_DOUBLE_EQ(json["per_class"]["f1"][0], 0.8);
  EXPECT_DOUBLE_EQ(json["accuracy"], 0.75);
  EXPECT_DOUBLE_EQ(json["baseline"]["majority_accuracy"], 0.75);
  EXPECT_NEAR(json["baseline"]["prior_log_loss"], -.75 * std::log(.75) - .25 * std::log(.25),
              1e-14);
  EXPECT_EQ(json["baseline"]["majority_class"], "blast");
  // The two of "brown" are .2, .7, .6, .1: the one that is brown comes first.
  EXPECT_EQ(json["per_class"]["roc_auc"], (nlohmann::json{1.0, 1.0}));
  EXPECT_EQ(json["per_class"]["average_precision"], (nlohmann::json{1.0, 1.0}));
  EXPECT_DOUBLE_EQ(json["average_precision"], 1);
  ASSERT_EQ(json["calibration"]["bins"].size(), 15u);
  EXPECT_EQ(json["calibration"]["bins"][13]["count"], 1);
  EXPECT_DOUBLE_EQ(json["calibration"]["bins"][13]["confidence"], .9);
  EXPECT_TRUE(json["calibration"]["bins"][0]["accuracy"].is_null());
  EXPECT_NEAR(json["calibration"]["ece"], (.2 + .3 + .6 + .1) / 4, 1e-15);
  EXPECT_NEAR(json["calibration"]["mce"], .6, 1e-15);
  EXPECT_DOUBLE_EQ(json["by_sensor"]["rgn"]["accuracy"], 1);
  EXPECT_EQ(json["by_sensor"]["rgb"]["confusion"], (nlohmann::json{{1, 1}, {0, 0}}));
  EXPECT_TRUE(json["by_sensor"]["rgb"]["roc_auc"].is_null());  // one class alone
  EXPECT_TRUE(json["by_sensor"]["rgb"]["per_class"]["roc_auc"][0].is_null());
  EXPECT_EQ(json["by_sensor"]["rgb"].size(), json.size() - 1);
}

}  // namespace
}  // namespace mwalimu::eval
