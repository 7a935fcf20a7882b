// The study program: every step in its folder, and a table that says what the folders say.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include <nlohmann/json.hpp>

#include "mwalimu/io/csv.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

TEST(Study, TablesWhatItsStepsReached) {
  const test::TempDir folder;
  const auto out = folder.path() / "study";
  const auto outcome = test::run(
      folder.path(),
      {"study", "--out", out.string(), "--seeds", "2", "--seed", "3", "--rice-pairs", "24",
       "--rice-test-pairs", "9", "--size", "32", "--crops", "2x32,1x16", "--width", "8", "--batch",
       "8", "--epochs", "1", "--prototypes", "6", "--hidden", "16", "--embedding", "8",
       "--labels-per-class", "4", "--valid", "0.5", "--finetune-epochs", "2", "--finetune-batch", "4",
       "--rounds", "1", "--threshold", "0.34"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::exists(out / "report.html"));

  const auto table = io::read_csv(out / "results.csv");
  const auto value = [&](const std::string& model, const std::string& images,
                         const std::string& column) {
    for (std::size_t row = 0; row < table.rows.size(); ++row) {
      if (table.rows[row][table.column("model")] == model &&
          table.rows[row][table.column("images")] == images) {
        return table.number(row, table.column(column));
      }
    }
    ADD_FAILURE() << "no row " << model << ", " << images;
    return std::nan("");
  };
  // The arms that have a folder each: the mean over the seeds of what their metrics.json say.
  for (const auto& [model, step] : {std::pair{"from random weights", "scratch"},
                                    {"SwAV, then finetuned", "finetune"},
                                    {"+ distillation, round 1", "distil/round1"}}) {
    SCOPED_TRACE(model);
    double accuracy = 0, rgn_loss = 0;
    for (const char* seed : {"seed3", "seed4"}) {
      const auto metrics = nlohmann::json::parse(io::read_file(out / seed / step / "metrics.json"));
      accuracy += metrics["accuracy"].get<double>() / 2;
      rgn_loss += metrics["by_sensor"]["rgn"]["log_loss"].get<double>() / 2;
    }
    EXPECT_NEAR(value(model, "all", "accuracy"), accuracy, 1e-5);  // written with 5 digits
    EXPECT_NEAR(value(model, "rgn", "log_loss"), rgn_loss, 1e-5);
  }
  // Both sensors have nine test images each.
  for (const char* model : {"random features, linear", "SwAV features, linear"}) {
    EXPECT_GT(value(model, "all", "log_loss"), 0);
    EXPECT_NEAR(value(model, "all", "accuracy"),
                (value(model, "rgb", "accuracy") + value(model, "rgn", "accuracy")) / 2, 1e-5);
  }
  EXPECT_NE(value("random features, linear", "all", "log_loss"),
            value("SwAV features, linear", "all", "log_loss"));
  EXPECT_NE(outcome.out.find("SwAV features, linear"), std::string::npos);
}

}  // namespace
}  // namespace mwalimu
