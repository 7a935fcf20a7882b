// core/check: the errors that Mwalimu throws, and the one-line way to state a precondition.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace mwalimu {

/// Base of everything the library throws on purpose. what() is one line: what is wrong, where, and
/// what to do about it.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct ShapeError : Error { using Error::Error; };   ///< extents disagree or are out of range
struct ValueError : Error { using Error::Error; };   ///< a number or a name outside its range
struct DeviceError : Error { using Error::Error; };  ///< no such device, or operands on two devices
struct FileError : Error { using Error::Error; };    ///< a file is missing, malformed or unwritable
struct DnnlError : Error { using Error::Error; };    ///< oneDNN refused; the text is its own
struct CudaError : Error { using Error::Error; };    ///< the CUDA runtime refused
struct CudnnError : Error { using Error::Error; };   ///< cuDNN refused, or has no engine for a case
struct CublasError : Error { using Error::Error; };  ///< cuBLASLt refused, or has no algorithm

namespace detail {

template <class... Args>
std::string concatenate(const Args&... args) {
  std::ostringstream text;
  (text << ... << args);
  return std::move(text).str();
}

// Out of line of the check, so that the caller's fast path stays one compare and one jump.
template <class E, class... Args>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const Args&... args) {
  throw E(concatenate(args...));
}

}  // namespace detail

/// Throws E with the streamed arguments as its text unless `condition` holds. Checked in every build
/// type: these are the caller's mistakes, not ours.
template <class E, class... Args>
constexpr void require(bool condition, const Args&... args) {
  if (!condition) [[unlikely]] detail::fail<E>(args...);
}

}  // namespace mwalimu
