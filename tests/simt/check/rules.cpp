#include "rules.hpp"

#include <algorithm>
#include <bit>

#include "../src/report.hpp"
#include "../src/traffic_log.hpp"

namespace mwalimu::simt::detail {

struct Checker::Context {
  const Block& block;
  BlockShadow& shadow;
  Access access;
  Record record;
  bool shared;
};

Checker& checker() {
  static auto* const one = new Checker;
  return *one;
}

void Checker::begin_launch(Launch& launch) {
  shared_map_.lay_out(launch);
  // Numbers of blocks and epochs begin anew long before they overflow.
  if (launch.first_serial < first_ || epoch_ > 0xC0000000u) {
    global_.clear();
    single_ = {};
    epoch_ = 1;
  }
  global_.forget_if_large();
  first_ = launch.first_serial;
  grid_epoch_ = 0;
  cooperative_ = launch.request.cooperative;
  traffic_ = launch.options.traffic;
  released_.clear();
  resident_.clear();
  if (traffic_) recorder_.begin();
}

std::string Checker::end_launch(Launch& launch) {
  if (traffic_) add_to_traffic(recorder_.finish(function_name(launch.request.kernel)));
  return findings_.take_text();
}

void Checker::begin_block(Block& block) {
  BlockShadow* shadow = &single_;
  if (cooperative_) {
    resident_.push_back(std::make_unique<BlockShadow>());
    shadow = resident_.back().get();
  }
  shadow->epoch = ++epoch_;
  shadow->clocks.assign(block.count, {});
  for (unsigned t = 0; t < block.count; ++t) shadow->clocks[t][t % 32] = 1;
  shadow->clocks_high = false;
  shadow->fenced.assign(block.count, false);
  shadow->acquired.clear();
  // Cells that other blocks left are told by their numbers.
  if (shadow->shared.size() < shared_map_.cells()) shadow->shared.resize(shared_map_.cells());
  if (traffic_) shadow->requests.begin(block.count);
  block.shadow = shadow;
}

void Checker::end_block(Block& block) {
  if (traffic_) recorder_.add(static_cast<BlockShadow*>(block.shadow)->requests);
}

void Checker::barrier(Block& block) {
  BlockShadow& shadow = *static_cast<BlockShadow*>(block.shadow);
  shadow.epoch = ++epoch_;
  if (!shadow.clocks_high) return;
  for (unsigned t = 0; t < block.count; ++t) {  // all that came before is in order by its epoch
    shadow.clocks[t] = {};
    shadow.clocks[t][t % 32] = 1;
  }
  shadow.clocks_high = false;
}

void Checker::warp_barrier(Block& block, unsigned warp, unsigned mask) {
  BlockShadow& shadow = *static_cast<BlockShadow*>(block.shadow);
  std::array<std::uint16_t, 32> joined{};
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const auto& clocks = shadow.clocks[warp * 32 + static_cast<unsigned>(std::countr_zero(rest))];
    for (unsigned i = 0; i < 32; ++i) joined[i] = std::max(joined[i], clocks[i]);
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(rest));
    auto& clocks = shadow.clocks[warp * 32 + lane];
    clocks = joined;
    if (++clocks[lane] > 0x7000) shadow.clocks_high = true;
  }
}

void Checker::grid_barrier() {
  grid_epoch_ = ++epoch_;
  for (auto& shadow : resident_) shadow->epoch = grid_epoch_;
}

void Checker::fence(Block& block, unsigned thread) {
  static_cast<BlockShadow*>(block.shadow)->fenced[thread] = true;
}

std::string Checker::name_of(Address address, const Block& block) const {
  SharedByte byte;
  if (!shared_map_.find(address, block, byte)) {
    return format("global memory at %p", reinterpret_cast<void*>(address));
  }
  if (byte.variable == nullptr) {
    const std::size_t bytes = block.launch->request.shared_bytes;
    return format("dynamic shared memory, byte %zu of %zu", bytes - byte.left, bytes);
  }
  const std::size_t bytes = byte.variable->bytes;
  return "__shared__ " + byte.variable->name() +
         format(", byte %zu of %zu", bytes - byte.left, bytes);
}

bool Checker::in_order(const Record& earlier, const Context& context) const {
  if (earlier.block < first_) return true;  // of an earlier launch, or none
  const BlockShadow& shadow = context.shadow;
  const std::uint16_t self = context.record.rank(), other = earlier.rank();
  if (earlier.block == context.record.block) {
    if (other == self || earlier.epoch < shadow.epoch) return true;
    return other / 32 == self / 32 && earlier.clock <= shadow.clocks[self][other % 32];
  }
  if (context.shared || earlier.epoch < grid_epoch_) return true;
  const auto seen = shadow.acquired.find(earlier.block);
  if (seen == shadow.acquired.end()) return false;
  return earlier.epoch < seen->second.epoch ||
         (earlier.epoch == seen->second.epoch && other == seen->second.thread);
}

