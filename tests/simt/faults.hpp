// tests/simt/faults: kernels with a planted fault, and twins without it.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <initializer_list>
#include <string>

#include "simt.cuh"

namespace mwalimu::simt {

/// The number of the line in `file` that ends in the comment "// MARK", as text.
inline std::string line_marked(const char* file, const std::string& mark) {
  std::ifstream in(file);
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    const std::string end = "// " + mark;
    if (line.size() >= end.size() && line.compare(line.size() - end.size(), end.size(), end) == 0) {
      return std::to_string(number);
    }
  }
  ADD_FAILURE() << file << " has no line marked '" << mark << "'";
  return "?";
}

/// ":LINE" as messages have it.
#define MWALIMU_AT(mark) (":" + ::mwalimu::simt::line_marked(__FILE__, mark))

/// The text of the error that f throws; "" if it throws none.
inline std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const error& e) {
    return e.what();
  }
  return "";
}

inline void expect_holds(const std::string& message, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(message.find(part), message.npos) << "want '" << part << "' in:\n" << message;
  }
}

/// A launch, and whether its result is right. One worker: what a seed shows it shows again.
struct Trial {
  std::function<void()> run;
  std::function<bool()> is_right;

  int wrong_results(int random_orders) const {
    const ScopedOptions keep;
    options().workers = 1;
    int wrong = 0;
    for_each_schedule(random_orders, [&] {
      run();
      wrong += !is_right();
    });
    return wrong;
  }
};

/// Check builds: one schedule suffices, whichever, and the message holds `parts`. Others: where
/// `shows_in_results`, some of 22 schedules gives a wrong result.
inline void expect_found(const Trial& trial, bool shows_in_results,
                         std::initializer_list<std::string> parts) {
  if (checks_accesses()) {
    for_each_schedule(2, [&] { expect_holds(message_of(trial.run), parts); });
  } else if (shows_in_results) {
    EXPECT_GT(trial.wrong_results(20), 0);
  }
}

/// No schedule gives an alarm or a wrong result.
inline void expect_clean(const Trial& trial) { EXPECT_EQ(trial.wrong_results(10), 0); }

}  // namespace mwalimu::simt
