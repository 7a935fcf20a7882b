// programs/option_coverage: the options that a program's --help lists, so that a test of them can see
// that none is missing.
#pragma once

#include <set>
#include <sstream>
#include <string>

namespace mwalimu::test {

/// The names of "  --name ..." and "  -h,--name ..." lines, without their dashes.
inline std::set<std::string> options_in_help(const std::string& help) {
  std::set<std::string> names;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    const auto begin = line.find_first_not_of(' ');
    if (begin == std::string::npos || begin == 0 || line[begin] != '-') continue;
    const auto dashes = line.find("--", begin);
    if (dashes == std::string::npos) continue;
    // Names stand at the beginning of a line; descriptions far to the right.
    if (dashes > begin + 3) continue;
    const auto end = line.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-", dashes + 2);
    names.insert(line.substr(dashes + 2, end == std::string::npos ? end : end - dashes - 2));
  }
  return names;
}

}  // namespace mwalimu::test
