// core/profile: named stretches of a run, for profilers and for `--profile`.
#pragma once

#include "mwalimu/core/place.hpp"

namespace mwalimu {

/// A named stretch of work while it lives; scopes nest. On a Gpu the name appears in NVIDIA's tools
/// (NVTX). The name must outlive the program's last use of it: a literal.
class ProfileScope {
 public:
  ProfileScope(const char* name, Cpu) { (void)name; }
  ProfileScope(const char* name, Gpu) : ranged_(true) { gpu::Driver::push_range(name); }
  ~ProfileScope() {
    if constexpr (kCuda) {
      if (ranged_) gpu::Driver::pop_range();
    }
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  bool ranged_ = false;
};

}  // namespace mwalimu
