// examples/common/config_file: a program's options as a TOML file, read for --config and written
// beside every run.
//
// The part of TOML that options need: `name = value` with strings ("basic" or 'literal'), integers,
// floats, booleans and arrays of them, and comments. No tables: options have no sections.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/suggestion.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/io/atomic_file.hpp"

namespace mwalimu::programs {
namespace detail {

/// Whether TOML may write the text without quotes: a number or a boolean.
inline bool is_bare_toml(std::string_view text) {
  if (text == "true" || text == "false") return true;
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  return result.ec != std::errc::invalid_argument && result.ptr == end;
}

inline std::string toml_value(std::string_view text) {
  if (is_bare_toml(text)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      (quoted += '\\') += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04X", static_cast<unsigned>(c));
      quoted += code;
    } else {
      quoted += c;
    }
  }
  return quoted += '"';
}

/// Reads the text of a file into (name, values). Every error names the file and the line.
class TomlReader {
 public:
  struct Entry {
    std::string name;
    std::vector<std::string> values;
    int line;
  };

  TomlReader(std::string file, std::string_view text) : file_(std::move(file)), text_(text) {}

  std::vector<Entry> read() {
    std::vector<Entry> entries;
    std::set<std::string> seen;
    for (skip_blank(); !at_end(); skip_blank()) {
      check(peek() != '[', "sections are not used here; write every option as name = value");
      const int line = line_;
      std::string name = read_name();
      check(seen.insert(name).second, "'", name, "' is set a second time");
      skip_spaces();
      check(!at_end() && peek() == '=', "want `", name, " = value`");
      ++at_;
      skip_spaces();
      std::vector<std::string> values;
      if (!at_end() && peek() == '[') {
        values = read_array();
      } else {
        values.push_back(read_value());
      }
      skip_spaces();
      check(at_end() || peek() == '\n' || peek() == '\r' || peek() == '#', "want one value after `",
            name, " =`; text goes between quotes");
      entries.push_back({std::move(name), std::move(values), line});
    }
    return entries;
  }

  template <class... Args>
  [[noreturn]] void fail(int line, const Args&... args) const {
    mwalimu::detail::fail<ValueError>(file_, " line ", line, ": ", args...);
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return text_[at_]; }
  template <class... Args>
  void check(bool condition, const Args&... args) const {
    if (!condition) fail(line_, args...);
  }
  void skip_spaces() {
    while (!at_end() && (peek() == ' ' || peek() == '\t')) ++at_;
  }
  void skip_blank() {
    for (;; ++at_) {
      skip_spaces();
      if (!at_end() && peek() == '#') {
        while (!at_end() && peek() != '\n') ++at_;
      }
      if (at_end() || (peek() != '\n' && peek() != '\r')) return;
      if (peek() == '\n') ++line_;
    }
  }
  std::string read_name() {
    if (peek() == '"' || peek() == '\'') return read_text();
    const std::size_t begin = at_;
    while (!at_end() && (std::isalnum(static_cast<unsigned char>(peek())) != 0 || peek() == '-' ||
                         peek() == '_')) {
      ++at_;
    }
    check(at_ > begin, "want an option's name, got '", peek(), "'");
    return std::string(text_.substr(begin, at_ - begin));
  }
  std::vector<std::string> read_array() {
    std::vector<std::string> values;
    ++at_;
    for (;;) {
      skip_blank();
      check(!at_end(), "the array has no closing ]");
      if (peek() == ']') break;
      values.push_back(read_value());
      skip_blank();
      check(!at_end(), "the array has no closing ]");
      check(peek() == ',' || peek() == ']', "want , or ] in the array");
      if (peek() == ',') ++at_;
    }
    ++at_;
    return values;
  }
  std::string read_value() {
    check(!at_end() && peek() != '\n', "the value is missing");
    if (peek() == '"' || peek() == '\'') return read_text();
    const std::size_t begin = at_;
    while (!at_end() && std::string_view(" \t\r\n,]#").find(peek()) == std::string_view::npos)
      ++at_;
    std::string text(text_.substr(begin, at_ - begin));
    std::string number;
    for (const char c : text) {
      if (c != '_') number += c;  // TOML's 1_000
    }
    check(is_bare_toml(number), "'", text, "' is no number; text goes between quotes: \"", text,
          "\"");
    return number;
  }
  std::string read_text() {
    const char quote = text_[at_++];
    std::string out;
    for (;;) {
      check(!at_end() && peek() != '\n', "the text has no closing quote");
      const char c = text_[at_++];
      if (c == quote) return out;
      if (c != '\\' || quote == '\'') {
        out += c;
        continue;
      }
      check(!at_end(), "the text has no closing quote");
      out += read_escape(text_[at_++]);
    }
  }
  std::string read_escape(char c) {
    switch (c) {
      case 'n':
        return "\n";
      case 't':
        return "\t";
      case 'r':
        return "\r";
      case '"':
        return "\"";
      case '\\':
        return "\\";
      default:
        break;
    }
    unsigned code = 0;
    const bool sound = c == 'u' && text_.size() - at_ >= 4 &&
                       std::from_chars(text_.data() + at_, text_.data() + at_ + 4, code, 16).ptr ==
                           text_.data() + at_ + 4 &&
                       code < 0x80;
    check(sound, "unknown escape \\", c,
          " in the text; write a backslash as \\\\, or use 'single quotes'");
    at_ += 4;
    return std::string(1, static_cast<char>(code));
  }

