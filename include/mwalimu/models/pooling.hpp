// models/pooling: how an encoder's last feature map becomes a vector.
#pragma once

#include <string_view>

#include "mwalimu/core/check.hpp"
#include "mwalimu/ops/concat.hpp"
#include "mwalimu/ops/global_pool.hpp"

namespace mwalimu::models {

/// Over all pixels of each channel: maximum and mean side by side, or one of them.
enum class Pooling { concat, average, maximum };

inline std::string_view name_of(Pooling pooling) {
  return pooling == Pooling::concat ? "concat" : pooling == Pooling::average ? "avg" : "max";
}

/// @param name  as name_of() says it; "average", too.
/// @throws ValueError  another name.
inline Pooling pooling_named(std::string_view name) {
  if (name == "average") return Pooling::average;
  for (const Pooling known : {Pooling::concat, Pooling::average, Pooling::maximum}) {
    if (name == name_of(known)) return known;
  }
  mwalimu::detail::fail<ValueError>("pool: want concat, avg or max, got '", name, "'");
}

/// Features that pooling makes of a map with that many channels.
inline index_t pooled_features(Pooling pooling, index_t channels) {
  return pooling == Pooling::concat ? 2 * channels : channels;
}

/// (N, H, W, C) -> (N, pooled_features(C)), dense.
/// @param order  which half comes first where both are wanted; the other poolings ignore it.
template <Real T>
Variable<T> pool(const Variable<T>& x, Pooling pooling, ops::ConcatPoolOrder order) {
  if (pooling == Pooling::average) return ops::global_average_pool(x);
  if (pooling == Pooling::concat) return ops::concat_pool(x, order);
  const auto both = ops::concat_pool(x, ops::ConcatPoolOrder::max_average);
  // A concatenation of one: the range made dense, as readers of features expect it.
  return ops::concat(std::vector{ops::slice(both, 1, 0, x.dim(3))}, 1);
}

}  // namespace mwalimu::models
