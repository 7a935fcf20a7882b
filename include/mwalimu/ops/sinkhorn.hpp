// ops/sinkhorn: SwAV's codes, an assignment of samples that uses all prototypes equally.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/profile.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// Codes of A independent problems, codes[a] (B, P) from the rows of scores[a] (B, P) and, behind
/// them, the first queue_rows rows of queue (L, P), which all problems share. See sinkhorn.
/// @param queue_rows  0 to L; less counts as 0, more as L. May lie on the device, where it may change
///                    between two replays of a graph: the queue's switch.
template <Real T>
void sinkhorn_codes(Cpu, View<const T, 3> scores, View<const T, 2> queue, Scalar queue_rows,
                    double eps, int iterations, View<accumulate_t<T>, 3> codes);
template <Real T>
void sinkhorn_codes(Gpu, View<const T, 3> scores, View<const T, 2> queue, Scalar queue_rows,
                    double eps, int iterations, View<accumulate_t<T>, 3> codes);

/// What the logs say about codes (rows, P).
template <Real A>
void code_statistics(Cpu, View<const A, 2> codes, View<A, 1> entropy, View<A, 1> largest);
template <Real A>
void code_statistics(Gpu, View<const A, 2> codes, View<A, 1> entropy, View<A, 1> largest);

namespace detail {

inline void check_sinkhorn(double eps, int iterations) {
  require<ValueError>(eps > 0, "sinkhorn: want eps > 0, got ", eps);
  require<ValueError>(iterations >= 0, "sinkhorn: want 0 iterations or more, got ", iterations);
}

/// queue_rows as sinkhorn_codes reads it; NaN counts as 0.
constexpr index_t queue_rows_in_use(double rows, index_t L) {
  return rows >= static_cast<double>(L) ? L : rows > 0 ? static_cast<index_t>(rows) : 0;
}

}  // namespace detail

/// Codes by Sinkhorn and Knopp's algorithm. With Q = exp(scores / eps)^T, one row a prototype and
/// one column a sample, repeat: scale each row to the sum 1/P, then each column to the sum 1/N; at
/// last each column to the sum 1. Every code sums to 1; that prototypes share the samples equally
/// holds the better the more iterations.
///
/// @param scores      (N, P) z C^T: the batch, and behind it the queue; finite. No gradient: codes
///                    are constants.
/// @param eps         > 0; smaller is sharper (SwAV: 0.05).
/// @param iterations  0 or more; 0 is a softmax of each row (SwAV: 3).
/// @param keep_rows   B, 1 to N: codes are returned for the first B rows only.
/// @return            (B, P), each row a distribution over prototypes.
/// @throws ShapeError  scores is not a matrix, is empty, or keep_rows is out of range.
/// @throws ValueError  eps <= 0 or NaN, or a negative number of iterations.
///
/// Moves     scores twice and iterations times N P floats. exp is taken once an element: only the
///           vectors u (prototypes) and v (samples) change, Q = diag(u) K diag(v).
/// Accuracy  row maxima are subtracted, u and v and all sums are double. Where what exp flushed to
///           zero could weigh more than 1e-8 of a sum (that is tested), the same steps are done on
///           logarithms instead, in about three times the time: scores / eps of 1e5 are as safe as of
///           1. The same bits on any number of threads. (Gpu: always on logarithms.)
/// Source    Cuturi 2013, arXiv:1306.0895; Caron et al. 2020, arXiv:2006.09882, sec. 3.1.
template <Real T>
Tensor<accumulate_t<T>> sinkhorn(const Tensor<T>& scores, double eps, int iterations,
                                 index_t keep_rows) {
  require<ShapeError>(scores.rank() == 2 && scores.count() >= 1,
                      "sinkhorn: want scores (N, P), got ", scores.shape());
  require<ShapeError>(keep_rows >= 1 && keep_rows <= scores.dim(0), "sinkhorn: want 1 to ",
                      scores.dim(0), " rows kept, got ", keep_rows);
  detail::check_sinkhorn(eps, iterations);
  const Tensor<T> x = detail::with_rows(scores);
  const index_t N = x.dim(0), P = x.dim(1), step = detail::rows(x).stride(0);
  auto codes = Tensor<accumulate_t<T>>::empty({1, keep_rows, P}, x.device());
  on_device("sinkhorn", x.device(), [&](auto place) {
    sinkhorn_codes<T>(place, {x.data(), {1, keep_rows, P}, {N * step, step, 1}},
                      {x.data() + keep_rows * step, {N - keep_rows, P}, {step, 1}},
                      static_cast<double>(N - keep_rows), eps, iterations, detail::view<3>(codes));
  });
  return codes.reshape({keep_rows, P});
}

