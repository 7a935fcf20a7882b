// io/csv: tables of text with a header row, as RFC 4180 has them.
#pragma once

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::io {

/// A table as read: every row has as many fields as the header.
struct CsvTable {
  std::string source;  ///< what errors call it: the file's name
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<std::size_t> lines;  ///< the line on which each row starts, from 1

  /// The index of a column. @throws FileError  there is none of that name.
  std::size_t column(std::string_view name) const {
    const auto it = std::find(header.begin(), header.end(), name);
    if (it == header.end()) {
      std::string names;
      for (const auto& have : header) names.append(names.empty() ? "" : ",").append(have);
      mwalimu::detail::fail<FileError>(source, ":1: no column ", detail::quoted_text(name),
                                       ", the header is ", detail::quoted_text(names));
    }
    return static_cast<std::size_t>(it - header.begin());
  }
  /// Field of a row as a number. @throws FileError  it is not one; the text names file and line.
  double number(std::size_t row, std::size_t column) const {
    const std::string& text = rows[row][column];
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    require<FileError>(error == std::errc() && end == text.data() + text.size(), source, ":",
                       lines[row], ": want a number in column ", header[column], ", got ",
                       detail::quoted_text(text));
    return value;
  }
};

/// A row that was left out, and why: "Train.csv:7: 3 fields, the header has 2".
struct CsvDefect {
  std::size_t line;
  std::string text;
};

namespace detail {

/// Takes a text apart, field by field.
class CsvParser {
 public:
  CsvParser(std::string_view text, const std::string& source) : text_(text), source_(source) {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);  // a byte order mark
  }
  bool at_end() const { return at_ == text_.size(); }
  std::size_t line() const { return line_; }

  /// The fields of the next row; its line ending is consumed.
  std::vector<std::string> row() {
    std::vector<std::string> fields;
    do {
      fields.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted() : plain());
    } while (take(','));
    if (take('\r')) {
      if (!take('\n')) fail("a carriage return without a line feed; save with LF or CRLF");
    } else if (!take('\n') && !at_end()) {
      fail("text behind a closing quote; double the quotes inside a field");
    }
    ++line_;
    return fields;
  }

 private:
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string plain() {
    const std::size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
    const auto field = text_.substr(at_, end - at_);
    if (field.find('"') != field.npos) fail("a quote inside a field that is not quoted");
    if (field.find('\0') != field.npos) fail("a zero byte; this is not a text file");
    at_ = end;
    return std::string(field);
  }
  std::string quoted() {
    const std::size_t start = line_;
    std::string field;
    for (++at_;;) {
      const std::size_t end = text_.find('"', at_);
      if (end == text_.npos) {
        line_ = start;
        fail("a quote is opened and never closed");
      }
      const auto part = text_.substr(at_, end - at_);
      line_ += static_cast<std::size_t>(std::count(part.begin(), part.end(), '\n'));
      field += part;
      at_ = end + 1;
      if (!take('"')) return field;
      field += '"';
    }
  }
  [[noreturn]] void fail(const char* what) const {
    mwalimu::detail::fail<FileError>(source_, ":", line_, ": ", what);
  }

  std::string_view text_;
  const std::string& source_;
  std::size_t at_ = 0, line_ = 1;
};

inline bool is_blank(const std::vector<std::string>& row) {
  return row.size() == 1 && row[0].empty();
}

}  // namespace detail

