// cpu/dnnl: the little that every use of oneDNN shares: its objects with owners, engine and stream,
// its errors as ours, its names of element types, a cache of ready primitives, and a register of the
// implementations that oneDNN chose.
//
// It stands on oneDNN's C interface: nvcc 13.0 dies of an internal error on the C++ header of oneDNN
// 2.6 as C++20, and every file that includes this one compiles the sooner.
//
// The register exists because oneDNN never fails for speed: where no fast kernel takes a shape or a
// layout it falls back, silently, to a reference loop up to 700 times slower. Tests assert on it.
#pragma once

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
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

/// @throws DnnlError  the operation and the status, if a function of oneDNN did not succeed.
inline void dnnl_check(const char* operation, dnnl_status_t status) {
  require<DnnlError>(status == dnnl_success, operation, ": oneDNN: ", dnnl_status2str(status));
}

namespace detail {
template <class Pointer, dnnl_status_t (*destroy)(Pointer)>
struct DnnlDelete {
  void operator()(Pointer object) const { destroy(object); }
};
template <class Pointer, dnnl_status_t (*destroy)(Pointer)>
using DnnlObject = std::unique_ptr<std::remove_pointer_t<Pointer>, DnnlDelete<Pointer, destroy>>;
}  // namespace detail

/// oneDNN's objects; each is destroyed with its owner.
using DnnlEngine = detail::DnnlObject<dnnl_engine_t, dnnl_engine_destroy>;
using DnnlStream = detail::DnnlObject<dnnl_stream_t, dnnl_stream_destroy>;
using DnnlMemory = detail::DnnlObject<dnnl_memory_t, dnnl_memory_destroy>;
using DnnlAttributes = detail::DnnlObject<dnnl_primitive_attr_t, dnnl_primitive_attr_destroy>;
using DnnlPostOps = detail::DnnlObject<dnnl_post_ops_t, dnnl_post_ops_destroy>;
using DnnlPrimitiveDescriptor =
    detail::DnnlObject<dnnl_primitive_desc_t, dnnl_primitive_desc_destroy>;
using DnnlPrimitive = detail::DnnlObject<dnnl_primitive_t, dnnl_primitive_destroy>;
/// How a tensor lies in memory; a plain value.
using DnnlLayout = dnnl_memory_desc_t;

/// The object that create(&object, arguments...), a function of oneDNN, makes.
template <class Object, class Create, class... Arguments>
Object dnnl_make(const char* operation, Create create, Arguments... arguments) {
  typename Object::pointer made = nullptr;
  dnnl_check(operation, create(&made, arguments...));
  return Object(made);
}

/// The host's engine.
inline dnnl_engine_t engine() {
  // Never destroyed: streams and primitives of static duration may outlive it.
  static const dnnl_engine_t made = [] {
    // Two crop sizes, three directions and some fifty shapes a network pass oneDNN's default of
    // 1024 only with several networks in one process; recompiling then costs 0.4 ms a primitive.
    dnnl_check("engine", dnnl_set_primitive_cache_capacity(4096));
    return dnnl_make<DnnlEngine>("engine", dnnl_engine_create, dnnl_cpu, std::size_t{0}).release();
  }();
  return made;
}

