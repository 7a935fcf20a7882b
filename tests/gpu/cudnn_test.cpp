// What cuDNN would do on devices that are not here: cuDNN itself answers, from a description of the device.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gpu/described_devices.hpp"
#include "gpu/network_layers.hpp"
#include "mwalimu/gpu/conv_plans.hpp"
#include "support/reference.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::gpu::cudnn {
namespace {

using test::described_devices;
using test::DescribedDevice;
using test::expect_error;

std::array<index_t, 4> array(const Shape& s) { return {s[0], s[1], s[2], s[3]}; }

ConvProblem problem(ConvPass pass, std::string_view type, const test::ConvLayer& layer) {
  return {.pass = pass,
          .type = type,
          .x = array(layer.x()),
          .weight = array(layer.weight()),
          .out = array(layer.out()),
          .stride = layer.options.stride,
          .padding = layer.options.padding,
          .groups = layer.options.groups};
}
const test::ConvLayer kLayer{32, 32, 32, 64, 64, 3, {1, 1, 1}};

DeviceProperties properties(const DescribedDevice& device) {
  return DeviceProperties(std::string_view(device.json()));
}
const DescribedDevice& h100() { return described_devices().at(2); }

constexpr ConvPass kPasses[] = {ConvPass::forward, ConvPass::backward_data,
                                ConvPass::backward_weight};
constexpr std::string_view kTypes[] = {"float32", "float64", "float16", "bfloat16"};

TEST(CudnnDevice, DescriptionSurvives) {
  const auto there = properties(h100());
  const auto again = DeviceProperties(std::string_view(there.json()));
  EXPECT_EQ(again.json(), there.json());
  expect_error<CudnnError>([] { DeviceProperties(std::string_view(R"({"warpSize": 32})")); },
                           "cudnnBackendFinalize: CUDNN_STATUS_BAD_PARAM");
}

// The promise behind --device cuda: no layer of the study's networks is without an engine that sums in
// float and in a fixed order, in any type, on any device, at any size of crop.
void expect_a_plan_for_every_layer(const DescribedDevice& device, index_t px) {
  ConvPlans plans(properties(device), device.name, nullptr);
  auto layers = test::xresnet34_layers(32, px);
  for (const auto& layer : test::res2next50_layers(32, px)) layers.push_back(layer);
  for (const auto& layer : layers) {
    for (const auto pass : kPasses) {
      for (const auto type : {"float32", "float16", "bfloat16"}) {
        const auto p = problem(pass, type, layer);
        const auto plan = plans.get(p, PlanChoice::heuristic, {});
        EXPECT_EQ(plan->problem(), p);
        EXPECT_LT(plan->workspace_bytes(), std::size_t{1} << 30) << p << " on " << device.name;
      }
    }
  }
}

TEST(CudnnPlans, EveryLayerOfTheNetworksHasOne) {
  for (const auto& device : described_devices()) expect_a_plan_for_every_layer(device, 128);
  for (const index_t px : {96, 64}) expect_a_plan_for_every_layer(h100(), px);
}

TEST(CudnnPlans, SixteenBitLayersOfXresnetUseTensorCores) {
  for (const DescribedDevice& device : described_devices()) {
    const auto there = properties(device);
    for (const auto& layer : test::xresnet34_layers(256, 128)) {
      // Three channels are no multiple of eight: cuDNN suggests ordinary cores first.
      if (layer.Cin == 3) continue;
      for (const auto pass : kPasses) {
        const auto p = problem(pass, "bfloat16", layer);
        const auto suggestions = ConvGraph(p).suggestions(there, CUDNN_HEUR_MODE_A);
        const auto first = std::find_if(suggestions.begin(), suggestions.end(),
                                        [&](const auto& s) { return permitted(s, p); });
        ASSERT_NE(first, suggestions.end()) << p;
        EXPECT_TRUE(first->has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) << p << " on " << device.name;
      }
    }
  }
}

// A file keeps an engine and its knobs. Rebuilt from those, the plan is the one that cuDNN suggested.
TEST(CudnnPlans, AreRebuiltFromEngineAndKnobs) {
  const auto device = properties(h100());
  std::set<std::int64_t> engines;
  for (const auto pass : kPasses) {
    for (const auto type : kTypes) {
      const auto graph = std::make_shared<const ConvGraph>(problem(pass, type, kLayer));
      for (const auto& config : graph->configurations(device, CUDNN_HEUR_MODE_A)) {
        const ConvPlan rebuilt(graph, device, ConvGraph::describe(config).choice);
        Descriptor original(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        original.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
        original.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device.descriptor());
        original.finalize();
        EXPECT_EQ(rebuilt.json(), original.get_text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION));
        engines.insert(rebuilt.choice().engine);
      }
    }
  }
  EXPECT_GT(engines.size(), 10u);  // not one engine again and again
}

