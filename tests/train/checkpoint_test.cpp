#include "mwalimu/train/checkpoint.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <limits>
#include <numeric>

#include "mwalimu/io/file.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

const CheckpointIdentity kIdentity{.kind = "pretrain", .architecture = "xresnet18"};

class CheckpointTest : public ::testing::Test {
 protected:
  template <class F>
  void expect_error(F&& f, const std::string& message) {
    try {
      f();
      FAIL() << "no error, want " << message;
    } catch (const FileError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(message), std::string::npos) << text;
      EXPECT_NE(text.find("checkpoint.safetensors"), std::string::npos) << text;
    }
  }
  test::TempDir folder_;
  std::filesystem::path path_ = folder_ / "checkpoint.safetensors";
};

TEST_F(CheckpointTest, EveryTypeComesBackBitForBit) {
  const std::vector<float> parameters{1.5f, -0.0f, std::numeric_limits<float>::denorm_min(),
                                      std::numeric_limits<float>::quiet_NaN()};
  const std::vector<std::uint64_t> counters{0, 1, ~std::uint64_t{0}, std::uint64_t{1} << 63};
  const std::vector<std::int64_t> steps{-1, 7};
  auto queue = Tensor<float>::empty({3, 2});
  std::iota(queue.data(), queue.data() + 6, 0.0f);

  CheckpointWriter writer(kIdentity);
  writer.put("parameters", std::span(parameters));
  writer.put("counters", counters);
  writer.put("steps", std::vector<std::int64_t>(steps));  // a temporary
  writer.put("queue", queue.permute({1, 0}));             // strided
  writer.put("low", Tensor<bfloat16>::full({2}, bfloat16(0.5f)));
  writer.put("step", std::int64_t{1} << 40);
  writer.put("seed", ~std::uint64_t{0});
  writer.put("scale", 65536.0f);
  writer.put("average", 0.1);
  writer.put("stopped", true);
  writer.put("nothing", std::vector<float>{});
  writer.put_text("config", "{\"size\": 128, \"note\": \"\xc3\xa9\\n\"}");
  writer.put_text("kind", "a text of the same name as the header's own");
  writer.save(path_);

  const CheckpointReader reader(path_, kIdentity);
  std::vector<float> floats(4);
  reader.get("parameters", std::span(floats));
  EXPECT_EQ(std::memcmp(floats.data(), parameters.data(), 16), 0);
  EXPECT_EQ(reader.values<std::uint64_t>("counters"), counters);
  EXPECT_EQ(reader.values<std::int64_t>("steps"), steps);
  auto turned = Tensor<float>::empty({2, 3});
  reader.get("queue", turned);
  EXPECT_EQ(turned.to_vector(), (std::vector<float>{0, 2, 4, 1, 3, 5}));
  auto strided = Tensor<float>::empty({3, 2}).permute({1, 0});
  reader.get("queue", strided);
  EXPECT_EQ(strided.to_vector(), turned.to_vector());
  auto low = Tensor<bfloat16>::empty({2});
  reader.get("low", low);
  EXPECT_EQ(static_cast<float>(low.data()[1]), 0.5f);
  EXPECT_EQ(reader.value<std::int64_t>("step"), std::int64_t{1} << 40);
  EXPECT_EQ(reader.value<std::uint64_t>("seed"), ~std::uint64_t{0});
  EXPECT_EQ(reader.value<float>("scale"), 65536.0f);
  EXPECT_EQ(reader.value<double>("average"), 0.1);
  EXPECT_TRUE(reader.value<bool>("stopped"));
  EXPECT_TRUE(reader.values<float>("nothing").empty());
  EXPECT_EQ(reader.text("config"), "{\"size\": 128, \"note\": \"\xc3\xa9\\n\"}");
  EXPECT_EQ(reader.text("kind"), "a text of the same name as the header's own");
  EXPECT_TRUE(reader.has("queue"));
  EXPECT_FALSE(reader.has("momentum"));
}

