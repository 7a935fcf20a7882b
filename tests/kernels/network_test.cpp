// Whole networks on a device against the same networks on the Cpu: every operation of a training step
// at once, in each type that networks compute in.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
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
models::Encoder fresh_encoder(bool res2next) {
  // Of the Res2Net the first stage has both kinds of blocks, and its groups 2 to 16 channels.
  models::Encoder encoder =
      res2next ? models::Encoder(models::Res2NetOptions{
                     .blocks = {2, 1, 1, 1}, .width = 32, .base_width = 4, .cardinality = 8})
               : models::Encoder(models::XResNetOptions{.blocks = {1, 1, 1, 1}, .width = 8});
  encoder.initialize(1);
  return encoder;
}

models::Encoder small_encoder(bool res2next = false) {
  models::Encoder encoder = fresh_encoder(res2next);
  // Blocks whose last scale is 0 would pass no gradient into their convolutions.
  nn::for_each_parameter(encoder, [](const std::string&, nn::Parameter& p) {
    if (p.kind() == nn::Parameter::Kind::norm_scale) p.mutable_value().fill(0.8f);
  });
  return encoder;
}

// As after training: a share of each block's branch, running statistics of such images.
models::Encoder settled(models::Encoder fresh, const Shape& images) {
  nn::for_each_parameter(fresh, [](const std::string& path, nn::Parameter& p) {
    if (p.kind() != nn::Parameter::Kind::norm_scale) return;
    const bool last_of_block = p.value().to_vector()[0] == 0 || path.ends_with(".bn3.weight");
    p.mutable_value().fill(last_of_block ? 0.25f : 1.0f);
  });
  nn::set_training(fresh, true);
  const NoGrad no_grad;
  for (std::uint64_t i = 0; i < 10; ++i) fresh(Variable<float>(noise(images, 100 + i)));
  return fresh;
}

struct Outcome {
  std::vector<float> features, dimages;
  std::map<std::string, std::vector<float>> gradients, buffers;
};

