// gpu/cudnn_conv: a convolution as a graph of cuDNN's, the engines that can run it, and the plan that
// does.
//
//   ConvProblem -> ConvGraph -> suggestions -> EngineChoice -> ConvPlan -> execute
//
// All but the last step works without a device, given its properties: what cuDNN would choose on an
// H100 can be asked, and tested, on a machine that has none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/gpu/conv_problem.hpp"
#include "mwalimu/gpu/cudnn_descriptor.hpp"
#include "mwalimu/gpu/engine_choice.hpp"

namespace mwalimu::gpu::cudnn {

/// What heuristics and engines must know about a device.
class DeviceProperties {
 public:
  /// Of the device that the handle was made for.
  explicit DeviceProperties(cudnnHandle_t handle) {
    descriptor_.set(CUDNN_ATTR_DEVICEPROP_HANDLE, handle);
    descriptor_.finalize();
  }
  /// Of a device described in cuDNN's own JSON (json() of it, taken on another machine).
  /// @throws CudnnError  cuDNN does not understand it.
  explicit DeviceProperties(std::string_view json) {
    descriptor_.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                    std::span<const char>(json.data(), json.size()));
    descriptor_.finalize();
  }
  std::string json() const {
    return descriptor_.get_text(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION);
  }
  const Descriptor& descriptor() const { return descriptor_; }

 private:
  Descriptor descriptor_{CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR};
};

/// An engine that cuDNN suggests for a problem, and what it says about the engine's numbers.
struct Suggestion {
  EngineChoice choice;
  std::vector<int> notes;  ///< cudnnBackendNumericalNote_t

  bool has(cudnnBackendNumericalNote_t note) const {
    return std::find(notes.begin(), notes.end(), static_cast<int>(note)) != notes.end();
  }
};

/// Whether an engine's numbers are good enough for the problem:
/// sums are in float; float operands are not rounded to TF32 unless the problem allows it; no
/// Winograd tiles so large, and no Fourier transforms, that errors grow beyond those of a sum; the
/// order of sums is fixed where the problem wants it.
inline bool permitted(const Suggestion& engine, const ConvProblem& problem) {
  if (engine.has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) return false;
  if (engine.has(CUDNN_NUMERICAL_NOTE_FFT) ||
      engine.has(CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6) ||
      engine.has(CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13)) {
    return false;
  }
  if (problem.deterministic && engine.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) return false;
  if (problem.type == "float32" && problem.float32 == Float32Math::ieee) {
    // Tensor cores take float operands as TF32 only.
    return !engine.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) &&
           !engine.has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
  }
  return !engine.has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS) || problem.type == "float32";
}

/// @throws CudnnError  cuDNN convolves no such type.
inline cudnnDataType_t data_type(std::string_view type) {
  if (type == "float32") return CUDNN_DATA_FLOAT;
  if (type == "float64") return CUDNN_DATA_DOUBLE;
  if (type == "float16") return CUDNN_DATA_HALF;
  if (type == "bfloat16") return CUDNN_DATA_BFLOAT16;
  mwalimu::detail::fail<CudnnError>("no convolution of ", type);
}

/// The operation graph of one convolution: result <- 1 * conv(...) + 0 * result.
class ConvGraph {
 public:
  enum : std::int64_t { kX = 1, kWeight = 2, kOut = 3 };  ///< the tensors' names

  /// @param weight_type  that of the weights, where it is not the images'.
  /// @throws CudnnError  cuDNN has no such convolution (extents that do not fit, a type).
  explicit ConvGraph(const ConvProblem& problem, std::string_view weight_type = {})
      : problem_(problem) {
    in_context(problem, [&] { build(weight_type.empty() ? problem.type : weight_type); });
  }
  const ConvProblem& problem() const { return problem_; }
  const Descriptor& descriptor() const { return graph_; }

