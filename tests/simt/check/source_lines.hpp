// check/source_lines: where an instruction comes from, by addr2line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mwalimu::simt::detail {

struct SourceLine {
  std::string file = "?";
  int line = 0;
};

/// The frames that an instruction was inlined through, innermost first; headers of the executor and
/// of the standard library left out. At least one.
using Frames = std::vector<SourceLine>;

/// Looks all of them up at once: starting addr2line costs more than one address.
void load_source_lines(const std::vector<std::uint32_t>& pcs);
const Frames& frames_of(std::uint32_t pc);

/// "/src/helper.cuh:12 < kernel.cuh:40"
std::string describe(const Frames& frames);

}  // namespace mwalimu::simt::detail
