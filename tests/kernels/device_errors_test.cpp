// What is refused: devices that are not there, memory that one has not, calls at the wrong time.
#include <gtest/gtest.h>

#include "kernels/captured.hpp"
#include "kernels/device.hpp"
#include "mwalimu/core/tensor.hpp"
#include "support/reference.hpp"

namespace mwalimu {
namespace {

using test::expect_error;

TEST(DeviceErrors, ADeviceThatIsNotThere) {
  MWALIMU_NEEDS_DEVICE();
  for (const int index : {-1, gpu::Driver::device_count(), 63, 64, 1000}) {
    const auto expect = [&](auto&& f) {
      expect_error<DeviceError>(f, "no device cuda:" + std::to_string(index));
    };
    const auto device = Device::cuda(index);
    expect([&] { (void)gpu_place(device); });
    expect([&] { (void)Tensor<float>::empty({2}, device); });
    expect([&] { (void)Tensor<float>::full({2}, 1).to(device); });
    expect([&] { synchronize(device); });
    expect([&] { (void)gpu::allocate(index, 16); });
    expect([&] { gpu::Stream stream(index); });
    expect([&] { gpu::Event event(index); });
  }
}

TEST(DeviceErrors, NoRoomSaysHowMuchIsMissingAndWhatToDo) {
  MWALIMU_NEEDS_DEVICE();
  const auto held = Tensor<float>::empty({1 << 20}, Device::cuda());
  const auto ask = [] { (void)Tensor<float>::empty({index_t{1} << 45}, Device::cuda()); };
  expect_error<DeviceError>(ask, "cuda:0: no room for 134217728 MiB; this program's tensors hold ");
  expect_error<DeviceError>(ask, "lower --batch or the size of the crops");
  EXPECT_EQ(Tensor<float>::full({2}, 3, Device::cuda()).to_vector(), (std::vector<float>{3, 3}));
}

TEST(DeviceErrors, AFailingCallIsNamed) {
  MWALIMU_NEEDS_DEVICE();
  test::Captured captured;
  expect_error<CudaError>(
      [&] { captured.record([&] { captured.stream().synchronize(); }); },
      "cudaStreamSynchronize: operation not permitted when stream is capturing");
  expect_error<CudaError>([&] { (void)gpu::Driver::end_capture(captured.stream().handle()); },
                          "cudaStreamEndCapture: ");
  // The capture that failed has left nothing behind.
  auto x = Tensor<float>::zeros({2}, Device::cuda());
  synchronize(x.device());  // the graph runs on another stream
  captured.record([&] { x.fill(5); });
  captured.launch();
  captured.stream().synchronize();
  EXPECT_EQ(x.to_vector(), (std::vector<float>{5, 5}));
}

}  // namespace
}  // namespace mwalimu