/// This thread's stream, in order; on the host an execution has finished when execute returns.
inline dnnl_stream_t stream() {
  thread_local const DnnlStream made = dnnl_make<DnnlStream>(
      "stream", dnnl_stream_create, engine(), static_cast<unsigned>(dnnl_stream_default_flags));
  return made.get();
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
inline bool has_avx512() { return dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core; }

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
constexpr dnnl_data_type_t dnnl_type() {
  static_assert(kDnnlElement<T>);
  return std::is_same_v<T, float> ? dnnl_f32 : dnnl_bf16;
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

/// A layout by strides, in elements: PyTorch's order of extents, outermost first.
inline DnnlLayout dnnl_layout(const char* operation, dnnl_data_type_t type,
                              std::initializer_list<index_t> extents,
                              std::initializer_list<index_t> strides) {
  DnnlLayout made;
  dnnl_check(operation,
             dnnl_memory_desc_init_by_strides(&made, static_cast<int>(extents.size()),
                                              std::data(extents), type, std::data(strides)));
  return made;
}
/// A layout by oneDNN's name of it; dnnl_format_tag_any lets a primitive choose.
inline DnnlLayout dnnl_layout(const char* operation, dnnl_data_type_t type,
                              std::initializer_list<index_t> extents, dnnl_format_tag_t tag) {
  DnnlLayout made;
  dnnl_check(operation, dnnl_memory_desc_init_by_tag(&made, static_cast<int>(extents.size()),
                                                     std::data(extents), type, tag));
  return made;
}

/// Attributes that make the caller provide scratch memory. (oneDNN's own belongs to the thread that
/// made a primitive, so that no other thread could run it.)
inline DnnlAttributes user_scratchpad(const char* operation) {
  auto made = dnnl_make<DnnlAttributes>(operation, dnnl_primitive_attr_create);
  dnnl_check(operation,
             dnnl_primitive_attr_set_scratchpad_mode(made.get(), dnnl_scratchpad_mode_user));
  return made;
}

/// oneDNN's choice for an operation. `hint`: the forward's, for a backward direction.
template <class Description>
DnnlPrimitiveDescriptor dnnl_describe(const char* operation, const Description& description,
                                      const DnnlAttributes& attributes,
                                      const_dnnl_primitive_desc_t hint = nullptr) {
  return dnnl_make<DnnlPrimitiveDescriptor>(operation, dnnl_primitive_desc_create, &description,
                                            attributes.get(), engine(), hint);
}
/// The layout that a primitive wants an operand in; dnnl_query_scratchpad_md: its scratch memory.
inline DnnlLayout dnnl_layout_of(const DnnlPrimitiveDescriptor& chosen, dnnl_query_t operand) {
  return *dnnl_primitive_desc_query_md(chosen.get(), operand, 0);
}
inline std::string dnnl_implementation(const DnnlPrimitiveDescriptor& chosen) {
  const char* name = nullptr;
  dnnl_check("implementation",
             dnnl_primitive_desc_query(chosen.get(), dnnl_query_impl_info_str, 0, &name));
  return name;
}

/// An operand of an execution; oneDNN's types do not know const.
struct DnnlArgument {
  int role;  ///< DNNL_ARG_SRC, ...
  const DnnlLayout& layout;
  const void* data;
};

/// Runs a primitive made with user_scratchpad().
inline void execute(const char* operation, const DnnlPrimitive& primitive,
                    const DnnlLayout& scratchpad, std::initializer_list<DnnlArgument> operands) {
  constexpr std::size_t kMost = 4;
  std::array<DnnlMemory, kMost> memory;
  dnnl_exec_arg_t arguments[kMost];
  std::size_t count = 0;
  const auto add = [&](const DnnlArgument& operand) {
    memory[count] = dnnl_make<DnnlMemory>(operation, dnnl_memory_create, &operand.layout, engine(),
                                          const_cast<void*>(operand.data));
    arguments[count] = {operand.role, memory[count].get()};
    ++count;
  };
  require<ValueError>(operands.size() < kMost, operation, ": want at most 3 operands");
  for (const DnnlArgument& operand : operands) add(operand);
  const std::size_t bytes = dnnl_memory_desc_get_size(&scratchpad);
  std::shared_ptr<std::byte> scratch;
  if (bytes > 0) {
    scratch = CachingAllocator::instance().allocate(bytes);
    add({DNNL_ARG_SCRATCHPAD, scratchpad, scratch.get()});
  }
  dnnl_check(operation, dnnl_primitive_execute(primitive.get(), stream(), static_cast<int>(count),
                                               arguments));
  dnnl_check(operation, dnnl_stream_wait(stream()));
}

}  // namespace mwalimu::cpu
