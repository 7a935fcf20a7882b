// check/shared_map: which shared variable an address belongs to, and where its bytes' cells lie.
#pragma once

#include <cstdint>
#include <vector>

#include "../src/state.hpp"
#include "shadow.hpp"

namespace mwalimu::simt::detail {

/// A byte of the current block's shared memory.
struct SharedByte {
  const SharedVariable* variable = nullptr;  ///< null: dynamic shared memory
  std::size_t cell = 0;                      ///< among the block's cells
  std::size_t left = 0;                      ///< bytes from it to the end of its array
};

class SharedMap {
 public:
  /// Lays out the cells of a launch's blocks: its declared variables, then dynamic shared memory.
  void lay_out(const Launch& launch);
  /// Cells of one block.
  std::size_t cells() const { return cells_; }
  /// Whether `address` is in shared memory; if so, `byte` is set.
  bool find(Address address, const Block& block, SharedByte& byte) const;

 private:
  static constexpr std::size_t kUnused = ~std::size_t{0};
  void index_program();
  Address begin_ = 0, end_ = 0;          // the hull of the program's shared variables
  std::vector<int> variable_of_;         // per byte of it: index, or -1
  std::vector<std::size_t> first_cell_;  // per variable; kUnused: no kernel of this launch's
  std::size_t dynamic_cell_ = 0, cells_ = 0;
};

}  // namespace mwalimu::simt::detail