std::set<int> notes_of_permitted(ConvProblem p) {
  const ConvGraph graph(p);
  std::set<int> notes;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const auto& suggestion : graph.suggestions(properties(h100()), mode)) {
      if (permitted(suggestion, p)) notes.insert(suggestion.notes.begin(), suggestion.notes.end());
    }
  }
  return notes;
}

TEST(CudnnEngines, FloatIsNotRoundedToTf32Unasked) {
  for (const auto pass : kPasses) {
    auto p = problem(pass, "float32", kLayer);
    EXPECT_EQ(notes_of_permitted(p).count(CUDNN_NUMERICAL_NOTE_TENSOR_CORE), 0u) << p;
    p.float32 = Float32Math::tf32;
    EXPECT_EQ(notes_of_permitted(p).count(CUDNN_NUMERICAL_NOTE_TENSOR_CORE), 1u) << p;
  }
}

TEST(CudnnEngines, SumsKeepTheirOrderUnlessAskedOtherwise) {
  for (const auto pass : {ConvPass::backward_data, ConvPass::backward_weight}) {
    auto p = problem(pass, "float32", kLayer);
    EXPECT_EQ(notes_of_permitted(p).count(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC), 0u) << p;
    p.deterministic = false;
    EXPECT_EQ(notes_of_permitted(p).count(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC), 1u) << p;
  }
}

TEST(CudnnEngines, SumsAreNeverInSixteenBits) {
  // cuDNN does suggest such an engine here, so that the filter has something to do.
  auto p = problem(ConvPass::backward_weight, "float16", kLayer);
  p.deterministic = false;
  bool suggested = false;
  for (const auto& s : ConvGraph(p).suggestions(properties(h100()), CUDNN_HEUR_MODE_A)) {
    suggested = suggested || s.has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION);
  }
  EXPECT_TRUE(suggested);
  EXPECT_EQ(notes_of_permitted(p).count(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION), 0u);
}

// Why weight gradients go through memory of their own: see gpu/conv2d.hpp.
TEST(CudnnEngines, NoneLeavesSixteenBitProductsInFloat) {
  auto p = problem(ConvPass::backward_weight, "bfloat16", kLayer);
  EXPECT_FALSE(ConvGraph(p).suggestions(properties(h100()), CUDNN_HEUR_MODE_A).empty());
  EXPECT_TRUE(
      ConvGraph(p, "float32").suggestions(properties(h100()), CUDNN_HEUR_MODE_A).empty());
}

TEST(CudnnEngines, GroupsOfFourChannelsHaveSome) {
  const test::ConvLayer layer{32, 16, 16, 32, 32, 3, {1, 1, 8}};
  ConvPlans plans(properties(h100()), "H100", nullptr);
  for (const auto pass : kPasses) {
    for (const auto type : kTypes) {
      EXPECT_NO_THROW(plans.get(problem(pass, type, layer), PlanChoice::heuristic, {}));
    }
  }
}

