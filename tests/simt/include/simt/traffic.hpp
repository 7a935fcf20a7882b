// simt/traffic: what the launches of a check build moved, by launch and by source line.
//
// A warp's accesses by one line at one time are one request. A global request costs the 32-byte
// sectors that it touches, a shared request the wavefronts that its worst bank needs. It is a model
// of requests: caches and time have no part in it. An access of more than 16 bytes counts as
// several.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mwalimu::simt {

/// Accesses of one kind by one source line.
struct LineTraffic {
  std::string file;  ///< without folders; of the kernel, not of the helpers inlined into it
  int line = 0;
  bool shared = false;  ///< shared memory; else global
  bool write = false;
  std::uint64_t requests = 0;          ///< of warps
  std::uint64_t lanes = 0;             ///< that took part in them
  std::uint64_t bytes = 0;             ///< asked for by lanes
  std::uint64_t sectors = 0;           ///< global: 32-byte sectors touched
  std::uint64_t ideal_sectors = 0;     ///< global: were each request's distinct bytes dense
  std::uint64_t wavefronts = 0;        ///< shared
  std::uint64_t ideal_wavefronts = 0;  ///< shared: without bank conflicts

  double bytes_per_lane() const { return ratio(bytes, lanes); }
  double sectors_per_request() const { return ratio(sectors, requests); }
  double ideal_sectors_per_request() const { return ratio(ideal_sectors, requests); }
  /// 1: the request's bytes fill the sectors that it touches.
  double efficiency() const { return ratio(ideal_sectors, sectors); }
  /// 1: no bank conflicts.
  double conflict_factor() const { return ratio(wavefronts, ideal_wavefronts); }

 private:
  static double ratio(std::uint64_t a, std::uint64_t b) {
    return b == 0 ? 1.0 : static_cast<double>(a) / static_cast<double>(b);
  }
};

/// Bytes of global memory. A byte that several lanes of one request read counts once.
struct ByteTraffic {
  std::uint64_t read_bytes = 0, write_bytes = 0;
  std::uint64_t distinct_read = 0, distinct_written = 0;  ///< bytes
  bool each_byte_read_once() const { return read_bytes == distinct_read; }
  bool each_byte_written_once() const { return write_bytes == distinct_written; }
};

namespace detail {
struct ByteCounts;
}

/// One launch.
class LaunchTraffic : public ByteTraffic {
 public:
  std::string kernel;  ///< as demangled, with template arguments
  std::vector<LineTraffic> lines;

  std::uint64_t moved = 0;     ///< bytes of all sectors of all global requests
  std::uint64_t ideal = 0;     ///< the same, were each request dense
  std::uint64_t distinct = 0;  ///< bytes of distinct sectors: what memory must move at least
  std::uint64_t shared_wavefronts = 0, ideal_shared_wavefronts = 0;

  /// No request touches a sector that it does not fill.
  bool coalesced() const { return moved == ideal; }
  bool without_bank_conflicts() const { return shared_wavefronts == ideal_shared_wavefronts; }
  /// Every byte of global memory is read at most once and written at most once.
  bool each_byte_once() const { return each_byte_read_once() && each_byte_written_once(); }
  /// The smallest bytes_per_lane over global lines.
  double narrowest_access() const;

  /// The same for `bytes` bytes at `begin`, one tensor for instance.
  ByteTraffic of(const void* begin, std::size_t bytes) const;

  std::shared_ptr<const detail::ByteCounts> counts;
};

/// The launches since reset_traffic() or the program's start that ran with options().traffic in a
/// check build, in order.
const std::vector<LaunchTraffic>& traffic();
void reset_traffic();

/// The last of them.
/// @throws ValueError  there is none: not a check build, or options().traffic was off.
const LaunchTraffic& last_traffic();

/// The only one of a kernel whose name holds `kernel`.
/// @throws ValueError  none or several, and which there are.
const LaunchTraffic& traffic_of(std::string_view kernel);

/// A table: one row a source line.
std::string describe(const LaunchTraffic& traffic);

}  // namespace mwalimu::simt
