#include "mwalimu/data/rice.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/put_file.hpp"
#include "mwalimu/data/dataset.hpp"
#include "mwalimu/data/rice_files.hpp"

namespace mwalimu::data {
namespace {

using test::put_file;
using test::TempDir;

constexpr RiceOptions kSmall{.size = 48, .difficulty = 0.5};

double channel_mean(const Image& image, int c) {
  double sum = 0;
  for (std::size_t i = static_cast<std::size_t>(c); i < image.pixels.size(); i += 3) {
    sum += image.pixels[i];
  }
  return sum * 3 / static_cast<double>(image.pixels.size());
}

// Pearson's correlation of channel c of two images.
double correlation(const Image& a, const Image& b, int c) {
  const double ma = channel_mean(a, c), mb = channel_mean(b, c);
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = static_cast<std::size_t>(c); i < a.pixels.size(); i += 3) {
    const double x = a.pixels[i] - ma, y = b.pixels[i] - mb;
    ab += x * y, aa += x * x, bb += y * y;
  }
  return ab / std::sqrt(aa * bb);
}

// Mean of channel c over the pixels of a tissue, and their number.
std::pair<double, int> tissue_mean(const RicePair& pair, const Image& image, int tissue, int c) {
  double sum = 0;
  int count = 0;
  for (std::size_t i = 0; i < pair.tissue.size(); ++i) {
    if (pair.tissue[i] != tissue) continue;
    sum += image.pixels[3 * i + static_cast<std::size_t>(c)];
    ++count;
  }
  return {count == 0 ? 0 : sum / count, count};
}

TEST(Rice, IsAFunctionOfSeedAndIndex) {
  const RicePair a = make_rice(1, 5, kSmall), b = make_rice(1, 5, kSmall);
  EXPECT_EQ(a.rgb, b.rgb);
  EXPECT_EQ(a.rgn, b.rgn);
  EXPECT_EQ(a.tissue, b.tissue);
  EXPECT_EQ(a.label, rice_label(1, 5));
  EXPECT_NE(a.rgb, make_rice(1, 6, kSmall).rgb);
  EXPECT_NE(a.rgb, make_rice(2, 5, kSmall).rgb);
}

TEST(Rice, IsTheSameOnAnyNumberOfThreads) {
  const TempDir one, three;
  const int threads = num_threads();
  const RiceSetOptions options{.train_pairs = 5, .test_pairs = 1, .rice = kSmall};
  set_num_threads(1);
  write_rice_set(one.path(), options);
  set_num_threads(3);
  write_rice_set(three.path(), options);
  set_num_threads(threads);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(one / "images")) {
    const auto other = three / "images" / entry.path().filename();
    EXPECT_EQ(io::read_file(entry.path()), io::read_file(other));
    ++files;
  }
  EXPECT_EQ(files, 12);
}

TEST(Rice, EveryThreePlantsAreOneOfEachClassInRandomOrder) {
  std::set<std::array<int, 3>> orders;
  for (index_t i = 0; i < 300; i += 3) {
    const std::array<int, 3> three{rice_label(4, i), rice_label(4, i + 1), rice_label(4, i + 2)};
    EXPECT_EQ(std::set<int>(three.begin(), three.end()), (std::set<int>{0, 1, 2}));
    orders.insert(three);
  }
  EXPECT_EQ(orders.size(), 6u);
}

TEST(Rice, NamesAreLikeTheChallengesAndDiffer) {
  std::set<std::string> names;
  for (index_t i = 0; i < 3000; ++i) {
    const std::string id = rice_id(0, i);
    EXPECT_EQ(id.size(), 13u);
    EXPECT_TRUE(id.starts_with("id_"));
    EXPECT_EQ(id.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz", 3), std::string::npos);
    names.insert(id);
  }
  EXPECT_EQ(names.size(), 3000u);
}

TEST(Rice, BothSensorsSeeTheSamePlantNotTheSamePicture) {
  double same = 0, other = 0;
  constexpr int n = 24;
  RicePair last = make_rice(7, n, kSmall);
  for (index_t i = 0; i < n; ++i) {
    RicePair pair = make_rice(7, i, kSmall);
    EXPECT_NE(pair.rgb, pair.rgn);
    same += correlation(pair.rgb, pair.rgn, 0) / n;
    other += correlation(pair.rgb, last.rgn, 0) / n;
    last = std::move(pair);
  }
  EXPECT_GT(same, 0.7);              // the red band of one scene; noise and a shift take the rest
  EXPECT_LT(std::abs(other), 0.35);  // two scenes
}

Image shifted(const Image& image, int dy, int dx) {
  Image out(image.height, image.width);
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const int v = std::clamp(y + dy, 0, out.height - 1), u = std::clamp(x + dx, 0, out.width - 1);
      std::copy_n(image.at(v, u), 3, out.at(y, x));
    }
  }
  return out;
}