TEST(CudnnEngines, UnalignedOperandsHaveSome) {
  ConvPlans plans(properties(h100()), "H100", nullptr);
  for (const auto pass : kPasses) {
    for (const auto type : {"float16", "bfloat16"}) {
      for (const int alignment : {2, 4, 8}) {
        auto p = problem(pass, type, kLayer);
        p.alignment = alignment;
        const auto plan = plans.get(p, PlanChoice::heuristic, {});
        EXPECT_NE(plan->json().find(mwalimu::detail::concatenate("\"ptrAlignment\":", alignment)),
                  std::string::npos);
      }
    }
  }
}

TEST(CudnnErrors, NameProblemAndCallAndReason) {
  auto p = problem(ConvPass::forward, "bfloat16", kLayer);
  p.out = {32, 31, 32, 64};
  expect_error<CudnnError>([&] { ConvGraph graph(p); },
                           "forward bfloat16 32x32x32x64 * 64x64x3x3 stride 1 padding 1 groups 1: "
                           "cudnnBackendFinalize: CUDNN_STATUS_BAD_PARAM");
  p = problem(ConvPass::forward, "int32", kLayer);
  expect_error<CudnnError>([&] { ConvGraph graph(p); }, "no convolution of int32");
  const auto graph =
      std::make_shared<const ConvGraph>(problem(ConvPass::forward, "bfloat16", kLayer));
  expect_error<CudnnError>([&] { ConvPlan(graph, properties(h100()), {9999, {}}); },
                           "cudnnBackend");
}

// --- The choice among plans, with times that this test makes up ------------------------------------

TEST(ConvPlans, HeuristicIsTheFirstThatIsPermitted) {
  ConvPlans plans(properties(h100()), "H100", nullptr);
  const auto p = problem(ConvPass::forward, "float32", kLayer);
  const auto plan = plans.get(p, PlanChoice::heuristic, {});
  const ConvGraph graph(p);
  for (const auto& s : graph.suggestions(properties(h100()), CUDNN_HEUR_MODE_A)) {
    if (!permitted(s, p)) continue;
    EXPECT_EQ(plan->choice(), s.choice);
    break;
  }
  EXPECT_EQ(plans.get(p, PlanChoice::heuristic, {}), plan) << "made anew";
}

TEST(ConvPlans, MeasuredIsTheFastestAndIsKept) {
  const test::TempDir folder;
  const auto p = problem(ConvPass::forward, "bfloat16", kLayer);
  int timed = 0;
  EngineChoice third;
  const Timer timer = [&](const ConvPlan& plan) {
    ++timed;
    if (timed == 3) third = plan.choice();
    return timed == 3 ? 1.0 : 2.0;
  };
  {
    PlanFile file(folder / "plans.json");
    ConvPlans plans(properties(h100()), "H100", &file);
    EXPECT_EQ(plans.get(p, PlanChoice::measured, timer)->choice(), third);
    EXPECT_EQ(timed, static_cast<int>(ConvPlans::kMeasured));
    plans.get(p, PlanChoice::measured, timer);
    EXPECT_EQ(timed, static_cast<int>(ConvPlans::kMeasured)) << "timed twice";
    // The heuristic's plan does not depend on what was measured.
    EXPECT_NE(plans.get(p, PlanChoice::heuristic, timer)->choice(), third);
  }
  PlanFile file(folder / "plans.json");
  timed = 0;
  ConvPlans again(properties(h100()), "H100", &file);
  EXPECT_EQ(again.get(p, PlanChoice::measured, timer)->choice(), third);
  EXPECT_EQ(timed, 0) << "what the file has is not timed";
  ConvPlans elsewhere(properties(h100()), "another device", &file);
  elsewhere.get(p, PlanChoice::measured, timer);
  EXPECT_GT(timed, 0) << "the file's plans are for one device";
}

