// simt/warp: shuffles, votes, matches, reductions, products of tiles and the barrier of a warp.
//
// One mechanism serves all: each lane leaves its operand and waits; the last lane of the mask
// computes every lane's result and wakes the others. That the lanes meet in the same intrinsic is
// seen by the identity of the function that completes it.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "simt/barriers.hpp"

namespace mwalimu::simt::detail {

/// A lane's operand and result, on the waiting lane's stack.
struct LaneOperand {
  unsigned long long in = 0, out = 0;
  int argument = 0;        ///< source lane, distance or lane mask of a shuffle
  int width = 32;          ///< of a shuffle's segments
  bool undefined = false;  ///< the source lane is outside the mask
};
using CompleteFunction = void (*)(LaneOperand* const lanes[32], unsigned mask);

void warp_collective(CompleteFunction complete, const char* what, unsigned mask,
                     LaneOperand& operand, bool orders_memory, const char* file, int line);

/// The types that CUDA's shuffles take.
template <class T>
concept Shuffled = std::is_arithmetic_v<T> && sizeof(T) >= 4 && sizeof(T) <= 8;

template <class T>
unsigned long long to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  unsigned long long bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T from_bits(unsigned long long bits) {
  T value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

/// f(lane, operand) for each lane of the mask.
template <class F>
void each_lane(LaneOperand* const* lanes, unsigned mask, F f) {
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    f(lane, *lanes[lane]);
  }
}

/// Source(lane, argument, first lane of the segment, width) is the lane read, or -1 for one's own.
template <class Source>
void shuffle(LaneOperand* const* lanes, unsigned mask, Source source) {
  each_lane(lanes, mask, [&](int lane, LaneOperand& o) {
    int from = source(lane, o.argument, lane & ~(o.width - 1), o.width);
    if (from < 0) from = lane;
    if ((mask >> from & 1u) != 0) {
      o.out = lanes[from]->in;
    } else {
      o.undefined = true;
      o.argument = from;
      o.out = ~0ull;
    }
  });
}
inline void complete_shfl(LaneOperand* const* lanes, unsigned mask) {
  shuffle(lanes, mask,
          [](int, int source, int first, int width) { return first | (source & (width - 1)); });
}
inline void complete_shfl_up(LaneOperand* const* lanes, unsigned mask) {
  shuffle(lanes, mask, [](int lane, int distance, int first, int) {
    return lane - distance < first ? -1 : lane - distance;
  });
}
inline void complete_shfl_down(LaneOperand* const* lanes, unsigned mask) {
  shuffle(lanes, mask, [](int lane, int distance, int first, int width) {
    return lane + distance >= first + width ? -1 : lane + distance;
  });
}
inline void complete_shfl_xor(LaneOperand* const* lanes, unsigned mask) {
  shuffle(lanes, mask, [](int lane, int flip, int first, int width) {
    return (lane ^ flip) >= first + width ? -1 : (lane ^ flip);
  });
}
inline void complete_syncwarp(LaneOperand* const*, unsigned) {}
inline void complete_ballot(LaneOperand* const* lanes, unsigned mask) {
  unsigned votes = 0;
  each_lane(lanes, mask,
            [&](int lane, LaneOperand& o) { votes |= static_cast<unsigned>(o.in != 0) << lane; });
  each_lane(lanes, mask, [&](int, LaneOperand& o) { o.out = votes; });
}
inline void complete_match_any(LaneOperand* const* lanes, unsigned mask) {
  each_lane(lanes, mask, [&](int, LaneOperand& o) {
    unsigned equal = 0;
    each_lane(lanes, mask, [&](int other, LaneOperand& p) {
      equal |= static_cast<unsigned>(p.in == o.in) << other;
    });
    o.out = equal;
  });
}
template <class T, class Op>
void complete_reduce(LaneOperand* const* lanes, unsigned mask) {
  T total{};
  bool first = true;
  each_lane(lanes, mask, [&](int, LaneOperand& o) {
    const T value = from_bits<T>(o.in);
    total = first ? value : Op{}(total, value);
    first = false;
  });
  each_lane(lanes, mask, [&](int, LaneOperand& o) { o.out = to_bits(total); });
}

template <class T>
T shuffle_lanes(CompleteFunction complete, const char* what, unsigned mask, T value, int argument,
                int width, const char* file, int line) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    fail(std::string(what) + ": want a width that is a power of two up to 32, got " +
             std::to_string(width),
         file, line);
  }
  LaneOperand operand{to_bits(value), 0, argument, width, false};
  warp_collective(complete, what, mask, operand, false, file, line);
  if (operand.undefined) {
    fail(std::string(what) + " reads lane " + std::to_string(operand.argument) +
             ", which the mask leaves out",
         file, line);
  }
  return from_bits<T>(operand.out);
}
inline unsigned ballot(const char* what, unsigned mask, int predicate, const char* file, int line) {
  LaneOperand operand{predicate != 0, 0, 0, 32, false};
  warp_collective(complete_ballot, what, mask, operand, false, file, line);
  return static_cast<unsigned>(operand.out);
}
template <class T>
unsigned match(const char* what, unsigned mask, T value, const char* file, int line) {
  LaneOperand operand{to_bits(value), 0, 0, 32, false};
  warp_collective(complete_match_any, what, mask, operand, false, file, line);
  return static_cast<unsigned>(operand.out);
}
template <class Op, class T>
T reduce_lanes(const char* what, unsigned mask, T value, const char* file, int line) {
  LaneOperand operand{to_bits(value), 0, 0, 32, false};
  warp_collective(complete_reduce<T, Op>, what, mask, operand, false, file, line);
  return from_bits<T>(operand.out);
}

