// simt/report: messages: which kernel, which block, where its threads are.
#pragma once

#include <string>
#include <vector>

#include "state.hpp"

namespace mwalimu::simt::detail {

/// printf into a string of up to 1 KB.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

/// Kernel, extents and schedule, and the block where there is one.
std::string describe_launch(const Launch& launch, const Block* block);

/// Where the block's threads are: a line for each place.
std::string describe_threads(const Block& block);

/// "0-31,40": numbers in rising order.
std::string ranges(const std::vector<unsigned>& numbers);

/// Writes where(), if a kernel runs, when the program dies by a signal or a sanitizer's hand.
void install_crash_reports();

}  // namespace mwalimu::simt::detail
