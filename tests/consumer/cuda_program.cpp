// A researcher's program: a network of their own that runs on the Cpu, and on a GPU where there is one;
// where there is none it says why.
#include <cmath>
#include <iostream>
#include <string>

#include "mwalimu/nn/layers.hpp"
#include "mwalimu/nn/to_device.hpp"
#include "mwalimu/ops/global_pool.hpp"

namespace {

using namespace mwalimu;
static_assert(kCuda, "the target carries MWALIMU_CUDA");

struct Network {
  nn::Conv2d conv{3, 8, 3, {.stride = 1, .padding = 1, .groups = 1}};
  nn::BatchNorm norm{8};
  nn::Linear head{8, 4, true};

  Variable<float> operator()(const Variable<float>& images) {
    return head(ops::global_average_pool(norm(conv(images), ops::Activation::relu)));
  }
  template <class V>
  void visit(V&& v) {
    v("conv", conv);
    v("norm", norm);
    v("head", head);
  }
};

Tensor<float> ramp(const Shape& shape) {
  auto values = Tensor<float>::empty(shape);
  float next = 0;
  for (float& value : values.span()) value = std::sin(next += 0.37f);
  return values;
}

/// Scores of a batch on `device`, and the gradient of the first convolution.
std::pair<std::vector<float>, std::vector<float>> run(Device device) {
  Network network;
  nn::for_each_parameter(network, [](const std::string&, nn::Parameter& parameter) {
    parameter.mutable_value().copy_from(ramp(parameter.shape()));
  });
  nn::to(network, device);
  const auto scores = network(Variable<float>(ramp({2, 8, 8, 3}).to(device)));
  scores.backward(Tensor<float>::full(scores.shape(), 1.0f, device));
  return {scores.value().to_vector(), network.conv.weight.grad().to_vector()};
}

bool near(const std::vector<float>& a, const std::vector<float>& b) {
  bool all = a.size() == b.size() && !a.empty();
  for (std::size_t i = 0; all && i < a.size(); ++i) all = std::abs(a[i] - b[i]) < 1e-3;
  return all;
}

}  // namespace

int main() {
  const auto [scores, gradient] = run(Device::cpu());
  std::cout << "cpu: " << scores.size() << " scores, " << gradient.size() << " derivatives\n";
  if (scores.size() != 8 || gradient.size() != 216) return 1;
  if (!cuda_available()) {
    try {
      (void)run(Device::cuda());
    } catch (const DeviceError& error) {
      std::cout << error.what() << "\n";
      return 0;
    }
    return 1;
  }
  const auto [device_scores, device_gradient] = run(Device::cuda());
  std::cout << gpu::Driver::info(0).name << ": the same\n";
  return near(device_scores, scores) && near(device_gradient, gradient) ? 0 : 1;
}
