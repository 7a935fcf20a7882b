// Every family of encoders by its name, from pretraining to a classifier.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mwalimu/models/architecture.hpp"
#include "mwalimu/nn/state_dict.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

using Arguments = std::vector<std::string>;

TEST(Architectures, EveryFamilyIsPretrainedAndFinetuned) {
  const test::TempDir folder;
  const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
  const auto run = [&](Arguments arguments) {
    const auto result = test::run(folder.path(), std::move(arguments));
    EXPECT_EQ(result.err, "") << result.out;
    return result.code;
  };
  ASSERT_EQ(run({"make_rice", "--out", path("rice"), "--pairs", "6", "--test-pairs", "3", "--size",
                 "32"}),
            0);
  for (const std::string arch : {"xresnet50", "resnet50", "res2net50_26w_4s", "res2next50"}) {
    SCOPED_TRACE(arch);
    ASSERT_EQ(run({"pretrain", "--data", path("rice"), "--out", path(arch), "--arch", arch,
                   "--width", "16", "--crops", "2x16,2x8", "--batch", "6", "--epochs", "1",
                   "--prototypes", "6", "--hidden", "12", "--embedding", "8", "--queue-length", "0"}),
              0);
    const io::SafetensorsFile file(path(arch + "/encoder.safetensors"));
    const auto chosen = models::architecture_of(file);
    ASSERT_TRUE(chosen);
    EXPECT_EQ(chosen->arch, arch);
    EXPECT_EQ(chosen->width, 16);
    models::Encoder encoder = chosen->encoder();
    EXPECT_NO_THROW(nn::load_state_dict(encoder, file));
    // The weights file says what to build: no --arch.
    ASSERT_EQ(run({"finetune", "--data", path("rice"), "--encoder",
                   path(arch + "/encoder.safetensors"), "--out", path(arch + "/tuned"), "--size",
                   "32", "--epochs", "1", "--batch", "4"}),
              0);
    const io::SafetensorsFile tuned(path(arch + "/tuned/classifier.safetensors"));
    EXPECT_EQ(models::architecture_of(tuned), chosen);
    EXPECT_NE(tuned.find(arch == "xresnet50" ? "0.0.0.weight" : "0.conv1.weight"), nullptr);
  }
}

}  // namespace
}  // namespace mwalimu