TEST_F(CheckpointTest, AnotherRunsFileIsRefusedByName) {
  const auto open = [&](const CheckpointIdentity& identity) {
    return [this, identity] { CheckpointReader(path_, identity); };
  };
  expect_error(open(kIdentity), "No such file");
  CheckpointWriter writer(kIdentity);
  writer.put("parameters", std::vector<float>(4));
  writer.put_text("config", "{}");
  writer.save(path_);
  expect_error(open({"finetune", "xresnet18"}), "is of a pretrain run, this is a finetune run");
  expect_error(open({"pretrain", "xresnet50"}),
               "is of the network xresnet18, this run has xresnet50");

  const CheckpointReader reader(path_, kIdentity);
  std::vector<float> three(3);
  expect_error([&] { reader.get("parameters", std::span(three)); }, "has 4 values, this run has 3");
  auto square = Tensor<float>::empty({2, 2});
  expect_error([&] { reader.get("parameters", square); }, "another shape than (2, 2)");
  expect_error([&] { reader.values<double>("parameters"); }, "is F32, want F64");
  expect_error([&] { reader.value<float>("scale"); }, "has no 'scale'");
  expect_error([&] { reader.text("log"); }, "has no text 'log'");

  io::write_safetensors(path_, {}, {{"format", "mwalimu.checkpoint"}, {"version", "99"}});
  expect_error(open(kIdentity), "has version 99, this program reads version 1");
  io::write_safetensors(path_, {}, {{"format", "pt"}});
  expect_error(open(kIdentity), "is no checkpoint of Mwalimu");
}

TEST_F(CheckpointTest, ACutFileIsRefused) {
  CheckpointWriter writer(kIdentity);
  writer.put("parameters", std::vector<float>(100));
  writer.save(path_);
  const std::string whole = io::read_file(path_);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, whole.size() / 2, whole.size() - 1}) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    EXPECT_THROW(CheckpointReader(path_, kIdentity), FileError) << size;
  }
}

TEST_F(CheckpointTest, AFailedSaveLeavesTheOldFile) {
  CheckpointWriter writer(kIdentity);
  writer.put("step", std::int64_t{1});
  writer.save(path_);
  writer.put("step", std::int64_t{2});
  EXPECT_THROW(writer.save(path_), ValueError);  // two of one name
  EXPECT_EQ(CheckpointReader(path_, kIdentity).value<std::int64_t>("step"), 1);
  EXPECT_THROW(CheckpointWriter(kIdentity).save(folder_ / "no/checkpoint.safetensors"), FileError);
}

// A child saves one checkpoint after another and is killed in the middle of it, many times.
TEST_F(CheckpointTest, AKillAtAnyMomentLeavesAWholeFile) {
  const auto save = [&](std::int64_t step) {
    std::vector<std::int64_t> values(200000, step);
    CheckpointWriter writer(kIdentity);
    writer.put("values", values);
    writer.put("step", step);
    writer.save(path_);
  };
  const auto inode = [&] {
    struct stat status {};
    return ::stat(path_.c_str(), &status) == 0 ? status.st_ino : 0;
  };
  save(0);
  std::int64_t last = 0;
  for (int round = 0; round < 12; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (std::int64_t step = last + 1;; ++step) save(step);
    }
    // Not before it has saved once; then at another moment each time.
    const auto first = inode();
    for (int wait = 0; inode() == first && wait < 20000; ++wait) ::usleep(1000);
    ::usleep(static_cast<useconds_t>(711 * round));
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);

    const CheckpointReader reader(path_, kIdentity);
    const auto step = reader.value<std::int64_t>("step");
    EXPECT_GT(step, last);
    EXPECT_EQ(reader.values<std::int64_t>("values"), std::vector<std::int64_t>(200000, step));
    last = step;
  }
}

}  // namespace
}  // namespace mwalimu::train