// The second sensor's picture moved onto the first one's by the shift that their red bands agree
// on.
Image registered(const RicePair& pair) {
  Image best = pair.rgn;
  for (int dy = -5; dy <= 5; ++dy) {
    for (int dx = -5; dx <= 5; ++dx) {
      Image moved = shifted(pair.rgn, dy, dx);
      if (correlation(pair.rgb, moved, 0) > correlation(pair.rgb, best, 0)) best = std::move(moved);
    }
  }
  return best;
}

// Leaf pixels at most five from a lesion: the same leaf in the same light.
std::vector<std::uint8_t> around_lesions(const RicePair& pair) {
  const int size = pair.rgb.height;
  const auto at = [&](int y, int x) { return static_cast<std::size_t>(y * size + x); };
  std::vector<std::uint8_t> near(pair.tissue.size());
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      if (pair.tissue[at(y, x)] != 2) continue;
      for (int v = std::max(0, y - 5); v <= std::min(size - 1, y + 5); ++v) {
        for (int u = std::max(0, x - 5); u <= std::min(size - 1, x + 5); ++u) {
          near[at(v, u)] = pair.tissue[at(v, u)] == 1 ? 1 : 0;
        }
      }
    }
  }
  return near;
}

TEST(Rice, HealthyTissueIsBrightInNearInfraRedLesionsAndSoilAreNot) {
  // Channel 2 of the second sensor, averaged over plants; channel 0 is red.
  double leaf = 0, lesion = 0, soil = 0, leaf_red = 0, lesion_red = 0;
  int plants = 0;
  for (index_t i = 0; plants < 24; ++i) {
    RicePair pair = make_rice(3, i, {.size = 96, .difficulty = 0.5});
    if (tissue_mean(pair, pair.rgn, 2, 2).second < 60) continue;
    pair.rgn = registered(pair);
    lesion += tissue_mean(pair, pair.rgn, 2, 2).first;
    lesion_red += tissue_mean(pair, pair.rgn, 2, 0).first;
    soil += tissue_mean(pair, pair.rgn, 0, 2).first;
    pair.tissue = around_lesions(pair);
    leaf += tissue_mean(pair, pair.rgn, 1, 2).first;
    leaf_red += tissue_mean(pair, pair.rgn, 1, 0).first;
    ++plants;
  }
  EXPECT_GT(leaf, 1.15 * lesion);  // in coded values, blurred over spots of a few pixels
  EXPECT_GT(leaf, 1.3 * soil);
  EXPECT_GT(leaf, 1.1 * leaf_red);
  EXPECT_GT(lesion_red / lesion, 1.3 * leaf_red / leaf);  // dead tissue loses the red edge
}

TEST(Rice, SickLeavesHaveLesionsAndHealthyOnesNone) {
  for (const double difficulty : {0.0, 0.5, 1.0}) {
    for (index_t i = 0; i < 45; ++i) {
      const RicePair pair = make_rice(11, i, {.size = 96, .difficulty = difficulty});
      const int lesions = tissue_mean(pair, pair.rgb, 2, 0).second;
      if (pair.label == kHealthy) {
        EXPECT_EQ(lesions, 0) << "plant " << i;
      } else {
        EXPECT_GT(lesions, 0) << "plant " << i << " at difficulty " << difficulty;
      }
      EXPECT_GT(tissue_mean(pair, pair.rgb, 1, 0).second, 300) << "plant " << i;
    }
  }
}

// Mean number of lesion pixels of a class.
double lesion_area(int label, double difficulty) {
  double sum = 0;
  int plants = 0;
  for (index_t i = 0; i < 150; ++i) {
    if (rice_label(2, i) != label) continue;
    const RicePair pair = make_rice(2, i, {.size = 64, .difficulty = difficulty});
    sum += tissue_mean(pair, pair.rgb, 2, 0).second;
    ++plants;
  }
  return sum / plants;
}

