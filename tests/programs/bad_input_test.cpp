// What users get wrong, and what the machine does to them: one clear line, exit 2 (1 where it is not
// their doing), and nothing half-written.
#include <gtest/gtest.h>

#include <fstream>

#include "mwalimu/data/image.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;

class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* part : {"train", "test"}) {
      for (const char* name : {"blast", "healthy"}) {
        fs::create_directories(data() / part / name);
        for (int i = 0; i < 6; ++i) {
          image(data() / part / name / ("leaf" + std::to_string(i) + ".jpg"), 40, 40, i);
        }
      }
    }
  }
  fs::path data() const { return folder_.path() / "data"; }
  fs::path out() const { return folder_.path() / "out"; }
  fs::path victim() const { return data() / "train" / "blast" / "leaf3.jpg"; }

  static void image(const fs::path& path, int height, int width, int shade) {
    data::Image picture(height, width);
    for (std::size_t i = 0; i < picture.pixels.size(); ++i) {
      picture.pixels[i] = static_cast<std::uint8_t>((i * 7 + static_cast<std::size_t>(shade) * 31) % 251);
    }
    data::write_image(path, picture);
  }
  static void text(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }

  std::vector<std::string> pretrain(std::initializer_list<const char*> more = {}) const {
    std::vector<std::string> all{"pretrain", "--data", data().string(), "--out", out().string(),
                                 "--arch", "xresnet18", "--width", "8", "--crops", "2x32,2x16",
                                 "--batch", "4", "--epochs", "1", "--prototypes", "8", "--hidden",
                                 "16", "--embedding", "8", "--queue-length", "0"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  test::Outcome run(std::vector<std::string> arguments) const {
    return test::run(folder_.path(), std::move(arguments));
  }
  /// One line that holds every one of `words`, the given exit code, and no output folder.
  void expect_refusal(const std::vector<std::string>& arguments,
                      std::initializer_list<const char*> words, int code = 2) const {
    const auto result = run(arguments);
    EXPECT_EQ(result.code, code) << result.err << result.out;
    EXPECT_EQ(result.error_lines(), 1) << result.err;
    EXPECT_TRUE(result.err.starts_with(arguments.front() + ": ")) << result.err;
    for (const char* word : words) EXPECT_NE(result.err.find(word), std::string::npos) << result.err;
    EXPECT_FALSE(fs::exists(out()) && !fs::is_empty(out())) << "left files in the output folder";
  }
  /// The run succeeds with --skip-bad and counts what it left out.
  void expect_skip(const std::string& words) const {
    const auto result = run(pretrain({"--skip-bad"}));
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_NE(result.out.find(words), std::string::npos) << result.out;
  }

  test::TempDir folder_;
};

TEST_F(BadInput, MissingFolder) {
  fs::remove_all(data());
  expect_refusal(pretrain(), {"no such folder", "data"});
}

TEST_F(BadInput, FolderThatIsNoDataSet) {
  fs::remove_all(data());
  fs::create_directories(data());
  expect_refusal(pretrain(), {"not a data set", "Train.csv", "train/CLASS/"});
}

TEST_F(BadInput, TruncatedJpeg) {
  fs::resize_file(victim(), fs::file_size(victim()) / 2);
  expect_refusal(pretrain(), {"leaf3.jpg", "--skip-bad"});
  expect_skip("1 file that does not decode");
}

TEST_F(BadInput, ZeroByteFile) {
  fs::resize_file(victim(), 0);
  expect_refusal(pretrain(), {"leaf3.jpg", "empty"});
  expect_skip("1 bad item");
}

TEST_F(BadInput, TextRenamedJpg) {
  text(victim(), "These are not the pixels that you are looking for.\n");
  expect_refusal(pretrain(), {"leaf3.jpg"});
  expect_skip("1 file that does not decode");
}

TEST_F(BadInput, ExtremeShapesAreResizedOrRefused) {
  image(victim(), 1, 1, 5);
  image(data() / "train" / "blast" / "leaf4.jpg", 1, 20000, 5);
  image(data() / "train" / "blast" / "leaf5.jpg", 20000, 1, 5);
  const auto result = run(pretrain());
  EXPECT_EQ(result.code, 0) << result.err;
}

TEST_F(BadInput, UnknownLabel) {
  fs::rename(data() / "test" / "healthy", data() / "test" / "rust");
  expect_refusal(pretrain(), {"label", "rust", "--skip-bad"});
}

TEST_F(BadInput, PairWithoutItsOtherSide) {
  fs::rename(victim(), data() / "train" / "blast" / "leaf3_rgn.jpg");
  expect_refusal(pretrain(), {"leaf3_rgn.jpg", "missing"});
}

TEST_F(BadInput, EmptyTable) {
  fs::create_directories(data() / "images");
  text(data() / "Train.csv", "");
  expect_refusal(pretrain(), {"Train.csv", "empty"});
}

TEST_F(BadInput, TableWithBrokenRows) {
  fs::create_directories(data() / "images");
  fs::copy(victim(), data() / "images" / "a.jpg");
  text(data() / "Train.csv", "Image_id,Label\na.jpg,blast\na.jpg,blast\nb.jpg,blast\n\n");
  expect_refusal(pretrain(), {"Train.csv:3", "duplicate", "Train.csv:4"});
}

TEST_F(BadInput, BatchLargerThanTheData) {
  expect_refusal(pretrain({"--batch", "64"}), {"batch of 64", "12"});
}

TEST_F(BadInput, CropLargerThanTheImage) {
  expect_refusal(pretrain({"--size", "24"}), {"--size", "32 pixels", "stored images (24)"});
}

TEST_F(BadInput, WrongOptionValues) {
  expect_refusal(pretrain({"--crops", "two"}), {"crops 'two'", "2x128,6x96"});
  expect_refusal(pretrain({"--arch", "resnet1000"}), {"resnet1000", "xresnet34"});
  expect_refusal(pretrain({"--epsilon", "0"}), {"--epsilon"});
  expect_refusal(pretrain({"--temperature", "-1"}), {"--temperature"});
  expect_refusal(pretrain({"--queue-length", "7"}), {"multiple of the batch"});
  expect_refusal(pretrain({"--queue-start", "2"}), {"--queue-start"});
  expect_refusal(pretrain({"--epochs", "0"}), {"--epochs"});
  expect_refusal(pretrain({"--epochs", "many"}), {"--epochs"});
  expect_refusal(pretrain({"--width", "7"}), {"width", "7"});
  expect_refusal(pretrain({"--pairs", "on"}), {"--pairs on", "--pairs off"});
  expect_refusal(pretrain({"--lerning-rate", "1"}), {"--lerning-rate"});
}

// Of a build without CUDA, and of one with it on a machine that has no device.
TEST_F(BadInput, WithoutADeviceCudaIsRefusedAndAutoIsTheCpu) {
  const auto diverging = pretrain({"--device", "auto", "--lr", "1e30", "--schedule", "constant"});
  const std::string said = run(diverging).out;
  if (said.find("device: cuda") != said.npos) GTEST_SKIP() << "there is a device: " << said;
  const auto begin = said.find("device: cpu ("), end = said.find(')', begin);
  ASSERT_NE(begin, said.npos) << said;
  const std::string why = said.substr(begin + 13, end - begin - 13);
  EXPECT_TRUE(why == "this build has no CUDA" || why.starts_with("no CUDA device: ")) << said;
  EXPECT_EQ(said.find("device: ", end), said.npos) << "said twice: " << said;
  fs::remove_all(out());
  expect_refusal(pretrain({"--device", "cuda"}),
                 {"--device cuda: ", why.c_str(), "; use --device cpu or auto"});
}

TEST_F(BadInput, DivergenceStopsWithAReason) {
  const auto result = run(pretrain({"--lr", "1e30", "--schedule", "constant", "--optimizer", "sgd"}));
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_EQ(result.error_lines(), 1) << result.err;
  EXPECT_NE(result.err.find("not a finite number"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(out() / "encoder.safetensors"));
}

TEST_F(BadInput, UnwritableOutput) {
  text(folder_.path() / "file", "");
  auto arguments = pretrain();
  arguments[4] = (folder_.path() / "file" / "out").string();
  expect_refusal(arguments, {"cannot write", "file"});
  if (::geteuid() == 0) return;  // root may write anywhere
  fs::create_directories(folder_.path() / "locked");
  fs::permissions(folder_.path() / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  arguments[4] = (folder_.path() / "locked" / "out").string();
  expect_refusal(arguments, {"cannot write"});
}

TEST_F(BadInput, FullDiskLeavesNothingHalfWritten) {
  // A file size limit of 64 KiB stands for a disk that is full: writes past it fail.
  const auto result = test::run(folder_.path(), pretrain(), {}, 64 << 10);
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_EQ(result.error_lines(), 1) << result.err;
  EXPECT_NE(result.err.find("safetensors"), std::string::npos) << result.err;
  for (const auto& entry : fs::directory_iterator(out())) {
    EXPECT_NE(entry.path().extension(), ".safetensors") << entry.path();
    EXPECT_EQ(entry.path().filename().string().find("tmp"), std::string::npos) << entry.path();
  }
}

TEST_F(BadInput, AnEarlierRunIsNotOverwritten) {
  ASSERT_EQ(run(pretrain()).code, 0);
  const auto before = io::read_file(out() / "encoder.safetensors");
  const auto result = run(pretrain({"--seed", "9"}));
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("earlier run"), std::string::npos) << result.err;
  EXPECT_EQ(io::read_file(out() / "encoder.safetensors"), before);
}

TEST_F(BadInput, WeightsOfAnotherNetwork) {
  ASSERT_EQ(run(pretrain()).code, 0);
  const auto encoder = (out() / "encoder.safetensors").string();
  const auto result = run({"finetune", "--data", data().string(), "--encoder", encoder, "--arch",
                           "xresnet34", "--out", (folder_.path() / "tuned").string(), "--size", "32",
                           "--batch", "4", "--epochs", "1"});
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("missing"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(folder_.path() / "tuned"));
}

TEST_F(BadInput, DamagedWeights) {
  ASSERT_EQ(run(pretrain()).code, 0);
  const auto encoder = out() / "encoder.safetensors";
  fs::resize_file(encoder, fs::file_size(encoder) - 1);
  const auto result = run({"finetune", "--data", data().string(), "--encoder", encoder.string(),
                           "--out", (folder_.path() / "tuned").string()});
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("cut short"), std::string::npos) << result.err;
}

TEST_F(BadInput, PerplexityTooLarge) {
  ASSERT_EQ(run({"finetune", "--data", data().string(), "--arch", "xresnet18", "--width", "8",
                 "--size", "32", "--batch", "4", "--epochs", "1", "--out",
                 (folder_.path() / "tuned").string()})
                .code,
            0);
  expect_refusal({"tsne", "--logits", (folder_.path() / "tuned").string(), "--data",
                  data().string(), "--out", out().string(), "--perplexity", "500"},
                 {"perplexity", "500"});
}

}  // namespace
}  // namespace mwalimu
