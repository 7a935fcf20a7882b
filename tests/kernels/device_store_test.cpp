// Batches of images on a device: from a store that lies there, and from one that does not fit.
#include "mwalimu/gpu/device_store.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "data/put_file.hpp"
#include "kernels/device.hpp"
#include "kernels/images.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/dataset.hpp"
#include "mwalimu/data/multi_crop.hpp"
#include "mwalimu/data/sampler.hpp"

namespace mwalimu::gpu {
namespace {

using test::bits, test::pixel_tolerance, test::relative_difference, test::some_images;

constexpr index_t kImages = 7, kHeight = 10, kWidth = 12;

data::ImageStore some_store(int channels = 3) {
  const auto images = some_images(kImages, kHeight, kWidth, channels);
  return data::ImageStore::from_pixels({images.span().begin(), images.span().end()}, kHeight,
                                       kWidth, channels);
}

/// Pairs of a step: two images each, from a sampler, some of them twice in a batch.
std::vector<index_t> pairs_of(std::int64_t step) {
  const data::BatchSampler sampler(kImages, 3, 5);
  std::vector<index_t> images;
  for (const index_t i : sampler.indices(step)) {
    images.push_back(i);
    images.push_back((i * 2) % kImages);
  }
  return images;
}

TEST(StorePlacement, HasThreeNames) {
  EXPECT_EQ(store_placement("auto"), StorePlacement::automatic);
  EXPECT_EQ(store_placement("device"), StorePlacement::device);
  EXPECT_EQ(store_placement("host"), StorePlacement::host);
  EXPECT_THROW(store_placement("gpu"), ValueError);
}

TEST(DeviceStore, LiesOnTheDeviceWhereItFits) {
  MWALIMU_NEEDS_DEVICE();
  for (const int channels : {3, 4}) {
    const DeviceStore store(some_store(channels), Device::cuda());
    ASSERT_TRUE(store.resident());
    EXPECT_EQ(store.images().dim(3), channels);
    EXPECT_EQ(store.images().to_vector(),
              some_images(kImages, kHeight, kWidth, channels).to_vector());
  }
  EXPECT_FALSE(DeviceStore(some_store(), Device::cuda(), StorePlacement::host).resident());
  EXPECT_THROW(DeviceStore(some_store(), Device::cpu()), DeviceError);
  EXPECT_THROW(DeviceStore(data::ImageStore(), Device::cuda()), ValueError);
}

// Where samples were left out, images do not follow each other in the host's memory.
TEST(DeviceStore, TakesImagesThatLieApart) {
  MWALIMU_NEEDS_DEVICE();
  const test::TempDir dir;
  std::string rows = "Image_id,Label\n";
  for (int i = 0; i < 4; ++i) {
    const std::string id = "p" + std::to_string(i) + ".png";
    if (i == 1) {
      test::put_file(dir, "images/" + id, "no image");
    } else {
      data::Image image(6, 6);
      std::fill(image.pixels.begin(), image.pixels.end(), static_cast<std::uint8_t>(50 * i));
      std::filesystem::create_directories(dir / "images");
      data::write_image(dir / "images" / id, image);
    }
    rows += id + ",leaf\n";
  }
  test::put_file(dir, "Train.csv", rows);
  auto dataset = data::load_dataset(dir.path(), data::Split::train);
  const auto store = data::ImageStore::build(dataset, {.size = 6, .skip_bad = true, .cache = {}});
  ASSERT_EQ(store.size(), 3);
  ASSERT_NE(store.image(1).data() - store.image(0).data(), 6 * 6 * 3);
  std::vector<std::uint8_t> want;
  for (index_t i = 0; i < 3; ++i) {
    want.insert(want.end(), store.image(i).begin(), store.image(i).end());
  }
  EXPECT_EQ(DeviceStore(store, Device::cuda(), StorePlacement::device).images().to_vector(), want);
}

// The promise of the page: wherever the pixels lie, a step sees the crops that the host would make.
TEST(BatchFeed, EveryPlacementGivesTheHostsCrops) {
  MWALIMU_NEEDS_DEVICE();
  const auto options = data::MultiCropOptions::strong("2x9,2x6");
  const auto all = some_images(kImages, kHeight, kWidth);
  constexpr std::int64_t first = 4, last = 11;
  std::vector<std::vector<std::uint8_t>> resident;
  for (const auto placement : {StorePlacement::device, StorePlacement::host}) {
    const DeviceStore store(some_store(), Device::cuda(), placement);
    for (const data::PrefetcherOptions threads :
         {data::PrefetcherOptions{1, 2}, {0, 1}, {3, 1}, {2, 4}}) {
      SCOPED_TRACE(::testing::Message() << "resident " << store.resident() << ", workers "
                                        << threads.workers << ", depth " << threads.depth);
      BatchFeed feed(
          store, 6, first, last,
          [](std::int64_t step, BatchRequest& want) { want.images = pairs_of(step); }, threads);
      std::vector<Tensor<float>> crops, want;
      std::size_t seen = 0;
      for (std::int64_t step = first; step < last; ++step) {
        ASSERT_TRUE(feed.next());
        data::multi_crop(options, 8, feed.step(), feed.images(), feed.rows().reshape({3, 2}),
                         crops);
        data::multi_crop(options, 8, Scalar(static_cast<double>(step)), all,
                         Tensor<index_t>::from(pairs_of(step), {3, 2}), want);
        for (std::size_t g = 0; g < crops.size(); ++g) {
          EXPECT_LT(relative_difference(crops[g], want[g]), pixel_tolerance<float>()) << step;
          if (resident.size() <= seen) resident.push_back(bits(crops[g]));
          EXPECT_TRUE(bits(crops[g]) == resident[seen])
              << "another placement, other bits: " << step;
          ++seen;
        }
      }
      EXPECT_FALSE(feed.next());
      EXPECT_FALSE(feed.next());
    }
  }
}

TEST(BatchFeed, BringsStackedPairsFromEveryPlacement) {
  MWALIMU_NEEDS_DEVICE();
  const auto options = data::MultiCropOptions::strong("2x9,2x6");
  const auto all = some_images(kImages, kHeight, kWidth, 4);
  for (const auto placement : {StorePlacement::device, StorePlacement::host}) {
    BatchFeed feed(DeviceStore(some_store(4), Device::cuda(), placement), 6, 0, 5,
                   [](std::int64_t step, BatchRequest& want) { want.images = pairs_of(step); });
    std::vector<Tensor<float>> crops, want;
    for (int step = 0; feed.next(); ++step) {
      ASSERT_EQ(feed.images().dim(3), 4);
      data::multi_crop(options, 8, feed.step(), feed.images(), feed.rows().reshape({3, 2}), crops);
      data::multi_crop(options, 8, Scalar(step), all, Tensor<index_t>::from(pairs_of(step), {3, 2}),
                       want);
      for (std::size_t g = 0; g < crops.size(); ++g) {
        EXPECT_LT(relative_difference(crops[g], want[g]), pixel_tolerance<float>()) << step;
      }
    }
  }
}

TEST(BatchFeed, BringsLabelsNumbersAndTheStep) {
  MWALIMU_NEEDS_DEVICE();
  for (const auto placement : {StorePlacement::device, StorePlacement::host}) {
    BatchFeed feed(DeviceStore(some_store(), Device::cuda(), placement), 5, 0, 6,
                   [](std::int64_t step, BatchRequest& want) {
                     for (index_t i = 0; i <= step % 5; ++i) {  // 1 to 5 images
                       want.images.push_back((3 * i + step) % kImages);
                       want.labels.push_back(100 * step + i);
                     }
                     if (step == 5) want.labels.clear();
                   });
    const std::uint8_t* images = nullptr;
    for (std::int64_t step = 0; feed.next(); ++step) {
      const index_t n = step % 5 + 1;
      if (images == nullptr) images = feed.images().data();
      EXPECT_EQ(feed.images().data(), images);  // always the same address
      ASSERT_EQ(feed.rows().shape(), Shape{n});
      EXPECT_EQ(feed.step().value, static_cast<double>(step));
      // Read on the device, as a kernel does.
      auto number = Tensor<double>::borrow(const_cast<double*>(feed.step().device), {}, {}, nullptr,
                                           Device::cuda());
      EXPECT_EQ(number.item(), static_cast<double>(step));
      const auto numbers = feed.numbers().to_vector(), labels = feed.labels().to_vector();
      ASSERT_EQ(labels.size(), step == 5 ? 0u : static_cast<std::size_t>(n));
      for (index_t i = 0; i < n; ++i) {
        EXPECT_EQ(numbers[static_cast<std::size_t>(i)], (3 * i + step) % kImages);
      }
      for (std::size_t i = 0; i < labels.size(); ++i) {
        EXPECT_EQ(labels[i], 100 * step + static_cast<std::int64_t>(i));
      }
      EXPECT_EQ(feed.rows().to_vector()[0], feed.images().dim(0) == kImages ? numbers[0] : 0);
    }
  }
}

// A captured step reads the batch that next() brought before the replay.
TEST(BatchFeed, ACapturedStepSeesEveryBatch) {
  MWALIMU_NEEDS_DEVICE();
  data::AugmentOptions options;
  options.size = 8;
  const auto all = some_images(kImages, kHeight, kWidth);
  for (const auto placement : {StorePlacement::device, StorePlacement::host}) {
    BatchFeed feed(DeviceStore(some_store(), Device::cuda(), placement), 6, 0, 5,
                   [](std::int64_t step, BatchRequest& want) { want.images = pairs_of(step); });
    Tensor<float> inputs, want;
    const StreamHandle stream = gpu_place(Device::cuda()).stream;
    GraphHandle graph = nullptr;
    DevicePool pool{DeviceMemory{0}};
    for (int step = 0; feed.next(); ++step) {
      const auto make = [&] {
        data::augment(options, {.seed = 2, .step = feed.step()}, feed.images(), feed.rows(),
                      inputs);
      };
      if (step == 0) {
        make();
        const PoolScope own(pool);
        Driver::begin_capture(stream);
        make();
        graph = Driver::end_capture(stream);
      }
      inputs.fill(NAN);
      Driver::launch_graph(graph, stream);
      data::augment(options, {.seed = 2, .step = step}, all,
                    Tensor<index_t>::from(pairs_of(step), {6}), want);
      EXPECT_LT(relative_difference(inputs, want), pixel_tolerance<float>()) << "step " << step;
    }
    Driver::destroy_graph(graph);
  }
}

TEST(BatchFeed, SaysWhichStepAsksForWhatIsNotThere) {
  MWALIMU_NEEDS_DEVICE();
  const DeviceStore store(some_store(), Device::cuda());
  const auto why = [&](const BatchRequest& second) -> std::string {
    BatchFeed feed(store, 2, 0, 3, [&](std::int64_t step, BatchRequest& want) {
      want.images = {1};
      if (step == 1) want = second;
    });
    EXPECT_TRUE(feed.next());
    try {
      feed.next();
    } catch (const ValueError& error) {
      return error.what();
    }
    return "no ValueError";
  };
  EXPECT_EQ(why({{7}, {}}), "BatchFeed: step 1 wants image 7 of 7");
  EXPECT_EQ(why({{-1}, {}}), "BatchFeed: step 1 wants image -1 of 7");
  EXPECT_EQ(why({{1, 2, 3}, {}}),
            "BatchFeed: step 1 wants 3 images and 0 labels; the feed has room for 2");
  EXPECT_EQ(why({{1}, {4, 5, 6}}),
            "BatchFeed: step 1 wants 1 images and 3 labels; the feed has room for 2");
  EXPECT_THROW(BatchFeed(store, 0, 0, 3, {}), ValueError);
}

// A feed that is left early takes its threads and copies with it.
TEST(BatchFeed, MayBeLeftAtAnyStep) {
  MWALIMU_NEEDS_DEVICE();
  const DeviceStore store(some_store(), Device::cuda(), StorePlacement::host);
  for (int taken = 0; taken < 4; ++taken) {
    BatchFeed feed(store, 6, 0, 100,
                   [](std::int64_t step, BatchRequest& want) { want.images = pairs_of(step); },
                   {.workers = 2, .depth = 3});
    for (int i = 0; i < taken; ++i) EXPECT_TRUE(feed.next());
  }
}

}  // namespace
}  // namespace mwalimu::gpu
