// The networks against PyTorch itself, where Python has it: weights go there and come from there, and
// both compute the same.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "models/model_support.hpp"
#include "mwalimu/io/npz.hpp"
#include "mwalimu/io/tensor_file.hpp"
#include "mwalimu/io/torch_file.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/nn/state_dict.hpp"
#include "support/compare.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::models {
namespace {

// Every family with its two kinds of options once: odd widths, other channels, every pooling.
std::vector<Architecture> architectures() {
  return {{.arch = "xresnet34", .width = 16, .channels = 3, .pooling = Pooling::concat},
          {.arch = "xresnet50", .width = 8, .channels = 1, .pooling = Pooling::maximum},
          {.arch = "resnet50", .width = 16, .channels = 3, .pooling = Pooling::average},
          {.arch = "res2net50", .width = 20, .channels = 4, .pooling = Pooling::concat},
          {.arch = "res2next50", .width = 16, .channels = 3, .pooling = Pooling::concat}};
}

class TorchNetworks : public testing::Test {
 protected:
  // Debian's packages are those of /usr/bin/python3.
  int python(const std::string& arguments) {
    const std::string command = "cd '" + dir_.path().string() + "' && OMP_NUM_THREADS=1 /usr/bin/python3 " +
                                arguments + " > out.txt 2>&1";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void SetUp() override {
    static const int found = python("-c 'import torch, numpy'");  // takes seconds
    if (found != 0) GTEST_SKIP() << "no PyTorch and NumPy in /usr/bin/python3";
  }
  void reference(const char* command, const Architecture& a) {
    const std::string script = std::string(MWALIMU_SOURCE_DIR) + "/tests/models/torch_reference.py";
    ASSERT_EQ(python("'" + script + "' " + command + " " + a.arch + " " + std::to_string(a.width) +
                     " " + std::to_string(a.channels) + " " + std::string(name_of(a.pooling))),
              0)
        << io::read_file(dir_ / "out.txt");
  }
  // Odd extents: rounding of sizes is a part of the networks.
  Variable<float> images(const Architecture& a) {
    auto x = Tensor<float>::empty({3, 75, 54, a.channels});
    RandomStream random(5, Purpose::test);
    for (float& value : x.span()) value = random.normal();
    io::write_npz(dir_ / "x.npz",
                  std::vector{io::tensor_info<float>("x", test::extents(x.shape()),
                                                     std::as_const(x).span())});
    return Variable<float>(std::move(x));
  }
  std::vector<double> theirs(const char* name) {
    const io::NpzFile file(dir_ / "y.npz");
    for (const io::TensorInfo& tensor : file.tensors()) {
      if (tensor.name == name) return test::to_double(tensor.values<float>());
    }
    ADD_FAILURE() << "no " << name << " in y.npz";
    return {};
  }
  test::TempDir dir_;
};

// Sums in another order through up to 70 layers of float.
constexpr double kRounding = 2e-5;

TEST_F(TorchNetworks, OursLoadThereAndGiveTheSameLogits) {
  for (const Architecture& a : architectures()) {
    SCOPED_TRACE(a.arch);
    Classifier model(a.encoder(), 4);
    model.encoder.initialize(1);
    model.head.initialize(1);
    nn::for_each_module<nn::BatchNorm>(model.encoder, [](const auto&, nn::BatchNorm& norm) {
      nn::fill(norm.weight, 0.7f);
    });
    const auto x = images(a);
    const NoGrad no_grad;
    model(x);  // running statistics move
    nn::save_state_dict(dir_ / "ours.safetensors", model, a.metadata());
    ASSERT_NO_FATAL_FAILURE(reference("load", a));
    nn::set_training(model, false);
    EXPECT_TRUE(test::near_l2(test::doubles(model.encoder(x).value()), theirs("features"), kRounding));
    EXPECT_TRUE(test::near_l2(test::doubles(model(x).value()), theirs("logits"), kRounding));
  }
}

TEST_F(TorchNetworks, TheirsLoadHereAndGiveTheSameFeatures) {
  for (const Architecture& a : architectures()) {
    SCOPED_TRACE(a.arch);
    const auto x = images(a);
    ASSERT_NO_FATAL_FAILURE(reference("make", a));
    io::write_safetensors(dir_ / "ours.safetensors", io::TorchFile(dir_ / "theirs.pth").tensors());
    Encoder encoder = a.encoder();
    nn::load_state_dict(encoder, dir_ / "ours.safetensors");
    const NoGrad no_grad;
    nn::set_training(encoder, false);
    EXPECT_TRUE(test::near_l2(test::doubles(encoder(x).value()), theirs("features"), kRounding));
    // Statistics of 3 images in the last stages enlarge what rounding has left.
    nn::set_training(encoder, true);
    EXPECT_TRUE(test::near_l2(test::doubles(encoder(x).value()), theirs("train"), 1e-3));
  }
}

}  // namespace
}  // namespace mwalimu::models