/// A table from text. Fields may be quoted and then hold commas, line ends and doubled quotes;
/// lines end in LF or CRLF; a byte order mark is passed over; white space belongs to the field.
/// @param source   what errors call the text.
/// @param defects  null: a row that is blank or of another width is an error. Else such rows are
///                 left out and described there.
/// @throws FileError  no header, a column named twice, broken quoting, or a bad row; it names the
/// line.
inline CsvTable parse_csv(std::string_view text, std::string source,
                          std::vector<CsvDefect>* defects = nullptr) {
  CsvTable table;
  table.source = std::move(source);
  detail::CsvParser parser(text, table.source);
  require<FileError>(!parser.at_end(), table.source, ": empty, want at least a header row");
  table.header = parser.row();
  require<FileError>(!detail::is_blank(table.header), table.source, ":1: blank, want a header row");
  std::unordered_set<std::string_view> names;  // a hostile header may have millions
  for (const std::string& name : table.header) {
    require<FileError>(names.insert(name).second, table.source, ":1: two columns named ",
                       detail::quoted_text(name));
  }
  while (!parser.at_end()) {
    const std::size_t line = parser.line();
    auto row = parser.row();
    const bool blank = detail::is_blank(row) && table.header.size() > 1;
    if (row.size() != table.header.size()) {
      std::string error = table.source;
      error.append(":").append(std::to_string(line)).append(": ");
      error += blank ? "a blank line"
                     : std::to_string(row.size()).append(row.size() == 1 ? " field" : " fields");
      error.append(", the header has ").append(std::to_string(table.header.size()));
      if (defects == nullptr) throw FileError(error);
      defects->push_back({line, std::move(error)});
      continue;
    }
    table.rows.push_back(std::move(row));
    table.lines.push_back(line);
  }
  return table;
}

/// The same from a file of at most 1 GiB.
inline CsvTable read_csv(const std::filesystem::path& path,
                         std::vector<CsvDefect>* defects = nullptr) {
  return parse_csv(read_file(path, std::uint64_t{1} << 30), path.string(), defects);
}

namespace detail {

inline void append_csv(std::string& line, std::string_view text) {
  if (text.find_first_of(",\"\r\n") == text.npos) {
    line += text;
    return;
  }
  line += '"';
  for (const char c : text) line.append(c == '"' ? 2 : 1, c);
  line += '"';
}
/// The shortest text that reads back as the same number; nan and inf where it is none.
template <class T>
requires std::is_arithmetic_v<T> &&
    (!std::same_as<T, bool>)&&(!std::same_as<T, char>)void append_csv(std::string& line, T value) {
  char text[64];
  line.append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

}  // namespace detail

/// Writes a table, atomically; nothing is there before commit().
///
///     CsvWriter csv(folder / "lr.csv", {"step", "lr", "loss"});
///     csv.row(step, lr, loss);
///     csv.commit();
class CsvWriter {
 public:
  /// @throws FileError   the file cannot be written.
  /// @throws ValueError  no columns.
  CsvWriter(const std::filesystem::path& path, const std::vector<std::string>& header)
      : file_(path), columns_(header.size()) {
    require<ValueError>(columns_ > 0, "csv: a table without columns");
    row(header);
  }

  /// A row of text.
  /// @throws ValueError  not as many fields as the header has.
  void row(const std::vector<std::string>& fields) {
    std::string line;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      if (i > 0) line += ',';
      detail::append_csv(line, fields[i]);
    }
    finish(line, fields.size());
  }
  /// A row of text and numbers, numbers in the shortest form that reads back the same.
  template <class... Fields>
  void row(const Fields&... fields) requires(
      sizeof...(Fields) > 0 &&
      (... && (std::convertible_to<Fields, std::string_view> || std::is_arithmetic_v<Fields>))) {
    std::string line;
    std::string_view separator;
    ((line += separator, detail::append_csv(line, fields), separator = ","), ...);
    finish(line, sizeof...(Fields));
  }
  /// @throws FileError  the disk is full or failed.
  void commit() { file_.commit(); }

 private:
  void finish(std::string& line, std::size_t fields) {
    require<ValueError>(fields == columns_, "csv: a row of ", fields, " fields for ", columns_,
                        " columns of ", detail::quoted(file_.path()));
    if (line.empty()) line = "\"\"";  // one empty field, not a blank line
    file_.write(line += '\n');
  }

  AtomicFile file_;
  std::size_t columns_;
};

}  // namespace mwalimu::io