void Checker::report(const char* kind, const Context& context, const Record* earlier,
                     bool earlier_wrote) {
  if (!findings_.wants(kind, context.record.pc, earlier != nullptr ? earlier->pc : 0)) return;
  const auto what = [](bool atomic, bool write) {
    return std::string(atomic ? "atomic" : write ? "write" : "read");
  };
  Finding finding;
  finding.kind = kind;
  finding.variable = name_of(context.access.address, context.block);
  finding.block = context.block.index;
  finding.now = what(context.access.atomic, context.access.write) + " by thread " +
                std::to_string(context.record.rank());
  finding.now_pc = context.record.pc;
  if (earlier != nullptr) {
    const bool same_warp = earlier->rank() / 32 == context.record.rank() / 32;
    finding.before =
        what(earlier->atomic(), earlier_wrote) +
        (earlier->block != context.record.block ? " by another block's thread " : " by thread ") +
        std::to_string(earlier->rank());
    if (earlier->block == context.record.block && same_warp) {
      finding.before += " of the same warp (no __syncwarp between)";
    }
    finding.before_pc = earlier->pc;
  }
  findings_.add(std::move(finding));
}

void Checker::conflict(const char* kind, const Record& earlier, const Context& context,
                       bool earlier_wrote) {
  if (earlier.block < first_ || (earlier.atomic() && context.access.atomic)) return;
  if (!in_order(earlier, context)) report(kind, context, &earlier, earlier_wrote);
}

void Checker::touch(Cell& cell, Context& context) {
  const Record& self = context.record;
  const bool write = context.access.write;
  const bool reads = !write || context.access.atomic;
  if (reads && context.shared && cell.write.block != self.block) {
    report("uninitialised read", context, nullptr, false);
  }
  conflict(write ? "write/write race" : "write/read race", cell.write, context, true);
  if (write) {
    conflict("read/write race", cell.read, context, false);
    conflict("read/write race", cell.other_read, context, false);
    cell = {self, {}, {}};
    return;
  }
  const auto replaces = [&](const Record& r) {
    return r.block < first_ ||
           (r.block == self.block && (r.thread == self.thread || r.epoch < self.epoch));
  };
  if (replaces(cell.read)) {
    cell.read = self;
  } else if (cell.other_read.block < first_ || cell.other_read.block == self.block) {
    cell.other_read = self;
  }
}

// An atomic takes over what others released at its address, and releases what a fence made visible.
void Checker::synchronise(Context& context) {
  BlockShadow& shadow = context.shadow;
  auto& at = released_[context.access.address];
  for (const auto& [block, release] : at) {
    Release& known = shadow.acquired[block];
    if (known.epoch < release.epoch) known = release;
  }
  if (!shadow.fenced[context.record.rank()]) return;
  for (const auto& [block, release] : shadow.acquired) {
    Release& known = at[block];
    if (known.epoch < release.epoch) known = release;
  }
  at[context.record.block] = {shadow.epoch, context.record.rank()};
}

void Checker::access(Block& block, unsigned thread, const Access& access) {
  BlockShadow& shadow = *static_cast<BlockShadow*>(block.shadow);
  SharedByte byte;
  const bool shared = shared_map_.find(access.address, block, byte);
  if (traffic_) {
    shadow.requests.add(thread, access.pc, access.address, access.bytes, access.write, shared);
  }
  Record record;
  record.epoch = shadow.epoch;
  record.block = block.serial;
  record.thread = static_cast<std::uint16_t>(thread | (access.atomic ? Record::kAtomic : 0));
  record.clock = shadow.clocks[thread][thread % 32];
  record.pc = access.pc;
  Context context{block, shadow, access, record, shared};
  if (shared) {  // what leaves the array is AddressSanitizer's to find
    const std::size_t bytes = std::min<std::size_t>(access.bytes, byte.left);
    for (std::size_t i = 0; i < bytes; ++i, ++context.access.address) {
      touch(shadow.shared[byte.cell + i], context);
    }
    return;
  }
  for (unsigned i = 0; i < access.bytes; ++i, ++context.access.address) {
    touch(global_.at(context.access.address), context);
  }
  context.access.address = access.address;
  if (access.atomic && access.write) synchronise(context);
}

}  // namespace mwalimu::simt::detail
