// check/requests: groups the accesses of a warp into requests and adds them up by source line.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "shadow.hpp"
#include "simt/traffic.hpp"

namespace mwalimu::simt::detail {

/// How often each byte was asked for: 4096 bytes a page.
struct ByteCounts {
  static constexpr Address kPageBytes = 4096;
  struct Page {
    std::array<std::uint16_t, kPageBytes> reads{}, writes{};
  };
  std::unordered_map<Address, Page> pages;
};

/// What one warp's lanes do at one instruction at one time.
struct Request {
  std::array<Address, 32> address{};
  unsigned lanes = 0;  ///< mask
  unsigned bytes = 0;  ///< a lane
  bool shared = false, write = false;
};

/// The requests of one block.
class BlockRequests {
 public:
  void begin(unsigned threads);
  void add(unsigned thread, std::uint32_t pc, Address address, unsigned bytes, bool write,
           bool shared);

 private:
  friend class TrafficRecorder;
  std::vector<std::unordered_map<std::uint32_t, unsigned>> times_;  // per thread, by pc
  std::vector<std::map<std::pair<std::uint32_t, unsigned>, Request>> requests_;  // per warp
};

/// The traffic of one launch.
class TrafficRecorder {
 public:
  void begin();
  void add(BlockRequests& block);
  LaunchTraffic finish(std::string kernel);

 private:
  void add_request(const Request& request, LineTraffic& line);
  void add_global(const Request& request, LineTraffic& line);
  std::map<std::tuple<std::uint32_t, bool, bool>, LineTraffic> by_pc_;  // pc, shared, write
  std::shared_ptr<ByteCounts> counts_;
};

}  // namespace mwalimu::simt::detail
