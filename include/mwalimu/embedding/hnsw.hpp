// embedding/hnsw: approximate nearest neighbours by a hierarchical navigable small world graph.
//
// The graph is hnswlib's. It is there where CMake found hnswlib (Debian: libhnswlib-dev); a program
// built without it says so when it is asked for.
//
// Source: Malkov and Yashunin 2018, "Efficient and robust approximate nearest neighbor search using
// Hierarchical Navigable Small World graphs".
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#ifdef MWALIMU_HNSWLIB
// Without its own vector code, whose functions are not inline: two translation units would not link.
#ifdef NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>
#else
#define NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>
#undef NO_MANUAL_VECTORIZATION
#endif
#endif

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/search_progress.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {

#ifdef MWALIMU_HNSWLIB
inline constexpr bool kHasHnsw = true;
#else
inline constexpr bool kHasHnsw = false;
#endif

namespace detail {

#ifdef MWALIMU_HNSWLIB
/// Squared Euclidean distances of rows of d floats, sixteen columns at a time.
class SquaredDistances : public hnswlib::SpaceInterface<float> {
 public:
  explicit SquaredDistances(index_t d) : d_(static_cast<std::size_t>(d)) {}
  std::size_t get_data_size() override { return d_ * sizeof(float); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return between; }
  void* get_dist_func_param() override { return &d_; }

 private:
  static float between(const void* a_row, const void* b_row, const void* columns) {
    const auto* const a = static_cast<const float*>(a_row);
    const auto* const b = static_cast<const float*>(b_row);
    const auto d = static_cast<index_t>(*static_cast<const std::size_t*>(columns));
    Lanes squares{};
    index_t c = 0;
    for (; c + kLanes <= d; c += kLanes) {
      Lanes x, y;
      load(x, a + c);
      load(y, b + c);
      const Lanes difference = x - y;
      squares += difference * difference;
    }
    float total = static_cast<float>(sum(squares));
    for (; c < d; ++c) total += (a[c] - b[c]) * (a[c] - b[c]);
    return total;
  }
  std::size_t d_;
};
#endif

/// Writes k neighbours of every point, nearest first, with distances measured directly. A row for
/// which the graph yields fewer than k is completed by an exact search: none is ever missing.
///
/// The graph is built by one thread: links depend on the order of arrival, and the same points must
/// give the same map. Queries are shared out, and `count` is told of them.
template <class Exact>
void hnsw_neighbors([[maybe_unused]] const Points& x, [[maybe_unused]] index_t k,
                    [[maybe_unused]] std::int32_t* index, [[maybe_unused]] float* distance,
                    [[maybe_unused]] Exact&& exact_row, [[maybe_unused]] SearchCount& count) {
#ifdef MWALIMU_HNSWLIB
  constexpr std::size_t kLinks = 16;
  const std::size_t effort = static_cast<std::size_t>(std::max<index_t>(100, k));
  SquaredDistances space(x.d());
  hnswlib::HierarchicalNSW<float> graph(&space, static_cast<std::size_t>(x.n()), kLinks, effort);
  for (index_t i = 0; i < x.n(); ++i) graph.addPoint(x.row(i), static_cast<std::size_t>(i));
  graph.setEf(static_cast<std::size_t>(k + k / 2 + 10));
  share_out(x.n(), 64, [&](index_t begin, index_t end) {
    std::vector<std::pair<float, std::int32_t>> found;
    for (index_t i = begin; i < end; ++i) {
      count.add(1);
      auto queue = graph.searchKnn(x.row(i), static_cast<std::size_t>(k + 1));
      found.clear();
      for (; !queue.empty(); queue.pop()) {
        const index_t j = static_cast<index_t>(queue.top().second);
        if (j == i) continue;
        float sum = 0;
        for (index_t c = 0; c < x.d(); ++c) {
          const float difference = x.row(i)[c] - x.row(j)[c];
          sum += difference * difference;
        }
        found.emplace_back(sum, static_cast<std::int32_t>(j));
      }
      if (static_cast<index_t>(found.size()) < k) {
        exact_row(i, index + i * k, distance + i * k);
        continue;
      }
      std::sort(found.begin(), found.end());
      for (index_t r = 0; r < k; ++r) {
        distance[i * k + r] = found[r].first;
        index[i * k + r] = found[r].second;
      }
    }
  });
#else
  throw ValueError(
      "nearest_neighbors: this program was built without hnswlib; install libhnswlib-dev and "
      "configure again, or search exactly");
#endif
}

}  // namespace detail
}  // namespace mwalimu::embedding
