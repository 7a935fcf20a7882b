// core/parallel: how loops are spread over host threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>

#include "mwalimu/core/check.hpp"

namespace mwalimu {

/// Threads used by every operation: the last set_num_threads, else MWALIMU_THREADS, else one a core
/// that this process may run on.
inline int num_threads() { return omp_get_max_threads(); }

/// @throws ValueError  n < 1.
inline void set_num_threads(int n) {
  require<ValueError>(n >= 1, "set_num_threads: want at least one thread, got ", n);
  omp_set_num_threads(n);
}

/// Applies `--threads` (0: not given) or MWALIMU_THREADS. Programs call it once, first.
/// @throws ValueError  MWALIMU_THREADS is not a positive number.
inline void configure_threads(int requested = 0) {
  if (requested > 0) return set_num_threads(requested);
  if (const char* text = std::getenv("MWALIMU_THREADS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    require<ValueError>(*end == '\0' && n >= 1 && n < 4096,
                        "MWALIMU_THREADS: want a number of threads, got '", text, "'");
    return set_num_threads(static_cast<int>(n));
  }
}

/// Calls body(begin, end) on disjoint ranges that cover [0, n), one a thread, each at least `grain`
/// long where n allows. The split depends on n, grain and num_threads() alone, so a loop whose
/// iterations are independent gives the same bits on every run. Exceptions must not leave body.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t grain, Body&& body) {
  if (n <= 0) return;
  const std::int64_t wanted = (n + grain - 1) / std::max<std::int64_t>(grain, 1);
  const int threads = static_cast<int>(std::min<std::int64_t>(num_threads(), wanted));
  if (threads <= 1 || omp_in_parallel()) {
    body(std::int64_t{0}, n);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t t = omp_get_thread_num(), count = omp_get_num_threads();
    const std::int64_t begin = n * t / count, end = n * (t + 1) / count;
    if (begin < end) body(begin, end);
  }
}

}  // namespace mwalimu
