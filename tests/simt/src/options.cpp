#include "simt/options.hpp"

#include <cstdlib>
#include <string_view>

namespace mwalimu::simt {
namespace {

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(text, &end, 0);
  require<ValueError>(*end == '\0' && *text != '-', name, ": want a whole number, got '", text,
                      "'");
  return value;
}

Schedule order_from(const char* name, Schedule otherwise) {
  const char* const text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  const std::string_view order = text;
  if (order == "forward") return Schedule::forward;
  if (order == "reverse") return Schedule::reverse;
  require<ValueError>(order == "random", name, ": want forward, reverse or random, got '", text,
                      "'");
  return Schedule::random;
}

}  // namespace

Options detail::options_from_environment() {
  Options options;
  options.order = order_from("MWALIMU_SIMT_ORDER", options.order);
  options.seed = number_from("MWALIMU_SIMT_SEED", options.seed);
  options.workers = static_cast<int>(number_from("MWALIMU_SIMT_WORKERS", 0));
  options.traffic = number_from("MWALIMU_SIMT_TRAFFIC", 0) != 0;
  return options;
}

Options& options() {
  static Options process_wide = detail::options_from_environment();
  return process_wide;
}

}  // namespace mwalimu::simt
