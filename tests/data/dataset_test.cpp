#include "mwalimu/data/dataset.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "data/put_file.hpp"
#include "mwalimu/data/split.hpp"

namespace mwalimu::data {
namespace {

using test::put_file;
using test::TempDir;

// Images are not opened by load_dataset: any content will do.
void put_pair(const TempDir& dir, const std::string& stem) {
  put_file(dir, "images/" + stem + ".jpg", "x");
  put_file(dir, "images/" + stem + "_rgn.jpg", "x");
}

// Two plants a class, in the challenge's layout.
void put_challenge(const TempDir& dir) {
  for (const char* stem : {"a", "b", "c", "d", "t", "u"}) put_pair(dir, stem);
  put_file(dir, "Train.csv",
           "Image_id,Label\na.jpg,rust\na_rgn.jpg,rust\nb.jpg,blast\nb_rgn.jpg,blast\n"
           "c_rgn.jpg,rust\nc.jpg,rust\nd.jpg,blast\nd_rgn.jpg,blast\n");
  put_file(dir, "Test.csv", "Image_id\nt.jpg\nt_rgn.jpg\nu.jpg\nu_rgn.jpg\n");
}

// The report and the text of the error that loading ends with.
BadDataError error_of(const TempDir& dir, Split split = Split::train,
                      const LoadOptions& options = {}) {
  try {
    load_dataset(dir.path(), split, options);
  } catch (const BadDataError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error;
  }
  ADD_FAILURE() << "no error";
  return {"", {}};
}

// One defect of a kind, whose text names where it is; with skip_bad, `left` samples are left.
void expect_defect(const TempDir& dir, Defect defect, const std::string& where, index_t left,
                   Split split = Split::train, LoadOptions options = {}) {
  const BadDataError error = error_of(dir, split, options);
  EXPECT_EQ(error.report.count(defect), 1u) << error.what();
  EXPECT_NE(std::string(error.what()).find(where), std::string::npos) << error.what();
  options.skip_bad = true;
  const Dataset data = load_dataset(dir.path(), split, options);
  EXPECT_EQ(data.size(), left);
  EXPECT_EQ(data.skipped.count(defect), 1u);
  EXPECT_NE(data.skipped.summary().find(where), std::string::npos) << data.skipped.summary();
}

TEST(Dataset, ReadsTheChallengeLayout) {
  const TempDir dir;
  put_challenge(dir);
  const Dataset train = load_dataset(dir.path(), Split::train);
  ASSERT_EQ(train.size(), 8);
  EXPECT_EQ(train.classes, (std::vector<std::string>{"blast", "rust"}));
  EXPECT_EQ(train[0].id, "a.jpg");
  EXPECT_EQ(train[0].label, 1);
  EXPECT_EQ(train[0].sensor, Sensor::rgb);
  EXPECT_EQ(train[1].sensor, Sensor::rgn);
  EXPECT_EQ(train[0].pair, 1);
  EXPECT_EQ(train[4].id, "c_rgn.jpg");  // the order of the rows, not of the sensors
  EXPECT_EQ(train[4].pair, 5);
  EXPECT_EQ(train[5].pair, 4);
  EXPECT_TRUE(train.skipped.empty());

  const Dataset test = load_dataset(dir.path(), Split::test);
  ASSERT_EQ(test.size(), 4);
  EXPECT_EQ(test.classes, train.classes);
  EXPECT_EQ(test[0].label, -1);
  put_file(dir, "TestLabels.csv",
           "Image_id,Label\nu.jpg,rust\nu_rgn.jpg,rust\nt.jpg,blast\nt_rgn.jpg,blast\n");
  const Dataset answered = load_dataset(dir.path(), Split::test);
  EXPECT_EQ(answered[0].label, 0);
  EXPECT_EQ(answered[3].label, 1);
}

TEST(Dataset, TablesMayComeFromWindowsAndHaveMoreColumns) {
  const TempDir dir;
  put_pair(dir, "a");
  put_file(
      dir, "Train.csv",
      "\xEF\xBB\xBFplot,Label,Image_id\r\n1,\"leaf, dry\",a.jpg\r\n1,\"leaf, dry\", a_rgn.jpg");
  const Dataset data = load_dataset(dir.path(), Split::train);
  EXPECT_EQ(data.size(), 2);
  EXPECT_EQ(data.classes, std::vector<std::string>{"leaf, dry"});
}

TEST(Dataset, ReadsOneFolderAClass) {
  const TempDir dir;
  for (const char* name : {"train/scab/2.jpg", "train/scab/1.PNG", "train/rot/1.jpg",
                           "train/rot/notes.txt", "test/scab/9.bmp", "test/rot/9.jpeg"}) {
    put_file(dir, name, "x");
  }
  const Dataset train = load_dataset(dir.path(), Split::train);
  ASSERT_EQ(train.size(), 3);
  EXPECT_EQ(train.classes, (std::vector<std::string>{"rot", "scab"}));
  EXPECT_EQ(train[0].label, 0);
  EXPECT_EQ(train[1].id, "1.PNG");
  EXPECT_EQ(train[1].pair, -1);  // one sensor: nothing is missing
  EXPECT_EQ(load_dataset(dir.path(), Split::test).size(), 2);
  put_file(dir, "test/loose.jpg", "x");
  EXPECT_EQ(load_dataset(dir.path(), Split::test)[2].label, -1);
}

TEST(Dataset, FoldersMayHoldPairs) {
  const TempDir dir;
  for (const char* name :
       {"train/a/1.jpg", "train/a/1_rgn.jpg", "train/b/1.jpg", "train/b/1_rgn.jpg"}) {
    put_file(dir, name, "x");  // the same name in two folders: two plants
  }
  const Dataset data = load_dataset(dir.path(), Split::train);
  ASSERT_EQ(data.size(), 4);
  EXPECT_EQ(data[0].pair, 1);
  EXPECT_EQ(data[3].pair, 2);
}

TEST(Dataset, AMissingFileIsNamedWithItsRow) {
  const TempDir dir;
  put_challenge(dir);
  std::filesystem::remove(dir / "images/b.jpg");
  expect_defect(dir, Defect::missing_file, "Train.csv:4: ", 6);
  const BadDataError error = error_of(dir);
  EXPECT_EQ(error.report.count(Defect::missing_side), 1u);  // so b_rgn.jpg stands alone
  EXPECT_NE(std::string(error.what()).find("--skip-bad"), std::string::npos);
}

TEST(Dataset, APairWithOneSideUnlistedIsNamed) {
  const TempDir dir;
  put_challenge(dir);
  put_file(dir, "Train.csv", "Image_id,Label\na.jpg,rust\na_rgn.jpg,rust\nb.jpg,blast\n");
  expect_defect(dir, Defect::missing_side, "Train.csv:4: ", 2);
  put_file(dir, "Train.csv", "Image_id,Label\na.jpg,rust\na_rgn.jpg,rust\nb_rgn.jpg,blast\n");
  expect_defect(dir, Defect::missing_side, "Train.csv:4: ", 2);
}

TEST(Dataset, AnUnknownLabelIsNamed) {
  const TempDir dir;
  put_challenge(dir);
  put_file(dir, "TestLabels.csv", "Image_id,Label\nt.jpg,rust\nt_rgn.jpg,rust\nu.jpg,mould\n");
  expect_defect(dir, Defect::unknown_label, "'mould'", 2, Split::test);
  const LoadOptions trained{.skip_bad = false, .classes = {"rust"}};
  EXPECT_EQ(error_of(dir, Split::train, trained).report.count(Defect::unknown_label), 4u);
  put_file(dir, "Train.csv", "Image_id,Label\na.jpg,rust\na_rgn.jpg,rust\nb.jpg,\n");
  expect_defect(dir, Defect::unknown_label, "Train.csv:4: ", 2);
}

TEST(Dataset, AFolderOfAnUnknownClassIsNamed) {
  const TempDir dir;
  put_file(dir, "train/scab/1.jpg", "x");
  put_file(dir, "test/scab/2.jpg", "x");
  put_file(dir, "test/scap/3.jpg", "x");
  expect_defect(dir, Defect::unknown_label, "'scap'", 1, Split::test);
}

TEST(Dataset, SidesLabelledDifferentlyAreNamed) {
  const TempDir dir;
  put_challenge(dir);
  put_file(dir, "Train.csv",
           "Image_id,Label\na.jpg,rust\na_rgn.jpg,rust\nb.jpg,blast\nb_rgn.jpg,rust\n");
  expect_defect(dir, Defect::different_labels, "labelled 'blast', but its rgn image 'rust'", 2);
}

TEST(Dataset, EmptyDoubleAndBrokenRowsAreNamed) {
  const TempDir dir;
  put_challenge(dir);
  const std::string good = "Image_id,Label\na.jpg,rust\na_rgn.jpg,rust\n";
  put_file(dir, "Train.csv", good + "\n");
  expect_defect(dir, Defect::empty_row, "Train.csv:4: ", 2);
  put_file(dir, "Train.csv", good + ",\n");
  expect_defect(dir, Defect::empty_row, "Train.csv:4: ", 2);
  put_file(dir, "Train.csv", good + "a.jpg,rust\n");
  expect_defect(dir, Defect::duplicate_row, "Train.csv:4: a.jpg is listed already, on line 2", 2);
  put_file(dir, "Train.csv", good + "b.jpg\n");
  expect_defect(dir, Defect::malformed_row, "Train.csv:4: ", 2);
  put_file(dir, "Train.csv", good + "../../secret.jpg,rust\n");
  expect_defect(dir, Defect::malformed_row, "Train.csv:4: ", 2);
}

std::string file_error(const std::filesystem::path& dir, Split split = Split::train) {
  try {
    load_dataset(dir, split);
  } catch (const FileError& error) {
    return error.what();
  }
  return "no error";
}

void expect_text(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(Dataset, WhatIsNotADataSetIsRefused) {
  const TempDir dir;
  expect_text(file_error(dir / "gone"), "no such folder");
  expect_text(file_error(dir.path()), "looked for Train.csv or Test.csv");
  put_file(dir, "Train.csv", "");
  expect_text(file_error(dir.path()), "images: no such folder");
  std::filesystem::create_directory(dir / "images");
  expect_text(file_error(dir.path()), "Train.csv: empty");
  put_file(dir, "Train.csv", "Image_id,Label\n");
  expect_text(file_error(dir.path()), "Train.csv: lists no images");
  put_file(dir, "Train.csv", "a.jpg,rust\n");
  expect_text(file_error(dir.path()), "Train.csv:1: no column 'Image_id'");
  put_file(dir, "Train.csv", "Image_id,Label\n\"a.jpg,rust\n");
  expect_text(file_error(dir.path()), "Train.csv:2: a quote is opened and never closed");
  expect_text(file_error(dir.path(), Split::test), "Test.csv: no such file");
}

TEST(Dataset, NothingLeftIsAnErrorEvenWhenSkipping) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "train/scab");
  expect_text(file_error(dir.path()), "no images are listed or found");
  expect_text(file_error(dir.path(), Split::test), "test: no such folder");
  std::filesystem::create_directory(dir / "images");
  put_file(dir, "Train.csv", "Image_id,Label\na.jpg,rust\n");
  const LoadOptions skip{.skip_bad = true, .classes = {}};
  EXPECT_THROW(load_dataset(dir.path(), Split::train, skip), BadDataError);
}

TEST(Dataset, AReportCountsByKindAndNamesTheFirst) {
  Report report;
  for (int i = 0; i < 3; ++i) report.add(Defect::missing_file, "file " + std::to_string(i));
  report.add(Defect::empty_row, "row");
  EXPECT_EQ(report.summary(2),
            "4 bad items (3 missing files, 1 empty row): file 0; file 1; and 2 more");
}

// n plants of each of three classes, and one without a label.
Dataset numbered(int n) {
  Dataset data{{}, {"x", "y", "z"}, {}};
  for (int label = -1; label < 3; ++label) {
    for (int i = 0; i < (label < 0 ? 1 : n); ++i) {
      const index_t at = data.size();
      data.samples.push_back({"", "", Sensor::rgb, label, at + 1, ""});
      data.samples.push_back({"", "", Sensor::rgn, label, at, ""});
    }
  }
  return data;
}

TEST(Dataset, SubsetsAndUnionsKeepPairsStraight) {
  const Dataset data = numbered(2);  // 14 samples
  const std::vector<index_t> chosen{5, 2, 4};
  const Dataset part = subset(data, chosen);
  EXPECT_EQ(part[0].pair, 2);
  EXPECT_EQ(part[1].pair, -1);  // its rgn image was not chosen
  EXPECT_EQ(part[2].pair, 0);
  EXPECT_EQ(plants(part).size(), 2u);
  const Dataset both = concatenate(data, part);
  EXPECT_EQ(both[14].pair, 16);
  EXPECT_EQ(plants(both).size(), 9u);
  EXPECT_THROW(subset(data, std::vector<index_t>{1, 1}), ValueError);
  EXPECT_THROW(subset(data, std::vector<index_t>{14}), ValueError);
  EXPECT_THROW(concatenate(data, Dataset{{}, {"other"}, {}}), ValueError);
}

// Every sample of `data` in exactly one part, pairs together.
void expect_partition(const Dataset& data, const IndexSplit& split) {
  std::set<index_t> train(split.train.begin(), split.train.end());
  std::set<index_t> valid(split.valid.begin(), split.valid.end());
  EXPECT_EQ(train.size() + valid.size(), data.samples.size());
  for (index_t i = 0; i < data.size(); ++i) {
    EXPECT_NE(train.count(i), valid.count(i));
    EXPECT_EQ(valid.count(i), valid.count(data[i].pair)) << "pair of " << i << " is torn";
  }
}

std::vector<int> label_counts(const Dataset& data, const std::vector<index_t>& part) {
  std::vector<int> counts(4);
  for (const index_t i : part) ++counts[static_cast<std::size_t>(data[i].label + 1)];
  return counts;
}

TEST(Split, KeepsPairsTogetherAndClassesInProportion) {
  const Dataset data = numbered(10);
  const IndexSplit split = split_by_pair(data, 0.3, 5);
  expect_partition(data, split);
  EXPECT_EQ(label_counts(data, split.valid), (std::vector<int>{0, 6, 6, 6}));
  EXPECT_EQ(split_by_pair(data, 0.3, 5).valid, split.valid);
  EXPECT_NE(split_by_pair(data, 0.3, 6).valid, split.valid);
  EXPECT_EQ(label_counts(data, split_by_pair(data, 0.01, 5).valid), (std::vector<int>{0, 2, 2, 2}));
  EXPECT_THROW(split_by_pair(data, 0.0, 5), ValueError);
  EXPECT_THROW(split_by_pair(data, 1.0, 5), ValueError);
}

TEST(Split, DividesOnlyWhatItIsGiven) {
  const Dataset data = numbered(10);
  const IndexSplit outer = split_by_pair(data, 0.5, 1);
  const IndexSplit inner = split_by_pair(data, 0.4, 1, outer.train);
  EXPECT_EQ(inner.train.size() + inner.valid.size(), outer.train.size());
  for (const index_t i : inner.valid) {
    EXPECT_TRUE(std::binary_search(outer.train.begin(), outer.train.end(), i));
  }
}

TEST(Split, ALabelledSubsetHasSoManyPlantsAClass) {
  const Dataset data = numbered(10);
  const auto four = labelled_subset(data, 4, 9), two = labelled_subset(data, 2, 9);
  EXPECT_EQ(label_counts(data, four), (std::vector<int>{0, 8, 8, 8}));
  EXPECT_TRUE(std::includes(four.begin(), four.end(), two.begin(), two.end()));
  EXPECT_THROW(labelled_subset(data, 11, 9), ValueError);
  EXPECT_THROW(labelled_subset(data, 0, 9), ValueError);
}

TEST(Split, FoldsValidateEveryPlantOnce) {
  const Dataset data = numbered(7);
  const auto folds = stratified_folds(data, 5, 2);
  std::vector<int> seen(data.samples.size());
  for (const IndexSplit& fold : folds) {
    expect_partition(data, fold);
    for (const index_t i : fold.valid) ++seen[static_cast<std::size_t>(i)];
    const auto counts = label_counts(data, fold.valid);
    for (int label = 1; label < 4; ++label) {
      EXPECT_GE(counts[static_cast<std::size_t>(label)], 2);
      EXPECT_LE(counts[static_cast<std::size_t>(label)], 4);
    }
  }
  EXPECT_EQ(seen, std::vector<int>(data.samples.size(), 1));
  EXPECT_THROW(stratified_folds(data, 1, 2), ValueError);
  EXPECT_THROW(stratified_folds(data, 23, 2), ValueError);
}

}  // namespace
}  // namespace mwalimu::data
