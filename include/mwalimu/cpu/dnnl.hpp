// cpu/dnnl: the little that every use of oneDNN shares: engine and stream, its errors as ours, its
// names of element types, a cache of ready primitives, and a register of the implementations that
// oneDNN chose.
//
// The register exists because oneDNN never fails for speed: where no fast kernel takes a shape or a
// layout it falls back, silently, to a reference loop up to 700 times slower. Tests assert on it.
#pragma once

#include <oneapi/dnnl/dnnl_debug.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <ostream>
#include <set>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mwalimu/core/allocator.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::cpu {

/// Calls f() and turns oneDNN's exceptions into DnnlError: the operation, oneDNN's text, its
/// status.
template <class F>
decltype(auto) dnnl_call(const char* operation, F&& f) {
  try {
    return std::forward<F>(f)();
  } catch (const dnnl::error& error) {
    mwalimu::detail::fail<DnnlError>(operation, ": oneDNN: ", error.message, " (",
                                     dnnl_status2str(error.status), ")");
  }
}
/// The same for the functions of oneDNN that return a status.
inline void dnnl_check(const char* operation, dnnl_status_t status) {
  require<DnnlError>(status == dnnl_success, operation, ": oneDNN: ", dnnl_status2str(status));
}

/// The host's engine.
inline const dnnl::engine& engine() {
  // Never destroyed: streams and primitives of static duration may outlive it.
  static const dnnl::engine* const made = dnnl_call("engine", [] {
    // Two crop sizes, three directions and some fifty shapes a network pass oneDNN's default of
    // 1024 only with several networks in one process; recompiling then costs 0.4 ms a primitive.
    dnnl::set_primitive_cache_capacity(4096);
    return new dnnl::engine(dnnl::engine::kind::cpu, 0);
  });
  return *made;
}

/// This thread's stream, in order; on the host an execution has finished when execute returns.
inline dnnl::stream& stream() {
  thread_local dnnl::stream made(engine());
  return made;
}

/// One choice of oneDNN's.
struct Implementation {
  std::string operation;  ///< "conv2d forward"
  std::string name;       ///< "brgconv:avx512_core", "ref:any", ...
  std::string problem;    ///< the extents it was asked for
  auto operator<=>(const Implementation&) const = default;

  /// A reference loop or, for convolutions, an explicit im2col: correct and many times too slow.
  bool is_slow() const {
    if (name.find("ref") != std::string::npos) return true;  // also bnorm_ref
    return operation.starts_with("conv") && name.find("gemm") != std::string::npos;
  }
  friend std::ostream& operator<<(std::ostream& out, const Implementation& it) {
    return out << it.operation << ' ' << it.problem << ": " << it.name;
  }
};

namespace detail {
struct ImplementationRegister {
  std::mutex mutex;
  std::set<Implementation> used;
  std::atomic<bool> forbid_slow{false};
};
inline ImplementationRegister& implementation_register() {
  static auto* made = new ImplementationRegister;
  return *made;
}
}  // namespace detail

/// Every implementation that this process has asked oneDNN for, each once.
inline std::vector<Implementation> implementations_used() {
  auto& all = detail::implementation_register();
  const std::lock_guard lock(all.mutex);
  return {all.used.begin(), all.used.end()};
}

/// Makes the choice of a slow implementation a DnnlError on processors with AVX-512 (others have
/// fewer fast kernels). For tests and benchmarks; programs are slow rather than broken.
inline void forbid_slow_implementations(bool forbid = true) {
  detail::implementation_register().forbid_slow = forbid;
}

/// Whether oneDNN uses AVX-512 here, so that the promises about implementations bind.
inline bool has_avx512() { return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core; }

/// Whether oneDNN has convolutions and products of T on some processor.
template <class T>
inline constexpr bool kDnnlElement = std::is_same_v<T, float> || std::is_same_v<T, bfloat16>;

/// Whether it has them on this one: of bfloat16 from AVX-512 on. The others run plain loops.
template <class T>
bool dnnl_computes() {
  if constexpr (std::is_same_v<T, bfloat16>) return has_avx512();
  return kDnnlElement<T>;
}

/// oneDNN's name of T.
template <class T>
constexpr dnnl::memory::data_type dnnl_type() {
  static_assert(kDnnlElement<T>);
  return std::is_same_v<T, float> ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

/// To be called with every primitive descriptor that is made.
inline void record_implementation(Implementation used) {
  auto& all = detail::implementation_register();
  require<DnnlError>(!all.forbid_slow || !used.is_slow() || !has_avx512(), used.operation, " ",
                     used.problem, ": oneDNN has only the slow ", used.name,
                     "; want other channels or a dense NHWC operand");
  const std::lock_guard lock(all.mutex);
  all.used.insert(std::move(used));
}

/// Ready primitives by the problem they solve. Thread-safe. A Key must hold everything that shapes
/// the primitive, the number of threads included: oneDNN plans for the count at creation.
/// Key: equality comparable, with std::size_t hash() const.
template <class Key, class Value>
class PrimitiveCache {
 public:
  /// The value for `key`, made by make() at its first use.
  template <class Make>
  std::shared_ptr<const Value> get(const Key& key, Make&& make) {
    const std::lock_guard lock(mutex_);
    if (const auto found = values_.find(key); found != values_.end()) return found->second;
    auto made = std::make_shared<const Value>(make());
    // A stream of ever new shapes must not fill memory with code; nothing is lost but time.
    if (values_.size() >= kCapacity) values_.clear();
    values_.emplace(key, made);
    return made;
  }

 private:
  static constexpr std::size_t kCapacity = 4096;
  struct Hash {
    std::size_t operator()(const Key& key) const { return key.hash(); }
  };
  std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<const Value>, Hash> values_;
};

/// FNV-1a over integers, for Key::hash.
template <class... Integers>
constexpr std::size_t hash_of(Integers... values) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  ((hash = (hash ^ static_cast<std::uint64_t>(values)) * 0x100000001b3u), ...);
  return static_cast<std::size_t>(hash ^ hash >> 32);
}

/// Attributes that make the caller provide scratch memory. (oneDNN's own belongs to the thread that
/// made a primitive, so that no other thread could run it.)
inline dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

/// A tensor's memory as oneDNN's argument; oneDNN's types do not know const.
template <class T>
dnnl::memory wrap(const dnnl::memory::desc& layout, const T* data) {
  return dnnl::memory(layout, engine(), const_cast<std::remove_const_t<T>*>(data));
}

/// Runs a primitive made with user_scratchpad().
inline void execute(const dnnl::primitive& primitive, const dnnl::memory::desc& scratchpad,
                    std::unordered_map<int, dnnl::memory> arguments) {
  const std::size_t bytes = scratchpad.get_size();
  std::shared_ptr<std::byte> scratch;
  if (bytes > 0) {
    scratch = CachingAllocator::instance().allocate(bytes);
    arguments.emplace(DNNL_ARG_SCRATCHPAD, wrap(scratchpad, scratch.get()));
  }
  primitive.execute(stream(), arguments);
  stream().wait();
}

}  // namespace mwalimu::cpu
