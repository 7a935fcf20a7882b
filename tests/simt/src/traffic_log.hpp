// simt/traffic_log: where the checker leaves what it counted.
#pragma once

#include "simt/traffic.hpp"

namespace mwalimu::simt::detail {
void add_to_traffic(LaunchTraffic traffic);
}  // namespace mwalimu::simt::detail
