#include <gtest/gtest.h>

#include "mwalimu/optim/optimizer.hpp"
#include "support/golden.hpp"

namespace mwalimu::optim {
namespace {

// The algorithm of a case with the case's hyper-parameters. An unknown name is an error.
OptimizerOptions options_of(const golden::Case& c) {
  const auto& hp = c.at("hp");
  const auto number = [&](const char* name) { return hp.at(name).get<double>(); };
  const std::string algo = c.at("algo");
  const double momentum = number("mom"), wd = number("wd");
  if (algo == "sgd_fastai") return SgdOptions{momentum, wd, WeightDecay::decoupled};
  if (algo == "sgd_l2") return SgdOptions{momentum, wd, WeightDecay::l2};
  if (algo == "larc_fastai") {
    return LarcOptions{momentum, wd, number("trust"), number("eps"), hp.at("clip").get<bool>()};
  }
  if (algo == "larc_apex") {
    return LarsOptions{momentum, wd, number("trust"), number("eps"), hp.at("clip").get<bool>(),
                       true};
  }
  if (algo == "lars_lightly") {
    return LarsOptions{momentum, wd, number("trust"), number("eps"), false, false};
  }
  const double squared = number("sqr_mom"), epsilon = number("eps");
  if (algo == "adam_fastai" || algo == "adamw_torch") {
    return AdamOptions{momentum, squared, epsilon, wd};
  }
  if (algo == "lamb") return LambOptions{momentum, squared, epsilon, wd};
  if (algo == "radam") return RadamOptions{momentum, squared, epsilon, wd, number("beta")};
  if (algo == "ranger") {
    return RangerOptions{
        momentum, squared, epsilon, wd, number("beta"), hp.at("k").get<int>(), number("alpha")};
  }
  throw ValueError("golden: no optimizer '" + algo + "'");
}

TEST(OptimizerGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "optim");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    std::vector<Segment> segments;
    std::vector<golden::Shape> shapes;
    index_t size = 0;
    for (const auto& parameter : c.at("params")) {
      shapes.push_back(parameter.at(1).get<golden::Shape>());
      index_t count = 1;
      for (const index_t extent : shapes.back()) count *= extent;
      segments.push_back(
          {.name = parameter.at(0), .offset = size, .count = count, .decay = parameter.at(2)});
      size += count + 7;  // a gap that no rule may touch
    }
    std::vector<float> values(static_cast<std::size_t>(size)), gradients = values;
    const auto put = [&](std::vector<float>& arena, std::size_t s, std::vector<float> tensor,
                         double scale) {
      for (std::size_t i = 0; i < tensor.size(); ++i) {
        arena[static_cast<std::size_t>(segments[s].offset) + i] =
            static_cast<float>(scale * static_cast<double>(tensor[i]));
      }
    };
    for (std::size_t s = 0; s < segments.size(); ++s) {
      put(values, s, c.fill(segments[s].name, shapes[s], golden::Fill::input), 1);
    }
    Optimizer optimizer(options_of(c), segments, size);
    for (int k = 1; k <= c.at("steps").get<int>(); ++k) {
      for (std::size_t s = 0; s < segments.size(); ++s) {
        const std::string name = "grad" + std::to_string(k) + "." + segments[s].name;
        put(gradients, s, c.fill(name, shapes[s], golden::Fill::input), 0.1);
      }
      optimizer.step(values, gradients, segments, {.lr = c.at("hp").at("lr").get<double>()});
      for (const Segment& segment : segments) {
        const std::string name = "step" + std::to_string(k) + "." + segment.name;
        const auto got = std::span(values).subspan(static_cast<std::size_t>(segment.offset),
                                                   static_cast<std::size_t>(segment.count));
        // Parameters near 1 in float32: a rounding of 6e-8 a step, and as much again from g.
        EXPECT_TRUE(test::near_max(test::to_double(got), c.tensor(name).values, 3e-7)) << name;
      }
    }
  }
}

}  // namespace
}  // namespace mwalimu::optim
