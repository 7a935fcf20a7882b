// evaluate from images to its files: what is promised, and that every option changes a result.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/npy.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;

// One small classifier of 24 training plants, evaluated on 15 test plants.
class Evaluate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<test::TempDir>();
    ASSERT_EQ(run({"make_rice", "--out", path("rice"), "--pairs", "24", "--test-pairs", "15",
                   "--size", "32", "--closeup", "1", "--seed", "5"})
                  .code,
              0);
    const auto trained = run({"finetune", "--data", path("rice"), "--out", path("classifier"),
                              "--arch", "xresnet18", "--width", "8", "--size", "32", "--epochs",
                              "2", "--batch", "8", "--seed", "3", "--device", "cpu"});
    ASSERT_EQ(trained.code, 0) << trained.err;
    ASSERT_EQ(evaluate("plain").code, 0);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string path(const std::string& name) { return (*folder_ / name).string(); }
  static test::Outcome run(const std::vector<std::string>& arguments) {
    return test::run(folder_->path(), arguments);
  }
  static test::Outcome evaluate(const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{
        "evaluate", "--data", path("rice"), "--classifier",
        path("classifier/classifier.safetensors"), "--out", path(out), "--device", "cpu",
        "--bootstrap", "50"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  static std::string bytes(const std::string& file) { return io::read_file(path(file)); }
  static nlohmann::json metrics(const std::string& out) {
    return nlohmann::json::parse(bytes(out + "/metrics.json"));
  }
  static std::vector<float> logits(const std::string& out) {
    return io::NpyFile(path(out + "/logits.npy")).array().values<float>();
  }
  static std::size_t count(const std::string& text, const std::string& what) {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++n;
    return n;
  }

  static inline std::unique_ptr<test::TempDir> folder_;
};

TEST_F(Evaluate, WritesWhatIsPromised) {
  const auto json = metrics("plain");
  for (const auto& part : {json, json["by_sensor"]["rgb"], json["by_sensor"]["rgn"]}) {
    for (const char* key : {"log_loss", "accuracy", "macro_f1", "roc_auc", "average_precision",
                            "confusion", "classes", "per_class", "baseline", "calibration",
                            "confidence"}) {
      EXPECT_TRUE(part.contains(key)) << key;
    }
    EXPECT_EQ(part["per_class"]["roc_auc"].size(), 3u);
    EXPECT_EQ(part["per_class"]["average_precision"].size(), 3u);
    EXPECT_EQ(part["calibration"]["bins"].size(), 15u);
    for (const auto& [metric, interval] : part["confidence"].items()) {
      ASSERT_EQ(interval.size(), 2u) << metric;
      EXPECT_LE(interval[0].get<double>(), interval[1].get<double>()) << metric;
    }
  }
  for (const char* file : {"roc.svg", "precision_recall.svg", "reliability.svg", "confusion.svg"}) {
    EXPECT_TRUE(bytes("plain/" + std::string(file)).starts_with("<svg")) << file;
  }
  EXPECT_EQ(io::read_csv(path("plain/logits.csv")).rows.size(), 30u);
  EXPECT_EQ(logits("plain").size(), 90u);
}

TEST_F(Evaluate, ThePageHoldsItAllAndNeedsNothingElse) {
  const std::string page = bytes("plain/report.html");
  for (const char* text : {"Class balance", "Measures", "ROC curves", "Precision and recall",
                           "Reliability", "Worst mistakes", "The accuracy is", "bootstrap = ",
                           "30 labelled images of 15 plants"}) {
    EXPECT_NE(page.find(text), std::string::npos) << text;
  }
  EXPECT_LT(page.find("Class balance</h2>"), page.find("Measures</h2>"));
  for (const char* outside : {"src=\"http", "href=\"http", "<script", "<link"}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
  // A picture a wrong image: the confusion matrix says how many there are.
  const auto confusion = metrics("plain")["confusion"];
  std::size_t wrong = 0;
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t c = 0; c < 3; ++c) wrong += r == c ? 0 : confusion[r][c].get<std::size_t>();
  }
  ASSERT_GT(wrong, 4u);
  ASSERT_EQ(evaluate("all", {"--mistakes", "100"}).code, 0);
  EXPECT_EQ(count(bytes("all/report.html"), "<img "), wrong);
  ASSERT_EQ(evaluate("two", {"--mistakes", "1"}).code, 0);
  EXPECT_EQ(count(bytes("two/report.html"), "<img "), 2u);  // one of each sensor
}

TEST_F(Evaluate, PrintsTheClassBalanceFirstAndTheVerdict) {
  const auto outcome = evaluate("printed");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(count(outcome.out, "majority class: "), 3u) << outcome.out;
  EXPECT_LT(outcome.out.find("class balance"), outcome.out.find("both sensors, 30 images"));
}