// Features, gradients and running statistics after one pass in T, forward and backward.
template <class T>
Outcome pass(models::Encoder& encoder, Device device, const Shape& images, bool training) {
  nn::to(encoder, device);
  nn::set_training(encoder, training);
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

void expect_same_pass(const Shape& images, double forward, double backward,
                      bool res2next = false) {
  auto on_host = small_encoder(res2next), on_gpu = small_encoder(res2next);
  const Outcome want = pass<float>(on_host, Device::cpu(), images, true);
  const Outcome got = pass<float>(on_gpu, Device::cuda(), images, true);
  EXPECT_LT(distance(got.features, want.features), forward);
  EXPECT_LT(distance(joined(got.buffers), joined(want.buffers)), forward);
  EXPECT_LT(distance(joined(got.gradients), joined(want.gradients)), backward);
  EXPECT_LT(distance(got.dimages, want.dimages), backward);
}

TEST(DeviceNetwork, Float32TrainsAsOnTheHost) {
  MWALIMU_NEEDS_DEVICE();
  // The order of sums differs, nothing else. 33 x 29: odd extents all the way down.
  expect_same_pass({3, 33, 29, 3}, 1e-5, 1e-4);
}

// What 16 bits cost, and where. A network's features in bfloat16 are about 1 % from float32's (2 % in
// the narrow ones of this file), and PyTorch's autocast with the same weights is as far away: it is
// the type, 2^-9 at some fifty roundings. Gradients are 10 to 30 % off: ReLUs near zero switch.
// Training on few values multiplies both: over the 4 values a channel of {4, 24, 24}, the last stage of
// small_encoder(true) is 10 % off and the gradients 70 %, on either side and in PyTorch, and single
// roundings that fall the other way become 14 % of the gradients between the sides. On the emulated
// device its activations there equal, bit for bit, a computation in double that rounds exactly where
// docs/precision.md says, and its gradients are within 1 % of it. So these tests ask two things: while
// statistics are constants, that the sides are far nearer to each other than either is to float32;
// and where batches are small, that the device is no farther from float32 than the host.
struct Rounding {
  double device, host, between;  ///< relative L2: device and host in T from float32, and apart
};

template <class T, class Encoder>
void compare_rounding(Encoder make, const Shape& images, bool training, Rounding& features,
                      Rounding& gradients) {
  SCOPED_TRACE(type_name<T>());
  auto exactly = make(), on_host = make(), on_gpu = make();
  const Outcome exact = pass<float>(exactly, Device::cpu(), images, training);
  const Outcome host = pass<T>(on_host, Device::cpu(), images, training);
  const Outcome device = pass<T>(on_gpu, Device::cuda(), images, training);
  features = {distance(device.features, exact.features), distance(host.features, exact.features),
              distance(device.features, host.features)};
  const auto all = [](const Outcome& outcome) { return joined(outcome.gradients); };
  gradients = {distance(all(device), all(exact)), distance(all(host), all(exact)),
               distance(all(device), all(host))};
  EXPECT_LT(distance(joined(device.buffers), joined(host.buffers)), 2e-2);
}

// Batch statistics of few values: each side's own amplified rounding, of equal size.
template <class T>
void expect_training_no_farther(bool res2next) {
  Rounding features{}, gradients{};
  compare_rounding<T>([&] { return small_encoder(res2next); }, {4, 24, 24, 3}, true, features,
                      gradients);
  EXPECT_LT(features.device, 1.1 * features.host);
  EXPECT_LT(gradients.device, 1.1 * gradients.host);
}
TEST(DeviceNetwork, TrainingIn16BitsIsAsNearToFloat32AsTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  expect_training_no_farther<bfloat16>(false);
  expect_training_no_farther<bfloat16>(true);
  expect_training_no_farther<half>(false);
}

// A place where one side rounded and the other did not would show as much as all the others of its
// layer. What is left are sums in another order that meet a tie: none to 5 % of what rounding costs the
// features, 1 to 10 % of what it costs the gradients.
template <class T>
void expect_same_roundings(bool res2next, double bar) {
  Rounding features{}, gradients{};
  const auto make = [&] { return settled(fresh_encoder(res2next), {16, 32, 32, 3}); };
  compare_rounding<T>(make, {2, 32, 32, 3}, false, features, gradients);
  EXPECT_LT(features.device, bar);
  EXPECT_LT(features.between, 0.25 * features.host);
  EXPECT_LT(gradients.between, 0.4 * gradients.host);
}
TEST(DeviceNetwork, EvaluationRoundsWhereTheHostDoes) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_roundings<bfloat16>(true, 2e-2);
  expect_same_roundings<bfloat16>(false, 4e-2);  // 8 channels wide: little to average over
  expect_same_roundings<half>(false, 5e-3);
}

// Grouped convolutions, channels split and joined, sums of their ranges.
TEST(DeviceNetwork, Res2NextsLadderTrainsAsOnTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_pass({3, 33, 29, 3}, 1e-5, 1e-4, true);
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
    const Shape images{8, 64, 64, 3};
    const auto make = [&] {
      models::Encoder fresh(models::encoder_options(arch));
      fresh.initialize(1);
      return settled(std::move(fresh), images);
    };
    auto on_host = make();
    const Outcome want = pass<float>(on_host, Device::cpu(), images, false);
    const auto check = [&]<class T>(T, double forward, double backward) {
      SCOPED_TRACE(type_name<T>());
      auto on_gpu = make();
      const Outcome got = pass<T>(on_gpu, Device::cuda(), images, false);
      EXPECT_LT(distance(got.features, want.features), forward);
      EXPECT_LT(distance(joined(got.gradients), joined(want.gradients)), backward);
    };
    // On the host the same networks are 0.7 to 1.2 % (features) and 12 to 28 % (gradients) from float32
    // in bfloat16, 0.09 % and 4 % in half.
    check(float{}, 1e-4, 1e-3);
    check(bfloat16{}, 2e-2, 6e-1);
    check(half{}, 3e-3, 1e-1);
  }
}
#endif

}  // namespace
}  // namespace mwalimu
