// programs/option_changes: tables of options with a value that has to change what a run gives.
#pragma once

#include <map>
#include <string>

#include "programs/program_suite.hpp"

namespace mwalimu::test {

struct Change {
  Arguments arguments;
  Arguments beside = {};  ///< what it is compared with in place of the plain run
};
using Changes = std::map<std::string, Change>;

/// Runs `program` for every change into a folder, and compares what `result` says of it.
/// @param program  the arguments of a run into the folder of that name, with more arguments.
template <class Run, class Program, class Result>
void expect_each_changes(const Changes& changes, const std::string& base, const Run& run,
                         const Program& program, const Result& result) {
  const std::string plain = result(base);
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    ASSERT_EQ(run(program("changed_" + name, change.arguments)), 0);
    std::string without = plain;
    if (!change.beside.empty()) {
      ASSERT_EQ(run(program("beside_" + name, change.beside)), 0);
      without = result("beside_" + name);
    }
    EXPECT_NE(result("changed_" + name), without);
  }
}

/// Of the options that finetune and distil share, for a run of fewer than 8 epochs.
inline Changes finetuning_changes() {
  return {
      {"seed", {{"--seed", "4"}}},
      {"precision", {{"--precision", "bfloat16"}}},
      {"epochs", {{"--epochs", "4"}}},
      {"schedule", {{"--schedule", "flat-cos"}}},
      {"freeze-epochs",
       {{"--epochs", "3", "--schedule", "fine-tune", "--freeze-epochs", "2"},
        {"--epochs", "3", "--schedule", "fine-tune"}}},
      {"lr", {{"--lr", "1e-2"}}},
      {"batch", {{"--batch", "4"}}},
      {"accumulate", {{"--accumulate", "2"}}},
      {"optimizer", {{"--optimizer", "ranger"}}},
      {"weight-decay", {{"--weight-decay", "0.5"}}},
      {"size", {{"--size", "24"}}},
      {"sizes", {{"--sizes", "12@1,16"}}},
      {"mode", {{"--mode", "mlp"}}},
      {"encoder-lr-ratio",
       {{"--mode", "discriminative", "--encoder-lr-ratio", "0.5"}, {"--mode", "discriminative"}}},
      {"valid", {{"--valid", "0.5"}}},
      {"labels-per-class", {{"--labels-per-class", "5"}}},
      {"label-smoothing", {{"--label-smoothing", "0.2"}}},
      {"mixup", {{"--mixup", "0.4"}}},
      {"class-weights", {{"--class-weights", "1,2,3"}}},
      {"balanced", {{"--balanced", "on"}}},
      {"dropout", {{"--dropout", "0"}}},
      {"clip-norm", {{"--optimizer", "sgd", "--clip-norm", "0.01"}, {"--optimizer", "sgd"}}},
      {"ema", {{"--ema", "0.5"}}},
      // At a rate so high an epoch without improvement comes soon.
      {"patience",
       {{"--lr", "1", "--optimizer", "sgd", "--epochs", "8", "--patience", "1"},
        {"--lr", "1", "--optimizer", "sgd", "--epochs", "8"}}},
      {"tta", {{"--tta", "2"}}},
  };
}

}  // namespace mwalimu::test