/// A lane's registers of a product of tiles.
struct TileOperand {
  const std::uint32_t *a, *b;
  float* c;
};
void complete_mma(LaneOperand* const* lanes, unsigned mask);

struct Max {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};
struct Min {
  template <class T>
  T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
// Through unsigned: sums wrap, as on the device.
struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<unsigned>(a) + static_cast<unsigned>(b));
  }
};
struct And {
  template <class T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};

}  // namespace mwalimu::simt::detail

namespace mwalimu::simt {

/// The device's mma_m16n8k16 (kernels/simt.cuh). Products are exact; a sum of 17 terms has no bits
/// below the 24 of its largest: the weakest answer that tensor cores have been seen to give, so that
/// a bound on their error is put to the test.
inline void mma_m16n8k16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                         MWALIMU_SIMT_HERE) {
  detail::TileOperand tile{a, b, c};
  detail::LaneOperand operand{detail::to_bits(&tile), 0, 0, 32, false};
  detail::warp_collective(detail::complete_mma, "mma_m16n8k16()", ~0u, operand, false, file_,
                          line_);
}

}  // namespace mwalimu::simt

inline void __syncwarp(unsigned mask = ~0u, MWALIMU_SIMT_HERE) {
  namespace d = ::mwalimu::simt::detail;
  d::LaneOperand operand;
  d::warp_collective(d::complete_syncwarp, "__syncwarp()", mask, operand, true, file_, line_);
}

template <::mwalimu::simt::detail::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, MWALIMU_SIMT_HERE) {
  namespace d = ::mwalimu::simt::detail;
  return d::shuffle_lanes(d::complete_shfl, "__shfl_sync()", mask, value, source, width, file_,
                          line_);
}
template <::mwalimu::simt::detail::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, MWALIMU_SIMT_HERE) {
  namespace d = ::mwalimu::simt::detail;
  return d::shuffle_lanes(d::complete_shfl_up, "__shfl_up_sync()", mask, value,
                          static_cast<int>(distance), width, file_, line_);
}
template <::mwalimu::simt::detail::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, MWALIMU_SIMT_HERE) {
  namespace d = ::mwalimu::simt::detail;
  return d::shuffle_lanes(d::complete_shfl_down, "__shfl_down_sync()", mask, value,
                          static_cast<int>(distance), width, file_, line_);
}
template <::mwalimu::simt::detail::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, MWALIMU_SIMT_HERE) {
  namespace d = ::mwalimu::simt::detail;
  return d::shuffle_lanes(d::complete_shfl_xor, "__shfl_xor_sync()", mask, value, flip, width,
                          file_, line_);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, MWALIMU_SIMT_HERE) {
  return ::mwalimu::simt::detail::ballot("__ballot_sync()", mask, predicate, file_, line_);
}
inline int __any_sync(unsigned mask, int predicate, MWALIMU_SIMT_HERE) {
  return ::mwalimu::simt::detail::ballot("__any_sync()", mask, predicate, file_, line_) != 0;
}
inline int __all_sync(unsigned mask, int predicate, MWALIMU_SIMT_HERE) {
  return ::mwalimu::simt::detail::ballot("__all_sync()", mask, predicate, file_, line_) == mask;
}
template <::mwalimu::simt::detail::Shuffled T>
unsigned __match_any_sync(unsigned mask, T value, MWALIMU_SIMT_HERE) {
  return ::mwalimu::simt::detail::match("__match_any_sync()", mask, value, file_, line_);
}
template <::mwalimu::simt::detail::Shuffled T>
unsigned __match_all_sync(unsigned mask, T value, int* all_equal, MWALIMU_SIMT_HERE) {
  const unsigned equal =
      ::mwalimu::simt::detail::match("__match_all_sync()", mask, value, file_, line_);
  *all_equal = equal == mask;
  return equal == mask ? mask : 0u;
}

#define MWALIMU_SIMT_REDUCE(name, Op, concept_)                                \
  template <class T>                                                           \
  requires(concept_) T name(unsigned mask, T value, MWALIMU_SIMT_HERE) {       \
    return ::mwalimu::simt::detail::reduce_lanes<::mwalimu::simt::detail::Op>( \
        #name "()", mask, value, file_, line_);                                \
  }
MWALIMU_SIMT_REDUCE(__reduce_add_sync, Add, (std::same_as<T, int> || std::same_as<T, unsigned>))
MWALIMU_SIMT_REDUCE(__reduce_min_sync, Min, (std::same_as<T, int> || std::same_as<T, unsigned>))
MWALIMU_SIMT_REDUCE(__reduce_max_sync, Max, (std::same_as<T, int> || std::same_as<T, unsigned>))
MWALIMU_SIMT_REDUCE(__reduce_and_sync, And, (std::same_as<T, unsigned>))
MWALIMU_SIMT_REDUCE(__reduce_or_sync, Or, (std::same_as<T, unsigned>))
MWALIMU_SIMT_REDUCE(__reduce_xor_sync, Xor, (std::same_as<T, unsigned>))
#undef MWALIMU_SIMT_REDUCE

/// Only the calling lane is known to be there: the weakest answer that CUDA allows, so that code
/// which takes its warp to be converged fails.
inline unsigned __activemask() { return 1u << ::mwalimu::simt::detail::lane(); }
