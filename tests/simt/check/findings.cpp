#include "findings.hpp"

#include "source_lines.hpp"

namespace mwalimu::simt::detail {

bool Findings::wants(const char* kind, std::uint32_t now_pc, std::uint32_t before_pc) {
  if (list_.size() >= kMost) return false;
  return seen_.insert({reinterpret_cast<std::uintptr_t>(kind), now_pc, before_pc}).second;
}

std::string Findings::take_text() {
  std::vector<std::uint32_t> pcs;
  for (const Finding& f : list_) pcs.insert(pcs.end(), {f.now_pc, f.before_pc});
  load_source_lines(pcs);
  std::string text;
  for (const Finding& f : list_) {
    text += "\n  " + f.kind + " on " + f.variable + ", block (" + std::to_string(f.block.x) + "," +
            std::to_string(f.block.y) + "," + std::to_string(f.block.z) + ")\n    " + f.now + ", " +
            describe(frames_of(f.now_pc));
    if (!f.before.empty()) {
      text += "\n    unordered with the " + f.before + ", " + describe(frames_of(f.before_pc));
    }
  }
  list_.clear();
  seen_.clear();
  return text;
}

}  // namespace mwalimu::simt::detail
