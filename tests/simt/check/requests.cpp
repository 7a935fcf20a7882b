#include "requests.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "source_lines.hpp"

namespace mwalimu::simt::detail {
namespace {

constexpr Address kSector = 32;

void count(std::uint16_t& n) {
  if (n < std::numeric_limits<std::uint16_t>::max()) ++n;
}

// 32 banks of 4-byte words. Up to 128 bytes go in one pass: 32 lanes of 4 bytes, 16 of 8, 8 of 16;
// a pass takes as many wavefronts as distinct words share a bank.
void add_shared(const Request& request, LineTraffic& line) {
  const unsigned words = std::max(1u, request.bytes / 4), lanes = 32 / std::min(words, 4u);
  for (unsigned first = 0; first < 32; first += lanes) {
    std::array<std::vector<Address>, 32> banks;
    for (unsigned lane = first; lane < first + lanes; ++lane) {
      if ((request.lanes >> lane & 1u) == 0) continue;
      const Address begin = request.address[lane];
      for (Address word = begin / 4; word <= (begin + request.bytes - 1) / 4; ++word) {
        auto& bank = banks[word % 32];
        if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
      }
    }
    std::size_t worst = 0;
    for (const auto& bank : banks) worst = std::max(worst, bank.size());
    line.wavefronts += worst;
    line.ideal_wavefronts += worst > 0;
  }
}

}  // namespace

void BlockRequests::begin(unsigned threads) {
  times_.assign(threads, {});
  requests_.assign((threads + 31) / 32, {});
}

void BlockRequests::add(unsigned thread, std::uint32_t pc, Address address, unsigned bytes,
                        bool write, bool shared) {
  for (unsigned done = 0; done < bytes; done += 16) {  // an instruction moves 16 bytes a lane
    const unsigned time = times_[thread][pc]++;
    Request& request = requests_[thread / 32][{pc, time}];
    request.address[thread % 32] = address + done;
    request.lanes |= 1u << thread % 32;
    request.bytes = std::min(bytes - done, 16u);
    request.write = write;
    request.shared = shared;
  }
}

void TrafficRecorder::begin() {
  by_pc_.clear();
  counts_ = std::make_shared<ByteCounts>();
}

void TrafficRecorder::add(BlockRequests& block) {
  for (auto& warp : block.requests_) {
    for (const auto& [key, request] : warp) {
      LineTraffic& line = by_pc_[{key.first, request.shared, request.write}];
      line.shared = request.shared;
      line.write = request.write;
      add_request(request, line);
    }
    warp.clear();
  }
}

void TrafficRecorder::add_request(const Request& request, LineTraffic& line) {
  const auto lanes = static_cast<unsigned>(std::popcount(request.lanes));
  ++line.requests;
  line.lanes += lanes;
  line.bytes += std::uint64_t{lanes} * request.bytes;
  if (request.shared) {
    add_shared(request, line);
  } else {
    add_global(request, line);
  }
}

void TrafficRecorder::add_global(const Request& request, LineTraffic& line) {
  std::vector<Address> bytes;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((request.lanes >> lane & 1u) == 0) continue;
    for (unsigned i = 0; i < request.bytes; ++i) bytes.push_back(request.address[lane] + i);
  }
  std::sort(bytes.begin(), bytes.end());
  bytes.erase(std::unique(bytes.begin(), bytes.end()), bytes.end());
  Address sector = ~Address{0};
  for (const Address byte : bytes) {
    if (byte / kSector != sector) {
      sector = byte / kSector;
      ++line.sectors;
    }
    auto& page = counts_->pages[byte / ByteCounts::kPageBytes];
    count((request.write ? page.writes : page.reads)[byte % ByteCounts::kPageBytes]);
  }
  line.ideal_sectors += (bytes.size() + kSector - 1) / kSector;
}

LaunchTraffic TrafficRecorder::finish(std::string kernel) {
  LaunchTraffic total;
  total.kernel = std::move(kernel);
  std::vector<std::uint32_t> pcs;
  for (const auto& [key, line] : by_pc_) pcs.push_back(std::get<0>(key));
  load_source_lines(pcs);

  // Unrolling makes several instructions of one line.
  std::map<std::tuple<std::string, int, bool, bool>, LineTraffic> by_line;
  for (const auto& [key, part] : by_pc_) {
    const SourceLine& source = frames_of(std::get<0>(key)).back();
    LineTraffic& line = by_line[{source.file, source.line, part.shared, part.write}];
    line.file = source.file.substr(source.file.rfind('/') + 1);
    line.line = source.line;
    line.shared = part.shared;
    line.write = part.write;
    line.requests += part.requests;
    line.lanes += part.lanes;
    line.bytes += part.bytes;
    line.sectors += part.sectors;
    line.ideal_sectors += part.ideal_sectors;
    line.wavefronts += part.wavefronts;
    line.ideal_wavefronts += part.ideal_wavefronts;
  }
  for (auto& [key, line] : by_line) {
    total.moved += line.sectors * kSector;
    total.ideal += line.ideal_sectors * kSector;
    total.shared_wavefronts += line.wavefronts;
    total.ideal_shared_wavefronts += line.ideal_wavefronts;
    total.lines.push_back(std::move(line));
  }
  for (const auto& [number, page] : counts_->pages) {
    for (Address i = 0; i < ByteCounts::kPageBytes; i += kSector) {
      bool touched = false;
      for (Address k = i; k < i + kSector; ++k) {
        total.read_bytes += page.reads[k];
        total.write_bytes += page.writes[k];
        total.distinct_read += page.reads[k] != 0;
        total.distinct_written += page.writes[k] != 0;
        touched = touched || page.reads[k] != 0 || page.writes[k] != 0;
      }
      total.distinct += touched ? kSector : 0;
    }
  }
  total.counts = counts_;
  return total;
}

}  // namespace mwalimu::simt::detail
