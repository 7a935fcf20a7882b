#include "mwalimu/optim/optimizer.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "support/compare.hpp"

namespace mwalimu::optim {
namespace {

// A model's arena: segments of the given sizes with gaps of NaN, which any touch would spread, and
// random values. Odd segments are exempt from weight decay.
struct Arena {
  std::vector<Segment> segments;
  std::vector<float> values, gradients;

  explicit Arena(std::vector<index_t> counts, std::uint64_t seed = 1) {
    index_t offset = 3;
    for (std::size_t s = 0; s < counts.size(); ++s) {
      segments.push_back({.name = "p" + std::to_string(s),
                          .offset = offset,
                          .count = counts[s],
                          .decay = s % 2 == 0});
      offset += counts[s] + 5;
    }
    values.assign(static_cast<std::size_t>(offset), std::numeric_limits<float>::quiet_NaN());
    gradients = values;
    RandomStream random(seed, Purpose::test);
    for (const Segment& segment : segments) {
      for (float& value : of(values, segment)) value = random.normal();
    }
    draw_gradients(seed);
  }
  static std::span<float> of(std::vector<float>& arena, const Segment& segment) {
    return std::span(arena).subspan(static_cast<std::size_t>(segment.offset),
                                    static_cast<std::size_t>(segment.count));
  }
  void draw_gradients(std::uint64_t step) {
    for (std::size_t s = 0; s < segments.size(); ++s) {
      RandomStream random(99, Purpose::test, step, s);
      for (float& value : of(gradients, segments[s])) value = random.uniform(-0.2f, 0.2f);
    }
  }
  index_t size() const { return static_cast<index_t>(values.size()); }
};

std::vector<std::uint32_t> bits_of(std::span<const float> values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

const std::vector<std::pair<std::string, OptimizerOptions>>& every_rule() {
  static const std::vector<std::pair<std::string, OptimizerOptions>> rules = {
      {"sgd", SgdOptions{.weight_decay = 0.01}},
      {"sgd l2", SgdOptions{.weight_decay = 0.01, .decay_rule = WeightDecay::l2}},
      {"adam", AdamOptions{}},
      {"adamw", AdamOptions::pytorch()},
      {"lamb", LambOptions{.weight_decay = 0.01}},
      {"larc", LarcOptions{.weight_decay = 0.01}},
      {"larc without clip", LarcOptions{.weight_decay = 0.01, .trust = 0.5, .clip = false}},
      {"lars", LarsOptions{.weight_decay = 0.01, .trust = 0.5}},
      {"lars with clip", LarsOptions{.weight_decay = 0.01, .clip = true}},
      {"lars lightly", LarsOptions{.weight_decay = 0.01, .scale_undecayed = false}},
      {"radam", RadamOptions{.weight_decay = 0.01}},
      {"radam softplus", RadamOptions{.weight_decay = 0.01, .softplus_beta = 50}},
      {"ranger", RangerOptions{.epsilon = 1e-4}},
  };
  return rules;
}

// --- The formulas of options.hpp, written out in double, one tensor at a time
// -----------------------

struct Reference {
  std::vector<double> p, m, v, slow;
  int t = 0;
};

double norm(const std::vector<double>& x) {
  return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}

void reference_step(const SgdOptions& o, Reference& r, std::vector<double> g, double lr,
                    double wd) {
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (o.decay_rule == WeightDecay::l2) {
      g[i] += wd * r.p[i];
    } else {
      r.p[i] *= 1 - lr * wd;
    }
    r.m[i] = o.momentum * r.m[i] + g[i];
    r.p[i] -= lr * r.m[i];
  }
}

void reference_step(const LarcOptions& o, Reference& r, std::vector<double> g, double lr,
                    double wd) {
  for (double& p : r.p) p *= 1 - lr * wd;
  double local = lr * o.trust * norm(r.p) / (norm(g) + o.weight_decay * norm(r.p) + o.epsilon);
  if (o.clip) local = std::min(lr, local);
  for (std::size_t i = 0; i < g.size(); ++i) {
    r.m[i] = o.momentum * r.m[i] + g[i];
    r.p[i] -= local * r.m[i];
  }
}

void reference_step(const LarsOptions& o, Reference& r, std::vector<double> g, double lr,
                    double wd) {
  const double p_norm = norm(r.p), g_norm = norm(g);
  if (p_norm != 0 && g_norm != 0 && (wd != 0 || o.scale_undecayed)) {
    double a = o.trust * p_norm / (g_norm + wd * p_norm + o.epsilon);
    if (o.clip) a = std::min(a / lr, 1.0);
    for (std::size_t i = 0; i < g.size(); ++i) g[i] = a * (g[i] + wd * r.p[i]);
  }
  for (std::size_t i = 0; i < g.size(); ++i) {
    r.m[i] = o.momentum * r.m[i] + g[i];
    r.p[i] -= lr * r.m[i];
  }
}

template <class Options>
void reference_moments(const Options& o, Reference& r, const std::vector<double>& g, double lr,
                       double wd) {
  for (std::size_t i = 0; i < g.size(); ++i) {
    r.p[i] *= 1 - lr * wd;
    r.m[i] = o.momentum * r.m[i] + (1 - o.momentum) * g[i];
    r.v[i] = o.squared_momentum * r.v[i] + (1 - o.squared_momentum) * g[i] * g[i];
  }
}

void reference_step(const AdamOptions& o, Reference& r, std::vector<double> g, double lr,
                    double wd) {
  reference_moments(o, r, g, lr, wd);
  const double d1 = 1 - std::pow(o.momentum, r.t), d2 = 1 - std::pow(o.squared_momentum, r.t);
  for (std::size_t i = 0; i < g.size(); ++i) {
    r.p[i] -= lr / d1 * r.m[i] / (std::sqrt(r.v[i] / d2) + o.epsilon);
  }
}

void reference_step(const LambOptions& o, Reference& r, std::vector<double> g, double lr,
                    double wd) {
  reference_moments(o, r, g, lr, wd);
  const double d1 = 1 - std::pow(o.momentum, r.t), d2 = 1 - std::pow(o.squared_momentum, r.t);
  std::vector<double> u(g.size());
  for (std::size_t i = 0; i < g.size(); ++i) {
    u[i] = r.m[i] / d1 / (std::sqrt(r.v[i] / d2) + o.epsilon);
  }
  const double root = std::sqrt(static_cast<double>(g.size()));
  const double r1 = norm(r.p) / root, r2 = norm(u) / root;
  const double q = r1 == 0 || r2 == 0 ? 1 : std::min(r1 / r2, 10.0);
  for (std::size_t i = 0; i < g.size(); ++i) r.p[i] -= lr * q * u[i];
}

template <class Options>
void reference_radam(const Options& o, Reference& r, const std::vector<double>& g, double lr,
                     double wd) {
  reference_moments(o, r, g, lr, wd);
  const double beta2 = o.squared_momentum, power = std::pow(beta2, r.t);
  const double d1 = 1 - std::pow(o.momentum, r.t), d2 = 1 - power;
  const double r_inf = 2 / (1 - beta2) - 1, rt = r_inf - 2 * r.t * power / d2;
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (rt > 5) {
      const double rho = std::sqrt((rt - 4) * (rt - 2) * r_inf / ((r_inf - 4) * (r_inf - 2) * rt));
      double x = std::sqrt(r.v[i] / d2) + o.epsilon;
      if (o.softplus_beta > 0) x = std::log(1 + std::exp(o.softplus_beta * x)) / o.softplus_beta;
      r.p[i] -= lr * rho / d1 * r.m[i] / x;
    } else {
      r.p[i] -= lr / d1 * r.m[i];
    }
  }
}

void reference_step(const RadamOptions& o, Reference& r, std::vector<double> g, double lr,
                    double wd) {
  reference_radam(o, r, g, lr, wd);
}

void reference_step(const RangerOptions& o, Reference& r, std::vector<double> g, double lr,
                    double wd) {
  if (r.t == 1) r.slow = r.p;
  reference_radam(o, r, g, lr, wd);
  if (r.t % o.period != 0) return;
  for (std::size_t i = 0; i < g.size(); ++i) {
    r.slow[i] += o.blend * (r.p[i] - r.slow[i]);
    r.p[i] = r.slow[i];
  }
}

// Sizes: one element, primes, around a vector, around a chunk, many chunks.
const std::vector<index_t> kSizes = {
    1, 3, 17, 16, 97, kChunk - 1, kChunk + 1, 2 * kChunk, 9 * kChunk + 7, 31};

TEST(Optimizer, EveryRuleMatchesItsFp64Reference) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Arena arena(kSizes);
    Optimizer optimizer(options, arena.segments, arena.size());
    std::vector<Reference> references;
    for (const Segment& segment : arena.segments) {
      const auto p = test::to_double(Arena::of(arena.values, segment));
      const std::vector<double> zero(p.size());
      references.push_back({p, zero, zero, zero});
    }
    constexpr double lr = 0.02;
    // 13 steps: RAdam's denominator sets in at 6, Lookahead acts at 6 and 12.
    for (int t = 1; t <= 13; ++t) {
      arena.draw_gradients(static_cast<std::uint64_t>(t));
      optimizer.step(arena.values, arena.gradients, arena.segments, {.lr = lr});
      std::visit(
          [&](const auto& o) {
            for (std::size_t s = 0; s < references.size(); ++s) {
              const Segment& segment = arena.segments[s];
              references[s].t = t;
              reference_step(o, references[s], test::to_double(Arena::of(arena.gradients, segment)),
                             lr, segment.decay ? o.weight_decay : 0.0);
            }
          },
          options);
    }
    for (std::size_t s = 0; s < references.size(); ++s) {
      // Each step rounds p once (6e-8) and the update a few times, which is smaller than p.
      EXPECT_TRUE(test::near_l2(test::to_double(Arena::of(arena.values, arena.segments[s])),
                                references[s].p, 5e-7))
          << arena.segments[s].name;
    }
  }
}

