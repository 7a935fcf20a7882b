// train/settings: the options that a run's numbers depend on, kept in its checkpoint.
#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"

namespace mwalimu::train {

/// Names and values, in order.
class Settings {
 public:
  template <class T>
  void add(std::string name, const T& value) {
    entries_.emplace_back(std::move(name), detail_text(value));
  }
  /// An option that earlier versions had no name for: left out where it has its default, which is
  /// what they did. Behind all others.
  template <class T>
  void add_unless(std::string name, const T& value, const T& standard) {
    if (!(value == standard)) add(std::move(name), value);
  }
  /// A line each, "name = value".
  std::string text() const {
    std::string lines;
    for (const auto& [name, value] : entries_) lines += name + " = " + value + "\n";
    return lines;
  }
  /// @throws ValueError  the run to be continued had another value; the text names the first one.
  void require_same_as(const std::string& earlier) const {
    std::istringstream before(earlier), now(text());
    std::string was, is;
    while (std::getline(now, is)) {
      std::getline(before, was);
      require<ValueError>(was == is, "--resume: this run has ", is, ", but the one it continues had ",
                          was.empty() ? "no such setting" : was,
                          "; give the same options, or start another run");
      was.clear();
    }
    require<ValueError>(!std::getline(before, was), "--resume: the run to be continued had ", was,
                        ", which this one has not; give the same options, or start another run");
  }

 private:
  template <class T>
  static std::string detail_text(const T& value) {
    std::ostringstream text;
    text.precision(17);
    text << value;
    return std::move(text).str();
  }
  std::vector<std::pair<std::string, std::string>> entries_;
};

}  // namespace mwalimu::train
