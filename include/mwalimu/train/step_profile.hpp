// train/step_profile: `--profile`: a few steps of a run, recorded and written as files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <utility>

#include "mwalimu/core/profile.hpp"
#include "mwalimu/io/file.hpp"
#include "mwalimu/report/profile_report.hpp"

namespace mwalimu::train {

/// Records steps [first, first + count) of a run, counted from its start or its resumption, and then
/// writes profile.json, a trace for Perfetto or chrome://tracing, and profile.txt, the time by
/// operation, by layer and, on a device, by kernel. Recording costs time: a profiled step is slower,
/// and a device's steps are not replayed as a graph while it lasts. Of a shorter run it writes the
/// steps from `first` on that there were; where there was none it says so, and writes no file.
class StepProfile {
 public:
  struct Options {
    bool on = false;
    std::int64_t first = 5, count = 10;
  };

  StepProfile(Options options, std::filesystem::path folder, Device device)
      : options_(options), folder_(std::move(folder)), device_(device) {}

  /// To be called before each step.
  void before_step() {
    if (!options_.on) return;
    if (done_ != options_.first) return;
    synchronize(device_);
    Profiler::instance().start(device_);
    recording_ = true;
  }
  /// To be called after each step, when all of it has been queued.
  /// @return  what to tell the user, once; else empty.
  std::string after_step() {
    if (!options_.on || ++done_ != options_.first + options_.count) return {};
    return write();
  }
  /// To be called at the end of a run, which may have had fewer steps.
  /// @return  as of after_step().
  std::string finish() {
    if (!options_.on) return {};
    if (done_ > options_.first) return write();
    if (recording_) Profiler::instance().stop();
    options_.on = false;
    return "no profile was written: the run ended after " + std::to_string(done_) +
           (done_ == 1 ? " step" : " steps") + ", and the first recorded is the " +
           std::to_string(options_.first + 1) + "th";
  }

 private:
  std::string write() {
    Profiler& profiler = Profiler::instance();
    profiler.stop();
    options_.on = false;
    const double steps = static_cast<double>(done_ - options_.first);
    using Kind = ProfileRecord::Kind;
    std::ostringstream text;
    text << "Times of " << steps << " steps; what runs inside of another is counted in both.\n";
    for (const auto& [title, kind] : {std::pair{"By operation", Kind::operation},
                                      std::pair{"By layer", Kind::layer},
                                      std::pair{"By kernel", Kind::kernel}}) {
      if (report::profile_rows(profiler.records(), kind).empty()) continue;
      text << "\n" << title << "\n" << report::profile_table(profiler.records(), kind, steps);
    }
    report::write_chrome_trace(folder_ / "profile.json", profiler.records());
    io::write_file(folder_ / "profile.txt", text.str());
    return "wrote " + (folder_ / "profile.txt").string() + " and profile.json";
  }

  Options options_;
  std::filesystem::path folder_;
  Device device_;
  std::int64_t done_ = 0;   ///< steps
  bool recording_ = false;  ///< or has been
};

}  // namespace mwalimu::train
