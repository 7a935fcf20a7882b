// Every option of every program has a test that shows what it changes: this table says which, and
// the test below, that it names each option that --help lists.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "programs/option_coverage.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;

struct Shown {
  const char* test;     ///< Suite.Name of a test in this folder
  const char* options;  ///< without their dashes
};

// Of those that several programs take from examples/common/options.hpp.
constexpr Shown kHelp{"SharedOptions.EveryProgramAnswersHelpAndVersion", "help version"};
constexpr Shown kMachine{"SharedOptions.DeviceThreadsConfigAndOverwriteAreHeeded",
                         "data out device math plans threads config overwrite"};
constexpr Shown kSkipBad{"SharedOptions.SkipBadLeavesOutWhatIsBroken", "skip-bad"};
constexpr Shown kConfig{"ConfigFile.IsReadAndTheCommandLineWins", "config"};

const std::map<std::string, std::vector<Shown>> kTests{
    {"make_rice",
     {kHelp, kConfig,
      {"MakeRice.EveryOptionChangesTheFiles",
       "out pairs test-pairs size difficulty closeup quality seed threads"},
      {"MakeRice.AnEarlierSetIsReplacedWhereAsked", "overwrite"}}},
    {"pretrain",
     {kHelp, kMachine, kSkipBad,
      {"PretrainOptions.EveryOptionChangesTheLog",
       "seed precision arch width size crops augment large-scale small-scale jitter gray rotate "
       "pairs images batch accumulate epochs optimizer weight-decay schedule lr warmup lr-final "
       "encoder prototypes hidden embedding freeze-prototypes epsilon temperature "
       "sinkhorn-iterations code-crops queue-length queue-start queues queue-begin enqueue "
       "reference-quirks recipe input pool sizes"},
      {"PretrainOptions.GraphAndStoreAreOfADevice", "graph store"},
      {"PretrainOptions.AProbeIsLoggedEveryFewEpochs", "probe probe-epochs probe-held-out"},
      {"PretrainOptions.CheckpointsComeAsOftenAsAsked", "checkpoint-epochs"},
      {"PretrainOptions.AProfileIsWritten", "profile"},
      {"StudySteps.PretrainKilledAnywhereEndsWithTheSameEncoder", "resume"},
      {"StudySteps.PretrainIsAFunctionOfItsSeedAndNotOfItsWorkers", "workers"}}},
    {"find_lr",
     {kHelp, kMachine, kSkipBad,
      {"FindLrProgram.WritesATableAPlotAndFourSuggestions", "task"},
      {"FindLrProgram.EveryOptionChangesTheLosses",
       "seed precision start end steps divergence batch accumulate optimizer weight-decay "
       "encoder arch width size mode encoder-lr-ratio valid labels-per-class label-smoothing "
       "mixup class-weights balanced dropout clip-norm crops augment large-scale small-scale "
       "jitter gray rotate pairs images prototypes hidden embedding epsilon temperature "
       "sinkhorn-iterations code-crops freeze-prototypes input pool workers graph store"}}},
    {"finetune",
     {kHelp, kMachine, kSkipBad,
      {"FinetuneOptions.EachChangesAResult",
       "seed precision epochs schedule freeze-epochs lr batch accumulate optimizer weight-decay "
       "encoder arch width input pool size sizes mode encoder-lr-ratio valid labels-per-class "
       "label-smoothing mixup class-weights balanced dropout clip-norm ema patience tta workers "
       "graph store profile"},
      {"FinetuneOptions.KilledWithAllTheCraftItEndsAsIfItHadNotBeen", "resume"},
      {"CrossValidation.EveryImageIsHeldOutOnceWithTheOtherOfItsPlant", "folds"}}},
    {"distil",
     {kHelp, kMachine, kSkipBad,
      {"DistilOptions.EachChangesAResult",
       "classifier threshold seed precision epochs schedule freeze-epochs lr batch accumulate "
       "optimizer weight-decay size sizes mode encoder-lr-ratio valid labels-per-class "
       "label-smoothing mixup class-weights balanced dropout clip-norm ema patience tta workers "
       "graph store profile"},
      {"DistilOptions.RoundsFollowEachOther", "rounds"},
      {"Stacked.WhatReadsAModelPicksItUpOrRefuses", "input"},
      {"FinetuneOptions.DistilKilledInAnyRoundEndsAsIfItHadNotBeen", "resume"}}},
    {"evaluate",
     {kHelp, kMachine, kSkipBad,
      {"Evaluate.TestTimeAugmentationInAllItsOptions", "tta tta-beta tta-max seed"},
      {"Evaluate.BootstrapDrawsAsOftenAsItIsTold", "bootstrap"},
      {"Evaluate.ThePageHoldsItAllAndNeedsNothingElse", "mistakes"},
      {"Evaluate.CalibrateDividesTheLogitsByOneTemperature", "calibrate"},
      {"Evaluate.SizeAndPartAreHeeded", "size part"},
      {"StudySteps.EvaluateAgreesWithFinetune", "classifier"},
      {"Stacked.WhatReadsAModelPicksItUpOrRefuses", "input"},
      {"StudySteps.Bfloat16ComputesFromImagesToMetrics", "precision"}}},
    {"tsne",
     {kHelp, kMachine, kSkipBad,
      {"Tsne.EveryOptionOfTheMapChangesIt",
       "seed start metric iterations pca perplexity schedule late-exaggeration"},
      {"Tsne.MultiscaleIsOneMapOverAllPerplexities", "multiscale"},
      {"Tsne.EveryOptionOfThePicturesChangesThem", "color pair-lines title neighbors"},
      {"Tsne.LabelsNameTheRowsOfAMatrix", "input labels"},
      {"Tsne.ModelsAreRunOnTheData", "logits classifier encoder of part size thumbnail"},
      {"Tsne.CheckpointsAreSideBySideEachFromTheOneBefore", "checkpoints"},
      {"Tsne.TheFilmEndsWithTheMap", "animate"},
      {"Tsne.PrecisionReachesTheModel", "precision"}}},
    {"study",
     {kHelp, kMachine, kSkipBad,
      {"StudyOptions.EachChangesAResult",
       "seed seeds precision rice-pairs rice-test-pairs difficulty closeup arch width size crops "
       "augment large-scale small-scale jitter gray rotate pairs epochs batch lr optimizer "
       "prototypes hidden embedding freeze-prototypes epsilon temperature sinkhorn-iterations "
       "code-crops queue-length queue-start queues queue-begin enqueue labels-per-class valid "
       "mode finetune-epochs finetune-batch finetune-lr finetune-optimizer rounds threshold "
       "workers preset"}}},
    {"inspect",
     {kHelp, kConfig,
      {"Inspect.TensorsAreALineEachInEveryFormat", "filter"},
      {"Inspect.ImagesShowTheirStatisticsAndThemselvesWhereAsked", "picture columns"},
      {"Inspect.ThreadsCountAndNotTheResult", "threads"}}},
    {"convert",
     {kHelp, kConfig,
      {"Convert.NamesGoThereAndBack", "map map-to arch width"},
      {"Convert.TakesTheModelOutOfACheckpoint", "prefix"},
      {"Convert.ConvertsRealTensorsOnly", "dtype strict"},
      {"Convert.ResNetsOfTorchvisionAndOfFacebooksSwav", "pool"},
      {"Convert.ChannelsAdaptTheFirstConvolution", "channels"},
      {"Convert.WrongInputLeavesNoFileAndReplacesNone", "overwrite"}}}};