  /// Engines with their knobs set, as cuDNN suggests them, best first. Empty where it has none.
  std::vector<Descriptor> configurations(const DeviceProperties& device,
                                         cudnnBackendHeurMode_t mode) const {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph_);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device.descriptor());
    if (cudnnBackendFinalize(heuristics.get()) != CUDNN_STATUS_SUCCESS) return {};
    // Asked how many there are, cuDNN promises many; asked for them, it delivers fewer.
    const std::size_t most =
        heuristics.count(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR);
    return heuristics.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                      CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, most);
  }
  /// The same as numbers, each choice once; not yet asked whether it can be built.
  std::vector<Suggestion> suggestions(const DeviceProperties& device,
                                      cudnnBackendHeurMode_t mode) const {
    std::vector<Suggestion> found;
    for (const Descriptor& configuration : configurations(device, mode)) {
      Suggestion suggestion = describe(configuration);
      const bool known = std::any_of(found.begin(), found.end(), [&](const Suggestion& other) {
        return other.choice == suggestion.choice;
      });
      if (!known) found.push_back(std::move(suggestion));
    }
    return found;
  }
  static Suggestion describe(const Descriptor& configuration) {
    const auto engines = configuration.get_descriptors(CUDNN_ATTR_ENGINECFG_ENGINE,
                                                       CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
    const Descriptor& engine = engines.at(0);
    Suggestion found;
    found.choice.engine = engine.get_int64(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
    found.notes = engine.get_enums(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 64);
    for (const Descriptor& knob :
         configuration.get_descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                       CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, kMostKnobs)) {
      const auto kind = knob.get_enums(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1);
      found.choice.knobs[kind.at(0)] = knob.get_int64(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE);
    }
    return found;
  }

 private:
  // One a kind; asked how many an engine has set, cuDNN says none.
  static constexpr std::size_t kMostKnobs = CUDNN_KNOB_TYPE_COUNTS;

  static Descriptor tensor(std::int64_t name, cudnnDataType_t type, int alignment,
                           const std::array<std::int64_t, 4>& extents) {
    Descriptor made(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const auto strides = channels_last_strides(extents);
    made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, name);
    made.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    made.set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const std::int64_t>(extents));
    made.set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const std::int64_t>(strides));
    made.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{alignment});
    made.finalize();
    return made;
  }

  Descriptor convolution() const {
    Descriptor made(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const std::array<std::int64_t, 2> stride{problem_.stride, problem_.stride},
        padding{problem_.padding, problem_.padding}, dilation{1, 1};
    using Pair = std::span<const std::int64_t>;
    const bool wide = problem_.type == "float64";
    made.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, wide ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT);
    made.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
    made.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
    made.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, Pair(stride));
    made.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, Pair(padding));
    made.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, Pair(padding));
    made.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, Pair(dilation));
    made.finalize();
    return made;
  }

  void build(std::string_view weight_type) {
    const auto type = data_type(problem_.type);
    const auto& w = problem_.weight;  // its extents count input channels within a group
    const Descriptor x = tensor(kX, type, problem_.alignment, nchw_extents(problem_.x)),
                     weight = tensor(kWeight, data_type(weight_type), problem_.alignment,
                                     {w[0], w[1], w[2], w[3]}),
                     out = tensor(kOut, type, problem_.alignment, nchw_extents(problem_.out)),
                     conv = convolution();
    // The three operations carry the same attributes under three sets of names.
    struct Names {
      cudnnBackendDescriptorType_t operation;
      cudnnBackendAttributeName_t x, weight, out, conv, alpha, beta;
    };
    const Names names = [&]() -> Names {
      switch (problem_.pass) {
        case ConvPass::forward:
          return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
        case ConvPass::backward_data:
          return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
        case ConvPass::backward_weight:
          break;
      }
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    }();
    std::vector<Descriptor> operations;
    Descriptor& operation = operations.emplace_back(names.operation);
    operation.set(names.x, x);
    operation.set(names.weight, weight);
    operation.set(names.out, out);
    operation.set(names.conv, conv);
    if (problem_.type == "float64") {
      operation.set(names.alpha, 1.0);
      operation.set(names.beta, 0.0);
    } else {
      operation.set(names.alpha, 1.0f);
      operation.set(names.beta, 0.0f);
    }
    operation.finalize();
    graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<const Descriptor>(operations));
    graph_.finalize();
  }

  ConvProblem problem_;
  Descriptor graph_{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

/// A convolution ready to run. Any thread may run it, each with a handle of its own.
class ConvPlan {
 public:
  /// @throws CudnnError  the engine cannot solve the problem on this device, or no longer exists.
  ConvPlan(std::shared_ptr<const ConvGraph> graph, const DeviceProperties& device,
           const EngineChoice& choice)
      : graph_(std::move(graph)), choice_(choice) {
    engine_.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph_->descriptor());
    engine_.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, choice.engine);
    engine_.set(CUDNN_ATTR_ENGINE_DEVICEPROP, device.descriptor());
    engine_.finalize();
    std::vector<Descriptor> knobs;
    for (const auto& [kind, value] : choice.knobs) {
      Descriptor& knob = knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
      knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, static_cast<cudnnBackendKnobType_t>(kind));
      knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value);
      knob.finalize();
    }
    config_.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine_);
    if (!knobs.empty()) {
      config_.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, std::span<const Descriptor>(knobs));
    }
    config_.finalize();
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config_);
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device.descriptor());
    plan_.finalize();
    workspace_bytes_ =
        static_cast<std::size_t>(plan_.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
  }

  const ConvProblem& problem() const { return graph_->problem(); }
  const EngineChoice& choice() const { return choice_; }
  /// Device memory that a run needs beside its operands.
  std::size_t workspace_bytes() const { return workspace_bytes_; }
  /// The plan in cuDNN's words, for tests and logs.
  std::string json() const {
    return plan_.get_text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
  }

  /// Queues the convolution on the handle's stream. The pass says which of the three is written.
  void execute(cudnnHandle_t handle, const void* x, const void* weight, const void* out,
               void* workspace) const {
    in_context(problem(), [&] {
      Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
      const std::array<std::int64_t, 3> names{ConvGraph::kX, ConvGraph::kWeight, ConvGraph::kOut};
      const std::array<void*, 3> data{const_cast<void*>(x), const_cast<void*>(weight),
                                      const_cast<void*>(out)};
      const std::array<void*, 1> scratch{workspace};
      pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const std::int64_t>(names));
      pack.set_pointers(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, data);
      pack.set_pointers(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, scratch);
      pack.finalize();
      check("cudnnBackendExecute", cudnnBackendExecute(handle, plan_.get(), pack.get()));
    });
  }

 private:
  std::shared_ptr<const ConvGraph> graph_;  // engines refer to it
  EngineChoice choice_;
  Descriptor engine_{CUDNN_BACKEND_ENGINE_DESCRIPTOR};
  Descriptor config_{CUDNN_BACKEND_ENGINECFG_DESCRIPTOR};
  Descriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  std::size_t workspace_bytes_ = 0;
};

}  // namespace mwalimu::gpu::cudnn
