// check/shadow: who touched each byte last.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

namespace mwalimu::simt::detail {

using Address = std::uintptr_t;

/// One access.
struct Record {
  std::uint32_t epoch = 0;   ///< of the block: how many barriers of any block came before
  std::uint32_t block = 0;   ///< serial number; 0: none
  std::uint16_t thread = 0;  ///< rank in the block, and kAtomic
  std::uint16_t clock = 0;   ///< the thread's own, counted in barriers of its warp
  std::uint32_t pc = 0;      ///< relative to the program's start

  static constexpr std::uint16_t kAtomic = 0x8000;
  bool atomic() const { return (thread & kAtomic) != 0; }
  std::uint16_t rank() const { return thread & static_cast<std::uint16_t>(~kAtomic); }
};

/// The last write, and two reads by different threads since.
struct Cell {
  Record write, read, other_read;
};

/// Cells of global memory, made when touched.
class GlobalShadow {
 public:
  Cell& at(Address address) {
    const Address page = address / kPageBytes;
    Cached& entry = cache_[page % cache_.size()];
    if (entry.cells == nullptr || entry.page != page) entry = {page, cells_of(page)};
    return entry.cells[address % kPageBytes];
  }
  /// What earlier launches did is in order with all that follows: it may be forgotten.
  void forget_if_large() {
    if (pages_.size() > kPagesKept) clear();
  }
  void clear() {
    pages_.clear();
    cache_.fill({});
  }

 private:
  static constexpr Address kPageBytes = 4096;
  static constexpr std::size_t kPagesKept = 1024;  // 200 MB of cells
  struct Cached {
    Address page = 0;
    Cell* cells = nullptr;
  };
  Cell* cells_of(Address page) {
    auto& cells = pages_[page];
    if (!cells) cells = std::make_unique<Cell[]>(kPageBytes);
    return cells.get();
  }
  std::unordered_map<Address, std::unique_ptr<Cell[]>> pages_;
  std::array<Cached, 256> cache_{};
};

}  // namespace mwalimu::simt::detail
