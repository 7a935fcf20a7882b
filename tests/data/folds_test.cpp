#include "mwalimu/data/folds.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "support/temp_dir.hpp"

namespace mwalimu::data {
namespace {

// So many plants of each class, by both sensors; the last two images are of a plant without a label
// and of one that only rgb has seen, of the first class.
Dataset plants_of(const std::vector<int>& counts) {
  Dataset data;
  const auto add = [&](int label, index_t pair, Sensor sensor) {
    data.samples.push_back({.id = "image" + std::to_string(data.size()), .path = {},
                            .sensor = sensor, .label = label, .pair = pair, .origin = {}});
  };
  for (std::size_t c = 0; c < counts.size(); ++c) {
    data.classes.push_back(std::string(1, static_cast<char>('a' + c)));
    for (int n = 0; n < counts[c]; ++n) {
      const index_t first = data.size();
      add(static_cast<int>(c), first + 1, Sensor::rgb);
      add(static_cast<int>(c), first, Sensor::rgn);
    }
  }
  add(-1, -1, Sensor::rgb);
  add(0, -1, Sensor::rgb);
  return data;
}

TEST(Folds, HoldOutEveryLabelledImageOnceAndPairsTogether) {
  const Dataset data = plants_of({11, 7, 23});
  for (const int k : {2, 3, 5, 7}) {
    const auto folds = folds_by_pair(data, k, 4);
    ASSERT_EQ(folds.size(), static_cast<std::size_t>(k));
    std::vector<int> held(data.samples.size());
    for (const IndexSplit& fold : folds) {
      const std::set<index_t> valid(fold.valid.begin(), fold.valid.end());
      for (const index_t i : fold.valid) {
        ++held[static_cast<std::size_t>(i)];
        if (data[i].pair >= 0) {
          EXPECT_TRUE(valid.contains(data[i].pair)) << i;
        }
      }
      for (const index_t i : fold.train) EXPECT_FALSE(valid.contains(i));
      EXPECT_EQ(fold.train.size() + fold.valid.size(), 2u * 41 + 1);  // all that have a label
    }
    for (index_t i = 0; i < data.size(); ++i) {
      EXPECT_EQ(held[static_cast<std::size_t>(i)], data[i].label >= 0 ? 1 : 0) << i;
    }
    EXPECT_EQ(rows_of(folds).size(), 2u * 41 + 1);
    EXPECT_TRUE(std::ranges::is_sorted(rows_of(folds)));
  }
}

TEST(Folds, KeepTheProportionsOfTheClasses) {
  const Dataset data = plants_of({10, 7, 23});
  for (const int k : {2, 4, 6}) {
    for (std::size_t c = 0; c < 3; ++c) {
      int least = 1000, most = 0;
      for (const IndexSplit& fold : folds_by_pair(data, k, 1)) {
        std::set<index_t> plants;
        for (const index_t i : fold.valid) {
          if (data[i].label != static_cast<int>(c)) continue;
          plants.insert(data[i].pair >= 0 ? std::min(i, data[i].pair) : i);
        }
        least = std::min(least, static_cast<int>(plants.size()));
        most = std::max(most, static_cast<int>(plants.size()));
      }
      EXPECT_GE(least, 1);
      EXPECT_LE(most - least, 1) << k << " folds, class " << c;
    }
  }
}

TEST(Folds, AreAFunctionOfTheSeed) {
  const Dataset data = plants_of({10, 10});
  const auto valid = [&](std::uint64_t seed) { return folds_by_pair(data, 3, seed)[0].valid; };
  EXPECT_EQ(valid(1), valid(1));
  EXPECT_NE(valid(1), valid(2));
}

TEST(Folds, DivideOnlyWhatTheyAreGiven) {
  const Dataset data = plants_of({10, 10});
  const std::vector<index_t> within{0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25};
  const auto folds = folds_by_pair(data, 3, 1, within);
  EXPECT_EQ(rows_of(folds), within);
  for (const IndexSplit& fold : folds) EXPECT_EQ(fold.valid.size(), 4u);
}

TEST(Folds, RefuseAClassThatSomeFoldWouldLack) {
  const Dataset data = plants_of({10, 3});
  EXPECT_NO_THROW(folds_by_pair(data, 3, 1));
  try {
    folds_by_pair(data, 4, 1);
    FAIL();
  } catch (const ValueError& error) {
    EXPECT_EQ(std::string(error.what()),
              "--folds: class 'b' has 3 plants, too few for 4 folds; want at least one a fold");
  }
  EXPECT_THROW(folds_by_pair(data, 1, 1), ValueError);
  EXPECT_THROW(folds_by_pair(data, 2, 1, std::vector<index_t>{0, 1}), ValueError);
  EXPECT_THROW(folds_by_pair(data, 2, 1, std::vector<index_t>{99}), ValueError);
}

TEST(Folds, TheirTableReadsBack) {
  const test::TempDir dir;
  const Dataset data = plants_of({4, 4});
  const auto table = fold_table(data, folds_by_pair(data, 2, 1));
  ASSERT_EQ(table.size(), 17u);
  EXPECT_EQ(table[0].id, "image0");
  EXPECT_EQ(table[0].fold, table[1].fold);
  std::set<int> numbers;
  for (const FoldOfImage& image : table) numbers.insert(image.fold);
  EXPECT_EQ(numbers, (std::set<int>{1, 2}));
  write_folds(dir / "folds.csv", table);
  EXPECT_EQ(read_folds(dir / "folds.csv"), table);
  EXPECT_NE(fold_table(data, folds_by_pair(data, 4, 1)), table);
}

}  // namespace
}  // namespace mwalimu::data