TEST(Optimizer, LeavesThePaddingBetweenSegmentsAlone) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Arena arena({5, 16, 33});
    std::fill(arena.gradients.begin(), arena.gradients.end(), 1.0f);
    std::vector<float> expected = arena.values;
    Optimizer optimizer(options, arena.segments, arena.size());
    for (int t = 0; t < 7; ++t) {
      optimizer.step(arena.values, arena.gradients, arena.segments, {.lr = 0.1});
    }
    for (const Segment& segment : arena.segments) {
      const auto now = Arena::of(arena.values, segment);
      std::copy(now.begin(), now.end(), Arena::of(expected, segment).begin());
      for (const float value : now) EXPECT_TRUE(std::isfinite(value));
    }
    EXPECT_EQ(bits_of(arena.values), bits_of(expected));
  }
}

TEST(Optimizer, GivesTheSameBitsForAnyNumberOfThreads) {
  const int threads_before = num_threads();
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    std::vector<std::uint32_t> first;
    for (const int threads : {1, 2, 3, 5}) {
      set_num_threads(threads);
      Arena arena({64, 40000, 1, 9 * kChunk + 20000, 64, 100003});
      Optimizer optimizer(options, arena.segments, arena.size());
      for (int t = 1; t <= 6; ++t) {
        optimizer.step(arena.values, arena.gradients, arena.segments, {.lr = 0.02});
      }
      if (first.empty()) first = bits_of(arena.values);
      EXPECT_EQ(bits_of(arena.values), first) << threads << " threads";
    }
  }
  set_num_threads(threads_before);
}

