// Whole networks on a device against the same networks on the Cpu: every operation of a training step
// at once, in each type that networks compute in.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "kernels/device.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/nn/to_device.hpp"
#include "mwalimu/ops/cast.hpp"
#include "mwalimu/ops/cross_entropy.hpp"

namespace mwalimu {
namespace {

Tensor<float> noise(const Shape& shape, std::uint64_t sample) {
  RandomStream random(3, Purpose::test, 0, sample);
  auto tensor = Tensor<float>::empty(shape);
  for (float& x : tensor.span()) x = random.normal();
  return tensor;
}

double distance(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double{got[i]} - double{want[i]}, 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / size);
}

// Large enough for every kind of layer, small enough for a device made of fibers.
models::Encoder small_encoder(bool res2next = false) {
  // Of the Res2Net the first stage has both kinds of blocks, and its groups 2 to 16 channels.
  models::Encoder encoder =
      res2next ? models::Encoder(models::Res2NetOptions{
                     .blocks = {2, 1, 1, 1}, .width = 32, .base_width = 4, .cardinality = 8})
               : models::Encoder(models::XResNetOptions{.blocks = {1, 1, 1, 1}, .width = 8});
  encoder.initialize(1);
  // As if trained: blocks whose last scale is 0 would pass no gradient into their convolutions.
  nn::for_each_parameter(encoder, [](const std::string&, nn::Parameter& p) {
    if (p.kind() == nn::Parameter::Kind::norm_scale) p.mutable_value().fill(0.8f);
  });
  return encoder;
}

struct Outcome {
  std::vector<float> features, dimages;
  std::map<std::string, std::vector<float>> gradients, buffers;
};

// Features, gradients and running statistics after one training pass in T.
template <class T>
Outcome train_once(models::Encoder& encoder, Device device, const Shape& images) {
  nn::to(encoder, device);
  nn::set_training(encoder, true);
  const auto x = Variable<T>::leaf(noise(images, 1).template to<T>().to(device));
  const auto features = encoder(x);
  features.backward(noise(features.shape(), 2).template to<T>().to(device));
  Outcome outcome;
  outcome.features = features.value().template to<float>().to_vector();
  outcome.dimages = x.grad().template to<float>().to_vector();
  nn::for_each_parameter(encoder, [&](const std::string& path, nn::Parameter& p) {
    outcome.gradients[path] = p.grad().to_vector();
  });
  nn::for_each_buffer(encoder, [&](const std::string& path, auto& buffer) {
    outcome.buffers[path] = buffer.template to<float>().to_vector();
  });
  return outcome;
}

// All gradients as one vector: single units that rounding switches off must not decide alone.
std::vector<float> joined(const std::map<std::string, std::vector<float>>& parts) {
  std::vector<float> all;
  for (const auto& [path, values] : parts) all.insert(all.end(), values.begin(), values.end());
  return all;
}

template <class T>
void expect_same_pass(const Shape& images, double forward, double backward,
                      bool res2next = false) {
  SCOPED_TRACE(type_name<T>());
  auto on_host = small_encoder(res2next), on_gpu = small_encoder(res2next);
  const Outcome want = train_once<T>(on_host, Device::cpu(), images);
  const Outcome got = train_once<T>(on_gpu, Device::cuda(), images);
  EXPECT_LT(distance(got.features, want.features), forward);
  EXPECT_LT(distance(joined(got.buffers), joined(want.buffers)), forward);
  EXPECT_LT(distance(joined(got.gradients), joined(want.gradients)), backward);
  EXPECT_LT(distance(got.dimages, want.dimages), backward);
}

TEST(DeviceNetwork, Float32TrainsAsOnTheHost) {
  MWALIMU_NEEDS_DEVICE();
  // The order of sums differs, nothing else. 33 x 29: odd extents all the way down.
  expect_same_pass<float>({3, 33, 29, 3}, 1e-5, 1e-4);
}

// Both sides round to 16 bits after every operation, but not the same sums: about 2^-9 (bfloat16) or
// 2^-12 (half) a layer, and ReLUs near zero that switch.
TEST(DeviceNetwork, Bfloat16StaysNearTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_pass<bfloat16>({4, 24, 24, 3}, 2e-2, 1e-1);
}
TEST(DeviceNetwork, HalfStaysNearTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_pass<half>({4, 24, 24, 3}, 3e-3, 3e-2);
}

// Grouped convolutions, channels split and joined, sums of their ranges.
TEST(DeviceNetwork, Res2NextsLadderTrainsAsOnTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_pass<float>({3, 33, 29, 3}, 1e-5, 1e-4, true);
  // Twice the layers of the xresnet's in a row, each with its rounding: 0.14 on an emulated device.
  expect_same_pass<bfloat16>({4, 24, 24, 3}, 2e-2, 2e-1, true);
}

TEST(DeviceNetwork, EvaluationMatchesTheHost) {
  MWALIMU_NEEDS_DEVICE();
  auto on_host = small_encoder(), on_gpu = small_encoder();
  nn::to(on_gpu, Device::cuda());
  const NoGrad no_grad;
  const auto images = noise({2, 20, 20, 3}, 5);
  const nn::EvaluationMode a(on_host), b(on_gpu);
  const auto want = on_host(Variable<float>(images)).value();
  const auto got = on_gpu(Variable<float>(images.to(Device::cuda()))).value();
  EXPECT_LT(distance(got.to_vector(), want.to_vector()), 1e-5);
}

#if !defined(MWALIMU_EMULATED)
// The study's own networks: minutes of fibers, milliseconds of a device.
TEST(DeviceNetwork, TheStudysEncodersMatchTheHost) {
  MWALIMU_NEEDS_DEVICE();
  for (const char* arch :
       {"xresnet18", "xresnet34", "xresnet50", "resnet50", "res2net50", "res2next50"}) {
    SCOPED_TRACE(arch);
    const auto make = [&] {
      models::Encoder encoder(models::encoder_options(arch));
      encoder.initialize(1);
      return encoder;
    };
    const auto check = [&]<class T>(T, double forward, double backward) {
      auto on_host = make(), on_gpu = make();
      const Outcome want = train_once<float>(on_host, Device::cpu(), {8, 64, 64, 3});
      const Outcome got = train_once<T>(on_gpu, Device::cuda(), {8, 64, 64, 3});
      EXPECT_LT(distance(got.features, want.features), forward);
      EXPECT_LT(distance(joined(got.gradients), joined(want.gradients)), backward);
    };
    check(float{}, 1e-4, 1e-3);
    check(bfloat16{}, 2e-2, 2e-1);
    check(half{}, 3e-3, 3e-2);
  }
}
#endif

}  // namespace
}  // namespace mwalimu
