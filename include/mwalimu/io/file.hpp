// io/file: whole files in, with errors that name the file; the descriptor both directions share.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "mwalimu/core/check.hpp"

namespace mwalimu::io {
namespace detail {

/// The system's text for an errno value.
inline std::string errno_text(int code) { return std::generic_category().message(code); }

/// A path between quotes, on one line whatever bytes it holds.
inline std::string quoted(const std::filesystem::path& path) {
  std::string text;  // appended: g++ 12 warns of "'" + std::string (GCC PR 105651)
  text.append("'").append(path.string()).append("'");
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

/// Text from inside a file between quotes, cut to what fits one line of an error.
inline std::string quoted_text(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string out = "'";
  for (const char c : text.substr(0, kLongest)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out + (text.size() > kLongest ? "...'" : "'");
}

/// An open file descriptor, closed when it goes.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { close(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// Returns what ::close returned; 0 where nothing was open.
  int close() {
    const int fd = std::exchange(fd_, -1);
    return fd >= 0 ? ::close(fd) : 0;
  }

 private:
  int fd_;
};

/// Opens for reading and returns the size in bytes beside the descriptor.
/// @throws FileError  the path is missing, not readable or not a regular file.
inline std::pair<Descriptor, std::uint64_t> open_to_read(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; regular files ignore it.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) {
    mwalimu::detail::fail<FileError>("cannot read ", quoted(path), ": ", errno_text(errno));
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    mwalimu::detail::fail<FileError>("cannot read ", quoted(path), ": ", errno_text(errno));
  }
  require<FileError>(!S_ISDIR(status.st_mode), "cannot read ", quoted(path),
                     ": it is a folder, want a file");
  require<FileError>(S_ISREG(status.st_mode), "cannot read ", quoted(path),
                     ": it is not a regular file");
  return {std::move(file), static_cast<std::uint64_t>(status.st_size)};
}

}  // namespace detail

/// The bytes of a whole file.
/// @param limit  the most bytes accepted: what a text file of its kind may sensibly hold.
/// @throws FileError  the file is missing, unreadable, not a regular file or larger than `limit`.
inline std::string read_file(const std::filesystem::path& path,
                             std::uint64_t limit = std::uint64_t{1} << 40) {
  const auto [file, size] = detail::open_to_read(path);
  require<FileError>(size <= limit, "cannot read ", detail::quoted(path), ": ", size,
                     " bytes, more than the ", limit, " expected of such a file");
  std::string bytes(static_cast<std::size_t>(size), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      mwalimu::detail::fail<FileError>("cannot read ", detail::quoted(path), ": ",
                                       detail::errno_text(errno));
    }
    if (n == 0) break;  // it became shorter while we read: what is there is what we have
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace mwalimu::io