TEST(Optimizer, WeightDecaySparesSegmentsWithoutDecay) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    OptimizerOptions without = options;
    std::visit([](auto& o) { o.weight_decay = 0; }, without);
    Arena with_arena({40, 40}), without_arena({40, 40});
    Optimizer a(options, with_arena.segments, with_arena.size());
    Optimizer b(without, without_arena.segments, without_arena.size());
    a.step(with_arena.values, with_arena.gradients, with_arena.segments, {.lr = 0.02});
    b.step(without_arena.values, without_arena.gradients, without_arena.segments, {.lr = 0.02});
    const auto bits = [](Arena& arena, std::size_t s) {
      return bits_of(Arena::of(arena.values, arena.segments[s]));
    };
    EXPECT_NE(bits(with_arena, 0), bits(without_arena, 0));
    // fastai's LARC has the decay of the group in every local rate, as training it has shown.
    if (!std::holds_alternative<LarcOptions>(options)) {
      EXPECT_EQ(bits(with_arena, 1), bits(without_arena, 1));
    }
  }
}

TEST(Optimizer, DecayIsSubtractedWithoutTheRoundingOfOneMinusDecay) {
  // lr wd = 1e-6: a factor 1 - 1e-6 rounded to float decays by 1.0133e-6.
  std::vector<Segment> segments = {{.name = "w", .count = 1000}};
  std::vector<float> values(1000), gradients(1000);
  RandomStream random(3, Purpose::test);
  for (float& value : values) value = random.uniform(0.5f, 1.0f);
  const double before = std::accumulate(values.begin(), values.end(), 0.0);
  Optimizer optimizer(SgdOptions{.weight_decay = 0.01}, segments, 1000);
  for (int t = 0; t < 100; ++t) optimizer.step(values, gradients, segments, {.lr = 1e-4});
  const double lost = 1 - std::accumulate(values.begin(), values.end(), 0.0) / before;
  EXPECT_NEAR(lost, 1e-4, 1e-6);
}

