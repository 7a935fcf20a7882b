// report/profile_report: what a Profiler recorded, as a trace to look at and a table to read.
#pragma once

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/profile.hpp"
#include "mwalimu/io/atomic_file.hpp"

namespace mwalimu::report {

/// Writes the records in the trace-event format that chrome://tracing, Perfetto and Speedscope read:
/// a row a host thread, and a row for the device where kernels have times of their own.
/// @throws FileError  the file cannot be written.
inline void write_chrome_trace(const std::filesystem::path& path,
                               std::span<const ProfileRecord> records) {
  auto events = nlohmann::json::array();
  const auto name_of = [](ProfileRecord::Kind kind) {
    switch (kind) {
      case ProfileRecord::Kind::layer: return "layer";
      case ProfileRecord::Kind::operation: return "operation";
      case ProfileRecord::Kind::kernel: return "kernel";
    }
    return "";
  };
  const auto add = [&](const ProfileRecord& r, int process, int thread, double begin, double end) {
    events.push_back({{"name", r.name}, {"cat", name_of(r.kind)}, {"ph", "X"}, {"ts", begin},
                      {"dur", end - begin}, {"pid", process}, {"tid", thread}});
  };
  const auto title = [&](int process, const char* text) {
    events.push_back({{"name", "process_name"}, {"ph", "M"}, {"pid", process},
                      {"args", {{"name", text}}}});
  };
  title(0, "host");
  title(1, "device");
  for (const ProfileRecord& r : records) {
    add(r, 0, r.thread, r.begin, r.end);
    if (r.on_gpu) add(r, 1, r.kind == ProfileRecord::Kind::kernel ? 1 : 0, r.gpu_begin, r.gpu_end);
  }
  io::AtomicFile file(path);
  file.write(nlohmann::json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump());
  file.commit();
}

/// Calls and time of one name.
struct ProfileRow {
  std::string name;
  long long calls = 0;
  double total = 0;  ///< microseconds, what runs inside included
  double self = 0;   ///< microseconds, without recorded scopes inside
};

/// The records of one kind by name, the most expensive first. Times are the device's where it has
/// them, else the host's. `self` is known for the host's times alone; on a device it equals total.
inline std::vector<ProfileRow> profile_rows(std::span<const ProfileRecord> records,
                                            ProfileRecord::Kind kind) {
  // A scope ends after everything inside it: children come before their parent.
  std::map<std::pair<int, int>, double> inside;  // (thread, depth) -> time of scopes waiting there
  std::map<std::string, ProfileRow> rows;
  for (const ProfileRecord& r : records) {
    const double host = r.end - r.begin;
    const double children = std::exchange(inside[{r.thread, r.depth + 1}], 0.0);
    inside[{r.thread, r.depth}] += host;
    if (r.kind != kind) continue;
    ProfileRow& row = rows[r.name];
    row.name = r.name;
    ++row.calls;
    row.total += r.on_gpu ? r.gpu_end - r.gpu_begin : host;
    row.self += r.on_gpu ? r.gpu_end - r.gpu_begin : host - children;
  }
  std::vector<ProfileRow> sorted;
  for (auto& [name, row] : rows) sorted.push_back(std::move(row));
  std::sort(sorted.begin(), sorted.end(),
            [](const ProfileRow& a, const ProfileRow& b) { return a.total > b.total; });
  return sorted;
}

/// Lines "time  share  calls  each  name", the most expensive first, with a sum below.
/// @param steps  times and calls are given per step.
inline std::string profile_table(std::span<const ProfileRecord> records, ProfileRecord::Kind kind,
                                 double steps) {
  const auto rows = profile_rows(records, kind);
  double sum = 0;
  for (const ProfileRow& row : rows) sum += row.total;
  std::string text = "  ms/step   share  calls/step   us/call  name\n";
  char line[256];
  for (const ProfileRow& row : rows) {
    std::snprintf(line, sizeof line, "%9.3f  %5.1f %%  %10.1f  %8.1f  %s\n",
                  row.total / 1000 / steps, sum > 0 ? 100 * row.total / sum : 0.0,
                  static_cast<double>(row.calls) / steps,
                  row.total / static_cast<double>(row.calls), row.name.c_str());
    text += line;
  }
  std::snprintf(line, sizeof line, "%9.3f  sum\n", sum / 1000 / steps);
  return text + line;
}

}  // namespace mwalimu::report