TEST_F(Evaluate, BootstrapDrawsAsOftenAsItIsTold) {
  const auto confidence = [&](const std::string& out, std::vector<std::string> more) {
    EXPECT_EQ(evaluate(out, more).code, 0);
    return metrics(out).value("confidence", nlohmann::json());
  };
  const auto plain = metrics("plain")["confidence"];
  EXPECT_EQ(confidence("same", {}), plain);
  EXPECT_NE(confidence("more", {"--bootstrap", "400"}), plain);
  EXPECT_NE(confidence("seed", {"--seed", "9"}), plain);
  EXPECT_TRUE(confidence("none", {"--bootstrap", "0"}).is_null());
  EXPECT_EQ(metrics("none")["accuracy"], metrics("plain")["accuracy"]);
  EXPECT_EQ(metrics("more")["bootstrap"]["resamples"], 400);
}

TEST_F(Evaluate, TestTimeAugmentationInAllItsOptions) {
  const std::map<std::string, std::vector<std::string>> runs{
      {"tta2", {"--tta", "2"}},
      {"tta3", {"--tta", "3"}},
      {"quarter", {"--tta", "2", "--tta-beta", "0.25"}},
      {"half", {"--tta", "2", "--tta-beta", "0.5"}},
      {"one", {"--tta", "2", "--tta-beta", "1"}},
      {"max", {"--tta", "2", "--tta-max"}},
      {"seed", {"--tta", "2", "--seed", "4"}}};
  for (const auto& [out, more] : runs) ASSERT_EQ(evaluate("tta_" + out, more).code, 0) << out;
  const auto two = logits("tta_tta2");
  EXPECT_EQ(two, logits("tta_quarter"));  // the default
  for (const char* other : {"plain", "tta_tta3", "tta_half", "tta_max", "tta_seed"}) {
    EXPECT_NE(two, logits(other)) << other;
  }
  // All weight on the plain view: the plain probabilities, up to the floats that logits are.
  EXPECT_NEAR(metrics("tta_one")["log_loss"], metrics("plain")["log_loss"].get<double>(), 1e-12);
  // Rows of logits are logarithms of probabilities that sum to 1: 1e-6 is of float32.
  for (const char* out : {"tta_tta2", "tta_max"}) {
    const auto rows = logits(out);
    for (std::size_t i = 0; i < rows.size(); i += 3) {
      EXPECT_NEAR(std::exp(rows[i]) + std::exp(rows[i + 1]) + std::exp(rows[i + 2]), 1, 1e-6);
    }
  }
}

TEST_F(Evaluate, CalibrateDividesTheLogitsByOneTemperature) {
  ASSERT_EQ(evaluate("on_train", {"--part", "train"}).code, 0);
  const auto outcome = evaluate("calibrated", {"--calibrate", path("on_train/logits.csv")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("temperature "), std::string::npos);
  const double temperature = metrics("calibrated")["temperature"];
  EXPECT_NE(temperature, 1);
  const auto before = logits("plain"), after = logits("calibrated");
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(after[i], before[i] / temperature, 1e-6 * std::abs(after[i])) << i;
  }
  EXPECT_EQ(metrics("calibrated")["accuracy"], metrics("plain")["accuracy"]);
  EXPECT_NE(metrics("calibrated")["log_loss"], metrics("plain")["log_loss"]);
  EXPECT_FALSE(metrics("plain").contains("temperature"));
  // Its own images would flatter it.
  const auto refused = evaluate("refused", {"--calibrate", path("plain/logits.csv")});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("which is evaluated too"), std::string::npos) << refused.err;
  EXPECT_EQ(evaluate("refused", {"--calibrate", path("nowhere.csv")}).code, 2);
  EXPECT_FALSE(fs::exists(path("refused")));
}

TEST_F(Evaluate, SizeAndPartAreHeeded) {
  ASSERT_EQ(evaluate("larger", {"--size", "48"}).code, 0);
  EXPECT_NE(logits("larger"), logits("plain"));
  ASSERT_EQ(evaluate("train", {"--part", "train"}).code, 0);
  EXPECT_EQ(logits("train").size(), 48u * 3);
}

TEST_F(Evaluate, RefusesWhatMakesNoSense) {
  const std::map<std::string, std::vector<std::string>> wrong{
      {"--tta-beta", {"--tta", "2", "--tta-beta", "1.5"}},
      {"--tta-max", {"--tta-max"}},
      {"--tta:", {"--tta", "-1"}},
      {"--bootstrap", {"--bootstrap", "-1"}},
      {"--mistakes", {"--mistakes", "-1"}}};
  for (const auto& [text, more] : wrong) {
    const auto outcome = evaluate("refused", more);
    EXPECT_EQ(outcome.code, 2) << text;
    EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
  }
  EXPECT_FALSE(fs::exists(path("refused")));
}

}  // namespace
}  // namespace mwalimu