TEST(Optimizer, FrozenSegmentsKeepValueStateAndStep) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Arena arena({50, 60, 70});
    Optimizer optimizer(options, arena.segments, arena.size());
    optimizer.step(arena.values, arena.gradients, arena.segments, {.lr = 0.02});
    const auto snapshot = [&] {
      std::vector<std::vector<std::uint32_t>> all;
      const Segment& frozen = arena.segments[1];
      all.push_back(bits_of(Arena::of(arena.values, frozen)));
      optimizer.for_each_state([&](std::string_view, Tensor<float>& tensor) {
        const auto state = tensor.span();
        all.push_back(bits_of(state.subspan(static_cast<std::size_t>(frozen.offset),
                                            static_cast<std::size_t>(frozen.count))));
      });
      return all;
    };
    const auto before = snapshot();
    arena.segments[1].trainable = false;
    arena.draw_gradients(2);
    std::fill_n(Arena::of(arena.gradients, arena.segments[1]).begin(), 60,
                std::numeric_limits<float>::quiet_NaN());
    optimizer.step(arena.values, arena.gradients, arena.segments, {.lr = 0.02});
    EXPECT_EQ(snapshot(), before);
    optimizer.for_each_counter([](std::string_view, const Tensor<std::int64_t>& steps) {
      EXPECT_EQ(steps.to_vector(), (std::vector<std::int64_t>{2, 1, 2}));
    });
    for (const float value : Arena::of(arena.values, arena.segments[2])) {
      EXPECT_TRUE(std::isfinite(value));
    }
  }
}

TEST(Optimizer, RestoredStateGivesTheSameNextStepsBitForBit) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Arena arena({1, 40, 20000});
    Optimizer optimizer(options, arena.segments, arena.size());
    const auto run = [](Optimizer& which, Arena& on, int first, int last) {
      for (int t = first; t <= last; ++t) {
        on.draw_gradients(static_cast<std::uint64_t>(t));
        which.step(on.values, on.gradients, on.segments, {.lr = 0.02, .momentum = 0.8 + 0.01 * t});
      }
    };
    run(optimizer, arena, 1, 8);

    std::vector<std::pair<std::string, Tensor<float>>> saved;
    Tensor<std::int64_t> steps;
    const Optimizer& readable = optimizer;
    readable.for_each_state([&](std::string_view state, const Tensor<float>& values) {
      saved.emplace_back(state, values.clone());
    });
    readable.for_each_counter([&](std::string_view, const Tensor<std::int64_t>& counts) {
      steps = counts.clone();
    });
    Arena resumed_arena = arena;
    Optimizer resumed(options, arena.segments, arena.size());
    std::size_t at = 0;
    resumed.for_each_state([&](std::string_view state, Tensor<float>& values) {
      ASSERT_LT(at, saved.size());
      EXPECT_EQ(state, saved[at].first);
      values.copy_from(saved[at].second);
      ++at;
    });
    EXPECT_EQ(at, saved.size());
    resumed.for_each_counter([&](std::string_view, Tensor<std::int64_t>& counts) {
      counts.copy_from(steps);
    });

    run(optimizer, arena, 9, 15);
    run(resumed, resumed_arena, 9, 15);
    EXPECT_EQ(bits_of(arena.values), bits_of(resumed_arena.values));
  }
}

TEST(Optimizer, CopyHasItsOwnStateAndResetForgetsIt) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Arena arena({30, 40});
    const Arena start = arena;
    Optimizer optimizer(options, arena.segments, arena.size());
    const Optimizer untouched = optimizer;
    const auto after_eight_steps = [&](Optimizer which) {
      Arena on = start;
      for (int t = 0; t < 8; ++t) which.step(on.values, on.gradients, on.segments, {.lr = 0.02});
      return bits_of(on.values);
    };
    const auto expected = after_eight_steps(untouched);
    optimizer.step(arena.values, arena.gradients, arena.segments, {.lr = 0.02});
    EXPECT_EQ(after_eight_steps(untouched), expected) << "the copy saw the step of the original";
    optimizer.reset();
    EXPECT_EQ(after_eight_steps(optimizer), expected) << "reset";
  }
}

