#include "mwalimu/report/dataset_summary.hpp"

#include <gtest/gtest.h>

#include <string>

#include "mwalimu/io/atomic_file.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::report {
namespace {

namespace fs = std::filesystem;

data::Image picture(int seed, int height = 4, int width = 6) {
  data::Image image(height, width);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(i * 7 + static_cast<std::size_t>(seed) * 31);
  }
  return image;
}

// Two classes; a picture that is in train and test, one with two labels, one that is broken.
class DatasetSummaryTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* part : {"train/a", "train/b", "test/a"}) fs::create_directories(dir_ / part);
    data::write_image(dir_ / "train/a/one.png", picture(1));
    data::write_image(dir_ / "train/a/two.png", picture(2));
    data::write_image(dir_ / "train/b/two_again.png", picture(2));
    data::write_image(dir_ / "train/b/three.png", picture(3, 8, 8));
    data::write_image(dir_ / "test/a/one_again.png", picture(1));
    io::write_file(dir_ / "train/b/broken.png", "not an image");
  }
  test::TempDir dir_;
};

TEST_F(DatasetSummaryTest, FindsEqualPicturesUnderDifferentNames) {
  const DatasetSummary s = summarize_dataset(dir_.path());
  ASSERT_EQ(s.parts.size(), 2u);
  ASSERT_EQ(s.images.size(), 6u);
  ASSERT_EQ(s.duplicates.size(), 2u);
  EXPECT_EQ(s.images[s.duplicates[0][0]].sample.id, "one.png");
  EXPECT_EQ(s.images[s.duplicates[0][1]].sample.id, "one_again.png");
  EXPECT_EQ(s.duplicates[1].size(), 2u);
}

TEST_F(DatasetSummaryTest, TextNamesWhatIsThereAndWhatIsWrong) {
  const std::string text = to_string(summarize_dataset(dir_.path()));
  for (const char* line :
       {"a data set of 6 images", "train: 5 images, 0 pairs, 5 rgb, 0 rgn", "  a: 2 (40 %)",
        "  b: 3 (60 %)", "test: 1 images", "sizes (height x width): 4 of 4 x 6, 1 of 8 x 8\n",
        "files that do not decode: 1\n", "broken.png: not a JPEG",
        "the same picture more than once: 2, 1 in both parts!, 1 with different labels!",
        "  train one.png = test one_again.png\n", "  train two.png = train two_again.png\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
}

TEST_F(DatasetSummaryTest, NamesPairsWithoutPartner) {
  fs::create_directories(dir_ / "set/images");
  for (const char* name : {"x.png", "x_rgn.png", "y.png"}) {
    data::write_image(dir_ / "set/images" / name, picture(name[0] + name[1]));
  }
  io::write_file(dir_ / "set/Train.csv", "Image_id,Label\nx.png,a\nx_rgn.png,a\ny.png,a\n");
  const std::string text = to_string(summarize_dataset(dir_ / "set"));
  EXPECT_NE(text.find("train: 2 images, 1 pairs, 1 rgb, 1 rgn"), std::string::npos) << text;
  EXPECT_NE(text.find("1 pair with one side missing"), std::string::npos) << text;
  EXPECT_NE(text.find("y.png"), std::string::npos) << text;
}

TEST_F(DatasetSummaryTest, RefusesAFolderThatIsNoDataSet) {
  fs::create_directories(dir_ / "none");
  EXPECT_THROW(summarize_dataset(dir_ / "none"), FileError);
  EXPECT_THROW(summarize_dataset(dir_ / "missing"), FileError);
}

}  // namespace
}  // namespace mwalimu::report
