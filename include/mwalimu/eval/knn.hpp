// eval/knn: how well features tell classes apart, by their nearest neighbours: no training, no
// setting that matters but k, so it follows a pretraining run from epoch to epoch.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/eval/probabilities.hpp"

namespace mwalimu::eval {

struct KnnOptions {
  enum class Vote {
    majority,  ///< a voice each
    weighted,  ///< exp(cosine / temperature), as in instance discrimination
  };
  index_t k = 20;  ///< neighbours that vote; fewer where there are fewer
  Vote vote = Vote::weighted;
  double temperature = 0.07;  ///< of the weighted vote, > 0
};

/// Labelled features: what is searched.
struct KnnReference {
  std::span<const float> features;  ///< (N, D), finite
  std::span<const int> labels;      ///< (N), in [0, C)
  /// (N) or empty. Images of one group never vote for each other: the two sensors of a plant carry
  /// one label and would answer for each other.
  std::span<const index_t> groups = {};
};

namespace detail {

/// Rows scaled to length 1; a zero row stays zero, its cosine with everything is 0.
inline std::vector<float> unit_rows(std::span<const float> x, index_t N, index_t D) {
  std::vector<float> out(x.size());
  parallel_for(N, std::max<index_t>(1, 16384 / D), [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      const float* const row = x.data() + i * D;
      float* const to = out.data() + i * D;
      double square = 0;
      for (index_t d = 0; d < D; ++d) square += static_cast<double>(row[d]) * row[d];
      const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
      for (index_t d = 0; d < D; ++d) to[d] = static_cast<float>(row[d] * scale);
    }
  });
  return out;
}

/// cosine[j] <- query . row j, for all N unit rows. Four rows at a time share the query's loads;
/// the last block repeats a row rather than take another path, so equal rows get equal bits.
inline void cosines(const float* query, const float* rows, index_t N, index_t D, float* cosine) {
  for (index_t j = 0; j < N; j += 4) {
    const float* const r0 = rows + j * D;
    const float* const r1 = rows + std::min(j + 1, N - 1) * D;
    const float* const r2 = rows + std::min(j + 2, N - 1) * D;
    const float* const r3 = rows + std::min(j + 3, N - 1) * D;
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (index_t d = 0; d < D; ++d) {
      s0 += query[d] * r0[d];
      s1 += query[d] * r1[d];
      s2 += query[d] * r2[d];
      s3 += query[d] * r3[d];
    }
    const float sums[4] = {s0, s1, s2, s3};
    for (index_t t = 0; t < std::min<index_t>(4, N - j); ++t) cosine[j + t] = sums[t];
  }
}

/// The class that the k best of `candidate` vote for; the lowest class among equals.
inline int knn_vote(std::span<const float> cosine, std::vector<std::int32_t>& candidate,
                    std::span<const int> labels, index_t C, const KnnOptions& options,
                    std::vector<double>& votes) {
  const auto k = std::min(candidate.size(), static_cast<std::size_t>(options.k));
  const auto nearer = [&](std::int32_t a, std::int32_t b) {
    const float ca = cosine[static_cast<std::size_t>(a)], cb = cosine[static_cast<std::size_t>(b)];
    return ca > cb || (ca == cb && a < b);
  };
  const auto middle = candidate.begin() + static_cast<std::ptrdiff_t>(k);
  std::nth_element(candidate.begin(), middle, candidate.end(), nearer);
  std::sort(candidate.begin(), middle, nearer);  // the order of the sums below
  votes.assign(static_cast<std::size_t>(C), 0.0);
  for (std::size_t i = 0; i < k; ++i) {
    const auto j = static_cast<std::size_t>(candidate[i]);
    // cosine - 1: the nearest possible weighs 1, so no temperature overflows exp.
    votes[static_cast<std::size_t>(labels[j])] +=
        options.vote == KnnOptions::Vote::majority
            ? 1.0
            : std::exp((static_cast<double>(cosine[j]) - 1) / options.temperature);
  }
  return static_cast<int>(std::max_element(votes.begin(), votes.end()) - votes.begin());
}

/// @param leave_out  query i is row i of the reference: it and its group do not vote.
inline std::vector<int> knn(const KnnReference& reference, std::span<const float> queries,
                            index_t Q, index_t D, index_t C, const KnnOptions& options,
                            bool leave_out) {
  const auto N = static_cast<index_t>(reference.labels.size());
  require<ValueError>(options.k >= 1, "knn: want k >= 1, got ", options.k);
  require<ValueError>(options.temperature > 0, "knn: want temperature > 0, got ",
                      options.temperature);
  require<ValueError>(N >= (leave_out ? 2 : 1) && N < index_t{1} << 31, "knn: ", N,
                      " labelled features");
  require<ShapeError>(D >= 1 && static_cast<index_t>(reference.features.size()) == N * D,
                      "knn: want ", N, " x ", D, " features, got ", reference.features.size());
  require<ShapeError>(
      reference.groups.empty() || static_cast<index_t>(reference.groups.size()) == N, "knn: want ",
      N, " groups, got ", reference.groups.size());
  require_labels("knn", reference.labels, N, C);
  require_finite("knn", reference.features, D);
  require_finite("knn", queries, D);

  const std::vector<float> rows = unit_rows(reference.features, N, D);
  std::vector<float> others;
  if (!leave_out) others = unit_rows(queries, Q, D);
  const float* const query = leave_out ? rows.data() : others.data();

  std::vector<int> predicted(static_cast<std::size_t>(Q));
  constexpr index_t kBlock = 64;  // reference rows that stay in cache for kTile queries
  constexpr index_t kTile = 32;
  const index_t grain = std::max<index_t>(1, 65536 / (kTile * N * D));  // a thread is worth it
  parallel_for((Q + kTile - 1) / kTile, grain, [&](index_t begin, index_t end) {
    std::vector<float> cosine(static_cast<std::size_t>(kTile * N));
    std::vector<std::int32_t> candidate;
    std::vector<double> votes;
    for (index_t tile = begin; tile < end; ++tile) {
      const index_t first = tile * kTile, last = std::min(Q, first + kTile);
      for (index_t j = 0; j < N; j += kBlock) {
        for (index_t i = first; i < last; ++i) {
          cosines(query + i * D, rows.data() + j * D, std::min(kBlock, N - j), D,
                  cosine.data() + (i - first) * N + j);
        }
      }
      for (index_t i = first; i < last; ++i) {
        candidate.clear();
        for (index_t j = 0; j < N; ++j) {
          const bool own =
              leave_out && (i == j || (!reference.groups.empty() &&
                                       reference.groups[static_cast<std::size_t>(i)] ==
                                           reference.groups[static_cast<std::size_t>(j)]));
          if (!own) candidate.push_back(static_cast<std::int32_t>(j));
        }
        const std::span<const float> row(cosine.data() + (i - first) * N,
                                         static_cast<std::size_t>(N));
        predicted[static_cast<std::size_t>(i)] =
            knn_vote(row, candidate, reference.labels, C, options, votes);
      }
    }
  });
  return predicted;
}

}  // namespace detail