  std::string file_;
  std::string_view text_;
  std::size_t at_ = 0;
  int line_ = 1;
};

}  // namespace detail

/// CLI11's reader and writer of option files, with one dialect, line numbers and no silent skips.
class ConfigFile final : public CLI::Config {
 public:
  /// @param app  the program's options; it outlives this object.
  explicit ConfigFile(const CLI::App& app) : app_(app) {}

  /// @throws ValueError  the text is malformed, or names what is no option of the program.
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    const std::string text(std::istreambuf_iterator<char>(input), {});
    const auto files = app_.get_config_ptr()->results();
    detail::TomlReader reader(files.empty() ? "config file" : files.back(), text);
    std::vector<CLI::ConfigItem> items;
    for (detail::TomlReader::Entry& entry : reader.read()) {
      const CLI::Option* option = app_.get_option_no_throw("--" + entry.name);
      if (option == nullptr) {
        reader.fail(entry.line, "unknown option '", entry.name, "'",
                    suggestion(entry.name, option_names(app_)));
      }
      if (!option->get_configurable()) {
        reader.fail(entry.line, "'", entry.name, "' can only be given on the command line");
      }
      items.push_back({{}, std::move(entry.name), std::move(entry.values)});
    }
    return items;
  }

  /// Every option that a file may hold, with the value in force and its description as a comment.
  std::string to_config(const CLI::App* app, bool, bool, std::string) const override {
    std::string text;
    for (const CLI::Option* option : app->get_options()) {
      if (!option->get_configurable() || option->get_lnames().empty()) continue;
      const std::vector<std::string> values = values_of(*option);
      if (values.empty()) continue;  // not given, and without a default
      text += "# " + option->get_description() + "\n" + option->get_lnames().front() + " = ";
      if (option->get_items_expected_max() > 1) {
        text += "[";
        for (std::size_t i = 0; i < values.size(); ++i) {
          text += (i > 0 ? ", " : "") + detail::toml_value(values[i]);
        }
        text += "]\n";
      } else {
        text += detail::toml_value(values.back()) + "\n";
      }
    }
    return text;
  }

 private:
  static std::vector<std::string> values_of(const CLI::Option& option) {
    const bool is_flag = option.get_expected_max() == 0;
    if (is_flag) return {option.count() > 0 && option.as<bool>() ? "true" : "false"};
    if (option.count() > 0) return option.results();
    const std::string text = option.get_default_str();
    if (option.get_items_expected_max() <= 1 || !text.starts_with('[')) {
      return text.empty() ? std::vector<std::string>{} : std::vector<std::string>{text};
    }
    return CLI::detail::split(text.substr(1, text.size() - 2), ',');
  }

  const CLI::App& app_;
};

/// Writes every option in force as TOML; `--config FILE` gives the same run again.
/// @throws FileError  the file cannot be written.
inline void write_config_toml(const CLI::App& app, const std::filesystem::path& file) {
  io::write_file(file, "# " + app.get_name() + " --config FILE runs with these options again.\n\n" +
                           ConfigFile(app).to_config(&app, true, true, ""));
}

}  // namespace mwalimu::programs