TEST(Optimizer, GroupScaleAndGradientScaleActAsTheirProducts) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    Arena scaled({50, 60});
    scaled.segments[1].group = 1;
    Arena plain = scaled;
    // Powers of two: multiplying by them is exact.
    for (float& g : scaled.gradients) g *= 1024;
    const std::vector<double> scales = {0.25, 1};
    Optimizer a(options, scaled.segments, scaled.size()), b(options, plain.segments, plain.size());
    for (int t = 0; t < 3; ++t) {
      a.step(scaled.values, scaled.gradients, scaled.segments,
             {.lr = 0.04, .group_scale = scales, .gradient_scale = 1.0 / 1024});
      // The same with one learning rate a step, the other segment frozen.
      for (int active = 0; active < 2; ++active) {
        plain.segments[0].trainable = active == 0;
        plain.segments[1].trainable = active == 1;
        b.step(plain.values, plain.gradients, plain.segments, {.lr = active == 0 ? 0.01 : 0.04});
      }
    }
    EXPECT_EQ(bits_of(scaled.values), bits_of(plain.values));
  }
}

TEST(Optimizer, MomentumOfTheStepReplacesTheOptions) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    OptimizerOptions other = options;
    std::visit([](auto& o) { o.momentum = 0.6; }, other);
    Arena one({20}), two({20});
    Optimizer a(options, one.segments, one.size()), b(other, two.segments, two.size());
    for (std::uint64_t t = 1; t <= 3; ++t) {
      one.draw_gradients(t);
      two.draw_gradients(t);
      a.step(one.values, one.gradients, one.segments, {.lr = 0.1, .momentum = 0.6});
      b.step(two.values, two.gradients, two.segments, {.lr = 0.1});
    }
    EXPECT_EQ(bits_of(one.values), bits_of(two.values));
  }
}

TEST(Optimizer, LambTakesAPlainStepFromZeroAndCapsTheRatioAtTen) {
  std::vector<Segment> segments = {{.name = "gamma", .count = 4},
                                   {.name = "large", .offset = 4, .count = 4}};
  std::vector<float> values = {0, 0, 0, 0, 1000, 1000, 1000, 1000};
  const std::vector<float> gradients(8, 0.5f);
  Optimizer optimizer(LambOptions{}, segments, 8);
  optimizer.step(values, gradients, segments, {.lr = 0.01});
  // The first u is g / (|g| + epsilon), almost 1.
  EXPECT_NEAR(values[0], -0.01f, 1e-6f);
  EXPECT_NEAR(values[4], 1000 - 0.1f, 1e-4f);
}

TEST(Optimizer, ZeroGradientsAndHugeOnesStayFinite) {
  for (const auto& [name, options] : every_rule()) {
    SCOPED_TRACE(name);
    for (const float g : {0.0f, 1e-30f, 1e15f}) {
      Arena arena({33});
      std::fill(arena.gradients.begin(), arena.gradients.end(), g);
      Optimizer optimizer(options, arena.segments, arena.size());
      for (int t = 0; t < 8; ++t) {
        optimizer.step(arena.values, arena.gradients, arena.segments, {.lr = 1e-4});
      }
      for (const float value : Arena::of(arena.values, arena.segments[0])) {
        EXPECT_TRUE(std::isfinite(value)) << "gradient " << g;
      }
    }
  }
}

