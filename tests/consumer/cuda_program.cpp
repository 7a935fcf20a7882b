// A researcher's program that uses a GPU where there is one and says why where there is none.
#include <iostream>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/ops/relu.hpp"

int main() {
  using namespace mwalimu;
  static_assert(kCuda, "the target carries MWALIMU_CUDA");
  const auto on_host = Tensor<float>::from({-1, 2, -3, 4}, {4});
  if (!cuda_available()) {
    try {
      (void)on_host.to(Device::cuda());
    } catch (const DeviceError& error) {
      std::cout << error.what() << "\n";
      return 0;
    }
    return 1;
  }
  const auto x = Variable<float>::leaf(on_host.to(Device::cuda()));
  const auto y = ops::relu(x);
  y.backward(Tensor<float>::full({4}, 1.0f, Device::cuda()));
  std::cout << gpu::Driver::info(0).name << ": relu has run\n";
  const bool right = y.value().to_vector() == std::vector<float>{0, 2, 0, 4} &&
                     x.grad().to_vector() == std::vector<float>{0, 1, 0, 1};
  return right ? 0 : 1;
}
