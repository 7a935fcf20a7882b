#include "mwalimu/report/tensor_summary.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

namespace mwalimu::report {
namespace {

const double kInf = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

template <class T>
TensorSummary of(const std::vector<T>& values) {
  return summarize(io::tensor_info<T>("x", {static_cast<std::int64_t>(values.size())}, values));
}

TEST(TensorSummary, StatisticsAreThoseOfTheFiniteElements) {
  const TensorSummary s = of<double>({1, kNan, 2, kInf, 3, 4, -kInf, -kInf});
  EXPECT_EQ(s.count, 8);
  EXPECT_EQ(s.finite(), 4);
  EXPECT_EQ(s.nan, 1);
  EXPECT_EQ(s.positive_infinite, 1);
  EXPECT_EQ(s.negative_infinite, 2);
  EXPECT_EQ(s.min, 1);
  EXPECT_EQ(s.max, 4);
  EXPECT_EQ(s.mean, 2.5);
  EXPECT_DOUBLE_EQ(s.std, std::sqrt(5.0 / 3.0));  // over n - 1
  EXPECT_TRUE(s.alarming());
  EXPECT_FALSE(of<double>({1}).alarming());
}

TEST(TensorSummary, EveryFiniteElementFallsIntoOneBin) {
  std::vector<float> values;
  for (int i = 0; i <= 1600; ++i) values.push_back(static_cast<float>(i));
  const TensorSummary s = of(values);
  for (std::size_t b = 0; b < TensorSummary::kBins; ++b) {
    EXPECT_EQ(s.histogram[b], b + 1 == TensorSummary::kBins ? 101 : 100) << b;
  }
  // The largest range that doubles have.
  const double largest = std::numeric_limits<double>::max();
  const TensorSummary wide = of<double>({-largest, largest, 0});
  EXPECT_EQ(wide.histogram[0] + wide.histogram[8] + wide.histogram[15], 3);
  const TensorSummary equal = of<double>({5, 5, 5});
  EXPECT_EQ(equal.histogram[8], 3);
}

TEST(TensorSummary, EveryElementTypeIsRead) {
  EXPECT_EQ(of<half>({half(1.5f), half(2.5f)}).mean, 2);
  EXPECT_EQ(of<bfloat16>({bfloat16(1.5f), bfloat16(2.5f)}).mean, 2);
  EXPECT_EQ(of<float>({1.5f, 2.5f}).mean, 2);
  EXPECT_EQ(of<std::int64_t>({-3, 7}).mean, 2);
  EXPECT_EQ(of<std::int32_t>({-3, 7}).min, -3);
  EXPECT_EQ(of<std::uint8_t>({255, 1}).max, 255);
}

TEST(TensorSummary, AnEmptyTensorHasNoStatistics) {
  const TensorSummary s = of<float>({});
  EXPECT_EQ(s.count, 0);
  EXPECT_EQ(to_string(s), "float32 [0] n=0");
}

TEST(TensorSummary, LineSaysWhatThereIs) {
  EXPECT_EQ(to_string(of<float>({0, 0, 0})), "float32 [3] n=3 all zero [0, 0, 0]");
  EXPECT_EQ(to_string(of<float>({1, 2})), "float32 [2] n=2 x∈[1, 2] μ=1.5 σ=0.707 [1, 2]");
  EXPECT_EQ(to_string(of<double>({kNan, 2, kInf})),
            "float64 [3] n=3 all 2 [nan, 2, inf] 1 NaN! 1 +Inf!");
  std::vector<float> ramp(1600);
  for (std::size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<float>(i < 800 ? 0 : 1);
  EXPECT_EQ(to_string(of(ramp)), "float32 [1600] n=1600 x∈[0, 1] μ=0.5 σ=0.5 █              █");
}

TEST(TensorSummary, HistogramIsScaledToItsHighestBar) {
  const std::vector<std::int64_t> bins{0, 1, 8, 4, 5};
  EXPECT_EQ(histogram_text(bins), " ▁█▄▅");
  EXPECT_EQ(histogram_text({}), "");
}

TEST(TensorSummary, TensorsPrintThemselvesWhateverTheirStrides) {
  const auto x = Tensor<float>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  std::ostringstream text;
  text << x.permute({1, 0});
  EXPECT_EQ(text.str(), "float32 [3, 2] n=6 x∈[1, 6] μ=3.5 σ=1.87 [1, 4, 2, 5, 3, 6]");
  EXPECT_EQ(summary(Tensor<std::int64_t>::scalar(7)), "int64 [] 7");
}

}  // namespace
}  // namespace mwalimu::report