template <class E>
void expect_error(const std::function<void()>& body, const std::string& text) {
  try {
    body();
    ADD_FAILURE() << "no error; want one with '" << text << "'";
  } catch (const E& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(Optimizer, RejectsWrongArguments) {
  Arena arena({10, 20});
  auto& [segments, values, gradients] = arena;
  Optimizer optimizer(SgdOptions{}, segments, arena.size());
  const auto step = [&](HyperParameters hyper) {
    optimizer.step(values, gradients, segments, hyper);
  };
  expect_error<ValueError>([&] { step({.lr = -1}); }, "learning rate >= 0, got -1");
  expect_error<ValueError>([&] { step({.lr = std::nan("")}); }, "learning rate");
  expect_error<ValueError>([&] { step({.lr = 1, .momentum = 1.0}); }, "momentum in [0, 1), got 1");
  expect_error<ValueError>([&] { step({.lr = 1, .gradient_scale = INFINITY}); }, "gradient_scale");
  const std::vector<double> scales = {1.0};
  segments[1].group = 1;
  expect_error<ValueError>([&] { step({.lr = 1, .group_scale = scales}); },
                           "'p1' is of group 1, but there are 1");
  std::vector<float> shorter(values.begin(), values.end() - 1);
  expect_error<ShapeError>([&] { optimizer.step(shorter, gradients, segments, {}); }, "values");
  std::vector<Segment> moved = segments;
  moved[1].offset += 1;
  expect_error<ShapeError>([&] { optimizer.step(values, gradients, moved, {}); }, "'p1' has moved");
  moved.pop_back();
  expect_error<ShapeError>([&] { optimizer.step(values, gradients, moved, {}); }, "2 segments");

  const auto make = [&](OptimizerOptions options) { Optimizer(options, segments, 100); };
  expect_error<ValueError>([&] { make(SgdOptions{.momentum = 1}); }, "momentum in [0, 1), got 1");
  expect_error<ValueError>([&] { make(LambOptions{.squared_momentum = -0.1}); },
                           "squared_momentum");
  expect_error<ValueError>([&] { make(AdamOptions{.epsilon = 0}); }, "epsilon > 0, got 0");
  expect_error<ValueError>([&] { make(LarsOptions{.trust = 0}); }, "trust coefficient > 0, got 0");
  expect_error<ValueError>([&] { make(RadamOptions{.softplus_beta = -1}); }, "softplus_beta");
  expect_error<ValueError>([&] { make(RangerOptions{.period = 0}); }, "period >= 1");
  expect_error<ValueError>([&] { make(SgdOptions{.weight_decay = -1}); }, "weight decay >= 0");
  expect_error<ShapeError>([&] { Optimizer(SgdOptions{}, segments, 20); },
                           "leaves the arena of 20");
  std::vector<Segment> overlapping = segments;
  overlapping[1].offset = 5;
  expect_error<ShapeError>([&] { Optimizer(SgdOptions{}, overlapping, 100); }, "overlaps");
  overlapping[1] = {.name = "empty", .offset = 50, .count = 0};
  expect_error<ShapeError>([&] { Optimizer(SgdOptions{}, overlapping, 100); }, "'empty'");
}

TEST(OptimizerOptions, AreFoundByNameAndAnUnknownNameListsTheKnown) {
  for (const std::string_view name : kOptimizerNames) {
    const OptimizerOptions options = optimizer_options(name, 0.125);
    std::visit([&](const auto& o) { EXPECT_EQ(o.weight_decay, 0.125) << name; }, options);
  }
  EXPECT_TRUE(std::holds_alternative<LambOptions>(optimizer_options("lamb")));
  EXPECT_TRUE(std::holds_alternative<RangerOptions>(optimizer_options("ranger")));
  EXPECT_TRUE(std::get<LarsOptions>(optimizer_options("larc-apex")).clip);
  EXPECT_FALSE(std::get<LarsOptions>(optimizer_options("lars")).clip);
  EXPECT_EQ(std::get<AdamOptions>(optimizer_options("adamw")).squared_momentum, 0.999);
  EXPECT_EQ(std::get<AdamOptions>(optimizer_options("adam")).squared_momentum, 0.99);
  expect_error<ValueError>([] { optimizer_options("lam"); },
                           "unknown optimizer 'lam'; want one of lamb, lars, larc, larc-apex, sgd, "
                           "adam, adamw, radam, ranger");
}

TEST(LearningRates, AreGeometricFromFirstToLast) {
  EXPECT_TRUE(test::near_max(geometric_learning_rates(1e-4, 1e-2, 3),
                             std::vector<double>{1e-4, 1e-3, 1e-2}, 1e-15));
  EXPECT_EQ(geometric_learning_rates(1e-4, 1e-2, 1), (std::vector<double>{1e-2}));
  EXPECT_EQ(tenth_learning_rates(1.0, 3), (std::vector<double>{0.1, 0.1, 1.0}));
  EXPECT_EQ(tenth_learning_rates(1.0, 1), (std::vector<double>{1.0}));
  EXPECT_THROW(geometric_learning_rates(0, 1, 2), ValueError);
  EXPECT_THROW(geometric_learning_rates(1, 1, 0), ValueError);
}

}  // namespace
}  // namespace mwalimu::optim
