#include "mwalimu/optim/schedule.hpp"

#include <gtest/gtest.h>

#include "mwalimu/optim/lr_find.hpp"
#include "support/golden.hpp"

namespace mwalimu::optim {
namespace {

SchedulePoint golden_point(const golden::Case& c, double position) {
  const auto& hp = c.at("hp");
  const auto number = [&](const char* name) { return hp.at(name).get<double>(); };
  const std::string name = c.at("sched");
  if (name == "one_cycle") {
    return OneCycle{number("lr"), number("div"), number("div_final"), number("pct_start"),
                    hp.at("moms").get<std::array<double, 3>>()}(position);
  }
  if (name == "flat_cos") {
    return FlatCosine{number("lr"), number("pct_start"), number("div_final")}(position);
  }
  if (name == "sgdr") {
    return Sgdr{number("lr"), hp.at("n_cycles").get<int>(), number("cycle_mult")}(position);
  }
  if (name == "lr_find") return Exponential{number("end"), number("start")}(position);
  throw ValueError("golden: no schedule '" + name + "'");
}

TEST(ScheduleGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "schedule");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto positions = c.tensor("pos").values;
    std::vector<double> rates, momenta;
    for (const double position : positions) {
      const SchedulePoint point = golden_point(c, position);
      rates.push_back(point.lr);
      momenta.push_back(point.momentum.value_or(-1));
    }
    // Both sides are the same formula in double.
    EXPECT_TRUE(test::near_max(rates, c.tensor("lr").values, 1e-12));
    if (c.has_tensor("mom")) {
      EXPECT_TRUE(test::near_max(momenta, c.tensor("mom").values, 1e-12));
    }
  }
}

TEST(OneCycle, StartsAtADivTopsAtPctStartAndEndsAtDivFinal) {
  const OneCycle schedule{.lr = 1, .pct_start = 0.25};
  EXPECT_NEAR(schedule(0).lr, 1 / 25.0, 1e-15);
  EXPECT_NEAR(*schedule(0).momentum, 0.95, 1e-15);
  EXPECT_NEAR(schedule(0.25).lr, 1, 1e-15);
  EXPECT_NEAR(*schedule(0.25).momentum, 0.85, 1e-15);
  EXPECT_NEAR(schedule(1).lr, 1e-5, 1e-15);
  EXPECT_NEAR(schedule(0.25 - 1e-9).lr, 1, 1e-12) << "continuous at the top";
  EXPECT_NEAR((OneCycle{.lr = 1, .pct_start = 1}(1).lr), 1, 1e-15);
  EXPECT_NEAR((OneCycle{.lr = 1, .pct_start = 0}(0).lr), 1, 1e-15);
}

TEST(CosineWarmup, RisesLinearlyThenFallsByHalfACosine) {
  const CosineWarmup schedule{.lr = 2, .warmup = 0.1, .lr_start = 0.5, .lr_final = 0.1};
  EXPECT_DOUBLE_EQ(schedule(0).lr, 0.5);
  EXPECT_DOUBLE_EQ(schedule(0.05).lr, 1.25);
  EXPECT_DOUBLE_EQ(schedule(0.1).lr, 2);
  // lr_final + (lr - lr_final) (1 + cos(pi x)) / 2 as in SwAV's code, at x = 1/2 and 3/4.
  EXPECT_NEAR(schedule(0.55).lr, 0.1 + 1.9 * 0.5, 1e-14);
  EXPECT_NEAR(schedule(0.775).lr, 0.1 + 1.9 * (1 + std::cos(0.75 * std::numbers::pi)) / 2, 1e-14);
  EXPECT_NEAR(schedule(1).lr, 0.1, 1e-15);
  EXPECT_DOUBLE_EQ((CosineWarmup{.lr = 2, .warmup = 0}(0).lr), 2);
  EXPECT_DOUBLE_EQ((CosineWarmup{.lr = 2, .warmup = 1}(0.5).lr), 1);
  EXPECT_FALSE(schedule(0.3).momentum.has_value());
}

TEST(Sgdr, RestartsAtTheTopAndAllowsCyclesOfOneLength) {
  const Sgdr schedule{.lr = 1, .cycles = 3, .cycle_mult = 2};
  EXPECT_DOUBLE_EQ(schedule.units(), 7);
  for (const double start : {0.0, 1.0, 3.0}) EXPECT_NEAR(schedule(start / 7 + 1e-12).lr, 1, 1e-9);
  for (const double end : {1.0, 3.0, 7.0}) EXPECT_NEAR(schedule(end / 7 - 1e-12).lr, 0, 1e-9);
  EXPECT_NEAR(schedule(2.0 / 7).lr, 0.5, 1e-12);
  EXPECT_NEAR(schedule(1).lr, 0, 1e-15);
  const Sgdr equal{.lr = 1, .cycles = 4, .cycle_mult = 1};
  EXPECT_DOUBLE_EQ(equal(0.25).lr, 1);
  EXPECT_DOUBLE_EQ(equal(0.375).lr, 0.5);
}

