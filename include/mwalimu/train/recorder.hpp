// train/recorder: the log of a run, log.csv. It grows while the run does, and after a resume it
// continues as if the run had never stopped.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::train {

/// The columns of every log.csv, in this order; a loop's own follow.
inline constexpr std::array<std::string_view, 8> kLogColumns{
    "step", "epoch", "loss", "lr", "momentum", "gradient_norm", "images_per_second", "seconds"};

/// What a loop records of a step. The recorder itself adds images_per_second, since the row before,
/// and seconds, of the whole run.
struct LogRow {
  index_t step = 0;  ///< steps done, this one included: 1, 2, ...
  double epoch = 0;  ///< passes over the data, a fraction
  double loss = 0;
  double lr = 0;
  double momentum = 0;
  double gradient_norm = 0;
  index_t images = 0;  ///< images trained on since the row before
  /// Seconds since the row before, where several rows are recorded at once; else the clock says.
  std::optional<double> seconds = std::nullopt;
};

/// A value of one of the loop's own columns.
using LogValue = std::pair<std::string_view, double>;

/// A log as read back: one vector a column, NaN where a cell is empty.
struct Log {
  std::vector<std::string> names;
  std::vector<std::vector<double>> columns;

  std::size_t size() const { return columns.empty() ? 0 : columns.front().size(); }
  bool has(std::string_view name) const {
    return std::find(names.begin(), names.end(), name) != names.end();
  }
  /// @throws ValueError  there is no column of that name.
  const std::vector<double>& column(std::string_view name) const {
    const auto it = std::find(names.begin(), names.end(), name);
    require<ValueError>(it != names.end(), "log: no column '", name, "'");
    return columns[static_cast<std::size_t>(it - names.begin())];
  }
};

namespace detail {

/// The whole lines of a log: a run that was killed, or goes on, may have left half of one.
inline std::string whole_lines(std::string text) {
  text.resize(text.rfind('\n') == text.npos ? 0 : text.rfind('\n') + 1);
  return text;
}

/// Integers in full, other numbers as the shortest text of their float32.
inline void append_log_number(std::string& line, double value) {
  char text[48];
  const bool integer = std::abs(value) < 0x1.0p53 && value == std::trunc(value);
  const auto end = integer
                       ? std::to_chars(text, text + sizeof text, static_cast<std::int64_t>(value))
                       : std::to_chars(text, text + sizeof text, static_cast<float>(value));
  line.append(text, end.ptr);
}

}  // namespace detail

/// Reads a log, also one that is being written.
/// @throws FileError  the file is missing, or a cell is not a number.
inline Log read_log(const std::filesystem::path& path) {
  const io::CsvTable table = io::parse_csv(detail::whole_lines(io::read_file(path)), path.string());
  Log log;
  log.names = table.header;
  log.columns.resize(log.names.size());
  for (std::size_t row = 0; row < table.rows.size(); ++row) {
    for (std::size_t column = 0; column < log.names.size(); ++column) {
      const bool empty = table.rows[row][column].empty();
      log.columns[column].push_back(empty ? std::numeric_limits<double>::quiet_NaN()
                                          : table.number(row, column));
    }
  }
  return log;
}

