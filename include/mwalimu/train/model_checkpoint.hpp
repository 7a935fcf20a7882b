// train/model_checkpoint: models and optimisers in checkpoints, and a model's best state in memory.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "mwalimu/nn/state_dict.hpp"
#include "mwalimu/nn/to_device.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/train/checkpoint.hpp"

namespace mwalimu::train {

/// Every parameter and buffer under `prefix` and its state_dict name. They must stay as they are
/// until the checkpoint is saved.
template <nn::Module M>
void put_model(CheckpointWriter& checkpoint, const std::string& prefix, M& model) {
  nn::detail::for_each_state_tensor(model, [&](const std::string& path, const auto& tensor) {
    checkpoint.put(prefix + path, tensor);
  });
}
/// @throws FileError  a tensor is missing or has another shape.
template <nn::Module M>
void get_model(const CheckpointReader& checkpoint, const std::string& prefix, M& model) {
  nn::detail::for_each_mutable_state_tensor(model, [&](const std::string& path, auto& tensor) {
    checkpoint.get(prefix + path, tensor);
  });
}

/// The optimiser's state by parameter, row-major as the parameters are: "optimizer.momentum.NAME".
/// So it does not depend on the device, whose kernels want weights in an order of memory of their
/// own. It must stay as it is until the checkpoint is saved.
inline void put_optimizer(CheckpointWriter& checkpoint, const optim::Optimizer& optimizer,
                          optim::ParameterArena& arena) {
  const auto segments = arena.segments();
  optimizer.for_each_state([&](std::string_view name, const Tensor<float>& state) {
    const Tensor<float> host = state.to(Device::cpu());
    for (std::size_t i = 0; i < segments.size(); ++i) {
      checkpoint.put("optimizer." + std::string(name) + "." + segments[i].name,
                     arena.part(host, i));
    }
  });
  optimizer.for_each_counter([&](std::string_view name, const Tensor<std::int64_t>& counts) {
    checkpoint.put("optimizer." + std::string(name), counts);
  });
}

/// @throws FileError  a tensor is missing or has another shape.
inline void get_optimizer(const CheckpointReader& checkpoint, optim::Optimizer& optimizer,
                          optim::ParameterArena& arena) {
  const auto segments = arena.segments();
  optimizer.for_each_state([&](std::string_view name, Tensor<float>& state) {
    const std::string prefix = "optimizer." + std::string(name);
    auto flat = Tensor<float>::zeros(state.shape());
    const bool whole = checkpoint.has(prefix);  // as earlier versions wrote: the Cpu's arena
    if (whole) checkpoint.get(prefix, flat);
    for (std::size_t i = 0; i < segments.size(); ++i) {
      auto part = arena.part(state, i);
      if (whole) {
        part.copy_from(Tensor<float>::borrow(
            flat.data() + segments[i].offset, part.shape(),
            nn::parameter_strides(part.shape(), Device::cpu()), flat.storage()));
      } else {
        checkpoint.get(prefix + "." + segments[i].name, part);
      }
    }
  });
  optimizer.for_each_counter([&](std::string_view name, Tensor<std::int64_t>& counts) {
    checkpoint.get("optimizer." + std::string(name), counts);
  });
}

/// A copy of an optimiser's state, to be put back where it was taken from: at the same addresses, as
/// a CUDA graph needs it.
class OptimizerSnapshot {
 public:
  void take(const optim::Optimizer& optimizer) {
    states_.clear();
    counters_.clear();
    optimizer.for_each_state(
        [&](std::string_view, const Tensor<float>& state) { states_.push_back(state.clone()); });
    optimizer.for_each_counter([&](std::string_view, const Tensor<std::int64_t>& counts) {
      counters_.push_back(counts.clone());
    });
  }
  void restore(optim::Optimizer& optimizer) const {
    std::size_t state = 0, counter = 0;
    optimizer.for_each_state(
        [&](std::string_view, Tensor<float>& values) { values.copy_from(states_[state++]); });
    optimizer.for_each_counter([&](std::string_view, Tensor<std::int64_t>& counts) {
      counts.copy_from(counters_[counter++]);
    });
  }

 private:
  std::vector<Tensor<float>> states_;
  std::vector<Tensor<std::int64_t>> counters_;
};

/// A copy of a model's parameters and buffers.
class ModelSnapshot {
 public:
  bool empty() const { return parameters_.empty(); }

  template <nn::Module M>
  void take(M& model) {
    parameters_.clear();
    counters_.clear();
    nn::detail::for_each_state_tensor(model, [&](const std::string&, const auto& tensor) {
      list_of(tensor).push_back(tensor.clone());
    });
  }
  /// Into a model of the same architecture.
  template <nn::Module M>
  void restore(M& model) const {
    std::size_t parameter = 0, counter = 0;
    nn::detail::for_each_mutable_state_tensor(model, [&](const std::string&, auto& tensor) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(tensor)>, Tensor<float>>) {
        tensor.copy_from(parameters_[parameter++]);
      } else {
        tensor.copy_from(counters_[counter++]);
      }
    });
  }
  void put(CheckpointWriter& checkpoint, const std::string& prefix) const {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      checkpoint.put(prefix + "parameters." + std::to_string(i), parameters_[i]);
    }
    for (std::size_t i = 0; i < counters_.size(); ++i) {
      checkpoint.put(prefix + "counters." + std::to_string(i), counters_[i]);
    }
  }
  /// @param model  gives the shapes.
  template <nn::Module M>
  void get(const CheckpointReader& checkpoint, const std::string& prefix, M& model) {
    take(model);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      checkpoint.get(prefix + "parameters." + std::to_string(i), parameters_[i]);
    }
    for (std::size_t i = 0; i < counters_.size(); ++i) {
      checkpoint.get(prefix + "counters." + std::to_string(i), counters_[i]);
    }
  }

 private:
  std::vector<Tensor<float>>& list_of(const Tensor<float>&) { return parameters_; }
  std::vector<Tensor<std::int64_t>>& list_of(const Tensor<std::int64_t>&) { return counters_; }

  std::vector<Tensor<float>> parameters_;
  std::vector<Tensor<std::int64_t>> counters_;
};

}  // namespace mwalimu::train
