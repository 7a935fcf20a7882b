// The loss as training has it, queues included, against the reference numbers and by its rules.
#include "mwalimu/train/swav_loss.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "mwalimu/ops/l2_normalize.hpp"
#include "support/compare.hpp"
#include "support/golden.hpp"
#include "support/reference.hpp"

namespace mwalimu::train {
namespace {

using test::values;

/// Rows of unit length; norms in double.
Tensor<float> unit_rows(std::vector<float> x, index_t rows, index_t D) {
  for (index_t r = 0; r < rows; ++r) {
    double square = 0;
    float* row = x.data() + r * D;
    for (index_t d = 0; d < D; ++d) square += double{row[d]} * row[d];
    for (index_t d = 0; d < D; ++d) row[d] = static_cast<float>(row[d] / std::sqrt(square));
  }
  return Tensor<float>::from(x, {rows, D});
}

nn::Linear prototypes_of(const Tensor<float>& rows) {
  nn::Linear prototypes(rows.dim(1), rows.dim(0), false);
  prototypes.weight.mutable_value().copy_from(rows);
  return prototypes;
}

// Features, prototypes and a queue go in; codes, loss and both gradients come out.
TEST(SwavLossGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "swav");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const index_t B = c.at("B"), P = c.at("P"), D = c.at("D"), V = c.at("V"), L = c.at("queue_len");
    const SwavLossOptions options{.epsilon = c.at("eps"),
                                  .sinkhorn_iterations = c.at("iters"),
                                  .temperature = c.at("temp"),
                                  .code_crops = c.at("assign").get<std::vector<index_t>>()};
    QueueOptions queue{.length = L};
    queue.enqueue_first = c.at("enqueue_first").get<bool>();
    EmbeddingQueues queues(queue, options.code_crops, D, B, 0);
    if (L > 0) queues[0].rows() = unit_rows(c.fill("queue", {L, D}, golden::Fill::input), L, D);

    auto prototypes = prototypes_of(
        unit_rows(c.fill("prototypes.weight", {P, D}, golden::Fill::weight), P, D));
    const auto features = Variable<float>::leaf(
        Tensor<float>::from(c.fill("features", {V * B, D}, golden::Fill::input), {V * B, D}));
    const auto z = ops::l2_normalize(features);
    const models::SwavNetwork::Output<float> output{z, prototypes(z)};
    const auto result = swav_loss<float>(output, B, prototypes, queues, static_cast<double>(L),
                                         options.temperature, options);
    result.loss.backward();

    EXPECT_TRUE(c.near("loss", values(result.loss.value())));
    const auto statistics = ops::code_statistics(result.codes);
    EXPECT_TRUE(c.near("code_entropy", values(statistics.entropy)));
    EXPECT_TRUE(c.near("code_max", values(statistics.largest)));
    const auto features_gradient = values(features.grad());
    const auto prototypes_gradient = values(prototypes.weight.variable().grad());
    if (c.has_tensor("codes")) {
      EXPECT_TRUE(c.near("codes", values(result.codes)));
      EXPECT_TRUE(c.near("grad_features", features_gradient));
      EXPECT_TRUE(c.near("grad_prototypes", prototypes_gradient));
    } else {
      const auto near = [&](const char* name, const std::vector<double>& gradient,
                            const char* tolerance) {
        const std::vector<double> first(gradient.begin(), gradient.begin() + 4 * D);
        return c.near(name, first, c.tensor(name).values, tolerance);
      };
      EXPECT_TRUE(near("grad_features_slice", features_gradient, "grad_features"));
      EXPECT_TRUE(near("grad_prototypes_slice", prototypes_gradient, "grad_prototypes"));
    }
    // Either way the batch is in the queue afterwards.
    if (L > 0) {
      EXPECT_EQ(values(queues[0].rows().slice(0, 0, B)), values(z.value().slice(0, 0, B)));
      EXPECT_EQ(queues[0].cursor(), B % L);
    }
  }
}

struct Problem {
  static constexpr index_t kBatch = 4, kCrops = 4, kDimension = 6, kPrototypes = 9;
  nn::Linear prototypes = prototypes_of(unit_rows(random(1, kPrototypes), kPrototypes, kDimension));
  SwavLossOptions options;
  QueueOptions queue{.length = 8};
  int seed = 2;

  static std::vector<float> random(std::uint64_t seed, index_t rows) {
    std::vector<float> x(static_cast<std::size_t>(rows * kDimension));
    RandomStream stream(seed, Purpose::test);
    for (float& value : x) value = stream.normal();
    return x;
  }
  EmbeddingQueues queues() const {
    return EmbeddingQueues(queue, options.code_crops, kDimension, kBatch, 7);
  }
  SwavBatchLoss loss(EmbeddingQueues& queues) const {
    constexpr index_t rows = kBatch * kCrops;
    const Variable<float> z(unit_rows(random(static_cast<std::uint64_t>(seed), rows), rows,
                                      kDimension));
    return swav_loss<float>({z, prototypes(z)}, kBatch, prototypes, queues,
                            static_cast<double>(queues.length()), options.temperature, options);
  }
};

