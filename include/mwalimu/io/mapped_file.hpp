// io/mapped_file: a file's bytes as memory, read from disk when they are touched.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <span>
#include <utility>

#include "mwalimu/io/file.hpp"

namespace mwalimu::io {

/// A read-only mapping of a whole file. It stays valid when the file is replaced (AtomicFile
/// renames a new one into its place); only a program that shortens the file in place would break
/// it.
class MappedFile {
 public:
  MappedFile() = default;
  /// @throws FileError  the file is missing, unreadable, not a regular file, or cannot be mapped.
  explicit MappedFile(const std::filesystem::path& path) {
    const auto [file, size] = detail::open_to_read(path);
    require<FileError>(size <= std::numeric_limits<std::size_t>::max() / 2, "cannot map ",
                       detail::quoted(path), ": ", size, " bytes");
    if (size == 0) return;  // mmap refuses an empty range
    void* start =
        ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (start == MAP_FAILED) {
      mwalimu::detail::fail<FileError>("cannot map ", detail::quoted(path), ": ",
                                       detail::errno_text(errno));
    }
    bytes_ = {static_cast<const std::byte*>(start), static_cast<std::size_t>(size)};
  }
  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }

  /// The file's bytes, aligned to a page.
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace mwalimu::io