/// The class of each query by the vote of its k most similar reference features (cosine). Ties of
/// similarity go to the lower row, ties of votes to the lower class.
///
/// @param queries  (Q, D), finite.
/// @param D        extent of a feature, >= 1.
/// @param C        classes.
/// @return         (Q) classes; the same for any number of threads.
/// @throws ShapeError, ValueError
///
/// Cost    Q N D multiply-adds.
/// Source  Wu et al. 2018, arXiv:1805.01978, sec. 3.4 (the weighted vote; k = 200, temperature
/// 0.07).
inline std::vector<int> knn_predict(const KnnReference& reference, std::span<const float> queries,
                                    index_t D, index_t C, const KnnOptions& options = {}) {
  const index_t Q = detail::rows_of("knn", queries, D);
  return detail::knn(reference, queries, Q, D, C, options, false);
}

/// The same for every reference feature from all the others: leave one (group) out.
inline std::vector<int> knn_leave_one_out(const KnnReference& reference, index_t D, index_t C,
                                          const KnnOptions& options = {}) {
  return detail::knn(reference, {}, static_cast<index_t>(reference.labels.size()), D, C, options,
                     true);
}

/// The share of predictions that are right, in [0, 1].
/// @throws ShapeError  not as many of the one as of the other, or none.
inline double accuracy(std::span<const int> predicted, std::span<const int> labels) {
  require<ShapeError>(predicted.size() == labels.size() && !labels.empty(),
                      "accuracy: ", predicted.size(), " predictions for ", labels.size(),
                      " labels");
  double hits = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) hits += predicted[i] == labels[i] ? 1 : 0;
  return hits / static_cast<double>(labels.size());
}

}  // namespace mwalimu::eval