TEST(SwavLoss, EveryCodeCropHasAQueueOfItsOwn) {
  Problem problem;
  problem.options.code_crops = {2, 0};
  problem.queue.per_crop = true;
  auto queues = problem.queues();
  ASSERT_EQ(queues.count(), 2);
  EXPECT_NE(values(queues[0].rows()), values(queues[1].rows()));
  const auto both = problem.loss(queues);

  // Each crop's code is what it is with that queue alone.
  for (index_t a = 0; a < 2; ++a) {
    Problem alone;
    alone.options.code_crops = {problem.options.code_crops[static_cast<std::size_t>(a)]};
    auto queue = alone.queues();
    auto same = problem.queues();
    queue[0].rows() = same[a].rows();
    EXPECT_EQ(values(alone.loss(queue).codes), values(both.codes.slice(0, a, a + 1))) << a;
  }
  // And takes the embeddings of its crop.
  const index_t B = Problem::kBatch;
  const auto z = unit_rows(Problem::random(2, 4 * B), 4 * B, Problem::kDimension);
  EXPECT_EQ(values(queues[0].rows().slice(0, 0, B)), values(z.slice(0, 2 * B, 3 * B)));
  EXPECT_EQ(values(queues[1].rows().slice(0, 0, B)), values(z.slice(0, 0, B)));
}

TEST(SwavLoss, TheBatchEntersTheQueueBeforeOrAfterItsCodes) {
  Problem before, after;
  after.queue.enqueue_first = false;
  auto first = before.queues(), last = after.queues();
  const auto with = before.loss(first), without = after.loss(last);
  EXPECT_NE(values(with.codes), values(without.codes));
  EXPECT_EQ(values(first[0].rows()), values(last[0].rows()));
  EXPECT_EQ(values(with.loss_without_queue), values(without.loss_without_queue));
  // The other order by hand.
  auto filled = after.queues();
  const index_t B = Problem::kBatch;
  filled.push(unit_rows(Problem::random(2, 4 * B), 4 * B, Problem::kDimension));
  EXPECT_EQ(values(after.loss(filled).codes), values(with.codes));
}

TEST(SwavLoss, CropLossesAverageToTheLoss) {
  Problem problem;
  problem.options.code_crops = {3, 1};
  auto queues = problem.queues();
  const auto result = problem.loss(queues);
  // Crops 1 and 3 predict one code, 0 and 2 two: six pairs.
  const auto crops = values(result.crop_loss);
  EXPECT_NEAR(result.loss.value().item(), (2 * crops[0] + crops[1] + 2 * crops[2] + crops[3]) / 6,
              1e-5);
}

TEST(SwavLoss, CodeCropsMustBeThere) {
  Problem problem;
  auto queues = problem.queues();
  problem.options.code_crops = {0, 4};
  EXPECT_THROW(problem.loss(queues), ValueError);
  problem.options.code_crops = {1, 1};
  EXPECT_THROW(problem.loss(queues), ValueError);
}

TEST(QueueOptions, ARandomQueueJoinsAfterItsFraction) {
  const QueueOptions queue{.length = 8, .start = 0.5};
  EXPECT_FALSE(queue_joins(queue, 5, 10, 4));
  EXPECT_TRUE(queue_joins(queue, 6, 10, 4));
  EXPECT_FALSE(queue_joins({.length = 0}, 9, 10, 4));
}

TEST(QueueOptions, AnEmptyQueueJoinsOnceItIsFull) {
  // It begins to fill at step 3 (2.5 rounded up), with 4 of its 8 rows a step.
  const auto queue = QueueOptions::facebook(8, 0.25);
  for (std::int64_t step = 0; step < 10; ++step) {
    EXPECT_EQ(queue_joins(queue, step, 10, 4), step >= 5) << step;
  }
  EXPECT_FALSE(queue_joins(QueueOptions::facebook(8, 0), 1, 10, 4));
  EXPECT_TRUE(queue_joins(QueueOptions::facebook(8, 0), 2, 10, 4));
}

TEST(EmbeddingQueues, StartEmptyOrWithUnitVectors) {
  const std::vector<index_t> crops{0, 1};
  EmbeddingQueues random({.length = 4}, crops, 3, 2, 5), none({.length = 0}, crops, 3, 2, 5),
      empty(QueueOptions::facebook(4), crops, 3, 2, 5);
  EXPECT_EQ(random.count(), 1);
  for (index_t i = 0; i < 4; ++i) {
    double square = 0;
    for (const double x : values(random[0].rows().slice(0, i, i + 1))) square += x * x;
    EXPECT_NEAR(square, 1, 1e-6);
  }
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.length(), 0);
  EXPECT_EQ(empty.count(), 2);
  EXPECT_EQ(values(empty[1].rows()), std::vector<double>(12, 0.0));
  EXPECT_THROW(EmbeddingQueues({.length = 3}, crops, 3, 2, 5), ValueError);
}

}  // namespace
}  // namespace mwalimu::train
