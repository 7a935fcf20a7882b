// check/findings: what the checker reports of a launch.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "shadow.hpp"
#include "simt/vectors.hpp"

namespace mwalimu::simt::detail {

struct Finding {
  std::string kind;      ///< "write/read race"
  std::string variable;  ///< "__shared__ tile, byte 4 of 128"
  uint3 block{};
  std::string now, before;  ///< "read by thread 3"; `before` may be empty
  std::uint32_t now_pc = 0, before_pc = 0;
};

/// One for each pair of source lines and kind, the first few. Lines are looked up when the launch
/// is over, off the small stacks of its threads.
class Findings {
 public:
  /// Whether a finding of this kind and place is to be added.
  bool wants(const char* kind, std::uint32_t now_pc, std::uint32_t before_pc);
  void add(Finding finding) { list_.push_back(std::move(finding)); }
  /// All of them, and forgets them. "" where there are none.
  std::string take_text();

 private:
  static constexpr std::size_t kMost = 12;
  std::vector<Finding> list_;
  std::set<std::array<std::uintptr_t, 3>> seen_;
};

}  // namespace mwalimu::simt::detail
