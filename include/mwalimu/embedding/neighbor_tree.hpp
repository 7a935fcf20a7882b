// embedding/neighbor_tree: exact nearest neighbours by a k-d tree, for points of few coordinates.
//
// Where brute force measures all n^2 pairs, a tree measures the few hundred around each point:
// above a dozen coordinates boxes overlap every neighbourhood and nothing is left out.
//
// Source: Friedman, Bentley and Finkel 1977, "An algorithm for finding best matches in logarithmic
// expected time": splits at the median of the widest axis, leaves of several points.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding::detail {

class NeighborTree {
  struct Node {
    index_t begin, end, right;  // right == 0: a leaf; the left child follows its parent
    index_t panel;
  };

 public:
  /// @param x  (n, d) finite points, n >= 1; copied.
  explicit NeighborTree(const Points& x) : n_(x.n()), d_(x.d()), order_(x.n()) {
    std::iota(order_.begin(), order_.end(), 0);
    build(x, 0, n_);
    // The points leaf by leaf, coordinate by coordinate, filled up to whole vectors with copies of
    // nobody: infinity is further than any threshold.
    for (Node& node : nodes_) {
      if (node.right != 0) continue;
      node.panel = static_cast<index_t>(panels_.size());
      panels_.resize(panels_.size() + kLanes * d_, std::numeric_limits<float>::infinity());
      for (index_t e = node.begin; e < node.end; ++e) {
        for (index_t c = 0; c < d_; ++c) {
          panels_[node.panel + c * kLanes + (e - node.begin)] = x.row(order_[e])[c];
        }
      }
    }
  }

  /// The points in the order of the leaves: queries in this order stay in cache.
  const std::vector<std::int32_t>& order() const { return order_; }

  /// A search for k neighbours, with the buffers it needs.
  class Query {
   public:
    Query(const NeighborTree& tree, index_t k) : tree_(tree), k_(k) { kept_.reserve(2 * k + 16); }
    /// Writes the k nearest of the points to q, nearest first, ties by the smaller index.
    /// @param self  a point to leave out; -1: none.
    void run(const float* q, std::int32_t self, std::int32_t* index, float* distance) {
      kept_.clear();
      limit_ = std::numeric_limits<float>::infinity();
      self_ = self;
      q_ = q;
      visit(0);
      std::sort(kept_.begin(), kept_.end());
      for (index_t r = 0; r < k_; ++r) {
        distance[r] = kept_[r].first;
        index[r] = kept_[r].second;
      }
    }

   private:
    void visit(index_t at) {
      const Node& node = tree_.nodes_[at];
      if (node.right == 0) return leaf(node);
      const index_t left = at + 1;
      const float a = tree_.box_distance(left, q_), b = tree_.box_distance(node.right, q_);
      const auto [near, far] = a <= b ? std::pair{left, node.right} : std::pair{node.right, left};
      // Rounding must not lift a box above a point of its own: a few units of the last place.
      if (std::min(a, b) * kBelow <= limit_) visit(near);
      if (std::max(a, b) * kBelow <= limit_) visit(far);
    }

    void leaf(const Node& node) {
      Lanes sum = {};
      for (index_t c = 0; c < tree_.d_; ++c) {
        Lanes v;
        load(v, tree_.panels_.data() + node.panel + c * kLanes);
        const Lanes difference = v - q_[c];
        sum += difference * difference;
      }
      float distance[kLanes];
      store(distance, sum);
      const index_t count = node.end - node.begin;
      for (index_t lane = 0; lane < count; ++lane) {
        const std::int32_t j = tree_.order_[node.begin + lane];
        if (distance[lane] <= limit_ && j != self_) kept_.emplace_back(distance[lane], j);
      }
      if (static_cast<index_t>(kept_.size()) >= 2 * k_) {
        std::nth_element(kept_.begin(), kept_.begin() + (k_ - 1), kept_.end());
        kept_.resize(k_);
        limit_ = kept_[k_ - 1].first;
      }
    }

    static constexpr float kBelow = 1 - 1e-5f;
    const NeighborTree& tree_;
    index_t k_;
    std::vector<std::pair<float, std::int32_t>> kept_;
    float limit_ = 0;
    std::int32_t self_ = -1;
    const float* q_ = nullptr;
  };

 private:
  index_t build(const Points& x, index_t begin, index_t end) {
    const index_t at = static_cast<index_t>(nodes_.size());
    nodes_.push_back({begin, end, 0, 0});
    std::vector<float> low(d_, std::numeric_limits<float>::infinity()), high(d_, -low[0]);
    for (index_t e = begin; e < end; ++e) {
      for (index_t c = 0; c < d_; ++c) {
        low[c] = std::min(low[c], x.row(order_[e])[c]);
        high[c] = std::max(high[c], x.row(order_[e])[c]);
      }
    }
    boxes_.insert(boxes_.end(), low.begin(), low.end());
    boxes_.insert(boxes_.end(), high.begin(), high.end());
    if (end - begin <= kLanes) return at;
    index_t axis = 0;
    for (index_t c = 1; c < d_; ++c) {
      if (high[c] - low[c] > high[axis] - low[axis]) axis = c;
    }
    // Halves of whole leaves; equal coordinates are told apart by index, so any data splits.
    const index_t middle = begin + round_up((end - begin) / 2, kLanes);
    std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end,
                     [&](std::int32_t a, std::int32_t b) {
                       return std::pair{x.row(a)[axis], a} < std::pair{x.row(b)[axis], b};
                     });
    build(x, begin, middle);
    nodes_[at].right = build(x, middle, end);
    return at;
  }

  float box_distance(index_t at, const float* q) const {
    const float* low = boxes_.data() + at * 2 * d_;
    const float* high = low + d_;
    float sum = 0;
    for (index_t c = 0; c < d_; ++c) {
      const float outside = std::max(std::max(low[c] - q[c], q[c] - high[c]), 0.0f);
      sum += outside * outside;
    }
    return sum;
  }

  index_t n_, d_;
  std::vector<std::int32_t> order_;
  std::vector<Node> nodes_;
  std::vector<float> boxes_, panels_;  // (nodes, 2, d), (leaves, d, kLanes)
};

}  // namespace mwalimu::embedding::detail
