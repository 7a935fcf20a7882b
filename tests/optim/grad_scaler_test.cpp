#include "mwalimu/optim/grad_scaler.hpp"

#include <gtest/gtest.h>

#include "support/golden.hpp"

namespace mwalimu::optim {
namespace {

TEST(GradScalerGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "grad_scaler");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    GradScaler scaler({.growth_interval = c.at("growth_interval")});
    const auto overflow = c.tensor("found_inf").values, scale = c.tensor("scale_after").values,
               stepped = c.tensor("stepped").values;
    for (std::size_t i = 0; i < overflow.size(); ++i) {
      EXPECT_EQ(scaler.update(overflow[i] == 0), stepped[i] != 0) << "step " << i;
      EXPECT_EQ(scaler.scale(), scale[i]) << "step " << i;
    }
  }
}

TEST(GradScaler, AnOverflowHalvesSkipsAndStartsTheCountAnew) {
  GradScaler scaler({.initial = 8, .growth_interval = 2});
  EXPECT_EQ(scaler.scale(), 8);
  EXPECT_TRUE(scaler.update(true));
  EXPECT_FALSE(scaler.update(false));
  EXPECT_EQ(scaler.scale(), 4);
  EXPECT_TRUE(scaler.update(true));
  EXPECT_EQ(scaler.scale(), 4) << "one good step before the overflow must not count";
  EXPECT_TRUE(scaler.update(true));
  EXPECT_EQ(scaler.scale(), 8);
}

TEST(GradScaler, DefaultGrowsAfterTwoThousandGoodSteps) {
  GradScaler scaler;
  for (int i = 0; i < 1999; ++i) scaler.update(true);
  EXPECT_EQ(scaler.scale(), 65536);
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 131072);
}

TEST(GradScaler, NeverGrowsToInfinityAndSaysWhenNoScaleHelps) {
  GradScaler scaler({.growth_interval = 1});
  for (int i = 0; i < 1000; ++i) scaler.update(true);
  EXPECT_EQ(scaler.scale(), 0x1p127);
  const auto overflow_for_ever = [&] {
    for (int i = 0; i < 1000; ++i) scaler.update(false);
  };
  EXPECT_THROW(overflow_for_ever(), ValueError);
}

TEST(GradScaler, RestoredStateGoesOnAsBefore) {
  GradScaler scaler({.growth_interval = 3}), resumed({.growth_interval = 3});
  for (const bool finite : {true, true, false, true, true}) scaler.update(finite);
  resumed.restore(scaler.state());
  for (const bool finite : {true, false, true}) {
    EXPECT_EQ(scaler.update(finite), resumed.update(finite));
    EXPECT_EQ(scaler.state(), resumed.state());
  }
  EXPECT_THROW(resumed.restore({.scale = 0}), ValueError);
  EXPECT_THROW(resumed.restore({.scale = 1, .good_steps = -1}), ValueError);
}

TEST(GradScaler, RejectsOptionsOutsideTheirRange) {
  EXPECT_THROW(GradScaler({.initial = 0}), ValueError);
  EXPECT_THROW(GradScaler({.growth = 0.5}), ValueError);
  EXPECT_THROW(GradScaler({.backoff = 1}), ValueError);
  EXPECT_THROW(GradScaler({.growth_interval = 0}), ValueError);
}

}  // namespace
}  // namespace mwalimu::optim