TEST(Rice, BothDiseasesCoverAsMuchAndDifficultyMakesItLess) {
  const double blast = lesion_area(kBlast, 0.5), brown = lesion_area(kBrown, 0.5);
  EXPECT_GT(blast, 0.5 * brown);
  EXPECT_LT(blast, 2.0 * brown);
  EXPECT_GT(lesion_area(kBlast, 0), 1.2 * lesion_area(kBlast, 1));
  EXPECT_GT(lesion_area(kBrown, 0), 1.2 * lesion_area(kBrown, 1));
}

// Mean share of the picture that the leaves fill, and the lesions on sick ones.
std::pair<double, double> leaf_and_lesion_share(double closeup) {
  double leaf = 0, lesion = 0;
  constexpr int n = 90, size = 48;
  for (index_t i = 0; i < n; ++i) {
    const RicePair pair = make_rice(6, i, {.size = size, .difficulty = 0.5, .closeup = closeup});
    const int lesions = tissue_mean(pair, pair.rgb, 2, 0).second;
    const int leaves = tissue_mean(pair, pair.rgb, 1, 0).second + lesions;
    EXPECT_EQ(lesions > 0, pair.label != kHealthy) << "plant " << i;
    leaf += leaves / (1.0 * n * size * size);
    lesion += lesions / (n * 2.0 / 3 * size * size);
  }
  return {leaf, lesion};
}

TEST(Rice, ACloseupShowsMoreOfLeafAndLesions) {
  const auto [field_leaf, field_lesion] = leaf_and_lesion_share(0);
  const auto [middle_leaf, middle_lesion] = leaf_and_lesion_share(0.5);
  const auto [near_leaf, near_lesion] = leaf_and_lesion_share(1);
  EXPECT_GT(middle_leaf, field_leaf + 0.03);
  EXPECT_GT(near_leaf, middle_leaf + 0.03);
  EXPECT_GT(near_leaf, 0.75);
  EXPECT_GT(middle_lesion, 1.5 * field_lesion);
  EXPECT_GT(near_lesion, 3 * field_lesion);
}

TEST(Rice, SpotsHaveTheShapesOfTheirDiseases) {
  RandomStream random(0, Purpose::test);
  for (int i = 0; i < 200; ++i) {
    const rice::Spot blast = rice::blast_spot(random, 0, 1), brown = rice::brown_spot(random, 0, 1);
    EXPECT_GE(blast.length, 2.7f * blast.width);  // a spindle
    EXPECT_GE(blast.pointed, 0.9f);
    EXPECT_LE(brown.length, 1.3f * brown.width);  // round
    EXPECT_LE(brown.pointed, 0.1f);
    EXPECT_GT(blast.inside.g, 2 * blast.rim.g);     // pale centre, brown margin
    EXPECT_GT(brown.around.r, 3 * brown.around.b);  // yellow halo
  }
}

TEST(Rice, TheMeanColourDoesNotTellTheClass) {
  // Nearest class mean of the six channel means: what a classifier that sees no shapes could do.
  using Colour = std::array<double, 6>;
  std::vector<Colour> colours;
  std::vector<int> labels;
  for (index_t i = 0; i < 300; ++i) {
    const RicePair pair = make_rice(9, i, {.size = 32, .difficulty = 0.5});
    Colour colour{};
    for (int c = 0; c < 3; ++c) {
      colour[static_cast<std::size_t>(c)] = channel_mean(pair.rgb, c);
      colour[static_cast<std::size_t>(c + 3)] = channel_mean(pair.rgn, c);
    }
    colours.push_back(colour);
    labels.push_back(pair.label);
  }
  std::array<Colour, 3> means{};
  for (std::size_t i = 0; i < colours.size(); ++i) {
    for (std::size_t c = 0; c < 6; ++c) {
      means[static_cast<std::size_t>(labels[i])][c] += colours[i][c] / 100;
    }
  }
  int right = 0;
  for (std::size_t i = 0; i < colours.size(); ++i) {
    int best = 0;
    double nearest = 1e30;
    for (int label = 0; label < 3; ++label) {
      double distance = 0;
      for (std::size_t c = 0; c < 6; ++c) {
        distance += std::pow(colours[i][c] - means[static_cast<std::size_t>(label)][c], 2);
      }
      if (distance < nearest) nearest = distance, best = label;
    }
    right += best == labels[i] ? 1 : 0;
  }
  EXPECT_LT(right, 150);  // of 300, on the samples that made the means; chance is 100
}

