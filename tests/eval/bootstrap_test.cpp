#include "mwalimu/eval/bootstrap.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "mwalimu/eval/evaluation_text.hpp"
#include "mwalimu/eval/metrics_json.hpp"

namespace mwalimu::eval {
namespace {

// Scores of `plants` pairs of images in three classes, in steps of a twentieth: with ties. `same`:
// both images of a plant get the same answer; else each its own.
LabelledScores pairs(index_t plants, bool same, std::uint64_t step, double skill = 0.4) {
  RandomStream random(21, Purpose::test, step);
  LabelledScores scores{.classes = {"blast", "brown", "healthy"}, .probabilities = {},
                        .labels = {}, .sensors = {}, .plant = {}, .sample = {}};
  for (index_t plant = 0; plant < plants; ++plant) {
    const int label = random.chance(0.5f) ? 0 : static_cast<int>(random.below(3));
    std::vector<double> row(3);
    for (const data::Sensor sensor : {data::Sensor::rgb, data::Sensor::rgn}) {
      if (sensor == data::Sensor::rgb || !same) {
        double sum = 0;
        for (std::size_t c = 0; c < 3; ++c) {
          const double lift = static_cast<int>(c) == label ? skill : 0;
          row[c] = std::ceil(20 * (random.uniform() + lift)) / 20 + 0.05;
          sum += row[c];
        }
        for (double& p : row) p /= sum;
      }
      scores.append(row, label, sensor, plant, scores.rows());
    }
  }
  return scores;
}

void expect_same(const WeightedMetrics& got, const Metrics& want) {
  EXPECT_NEAR(got.accuracy, want.accuracy, 1e-13);
  EXPECT_NEAR(got.macro_f1, want.macro_f1, 1e-13);
  EXPECT_NEAR(got.log_loss, want.log_loss, 1e-13);
  EXPECT_NEAR(got.roc_auc, want.roc_auc, 1e-13);
  EXPECT_NEAR(got.ece, want.calibration.ece, 1e-13);
}

TEST(Bootstrap, EqualWeightsGiveTheMetrics) {
  const LabelledScores scores = pairs(30, false, 1);
  const WeightedEvaluator evaluator(scores);
  expect_same(evaluator.at(std::vector<double>(60, 1.0)), evaluate(scores).together);
}

TEST(Bootstrap, WholeWeightsAreRepeatedRows) {
  const LabelledScores scores = pairs(25, false, 2);
  const WeightedEvaluator evaluator(scores);
  for (std::uint64_t draw = 0; draw < 5; ++draw) {
    RandomStream random(22, Purpose::test, draw);
    std::vector<double> weights;
    LabelledScores repeated = pairs(0, false, 0);
    for (index_t i = 0; i < scores.rows(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const auto times = random.below(draw + 2);
      weights.push_back(static_cast<double>(times));
      for (std::uint64_t t = 0; t < times; ++t) {
        repeated.append(scores.row(i), scores.labels[at], scores.sensors[at], 0, 0);
      }
    }
    expect_same(evaluator.at(weights), evaluate(repeated).together);
  }
  EXPECT_TRUE(std::isnan(evaluator.at(std::vector<double>(50, 0.0)).accuracy));
}

// Half of the rows right: the interval of the mean of n independent draws is 1.96 sqrt(p (1 - p) /
// n) to both sides. Tolerance: with 4000 resamples a 2.5 % point is known to some 3 % of its
// distance, and with 200 plants the distribution is discrete in steps of 0.005.
TEST(Bootstrap, WidthIsThatOfTheBinomial) {
  const LabelledScores scores = pairs(200, true, 3);
  const double p = evaluate(scores).together.accuracy;
  ASSERT_GT(p, 0.3);
  ASSERT_LT(p, 0.9);
  const Interval i = bootstrap(scores, 200, {.resamples = 4000, .seed = 1, .level = 0.95}).accuracy;
  const double half = 1.96 * std::sqrt(p * (1 - p) / 200);
  EXPECT_NEAR(i.low, p - half, 0.008);
  EXPECT_NEAR(i.high, p + half, 0.008);
}

// Where both images of a plant always agree, a second image says nothing new. Drawing images
// instead of plants would find an interval narrower by sqrt(2).
TEST(Bootstrap, DrawsPlantsAndNotImages) {
  const LabelledScores by_plant = pairs(200, true, 4);
  LabelledScores by_image = by_plant;
  for (index_t i = 0; i < by_image.rows(); ++i) by_image.plant[static_cast<std::size_t>(i)] = i;
  const BootstrapOptions options{.resamples = 2000, .seed = 5, .level = 0.95};
  const auto width = [](const Interval& i) { return i.high - i.low; };
  const Confidence plants = bootstrap(by_plant, 200, options);
  const Confidence images = bootstrap(by_image, 400, options);
  EXPECT_NEAR(width(plants.accuracy) / width(images.accuracy), std::sqrt(2.0), 0.15);
  EXPECT_NEAR(width(plants.log_loss) / width(images.log_loss), std::sqrt(2.0), 0.15);
  EXPECT_NEAR(width(plants.roc_auc) / width(images.roc_auc), std::sqrt(2.0), 0.15);
  // One sensor's images are one a plant: the same draws give the same interval.
  const Confidence rgb = bootstrap(by_plant.of(data::Sensor::rgb), 200, options);
  EXPECT_NEAR(rgb.accuracy.low, plants.accuracy.low, 1e-12);
  EXPECT_NEAR(rgb.log_loss.high, plants.log_loss.high, 1e-12);
}

TEST(Bootstrap, IsAFunctionOfItsSeedAndNotOfTheThreads) {
  const LabelledScores scores = pairs(40, false, 6);
  const int threads = num_threads();
  const auto low = [&](std::uint64_t seed) {
    return bootstrap(scores, 40, {.resamples = 200, .seed = seed, .level = 0.95}).log_loss.low;
  };
  set_num_threads(1);
  const double one = low(7);
  set_num_threads(3);
  EXPECT_EQ(low(7), one);
  set_num_threads(threads);
  EXPECT_NE(low(8), one);
}

TEST(Bootstrap, AHigherLevelHoldsALower) {
  const LabelledScores scores = pairs(40, false, 6);
  const auto at = [&](double level) {
    return bootstrap(scores, 40, {.resamples = 500, .seed = 1, .level = level}).roc_auc;
  };
  EXPECT_LT(at(0.99).low, at(0.5).low);
  EXPECT_GT(at(0.99).high, at(0.5).high);
}

TEST(Bootstrap, NothingFollowsFromOnePlant) {
  const LabelledScores one = pairs(1, false, 1);
  EXPECT_FALSE(bootstrap(one, 1, {.resamples = 10, .seed = 0, .level = 0.95}).accuracy.known());
  EXPECT_THROW(bootstrap(one, 0, {.resamples = 10, .seed = 0, .level = 0.95}), ValueError);
  EXPECT_THROW(bootstrap(one, 1, {.resamples = 0, .seed = 0, .level = 0.95}), ValueError);
  EXPECT_THROW(bootstrap(one, 1, {.resamples = 10, .seed = 0, .level = 1}), ValueError);
}

TEST(Bootstrap, TheAucNeedsAClassThatIsInTheResample) {
  // One class alone: no resample has an AUC, the others are defined.
  LabelledScores scores = pairs(20, false, 9);
  for (int& label : scores.labels) label = 1;
  const Confidence c = bootstrap(scores, 20, {.resamples = 50, .seed = 0, .level = 0.95});
  EXPECT_FALSE(c.roc_auc.known());
  EXPECT_TRUE(c.accuracy.known());
}

// numpy.quantile([3, 1, 2, 5], [0, 0.1, 0.5, 1]) is [1, 1.3, 2.5, 5].
TEST(Quantile, InterpolatesAndLeavesOutWhatIsNotFinite) {
  std::vector<double> values{3, NAN, 1, 2, INFINITY, 5};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 0.1), 1.3);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 5);
  std::vector<double> none{NAN};
  EXPECT_TRUE(std::isnan(quantile(none, 0.5)));
  EXPECT_THROW(quantile(values, 1.5), ValueError);
}

