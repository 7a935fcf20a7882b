#include "mwalimu/embedding/lane_fft.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include "mwalimu/core/random.hpp"

namespace mwalimu::embedding::detail {
namespace {

using Complex = std::complex<double>;

/// Sixteen random sequences of n complex numbers, in lanes and in double.
struct Sequences {
  explicit Sequences(index_t n) : lanes(n + 1), exact(kLanes, std::vector<Complex>(n)) {
    RandomStream random(static_cast<std::uint64_t>(n), Purpose::test);
    for (index_t j = 0; j < n; ++j) {
      for (index_t lane = 0; lane < kLanes; ++lane) {
        const float re = random.normal(), im = random.normal();
        lanes[j].part[0][lane] = re;
        lanes[j].part[1][lane] = im;
        exact[lane][j] = {re, im};
      }
    }
  }
  std::vector<ComplexLanes> lanes;
  std::vector<std::vector<Complex>> exact;
};

std::vector<Complex> direct(const std::vector<Complex>& x, double sign) {
  const std::size_t n = x.size();
  std::vector<Complex> out(n);
  for (std::size_t k = 0; k < n; ++k) {
    for (std::size_t j = 0; j < n; ++j) {
      const double turn = static_cast<double>(j * k % n) / static_cast<double>(n);
      out[k] += x[j] * std::polar(1.0, sign * 2 * std::numbers::pi * turn);
    }
  }
  return out;
}

/// Largest relative L2 error of a lane against the sum in double.
double error(const ComplexLanes* got, const std::vector<std::vector<Complex>>& want) {
  double worst = 0;
  for (index_t lane = 0; lane < kLanes; ++lane) {
    double difference = 0, norm = 0;
    for (std::size_t k = 0; k < want[lane].size(); ++k) {
      const Complex v(got[k].part[0][lane], got[k].part[1][lane]);
      difference += std::norm(v - want[lane][k]);
      norm += std::norm(want[lane][k]);
    }
    worst = std::max(worst, std::sqrt(difference / norm));
  }
  return worst;
}

// Rounding grows with the number of passes: five of them at most here, 1e-7 each.
constexpr double kTolerance = 1e-6;

TEST(LaneFft, MatchesTheSumAtEveryKindOfLength) {
  for (const index_t n :
       {1, 2, 3, 4, 5, 6, 8, 9, 12, 15, 16, 20, 25, 30, 45, 60, 64, 90, 125, 360}) {
    Sequences x(n);
    std::vector<ComplexLanes> scratch(n);
    for (const double sign : {-1.0, 1.0}) {
      std::vector<ComplexLanes> in(x.lanes.begin(), x.lanes.begin() + n);
      std::vector<std::vector<Complex>> want;
      for (const auto& sequence : x.exact) want.push_back(direct(sequence, sign));
      const LaneFft fft(n);
      const ComplexLanes* out = sign < 0 ? fft.forward(in.data(), scratch.data())
                                         : fft.inverse(in.data(), scratch.data());
      EXPECT_LT(error(out, want), kTolerance) << "length " << n << ", sign " << sign;
    }
  }
}

TEST(LaneFft, RealForwardAndInverse) {
  for (const index_t n : {2, 4, 6, 8, 10, 12, 18, 20, 30, 50, 96, 120, 250}) {
    const index_t half = n / 2;
    Sequences x(half);  // the parts of element j are the real elements 2j and 2j + 1
    std::vector<std::vector<Complex>> want, real(kLanes);
    for (index_t lane = 0; lane < kLanes; ++lane) {
      std::vector<Complex> sequence;
      for (const Complex& v : x.exact[lane]) sequence.insert(sequence.end(), {v.real(), v.imag()});
      want.push_back(direct(sequence, -1));
      want.back().resize(half + 1);
      for (const Complex& v : x.exact[lane]) real[lane].push_back(v * static_cast<double>(n));
    }
    std::vector<ComplexLanes> in = x.lanes, other(half + 1);
    const LaneRealFft fft(n);
    ComplexLanes* spectrum = fft.forward(in.data(), other.data());
    EXPECT_LT(error(spectrum, want), kTolerance) << n;
    ComplexLanes* back = fft.inverse(spectrum, spectrum == in.data() ? other.data() : in.data());
    EXPECT_LT(error(back, real), kTolerance) << n;
  }
}

// A sum over pairs is too slow here: a pure tone of frequency k is n at place k and 0 elsewhere, and
// what goes there and back comes back n times.
TEST(LaneFft, TonesAtTheLengthsOfWideMaps) {
  for (const index_t n : {1000, 2160, 4050, 6075, 8000, 8192}) {
    std::vector<std::vector<Complex>> tones(kLanes, std::vector<Complex>(n)), peaks = tones;
    std::vector<ComplexLanes> in(n), scratch(n);
    for (index_t lane = 0; lane < kLanes; ++lane) {
      const index_t k = lane * (n - 1) / (kLanes - 1);  // 0 and n - 1 among them
      peaks[lane][k] = static_cast<double>(n);
      for (index_t j = 0; j < n; ++j) {
        const double turn = static_cast<double>(j * k % n) / static_cast<double>(n);
        tones[lane][j] = std::polar(1.0, 2 * std::numbers::pi * turn);
        in[j].part[0][lane] = static_cast<float>(tones[lane][j].real());
        in[j].part[1][lane] = static_cast<float>(tones[lane][j].imag());
        tones[lane][j] *= static_cast<double>(n);
      }
    }
    const LaneFft fft(n);
    ComplexLanes* spectrum = fft.forward(in.data(), scratch.data());
    EXPECT_LT(error(spectrum, peaks), kTolerance) << n;
    ComplexLanes* back =
        fft.inverse(spectrum, spectrum == in.data() ? scratch.data() : in.data());
    EXPECT_LT(error(back, tones), kTolerance) << n;
  }
}

TEST(LaneFft, FastLengthsAreEvenAndClose) {
  EXPECT_EQ(fast_length(1), 2);
  EXPECT_EQ(fast_length(7), 8);
  EXPECT_EQ(fast_length(11), 12);
  EXPECT_EQ(fast_length(14), 16);
  EXPECT_EQ(fast_length(450), 450);
  EXPECT_EQ(fast_length(451), 480);
  for (index_t n = 100; n < 8000; n += 37) {
    EXPECT_GE(fast_length(n), n);
    EXPECT_LE(fast_length(n), n + n / 8);  // 12 % more cells at worst
  }
}

TEST(LaneFft, RefusesOtherLengths) {
  for (const index_t n : {0, 7, 22, 26}) EXPECT_THROW(LaneFft{n}, ValueError);
  EXPECT_THROW(LaneRealFft{15}, ValueError);
}

}  // namespace
}  // namespace mwalimu::embedding::detail
