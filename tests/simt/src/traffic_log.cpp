#include "traffic_log.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "../check/requests.hpp"
#include "report.hpp"
#include "simt/options.hpp"

namespace mwalimu::simt {
namespace {

std::vector<LaunchTraffic>& launches() {
  static std::vector<LaunchTraffic> all;
  return all;
}

std::string names() {
  std::string text;
  for (const LaunchTraffic& t : launches()) text += (text.empty() ? "" : "; ") + t.kernel;
  return text.empty() ? "none" : text;
}

}  // namespace

void detail::add_to_traffic(LaunchTraffic traffic) {
  const char* const print = std::getenv("MWALIMU_SIMT_TRAFFIC");
  if (print != nullptr && std::string_view(print) == "1") {
    std::printf("%s", describe(traffic).c_str());
  }
  launches().push_back(std::move(traffic));
}

const std::vector<LaunchTraffic>& traffic() { return launches(); }
void reset_traffic() { launches().clear(); }

const LaunchTraffic& last_traffic() {
  require<ValueError>(!launches().empty(),
                      "last_traffic: no launch was counted; it takes a check "
                      "build and options().traffic");
  return launches().back();
}

const LaunchTraffic& traffic_of(std::string_view kernel) {
  const LaunchTraffic* found = nullptr;
  int count = 0;
  for (const LaunchTraffic& t : launches()) {
    if (t.kernel.find(kernel) == t.kernel.npos) continue;
    found = &t;
    ++count;
  }
  require<ValueError>(count == 1, "traffic_of: want one launch of '", kernel, "', found ", count,
                      " among: ", names());
  return *found;
}

double LaunchTraffic::narrowest_access() const {
  double narrowest = std::numeric_limits<double>::infinity();
  for (const LineTraffic& line : lines) {
    if (!line.shared) narrowest = std::min(narrowest, line.bytes_per_lane());
  }
  return narrowest;
}

ByteTraffic LaunchTraffic::of(const void* begin, std::size_t bytes) const {
  ByteTraffic total;
  if (counts == nullptr) return total;
  const auto first = reinterpret_cast<detail::Address>(begin);
  for (detail::Address at = first; at < first + bytes; ++at) {
    const auto page = counts->pages.find(at / detail::ByteCounts::kPageBytes);
    if (page == counts->pages.end()) continue;
    const auto reads = page->second.reads[at % detail::ByteCounts::kPageBytes];
    const auto writes = page->second.writes[at % detail::ByteCounts::kPageBytes];
    total.read_bytes += reads;
    total.write_bytes += writes;
    total.distinct_read += reads != 0;
    total.distinct_written += writes != 0;
  }
  return total;
}

std::string describe(const LaunchTraffic& t) {
  using detail::format;
  const auto kilobytes = [](std::uint64_t bytes) { return static_cast<double>(bytes) / 1024; };
  std::string text = "traffic of " + t.kernel + "\n";
  text += format(
      "  global: %.1f KB read, %.1f KB written, %.1f KB in sectors (%.1f KB if dense), "
      "%.1f KB distinct\n",
      kilobytes(t.read_bytes), kilobytes(t.write_bytes), kilobytes(t.moved), kilobytes(t.ideal),
      kilobytes(t.distinct));
  for (const LineTraffic& line : t.lines) {
    text += format("  %-28s %-6s %-5s %9llu requests, %4.1f bytes a lane, ",
                   (line.file + ":" + std::to_string(line.line)).c_str(),
                   line.shared ? "shared" : "global", line.write ? "write" : "read",
                   static_cast<unsigned long long>(line.requests), line.bytes_per_lane());
    if (line.shared) {
      text += format("%.2f wavefronts a pass\n", line.conflict_factor());
    } else {
      text += format("%.2f sectors a request (%.2f if dense)\n", line.sectors_per_request(),
                     line.ideal_sectors_per_request());
    }
  }
  return text;
}

}  // namespace mwalimu::simt