TEST(PercentileInterval, LeavesHalfOfTheRestOnEitherSide) {
  std::vector<double> values;
  for (int i = 100; i >= 0; --i) values.push_back(i);
  const Interval interval = percentile_interval(values, 0.9);
  EXPECT_NEAR(interval.low, 5, 1e-12);
  EXPECT_NEAR(interval.high, 95, 1e-12);
}

// labelled_scores

TEST(LabelledScores, NumberThePlantsOfTheRowsThatHaveLabels) {
  data::Dataset data;
  data.classes = {"a", "b"};
  const auto add = [&](int label, index_t pair, data::Sensor sensor) {
    data.samples.push_back({.id = "", .path = {}, .sensor = sensor, .label = label, .pair = pair,
                            .origin = {}});
  };
  add(0, 3, data::Sensor::rgb);
  add(-1, -1, data::Sensor::rgb);
  add(1, -1, data::Sensor::rgb);
  add(0, 0, data::Sensor::rgn);
  const std::vector<double> p{.1, .9, .2, .8, .3, .7, .4, .6};
  const LabelledScores all = labelled_scores(data, p);
  EXPECT_EQ(all.labels, (std::vector<int>{0, 1, 0}));
  EXPECT_EQ(all.plant, (std::vector<index_t>{0, 1, 0}));
  EXPECT_EQ(all.sample, (std::vector<index_t>{0, 2, 3}));
  EXPECT_EQ(all.plants(), 2);
  EXPECT_EQ(all.row(1)[0], .3);
  EXPECT_EQ(all.scores_of(1), (std::vector<double>{.9, .7, .6}));
  EXPECT_EQ(all.is(0), (std::vector<bool>{true, false, true}));
  const LabelledScores rgn = all.of(data::Sensor::rgn);
  EXPECT_EQ(rgn.sample, (std::vector<index_t>{3}));
  EXPECT_EQ(rgn.plant, (std::vector<index_t>{0}));
  // A chosen few, in the order of the choice.
  const LabelledScores two =
      labelled_scores(data, std::span(p).first(4), std::vector<index_t>{2, 0});
  EXPECT_EQ(two.sample, (std::vector<index_t>{2, 0}));
  EXPECT_EQ(two.row(1)[1], .8);
  EXPECT_THROW(labelled_scores(data, std::span(p).first(4)), ShapeError);
}

