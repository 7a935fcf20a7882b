// gpu/math_options: what cuDNN and cuBLASLt may do to be faster. One setting for the whole process.
#pragma once

#include <mutex>

namespace mwalimu::gpu {

/// How float operands are multiplied. Sums are in float either way.
enum class Float32Math {
  ieee,  ///< 24-bit significands, on the ordinary cores
  tf32,  ///< rounded to 11-bit significands, on the tensor cores: relative errors of 5e-4 a factor
};

/// How one of several algorithms for a convolution is chosen.
enum class PlanChoice {
  heuristic,  ///< cuDNN's first suggestion: the same in every run on the same device and cuDNN
  measured,   ///< the fastest of its first suggestions on this device, kept in the plan file
};

struct MathOptions {
  Float32Math float32 = Float32Math::ieee;
  /// Algorithms whose sums run in the same order at every call, only.
  bool deterministic = true;
  PlanChoice plans = PlanChoice::heuristic;
  bool operator==(const MathOptions&) const = default;
};

namespace detail {
struct SharedMathOptions {
  std::mutex mutex;
  MathOptions value;
};
inline SharedMathOptions& shared_math_options() {
  static auto* shared = new SharedMathOptions;
  return *shared;
}
}  // namespace detail

/// What holds for the next operation.
inline MathOptions math_options() {
  auto& shared = detail::shared_math_options();
  const std::lock_guard lock(shared.mutex);
  return shared.value;
}
/// Holds from the next operation on; a captured graph keeps what it was captured with.
inline void set_math_options(const MathOptions& options) {
  auto& shared = detail::shared_math_options();
  const std::lock_guard lock(shared.mutex);
  shared.value = options;
}

}  // namespace mwalimu::gpu