TEST(ConvPlans, NothingIsTimedWithoutATimer) {
  ConvPlans plans(properties(h100()), "H100", nullptr);
  const auto p = problem(ConvPass::forward, "bfloat16", kLayer);
  const auto during_capture = plans.get(p, PlanChoice::measured, {});
  EXPECT_EQ(during_capture, plans.get(p, PlanChoice::heuristic, {}));
  // Met again outside of the capture, it is measured after all.
  int timed = 0;
  plans.get(p, PlanChoice::measured, [&](const ConvPlan&) { return static_cast<double>(-++timed); });
  EXPECT_EQ(timed, static_cast<int>(ConvPlans::kMeasured));
}

TEST(ConvPlans, AStaleEntryOfTheFileIsMeasuredAnew) {
  const test::TempDir folder;
  PlanFile file(folder / "plans.json");
  const auto p = problem(ConvPass::forward, "bfloat16", kLayer);
  file.put("H100", p.key(), {{9999, {}}, 0.5});
  ConvPlans plans(properties(h100()), "H100", &file);
  testing::internal::CaptureStderr();
  const auto plan = plans.get(p, PlanChoice::measured, [](const ConvPlan&) { return 1.0; });
  const auto said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("engine 9999 knobs {} for forward bfloat16"), std::string::npos) << said;
  EXPECT_EQ(file.find("H100", p.key())->choice, plan->choice());
}

TEST(ConvPlans, WhatDoesNotRunIsReplaced) {
  ConvPlans plans(properties(h100()), "H100", nullptr);
  const auto p = problem(ConvPass::backward_weight, "float64", kLayer);
  std::set<std::int64_t> engines;
  // There are few engines for double. When the last is rejected, the error says so.
  try {
    for (int i = 0; i < 100; ++i) {
      const auto plan = plans.get(p, PlanChoice::heuristic, {});
      engines.insert(plan->choice().engine);
      plans.reject(*plan);
    }
    FAIL() << "nothing was thrown";
  } catch (const CudnnError& error) {
    EXPECT_NE(std::string(error.what())
                  .find("conv2d backward_weight float64 32x32x32x64 * 64x64x3x3 stride 1 padding 1 "
                        "groups 1: cuDNN has no engine on H100"),
              std::string::npos)
        << error.what();
  }
  EXPECT_GT(engines.size(), 1u);
  // And where a timed plan fails, the others are still there.
  int timed = 0;
  const auto q = problem(ConvPass::forward, "float64", kLayer);
  const auto plan = plans.get(q, PlanChoice::measured, [&](const ConvPlan&) -> double {
    if (++timed == 1) throw NotSupported("does not run");
    return 1.0;
  });
  EXPECT_GT(timed, 1);
  // What is broken is not tried again on something else: the device may be gone.
  const auto r = problem(ConvPass::forward, "float32", kLayer);
  timed = 0;
  const Timer broken = [&](const ConvPlan&) -> double {
    ++timed;
    throw CudnnError("CUDNN_STATUS_EXECUTION_FAILED");
  };
  expect_error<CudnnError>([&] { plans.get(r, PlanChoice::measured, broken); }, "EXECUTION_FAILED");
  EXPECT_EQ(timed, 1);
}

TEST(CudnnErrors, NotSupportedIsToldFromBroken) {
  EXPECT_THROW(check("call", CUDNN_STATUS_NOT_SUPPORTED_SHAPE), NotSupported);
  EXPECT_THROW(in_context("what", [] { check("call", CUDNN_STATUS_NOT_SUPPORTED); }), NotSupported);
  for (const auto status : {CUDNN_STATUS_EXECUTION_FAILED, CUDNN_STATUS_BAD_PARAM}) {
    try {
      in_context("what", [&] { check("call", status); });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const NotSupported&) {
      ADD_FAILURE() << "taken for NotSupported: " << cudnnGetErrorString(status);
    } catch (const CudnnError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("what: call: CUDNN_STATUS_"));
    }
  }
}

}  // namespace
}  // namespace mwalimu::gpu::cudnn
