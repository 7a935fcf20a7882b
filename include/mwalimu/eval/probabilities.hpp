// eval/probabilities: rows of class scores: softmax, arg max, and the checks that both rest on.
//
// Everywhere in eval, scores are (N, C) row-major: N images, C classes; a label is a class index.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::eval {
namespace detail {

/// N of (N, C) scores.
/// @throws ShapeError  C < 1, or the count is not a multiple of it.
template <class T>
index_t rows_of(const char* what, std::span<const T> scores, index_t C) {
  require<ShapeError>(C >= 1 && static_cast<index_t>(scores.size()) % C == 0, what,
                      ": want rows of ", C, " classes, got ", scores.size(), " values");
  return static_cast<index_t>(scores.size()) / C;
}

/// @throws ValueError  a score is NaN or infinite; the text names row and class.
template <class T>
void require_finite(const char* what, std::span<const T> scores, index_t C) {
  for (std::size_t i = 0; i < scores.size(); ++i) {
    require<ValueError>(std::isfinite(scores[i]), what, ": row ", static_cast<index_t>(i) / C,
                        ", class ", static_cast<index_t>(i) % C, " is ", scores[i]);
  }
}

/// @throws ShapeError  not a label a row.  @throws ValueError  a label outside [0, C).
inline void require_labels(const char* what, std::span<const int> labels, index_t N, index_t C) {
  require<ShapeError>(static_cast<index_t>(labels.size()) == N, what, ": want ", N, " labels, got ",
                      labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    require<ValueError>(labels[i] >= 0 && labels[i] < C, what, ": label ", labels[i], " of row ", i,
                        " is not one of ", C, " classes");
  }
}

template <class T>
std::vector<int> arg_max_rows(std::span<const T> scores, index_t C) {
  const index_t N = rows_of("arg_max", scores, C);
  require_finite("arg_max", scores, C);
  std::vector<int> best(static_cast<std::size_t>(N));
  for (std::size_t i = 0; i < best.size(); ++i) {
    const auto row = scores.subspan(i * static_cast<std::size_t>(C), static_cast<std::size_t>(C));
    best[i] = static_cast<int>(std::max_element(row.begin(), row.end()) - row.begin());
  }
  return best;
}

}  // namespace detail

/// The class of the highest score of each row; the lowest class among equals.
/// @throws ShapeError  the scores are not rows of C.  @throws ValueError  one is not finite.
inline std::vector<int> arg_max(std::span<const float> scores, index_t C) {
  return detail::arg_max_rows(scores, C);
}
inline std::vector<int> arg_max(std::span<const double> scores, index_t C) {
  return detail::arg_max_rows(scores, C);
}

/// softmax of each row, in double; the row maximum is subtracted, so no logit overflows.
/// @throws ShapeError  the logits are not rows of C.  @throws ValueError  one is not finite.
inline std::vector<double> softmax(std::span<const float> logits, index_t C) {
  const index_t N = detail::rows_of("softmax", logits, C);
  detail::require_finite("softmax", logits, C);
  std::vector<double> out(logits.size());
  for (index_t i = 0; i < N; ++i) {
    const auto row = logits.subspan(static_cast<std::size_t>(i * C), static_cast<std::size_t>(C));
    double* const p = out.data() + i * C;
    const double top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (index_t c = 0; c < C; ++c) {
      sum += p[c] = std::exp(static_cast<double>(row[static_cast<std::size_t>(c)]) - top);
    }
    for (index_t c = 0; c < C; ++c) p[c] /= sum;
  }
  return out;
}

}  // namespace mwalimu::eval
