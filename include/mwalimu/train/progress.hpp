// train/progress: how far a loop is, how fast it goes and how long it will still take.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>

#include "mwalimu/core/types.hpp"

namespace mwalimu::train {

/// Seconds as people read them: "0:07", "12:34", "1:02:03"; "?" where unknown.
inline std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  const auto total = static_cast<long>(std::lround(seconds));
  char text[32];
  if (total >= 3600) {
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", total / 3600, total / 60 % 60, total % 60);
  } else {
    std::snprintf(text, sizeof text, "%ld:%02ld", total / 60, total % 60);
  }
  return text;
}

/// Whether standard output is a terminal that can redraw a line.
inline bool stdout_is_terminal() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) != 0 && (kind == nullptr || std::string_view(kind) != "dumb");
}

/// Columns of the terminal at standard output; 80 where it does not say.
inline int terminal_width() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

struct ProgressOptions {
  index_t start = 0;           ///< steps done by the run that this one resumes
  double items_per_step = 1;   ///< a step of 32 images counts as 32 in the rate
  std::string unit = "steps";  ///< what the rate counts
  bool terminal = stdout_is_terminal();
  double redraw_seconds = 0.1;  ///< on a terminal: at least so long between two drawings
  double line_seconds = 10;     ///< elsewhere: at least so long between two lines
  std::ostream* stream = &std::cout;
  std::function<int()> width = terminal_width;
  std::function<double()> clock = [] {  ///< seconds from any origin
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
  };
};

/// A loop's progress on standard output: one line that is redrawn on a terminal, a plain line now
/// and then anywhere else. Calls between two drawings cost a look at the clock.
///
///     Progress progress("pretrain", steps, {.items_per_step = 32, .unit = "images"});
///     for (index_t step = 1; step <= steps; ++step) progress.update(step, "loss 2.31");
///     progress.finish();
class Progress {
 public:
  /// @param total  steps of the whole run, >= 0.
  Progress(std::string label, index_t total, ProgressOptions options = {})
      : label_(std::move(label)),
        total_(total),
        options_(std::move(options)),
        done_(options_.start),
        began_(options_.clock()),
        drawn_(began_) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// A loop left by an exception leaves the cursor on a line of its own.
  ~Progress() {
    if (!finished_ && on_line_) *options_.stream << std::endl;
  }

  /// @param done  steps done, those of a resumed run included.
  /// @param note  what else to show, such as "loss 2.31"; the last one stays.
  void update(index_t done, std::string_view note = {}) {
    done_ = done;
    if (!note.empty()) note_ = note;
    const double now = options_.clock();
    if (now - drawn_ < (options_.terminal ? options_.redraw_seconds : options_.line_seconds))
      return;
    draw(now);
  }

  /// A line of its own, above the bar.
  void message(std::string_view text) {
    if (on_line_) *options_.stream << "\r\x1b[K";
    on_line_ = false;
    *options_.stream << text << std::endl;
    if (options_.terminal) draw(options_.clock());
  }

  /// Shows the state at the end, whenever it was shown last.
  void finish() {
    if (finished_) return;
    finished_ = true;
    draw(options_.clock());
    if (on_line_) *options_.stream << std::endl;
    on_line_ = false;
  }

  /// Items a second since the loop began; 0 before the first step.
  double rate() const { return rate_at(options_.clock()); }

 private:
  double rate_at(double now) const {
    const double elapsed = now - began_;
    return elapsed > 0
               ? static_cast<double>(done_ - options_.start) * options_.items_per_step / elapsed
               : 0;
  }

  // "412 images/s, 0:42 left, loss 2.31"
  std::string details(double now) const {
    const double rate = rate_at(now);
    char speed[32];
    std::snprintf(speed, sizeof speed, rate < 10 ? "%.2f " : rate < 100 ? "%.1f " : "%.0f ", rate);
    std::string text = speed + options_.unit + "/s, ";
    if (finished_) {
      text += "took " + format_duration(now - began_);
    } else {
      const double rest = static_cast<double>(total_ - done_) * options_.items_per_step;
      text += format_duration(rate > 0 ? rest / rate : INFINITY) + " left";
    }
    return note_.empty() ? text : text + ", " + note_;
  }

  void draw(double now) {
    drawn_ = now;
    const double fraction =
        total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0)
                   : 1;
    const std::string count = std::to_string(done_) + "/" + std::to_string(total_);
    char percent[8];
    std::snprintf(percent, sizeof percent, "%3d%%", static_cast<int>(100 * fraction));
    if (!options_.terminal) {
      const std::string_view trimmed =
          std::string_view(percent).substr(std::string_view(percent).find_first_not_of(' '));
      *options_.stream << label_ << ' ' << count << " (" << trimmed << "), " << details(now)
                       << std::endl;
      return;
    }
    // The last column stays free: some terminals wrap when it is written.
    const int room = std::max(options_.width() - 1, 10);
    std::string line = label_ + " " + percent + " ";
    const std::string rest = " " + count + ", " + details(now);
    const int bar = std::min(room - static_cast<int>(line.size() + rest.size()) - 2, 40);
    if (bar >= 5) {
      const int full = static_cast<int>(fraction * bar);
      line += "[" + std::string(static_cast<std::size_t>(full), '=') +
              std::string(static_cast<std::size_t>(bar - full), ' ') + "]";
      line += rest;
    } else {
      line += rest.substr(1);
      if (line.size() > static_cast<std::size_t>(room)) line.resize(static_cast<std::size_t>(room));
    }
    *options_.stream << '\r' << line << "\x1b[K" << std::flush;
    on_line_ = true;
  }

  std::string label_;
  index_t total_;
  ProgressOptions options_;
  index_t done_;
  std::string note_;
  double began_, drawn_;
  bool on_line_ = false;  ///< the cursor stands behind a drawn line
  bool finished_ = false;
};

}  // namespace mwalimu::train