// The whole: Evaluation with intervals, its file, and what it says in words

TEST(EvaluationIntervals, AreInTheFile) {
  const Evaluation e =
      evaluate(pairs(40, false, 10), {.resamples = 100, .seed = 3, .level = 0.95});
  const auto json = to_json(e);
  for (const char* metric : {"accuracy", "macro_f1", "log_loss", "roc_auc", "ece"}) {
    for (const auto& part : {json, json["by_sensor"]["rgb"], json["by_sensor"]["rgn"]}) {
      const auto& interval = part["confidence"][metric];
      ASSERT_EQ(interval.size(), 2u) << metric;
      EXPECT_LT(interval[0].get<double>(), interval[1].get<double>()) << metric;
    }
  }
  EXPECT_EQ(json["confidence"]["accuracy"][0], e.together.confidence->accuracy.low);
  EXPECT_NE(json["by_sensor"]["rgb"]["confidence"], json["by_sensor"]["rgn"]["confidence"]);
  EXPECT_EQ(json["bootstrap"]["resamples"], 100);
  EXPECT_EQ(json["bootstrap"]["seed"], 3);
  const auto without =
      to_json(evaluate(pairs(40, false, 10), {.resamples = 0, .seed = 3, .level = 0.95}));
  EXPECT_FALSE(without.contains("confidence") || without.contains("bootstrap"));
}

Metrics with(double accuracy, double majority, Interval interval = {}) {
  Metrics m;
  m.accuracy = accuracy;
  m.baseline = {1, majority, 1};
  m.confidence.emplace().accuracy = interval;
  return m;
}

TEST(Verdict, SaysPlainlyHowTheAccuracyStandsToTheMajority) {
  const std::vector<std::string> classes{"blast", "brown"};
  EXPECT_EQ(verdict(with(.9, .6, {.8, .95}), classes),
            "The accuracy is better than the majority class: 0.900 (95 % interval 0.800 to 0.950) "
            "against 0.600 for always answering 'brown'.");
  EXPECT_EQ(verdict(with(.7, .6, {.59, .8}), classes),
            "The accuracy is no better than the majority class: 0.700 (95 % interval 0.590 to "
            "0.800) against 0.600 for always answering 'brown'.");
  EXPECT_EQ(standing(with(.7, .6, {.6, .8})), Standing::no_better);  // the end belongs to it
  EXPECT_EQ(standing(with(.5, .6, {.45, .6})), Standing::no_better);
  EXPECT_EQ(standing(with(.5, .6, {.45, .59})), Standing::worse);
  EXPECT_EQ(standing(with(.61, .6)), Standing::better);  // without an interval: the numbers alone
  EXPECT_EQ(standing(with(.6, .6)), Standing::no_better);
  EXPECT_EQ(standing(with(.5, .6)), Standing::worse);
}

TEST(EvaluationText, PutsTheClassBalanceFirst) {
  const Evaluation e =
      evaluate(pairs(40, false, 10), {.resamples = 100, .seed = 3, .level = 0.95});
  const std::string text = evaluation_text(e);
  EXPECT_EQ(text.find("class balance\n"), 0u);
  std::size_t at = 0;
  for (const char* part : {"class balance", "both sensors, 80 images", "[", "ROC-AUC", "ECE",
                           "precision", "true \\ predicted", "The accuracy is", "RGB, 40 images",
                           "RGN, 40 images", "The accuracy is"}) {
    const std::size_t next = text.find(part, at);
    ASSERT_NE(next, std::string::npos) << part << " in\n" << text;
    at = next;
  }
  const auto one = evaluation_text(evaluate(pairs(4, false, 1).of(data::Sensor::rgb)));
  EXPECT_NE(one.find("all images, 4 images"), std::string::npos) << one;
  EXPECT_EQ(one.find('['), std::string::npos) << one;
}

}  // namespace
}  // namespace mwalimu::eval