/// Writes log.csv row by row. Rows reach the file at least every few seconds, always whole.
///
///     Recorder recorder(out / "log.csv", {"code_entropy", "knn"}, resumed_step);
///     recorder.record({.step = step, .loss = loss, .images = 32}, {{"code_entropy", entropy}});
///     recorder.flush();        // before a checkpoint: the log must not be behind it
///     checkpoint.save(...);
class Recorder {
 public:
  /// @param columns  names of the loop's own columns; a value not given is an empty cell.
  /// @param resumed  nothing: a new log replaces what is there. A step: the log continues after the
  ///                 row of that step; rows of later steps, which no checkpoint holds, are dropped
  ///                 and will be written again.
  /// @throws ValueError  a column is named twice, or its name is not made of letters, digits and _.
  /// @throws FileError   the file cannot be written, or has other columns than the run it
  /// continues.
  explicit Recorder(std::filesystem::path path, std::vector<std::string> columns = {},
                    std::optional<index_t> resumed = std::nullopt)
      : path_(std::move(path)), own_columns_(std::move(columns)) {
    std::string header;
    for (const auto name : kLogColumns) header.append(header.empty() ? "" : ",").append(name);
    for (auto name = own_columns_.begin(); name != own_columns_.end(); ++name) {
      const bool sound = !name->empty() && std::all_of(name->begin(), name->end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
      });
      require<ValueError>(sound, "log: '", *name, "' cannot name a column");
      require<ValueError>(
          std::find(own_columns_.begin(), name, *name) == name &&
              std::find(kLogColumns.begin(), kLogColumns.end(), *name) == kLogColumns.end(),
          "log: two columns named '", *name, "'");
      header.append(",").append(*name);
    }
    header += '\n';
    io::write_file(path_, header + (resumed ? kept_rows(header, *resumed) : ""));
    file_ = io::detail::Descriptor(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (!file_) fail(errno);
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder() {
    try {
      flush();
    } catch (...) {  // a destructor cannot say so: call flush() at the end of a run
    }
  }

  /// Appends a row.
  /// @throws ValueError  a value names no column, or steps do not rise.
  /// @throws FileError   the file cannot be written.
  void record(const LogRow& row, std::span<const LogValue> values = {}) {
    require<ValueError>(row.step > last_step_, "log: step ", row.step, " after step ", last_step_);
    for (auto value = values.begin(); value != values.end(); ++value) {
      const std::string_view name = value->first;
      const bool twice = std::any_of(values.begin(), value,
                                     [&](const LogValue& other) { return other.first == name; });
      require<ValueError>(
          !twice && std::find(own_columns_.begin(), own_columns_.end(), name) != own_columns_.end(),
          "log: value '", name, "' names no column, or is given twice");
    }
    last_step_ = row.step;
    const auto now = Clock::now();
    const double since =
        row.seconds.value_or(std::chrono::duration<double>(now - last_time_).count());
    last_time_ = now;
    seconds_ += since;

    for (const double value : {static_cast<double>(row.step), row.epoch, row.loss, row.lr,
                               row.momentum, row.gradient_norm}) {
      detail::append_log_number(pending_, value);
      pending_ += ',';
    }
    append_rounded(since > 0 ? static_cast<double>(row.images) / since : 0);
    pending_ += ',';
    append_rounded(seconds_);
    for (const std::string& name : own_columns_) {
      pending_ += ',';
      for (const auto& [key, value] : values) {
        if (key == name) detail::append_log_number(pending_, value);
      }
    }
    pending_ += '\n';
    if (now - flushed_ > std::chrono::seconds(2)) flush();
  }
  void record(const LogRow& row, std::initializer_list<LogValue> values) {
    record(row, std::span<const LogValue>(values.begin(), values.size()));
  }

  /// Hands all rows to the system: another program sees them.
  /// @throws FileError  the disk is full or failed.
  void flush() {
    flushed_ = Clock::now();
    std::string_view rest = pending_;
    while (!rest.empty()) {
      const ssize_t n = ::write(file_.get(), rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        const int code = n == 0 ? ENOSPC : errno;
        pending_.erase(0, pending_.size() - rest.size());
        fail(code);
      }
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
    pending_.clear();
  }

  /// Seconds that the run has taken up to its last row, over all resumes.
  double seconds() const { return seconds_; }

 private:
  using Clock = std::chrono::steady_clock;

  void append_rounded(double value) {
    char text[64];
    const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, 3);
    pending_.append(text, end.ptr);
  }

  // The rows up to `step`, and from the last of them the time the run had taken.
  std::string kept_rows(const std::string& header, index_t step) {
    last_step_ = step;
    std::error_code ignored;
    if (!std::filesystem::exists(path_, ignored)) return {};  // deleted: the log begins again here
    const std::string text = detail::whole_lines(io::read_file(path_));
    if (text.empty()) return {};
    require<FileError>(
        text.starts_with(header), io::detail::quoted(path_),
        ": has other columns than this run; continue with the options it began with");
    const io::CsvTable table = io::parse_csv(text, path_.string());
    std::size_t rows = 0;
    while (rows < table.rows.size() && table.number(rows, 0) <= static_cast<double>(step)) ++rows;
    if (rows > 0) seconds_ = table.number(rows - 1, 7);
    std::size_t end = header.size();
    for (std::size_t row = 0; row < rows; ++row) end = text.find('\n', end) + 1;
    return text.substr(header.size(), end - header.size());
  }

  [[noreturn]] void fail(int code) const {
    mwalimu::detail::fail<FileError>("cannot write ", io::detail::quoted(path_), ": ",
                                     io::detail::errno_text(code));
  }

  std::filesystem::path path_;
  std::vector<std::string> own_columns_;
  io::detail::Descriptor file_;
  std::string pending_;
  index_t last_step_ = 0;
  double seconds_ = 0;
  Clock::time_point last_time_ = Clock::now(), flushed_ = Clock::now();
};

}  // namespace mwalimu::train
