#include "source_lines.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string_view>

namespace mwalimu::simt::detail {
namespace {

std::map<std::uint32_t, Frames> known;

std::string program() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  return length > 0 ? std::string(path, static_cast<std::size_t>(length)) : std::string();
}

bool is_ours(std::string_view file) {
  return file.find("/simt/include/simt/") != file.npos || file.find("/include/c++/") != file.npos ||
         file.find("/bits/") != file.npos;
}

// "0x1234", then for each frame "file:line" or "file:line (discriminator 3)".
void read_frames(std::FILE* output) {
  char text[8192];
  Frames* frames = nullptr;
  while (std::fgets(text, sizeof text, output) != nullptr) {
    std::string_view line = text;
    line = line.substr(0, line.find_first_of("\n"));
    line = line.substr(0, line.find(" (discriminator"));
    if (line.substr(0, 2) == "0x") {
      const auto before = std::strtoull(std::string(line).c_str(), nullptr, 16);
      frames = &known[static_cast<std::uint32_t>(before + 1)];
      frames->clear();
      continue;
    }
    const std::size_t colon = line.rfind(':');
    if (frames == nullptr || colon == line.npos) continue;
    frames->push_back({std::string(line.substr(0, colon)), std::atoi(line.data() + colon + 1)});
  }
}

}  // namespace

void load_source_lines(const std::vector<std::uint32_t>& pcs) {
  constexpr std::size_t kAtOnce = 500;
  std::vector<std::uint32_t> unknown;
  for (const std::uint32_t pc : pcs) {
    if (known.find(pc) == known.end()) unknown.push_back(pc);
  }
  for (std::size_t i = 0; i < unknown.size(); i += kAtOnce) {
    std::string command = "addr2line -a -i -e '" + program() + "'";
    for (std::size_t k = i; k < std::min(i + kAtOnce, unknown.size()); ++k) {
      char address[32];
      // A return address: the instruction before it is the one that made the access.
      std::snprintf(address, sizeof address, " 0x%x", unknown[k] - 1);
      command += address;
    }
    command += " 2>/dev/null";
    if (std::FILE* output = popen(command.c_str(), "r")) {
      read_frames(output);
      pclose(output);
    }
  }
  for (const std::uint32_t pc : unknown) {
    Frames& frames = known[pc];
    Frames kept;
    std::copy_if(frames.begin(), frames.end(), std::back_inserter(kept),
                 [](const SourceLine& f) { return !is_ours(f.file); });
    if (!kept.empty()) frames = std::move(kept);
    if (frames.empty()) frames.emplace_back();
  }
}

const Frames& frames_of(std::uint32_t pc) {
  load_source_lines({pc});
  return known[pc];
}

std::string describe(const Frames& frames) {
  std::string text = frames[0].file + ":" + std::to_string(frames[0].line);
  if (frames.size() > 1) {
    const std::string& outer = frames.back().file;
    const std::size_t slash = outer.rfind('/');
    text += " < " + (slash == outer.npos ? outer : outer.substr(slash + 1)) + ":" +
            std::to_string(frames.back().line);
  }
  return text;
}

}  // namespace mwalimu::simt::detail
