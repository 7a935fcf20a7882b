// train/weight_average: an exponential moving average of a model, beside the weights that train.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "mwalimu/core/profile.hpp"
#include "mwalimu/nn/module.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/optim/weight_average.hpp"
#include "mwalimu/train/checkpoint.hpp"

namespace mwalimu::train {

/// The average w <- d w + (1 - d) weights after every step, of a model's parameters and of its float
/// buffers, which for batch norm are the statistics that go with the weights. In step t, from 1,
/// d = min(decay, (1 + t) / (10 + t)): early on the average follows quickly and forgets the weights
/// that training began with.
///
///     WeightAverage average(0.999, arena, model);
///     optimizer.step(...); average.update(arena, model);
///     average.swap(arena, model);   // evaluate, save; then
///     average.swap(arena, model);   // go on training
///
/// Moves   12 bytes a weight and step.
/// Source  Polyak and Juditsky 1992; the form and its warm-up: tf.train.ExponentialMovingAverage.
class WeightAverage {
 public:
  /// @param decay  in (0, 1).   @throws ValueError  another one.
  template <nn::Module M>
  WeightAverage(double decay, const optim::ParameterArena& arena, M& model)
      : decay_((require<ValueError>(decay > 0 && decay < 1,
                                    "weight_average: want a decay between 0 and 1, got ", decay),
                decay)),
        values_(arena.value_buffer().clone()) {
    for_each_float_buffer(model, [&](const std::string&, const Tensor<float>& buffer) {
      buffers_.push_back(buffer.clone());
    });
  }
  WeightAverage(const WeightAverage&) = delete;
  WeightAverage& operator=(const WeightAverage&) = delete;

  /// Steps taken in.
  std::int64_t steps() const { return steps_; }
  /// d of step t.
  double decay(std::int64_t t) const {
    const auto step = static_cast<double>(t);
    return std::min(decay_, (1 + step) / (10 + step));
  }

  /// To be called after every step. On a device: queued on the current stream.
  template <nn::Module M>
  void update(const optim::ParameterArena& arena, M& model) {
    const auto share = static_cast<float>(1 - decay(++steps_));
    on_device("weight_average", arena.device(), [&](auto place) {
      const auto blend = [&](const Tensor<float>& from, Tensor<float>& to) {
        optim::weight_average<float>(place, from.template view<1>(), share, to.template view<1>());
      };
      blend(arena.value_buffer(), values_);
      auto average = buffers_.begin();
      for_each_float_buffer(model, [&](const std::string&, const Tensor<float>& buffer) {
        blend(buffer, *average++);
      });
    });
  }

  /// Exchanges the average and the weights that train.
  template <nn::Module M>
  void swap(optim::ParameterArena& arena, M& model) {
    exchange(arena.value_buffer(), values_);
    arena.values_changed();
    auto average = buffers_.begin();
    for_each_float_buffer(model,
                          [&](const std::string&, Tensor<float>& b) { exchange(b, *average++); });
  }

  /// Under "average." and the names of the state_dict. It must stay as it is until the checkpoint is
  /// saved.
  template <nn::Module M>
  void save(CheckpointWriter& checkpoint, optim::ParameterArena& arena, M& model) {
    for_each(arena, model, [&](const std::string& path, const Tensor<float>& average) {
      checkpoint.put("average." + path, average);
    });
    checkpoint.put("average", steps_);
  }
  /// @throws FileError  a tensor is missing or has another shape.
  template <nn::Module M>
  void restore(const CheckpointReader& checkpoint, optim::ParameterArena& arena, M& model) {
    for_each(arena, model, [&](const std::string& path, Tensor<float>& average) {
      checkpoint.get("average." + path, average);
    });
    steps_ = checkpoint.value<std::int64_t>("average");
  }

 private:
  template <nn::Module M, class F>
  void for_each(optim::ParameterArena& arena, M& model, F&& f) {
    const auto segments = arena.segments();
    for (std::size_t i = 0; i < segments.size(); ++i) {
      auto part = arena.part(values_, i);
      f(segments[i].name, part);
    }
    auto average = buffers_.begin();
    for_each_float_buffer(
        model, [&](const std::string& path, Tensor<float>&) { f(path, *average++); });
  }
  template <nn::Module M, class F>
  static void for_each_float_buffer(M& model, F&& f) {
    nn::for_each_buffer(model, [&](const std::string& path, auto& buffer) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(buffer)>, Tensor<float>>) {
        f(path, buffer);
      }
    });
  }
  // By their values: a graph knows the addresses.
  static void exchange(Tensor<float>& a, Tensor<float>& b) {
    const Tensor<float> before = a.clone();
    a.copy_from(b);
    b.copy_from(before);
  }

  double decay_;
  Tensor<float> values_;                // laid out as the arena
  std::vector<Tensor<float>> buffers_;  // in the model's order
  std::int64_t steps_ = 0;
};

}  // namespace mwalimu::train
