#include "shared_map.hpp"

#include <algorithm>

namespace mwalimu::simt::detail {

void SharedMap::index_program() {
  const auto& variables = shared_variables();
  first_cell_.assign(variables.size(), kUnused);
  if (!variable_of_.empty() || variables.empty()) return;
  begin_ = variables.front().value;
  end_ = variables.back().value + variables.back().bytes;
  variable_of_.assign(end_ - begin_, -1);
  for (std::size_t i = 0; i < variables.size(); ++i) {
    std::fill_n(variable_of_.begin() + static_cast<long>(variables[i].value - begin_),
                variables[i].bytes, static_cast<int>(i));
  }
}

void SharedMap::lay_out(const Launch& launch) {
  index_program();
  cells_ = 0;
  for (const SharedVariable* v : launch.shared) {
    first_cell_[static_cast<std::size_t>(v - shared_variables().data())] = cells_;
    cells_ += v->bytes;
  }
  dynamic_cell_ = cells_;
  cells_ += launch.request.shared_bytes;
}

bool SharedMap::find(Address address, const Block& block, SharedByte& byte) const {
  if (address - begin_ < end_ - begin_) {
    const int index = variable_of_[address - begin_];
    if (index >= 0 && first_cell_[static_cast<std::size_t>(index)] != kUnused) {
      const SharedVariable& v = shared_variables()[static_cast<std::size_t>(index)];
      const std::size_t offset = address - v.value;
      byte = {&v, first_cell_[static_cast<std::size_t>(index)] + offset, v.bytes - offset};
      return true;
    }
  }
  const Address offset = address - reinterpret_cast<Address>(block.dynamic_shared);
  const std::size_t bytes = block.launch->request.shared_bytes;
  if (block.dynamic_shared == nullptr || offset >= bytes) return false;
  byte = {nullptr, dynamic_cell_ + offset, bytes - offset};
  return true;
}

}  // namespace mwalimu::simt::detail