/// The sources of the tests by their names, each with what it takes tables of options from.
std::map<std::string, std::string> sources_of_tests() {
  const fs::path folder = fs::path(MWALIMU_SOURCE_DIR) / "tests/programs";
  std::map<std::string, std::string> sources;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.path().filename().string().ends_with("_test.cpp")) continue;
    std::string text = io::read_file(entry.path());
    for (const char* shared : {"option_changes.hpp", "program_suite.hpp"}) {
      if (text.find(shared) != text.npos) text += io::read_file(folder / shared);
    }
    for (std::size_t at = 0; (at = text.find("\nTEST", at)) != text.npos; ++at) {
      const std::size_t open = text.find('(', at), comma = text.find(", ", open);
      const std::size_t close = text.find(')', comma);
      sources[text.substr(open + 1, comma - open - 1) + "." +
              text.substr(comma + 2, close - comma - 2)] = text;
    }
  }
  return sources;
}

TEST(Options, EachHasATestThatShowsWhatItChanges) {
  const auto sources = sources_of_tests();
  for (const auto& [program, shown] : kTests) {
    SCOPED_TRACE(program);
    const test::TempDir folder;
    const auto listed = test::options_in_help(test::run(folder.path(), {program, "--help"}).out);
    EXPECT_GT(listed.size(), 4u);
    std::set<std::string> covered;
    for (const Shown& one : shown) {
      const auto source = sources.find(one.test);
      EXPECT_NE(source, sources.end()) << "there is no test " << one.test;
      if (source == sources.end()) continue;
      std::istringstream options(one.options);
      for (std::string option; options >> option;) {
        covered.insert(option);
        const bool named = source->second.find("--" + option) != std::string::npos ||
                           source->second.find('"' + option) != std::string::npos ||
                           source->second.find(option + " = ") != std::string::npos;
        EXPECT_TRUE(named) << one.test << " does not name --" << option;
      }
    }
    for (const std::string& option : listed) {
      EXPECT_TRUE(covered.contains(option)) << "no test of --" << option;
    }
    for (const std::string& option : covered) {
      EXPECT_TRUE(listed.contains(option)) << "there is no --" << option;
    }
  }
}

}  // namespace
}  // namespace mwalimu
