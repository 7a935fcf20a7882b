// fuzz/target: what every fuzz target shares. A target reads bytes as one of the file formats; a
// FileError is the right answer to bad ones, and any other exception, a bad access or an oversized
// allocation is a finding.
//
// Two drivers run a target: libFuzzer (a build by clang), and mutate.cpp, which needs nothing.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/io/crc32.hpp"
#include "mwalimu/io/tensor_info.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace mwalimu::fuzz {

/// Good inputs of the target, to start from.
std::vector<std::string> seeds();

/// A file that exists in memory only and can be opened by its path.
class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("fuzz", 0)) {
    if (fd_ < 0) std::abort();
  }
  ~MemoryFile() { ::close(fd_); }
  std::filesystem::path put(std::string_view bytes) {
    if (::ftruncate(fd_, 0) != 0 ||
        ::pwrite(fd_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
      std::abort();
    }
    return "/proc/self/fd/" + std::to_string(fd_);
  }

 private:
  int fd_;
};

/// Reads every byte of every tensor, and aborts where one does not fill its shape.
inline void use(std::span<const io::TensorInfo> tensors) {
  for (const io::TensorInfo& tensor : tensors) {
    if (io::detail::byte_size(tensor.shape, tensor.dtype) != tensor.bytes.size()) std::abort();
    volatile std::uint32_t sum = io::crc32(tensor.bytes);
    static_cast<void>(sum);
  }
}

}  // namespace mwalimu::fuzz
