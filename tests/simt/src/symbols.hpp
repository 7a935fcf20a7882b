// simt/symbols: the program's own symbol table: its kernels and their shared variables.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace mwalimu::simt::detail {

/// One __shared__ variable.
struct SharedVariable {
  std::string_view mangled;
  std::size_t value = 0;  ///< its address, or its offset in a thread's block of thread-locals
  std::size_t bytes = 0;
  bool thread_local_ = false;
  bool of_kernel = false;  ///< declared in a kernel, not in a function that kernels call

  /// "tile": without the kernel's name.
  std::string name() const;
};

/// Every shared variable of the program, by address.
const std::vector<SharedVariable>& shared_variables();

/// The shared variables that a kernel may use: its own, and those of functions that are no kernels.
std::vector<const SharedVariable*> shared_variables_of(const void* kernel);

/// "void k<float>(float*)", or the address where there is no such symbol.
std::string function_name(const void* function);

/// False in a stripped program.
bool have_symbols();

/// The calling thread's block of thread-locals: [first, second).
struct Range {
  char *begin = nullptr, *end = nullptr;
};
Range thread_local_block();

}  // namespace mwalimu::simt::detail
