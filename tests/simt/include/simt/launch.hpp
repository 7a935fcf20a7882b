// simt/launch: starts a kernel on the executor. It has run when the call returns.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

#include "simt/options.hpp"
#include "simt/specifiers.hpp"
#include "simt/vectors.hpp"

struct CUstream_st;

namespace mwalimu::simt {
namespace detail {

struct LaunchRequest {
  void (*invoke)(void* call);  ///< runs the kernel's body for the current thread
  void* call;
  std::size_t call_bytes;
  const void* kernel;
  dim3 grid, block;
  std::size_t shared_bytes;
  bool cooperative;
};
void run(const LaunchRequest& request);

/// The block's dynamic shared memory.
void* dynamic_shared(std::size_t element_bytes);

template <class Kernel, class Arguments>
struct Call {
  Kernel kernel;
  Arguments arguments;
  template <std::size_t... I>
  void operator()(std::index_sequence<I...>) {  // std::apply would add four frames to every trace
    kernel(std::get<I>(arguments)...);
  }
};

template <class... P, class... A>
void launch(bool cooperative, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes,
            A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "launch: wrong number of kernel arguments");
  static_assert((sizeof(P) + ... + 0) <= 4096, "launch: kernel parameters exceed 4 KB");
  static_assert((std::is_trivially_copyable_v<P> && ...),
                "launch: kernel parameters are copied bit by bit");
  static_assert((!std::is_reference_v<P> && ...), "launch: kernels take no references");
  using ThisCall = Call<void (*)(P...), std::tuple<P...>>;
  ThisCall call{kernel, std::tuple<P...>(std::forward<A>(args)...)};
  run({[](void* p) { (*static_cast<ThisCall*>(p))(std::index_sequence_for<P...>{}); }, &call,
       sizeof call, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, cooperative});
}

}  // namespace detail

/// Runs kernel(args...) for every thread of the grid. The stream plays no part.
/// @throws LaunchError  the kernel broke a rule, or the launch a limit.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, CUstream_st*,
            A&&... args) {
  detail::launch(false, kernel, grid, block, shared_bytes, std::forward<A>(args)...);
}

/// The same with every block resident, so that the kernel may wait for the whole grid.
template <class... P, class... A>
void launch_cooperative(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes,
                        CUstream_st*, A&&... args) {
  detail::launch(true, kernel, grid, block, shared_bytes, std::forward<A>(args)...);
}

/// Blocks that launch_cooperative accepts: Options::cooperative_blocks, a small number on purpose.
template <class... P>
int max_cooperative_blocks(void (*)(P...), int /*threads*/, std::size_t /*shared_bytes*/) {
  return options().cooperative_blocks;
}

}  // namespace mwalimu::simt
