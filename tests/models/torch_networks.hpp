// models/torch_networks: a fixture that computes networks of ours in PyTorch, by torch_reference.py.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "models/model_support.hpp"
#include "mwalimu/io/npz.hpp"
#include "mwalimu/io/tensor_file.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/classifier.hpp"
#include "support/compare.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::test {

/// Skips where /usr/bin/python3 (whose packages are those of the system) has no PyTorch.
class TorchNetworks : public testing::Test {
 protected:
  static constexpr index_t kClasses = 4;

  void SetUp() override {
    static const int found = python("-c 'import torch, numpy'");  // takes seconds
    if (found != 0) GTEST_SKIP() << "no PyTorch and NumPy in /usr/bin/python3";
  }
  /// Runs python in dir_ and returns its exit code; its output lies in out.txt.
  int python(const std::string& arguments) {
    const std::string command = "cd '" + dir_.path().string() +
                                "' && OMP_NUM_THREADS=1 /usr/bin/python3 " + arguments +
                                " > out.txt 2>&1";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  /// torch_reference.py COMMAND for the architecture, and for "load" the file.
  void reference(const std::string& command, const models::Architecture& a,
                 const std::string& file = "") {
    const std::string script = std::string(MWALIMU_SOURCE_DIR) + "/tests/models/torch_reference.py";
    ASSERT_EQ(python("'" + script + "' " + command + " " + a.arch + " " + std::to_string(a.width) +
                     " " + std::to_string(a.channels) + " " + std::string(name_of(a.pooling)) +
                     " " + file),
              0)
        << io::read_file(dir_ / "out.txt");
  }
  /// Random images (N, H, W, channels), which lie in x.npz as well.
  Variable<float> images(const models::Architecture& a, index_t N, index_t H, index_t W) {
    auto x = Tensor<float>::empty({N, H, W, a.channels});
    RandomStream random(5, Purpose::test);
    for (float& value : x.span()) value = random.normal();
    io::write_npz(dir_ / "x.npz", std::vector{io::tensor_info<float>("x", extents(x.shape()),
                                                                     std::as_const(x).span())});
    return Variable<float>(std::move(x));
  }
  /// A result of the script's last run.
  std::vector<double> theirs(const std::string& name) {
    const io::NpzFile file(dir_ / "y.npz");
    for (const io::TensorInfo& tensor : file.tensors()) {
      if (tensor.name == name) return to_double(tensor.values<float>());
    }
    ADD_FAILURE() << "no " << name << " in y.npz";
    return {};
  }
  /// A classifier as if trained: no block is the identity, and running statistics have moved.
  models::Classifier trained(const models::Architecture& a, const Variable<float>& images) {
    models::Classifier model(a.encoder(), kClasses);
    model.encoder.initialize(1);
    model.head.initialize(1);
    nn::for_each_module<nn::BatchNorm>(model.encoder, [](const auto&, nn::BatchNorm& norm) {
      nn::fill(norm.weight, 0.7f);
    });
    const NoGrad no_grad;
    model(images);
    nn::set_training(model, false);
    return model;
  }

  TempDir dir_;
};

}  // namespace mwalimu::test