TEST(Exponential, RisesByTheSameFactorFromStartToItsRate) {
  const Exponential schedule{.lr = 1, .start = 1e-4};
  EXPECT_DOUBLE_EQ(schedule(0).lr, 1e-4);
  EXPECT_NEAR(schedule(0.25).lr, 1e-3, 1e-15);
  EXPECT_NEAR(schedule(1).lr, 1, 1e-15);
  EXPECT_FALSE(schedule(0.5).momentum.has_value());
}

// fastai: freeze; one-cycle(freeze_epochs, lr, pct_start .99); lr / 2; unfreeze; one-cycle(epochs, lr,
// pct_start .3, div 5).
TEST(FineTune, IsTwoOneCyclesTheSecondHalfAsHigh) {
  const FineTune schedule{.lr = 0.02, .frozen = 0.25};
  EXPECT_NEAR(schedule(0).lr, 0.02 / 25, 1e-15);
  EXPECT_NEAR(schedule(0.25 * 0.99).lr, 0.02, 1e-12);
  EXPECT_NEAR(*schedule(0.25 * 0.99).momentum, 0.85, 1e-12);
  EXPECT_NEAR(schedule(0.25).lr, 0.01 / 5, 1e-15) << "unfrozen: div 5 of half the rate";
  EXPECT_NEAR(*schedule(0.25).momentum, 0.95, 1e-12);
  EXPECT_NEAR(schedule(0.25 + 0.75 * 0.3).lr, 0.01, 1e-12);
  EXPECT_NEAR(schedule(1).lr, 0.01 / 1e5, 1e-15);
  EXPECT_NEAR((FineTune{.lr = 0.02, .frozen = 0}(0.3).lr), 0.01, 1e-12);
}

TEST(Schedule, StaysWithinItsBoundsEverywhere) {
  for (const std::string_view name : kScheduleNames) {
    const Schedule schedule = make_schedule(name, 0.3);
    double highest = 0;
    for (int i = 0; i <= 1000; ++i) {
      const SchedulePoint point = at(schedule, i / 1000.0);
      EXPECT_GE(point.lr, 0) << name;
      EXPECT_LE(point.lr, 0.3 * (1 + 1e-15)) << name;
      highest = std::max(highest, point.lr);
      if (point.momentum) {
        EXPECT_GE(*point.momentum, 0.85 - 1e-12);
        EXPECT_LE(*point.momentum, 0.95 + 1e-12);
      }
    }
    EXPECT_NEAR(highest, 0.3, 1e-4) << name;
  }
}

TEST(Schedule, RejectsPositionsNamesAndSettingsOutOfRange) {
  for (const std::string_view name : kScheduleNames) {
    const Schedule schedule = make_schedule(name, 1);
    EXPECT_THROW(at(schedule, -0.001), ValueError) << name;
    EXPECT_THROW(at(schedule, 1.001), ValueError) << name;
    EXPECT_THROW(at(schedule, std::nan("")), ValueError) << name;
    EXPECT_THROW(make_schedule(name, -1), ValueError) << name;
  }
  EXPECT_THROW(check(OneCycle{.div = 0}), ValueError);
  EXPECT_THROW(check(OneCycle{.pct_start = 1.1}), ValueError);
  EXPECT_THROW(check(OneCycle{.momentum = {0.9, 1.0, 0.9}}), ValueError);
  EXPECT_THROW(check(FlatCosine{.div_final = -1}), ValueError);
  EXPECT_THROW(check(CosineWarmup{.warmup = -0.1}), ValueError);
  EXPECT_THROW(check(CosineWarmup{.lr_start = std::nan("")}), ValueError);
  EXPECT_THROW(check(Sgdr{.cycles = 0}), ValueError);
  EXPECT_THROW(check(Sgdr{.cycle_mult = 0}), ValueError);
  EXPECT_THROW(check(Exponential{.lr = 1, .start = 0}), ValueError);
  EXPECT_THROW(check(Exponential{.lr = 1, .start = 1}), ValueError);
  EXPECT_THROW(check(FineTune{.lr = -1}), ValueError);
  EXPECT_THROW(check(FineTune{.frozen = 1}), ValueError);
  try {
    make_schedule("onecycle", 1);
    ADD_FAILURE() << "no error";
  } catch (const ValueError& error) {
    EXPECT_STREQ(error.what(),
                 "unknown schedule 'onecycle'; want one of one-cycle, flat-cos, cosine, sgdr, "
                 "constant");
  }
}

}  // namespace
}  // namespace mwalimu::optim