TEST(Rice, SizesOutOfRangeAreRefused) {
  EXPECT_EQ(make_rice(0, 0, {.size = 16}).rgb.height, 16);
  EXPECT_THROW(make_rice(0, 0, {.size = 15}), ValueError);
  EXPECT_THROW(make_rice(0, 0, {.size = 4096}), ValueError);
  EXPECT_THROW(make_rice(0, 0, {.size = 32, .difficulty = 1.1}), ValueError);
  EXPECT_THROW(make_rice(0, 0, {.size = 32, .difficulty = std::nan("")}), ValueError);
  EXPECT_THROW(make_rice(0, 0, {.size = 32, .closeup = -0.1}), ValueError);
  EXPECT_THROW(make_rice(0, 0, {.size = 32, .closeup = std::nan("")}), ValueError);
  EXPECT_THROW(make_rice(0, -1, kSmall), ValueError);
}

TEST(RiceSet, IsADataSetInTheChallengesLayout) {
  const TempDir dir;
  index_t calls = 0;
  write_rice_set(dir / "new" / "set", {.train_pairs = 6, .test_pairs = 3, .rice = kSmall},
                 [&](index_t, index_t total) {
                   EXPECT_EQ(total, 9);
                   ++calls;
                 });
  EXPECT_EQ(calls, 9);
  const Dataset train = load_dataset(dir / "new" / "set", Split::train);
  const Dataset test = load_dataset(dir / "new" / "set", Split::test);
  EXPECT_EQ(train.classes, (std::vector<std::string>{"blast", "brown", "healthy"}));
  EXPECT_EQ(train.size(), 12);
  EXPECT_EQ(plants(train).size(), 6u);
  EXPECT_EQ(test.size(), 6);
  for (const Sample& sample : test.samples) EXPECT_GE(sample.label, 0);  // TestLabels.csv
  EXPECT_EQ(train[0].label, rice_label(0, 0));
  const Image image = read_image(train[0].path);
  EXPECT_EQ(image.height, 48);
  EXPECT_GT(correlation(image, make_rice(0, 0, kSmall).rgb, 1), 0.98);  // JPEG takes a little
  const std::string sample = io::read_file(dir / "new" / "set" / "SampleSubmission.csv");
  EXPECT_TRUE(sample.starts_with("Image_id,blast,brown,healthy\nid_"));
  EXPECT_EQ(std::count(sample.begin(), sample.end(), '\n'), 4);
}

TEST(RiceSet, TestPlantsDoNotDependOnHowManyTrain) {
  const TempDir a, b;
  write_rice_set(a.path(), {.train_pairs = 2, .test_pairs = 2, .rice = kSmall});
  write_rice_set(b.path(), {.train_pairs = 1, .test_pairs = 2, .rice = kSmall});
  EXPECT_EQ(io::read_file(a / "TestLabels.csv"), io::read_file(b / "TestLabels.csv"));
}

TEST(RiceSet, IsWholeOrAbsent) {
  const TempDir dir;
  put_file(dir, "notes.txt", "mine");
  EXPECT_THROW(write_rice_set(dir.path(), {.train_pairs = 3, .test_pairs = 1, .rice = kSmall},
                              [](index_t done, index_t) {
                                if (done == 2) throw std::logic_error("stop");
                              }),
               std::logic_error);
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    left.push_back(entry.path().filename());
  }
  EXPECT_EQ(left, std::vector<std::string>{"notes.txt"});
}

TEST(RiceSet, NothingIsOverwritten) {
  const TempDir dir;
  put_file(dir, "Test.csv", "mine");
  EXPECT_THROW(write_rice_set(dir.path(), {.train_pairs = 1, .test_pairs = 1, .rice = kSmall}),
               ValueError);
  EXPECT_EQ(io::read_file(dir / "Test.csv"), "mine");
  EXPECT_FALSE(std::filesystem::exists(dir / "images"));
  EXPECT_THROW(write_rice_set(dir / "x", {.train_pairs = 0, .test_pairs = 1}), ValueError);
  EXPECT_THROW(write_rice_set(dir / "x", {.train_pairs = 1, .test_pairs = 1, .rice = {.size = 3}}),
               ValueError);
  EXPECT_THROW(
      write_rice_set(dir / "Test.csv" / "x", {.train_pairs = 1, .test_pairs = 1, .rice = kSmall}),
      FileError);
  EXPECT_FALSE(std::filesystem::exists(dir / "x"));
}

}  // namespace
}  // namespace mwalimu::data