/// The same for several crops at once, each balanced over its own batch and, together with it, over
/// the queue, which lies elsewhere.
///
/// @param scores      (A, B, P), one problem for each of A crops.
/// @param queue       (L, P) scores of the queue's embeddings, on the same device; L may be 0.
/// @param queue_rows  how many of them take part, 0 to L; may lie on the device.
/// @return            (A, B, P).
/// @throws ShapeError  scores is empty or not of rank 3, or the queue has other columns.
/// @throws ValueError  as above.
template <Real T>
Tensor<accumulate_t<T>> sinkhorn(const Tensor<T>& scores, const Tensor<T>& queue,
                                 Scalar queue_rows, double eps, int iterations) {
  require<ShapeError>(scores.rank() == 3 && scores.count() >= 1 && queue.rank() == 2 &&
                          queue.dim(1) == scores.dim(2),
                      "sinkhorn: want scores (A, B, P) and a queue (L, P), got ", scores.shape(),
                      " and ", queue.shape());
  detail::check_sinkhorn(eps, iterations);
  const Tensor<T> x = scores.strides()[2] == 1 ? scores : scores.contiguous();
  const Tensor<T> behind = detail::with_rows(queue);
  auto codes = Tensor<accumulate_t<T>>::empty(x.shape(), x.device());
  on_device("sinkhorn", x.device(), [&](auto place) {
    sinkhorn_codes<T>(place, detail::view<3>(x), detail::rows(behind), queue_rows, eps, iterations,
                      detail::view<3>(codes));
  });
  return codes;
}

/// How sharp codes are, and whether they have collapsed.
template <Real A>
struct CodeStatistics {
  Tensor<A> entropy;  ///< of each code, nats: 0 (one prototype) to log P (all alike)
  Tensor<A> largest;  ///< the largest entry of each code
};

/// @param codes  (..., P), rank 2 or more. @return  tensors of shape (...).
template <Real A>
CodeStatistics<A> code_statistics(const Tensor<A>& codes) {
  require<ShapeError>(codes.rank() >= 2 && codes.dim(codes.rank() - 1) >= 1,
                      "code_statistics: want (..., P), got ", codes.shape());
  const Tensor<A> q = detail::with_rows(codes);
  const index_t count = detail::rows(q).dim(0);
  auto entropy = Tensor<A>::empty({count}, q.device());
  auto largest = Tensor<A>::empty({count}, q.device());
  on_device("sinkhorn", q.device(), [&](auto place) {
    code_statistics<A>(place, detail::rows(q), detail::view<1>(entropy), detail::view<1>(largest));
  });
  const Shape leading(std::span<const index_t>(q.shape().begin(), q.shape().end() - 1));
  return {entropy.reshape(leading), largest.reshape(leading)};
}

/// How many of the P prototypes are the first choice of some code.
/// @param codes  (..., P). Waits for a device; swav_statistics does not.
template <Real A>
index_t prototypes_used(const Tensor<A>& codes) {
  require<ShapeError>(codes.rank() >= 2 && codes.dim(codes.rank() - 1) >= 1,
                      "prototypes_used: want (..., P), got ", codes.shape());
  const Tensor<A> q = detail::with_rows(codes.to(Device::cpu()));
  const View<const A, 2> rows = detail::rows(q);
  std::vector<bool> used(static_cast<std::size_t>(rows.dim(1)), false);
  for (index_t r = 0; r < rows.dim(0); ++r) {
    const A* row = rows.data() + r * rows.stride(0);
    used[static_cast<std::size_t>(std::max_element(row, row + rows.dim(1)) - row)] = true;
  }
  return std::count(used.begin(), used.end(), true);
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/sinkhorn.hpp"
