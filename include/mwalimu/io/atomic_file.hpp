// io/atomic_file: files that are whole or absent. Everything Mwalimu writes goes through here.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::io {

/// A file being written under a temporary name beside its target. commit() flushes it to the disk
/// and renames it into place; without a commit the temporary is removed and the target is as it
/// was, whatever went wrong in between. A reader sees the old file or the new one, never a part.
///
///     AtomicFile file(folder / "log.csv");
///     file.write("step,loss\n");
///     file.commit();
///
/// A target that is a symbolic link is followed. A device or a pipe (/dev/stdout) is written to
/// directly: it has no name to exchange.
class AtomicFile {
 public:
  /// @throws FileError  the folder is missing or not writable, or the target is a folder.
  explicit AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
    require<FileError>(!target_.empty(), "cannot write a file without a name");
    std::error_code ignored;
    if (std::filesystem::is_symlink(target_, ignored)) {
      const auto resolved = std::filesystem::weakly_canonical(target_, ignored);
      if (!ignored) target_ = resolved;
    }
    const auto status = std::filesystem::status(target_, ignored);
    require<FileError>(!std::filesystem::is_directory(status), "cannot write ",
                       detail::quoted(target_), ": a folder of that name exists");
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
      file_ = detail::Descriptor(::open(target_.c_str(), O_WRONLY | O_CLOEXEC));
      if (!file_) fail_with(errno);
    } else {
      open_temporary();
    }
    buffer_.reserve(kBufferBytes);
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  /// Appends bytes. Small writes are gathered: a call a line costs no system call a line.
  /// @throws FileError  the disk is full or failed.
  void write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    if (buffer_.size() + bytes.size() > kBufferBytes) flush();
    if (bytes.size() >= kBufferBytes) return write_through(bytes);
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

  /// Makes the file appear under its name, on the disk. Nothing may be written after it.
  /// @throws FileError  the disk is full or failed, or the folder has gone; the target is
  /// untouched.
  void commit() {
    require<FileError>(static_cast<bool>(file_), detail::quoted(target_), " is committed already");
    flush();
    // Devices and some network file systems cannot sync, and say so with EINVAL.
    if (::fsync(file_.get()) != 0 && errno != EINVAL) fail_with(errno);
    if (file_.close() != 0) fail_with(errno);
    if (temporary_.empty()) return;
    if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail_with(errno);
    temporary_.clear();
    // The new name lives in the folder's own data: without this a power cut may take it back.
    const detail::Descriptor folder(::open(folder_of(target_).c_str(), O_RDONLY | O_CLOEXEC));
    if (folder) ::fsync(folder.get());
  }

  const std::filesystem::path& path() const { return target_; }

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{1} << 16;

  static std::filesystem::path folder_of(const std::filesystem::path& file) {
    return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  }

  void open_temporary() {
    static std::atomic<std::uint64_t> serial{0};
    for (int attempt = 0; attempt < 100; ++attempt) {
      // The target's own name is not part of it: that may already have the longest legal length.
      const auto name = ".mwalimu-" + std::to_string(::getpid()) + "-" +
                        std::to_string(serial.fetch_add(1)) + ".tmp";
      auto path = folder_of(target_) / name;
      file_ =
          detail::Descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (file_) {
        temporary_ = std::move(path);
        return;
      }
      if (errno != EEXIST) fail_with(errno);  // EEXIST: left by a killed run with our process id
    }
    fail_with(EEXIST);
  }

  void flush() {
    write_through(buffer_);
    buffer_.clear();
  }

  void write_through(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail_with(n == 0 ? ENOSPC : errno);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
  }

  [[noreturn]] void fail_with(int code) const {
    const auto folder = folder_of(target_);
    std::string advice;
    if (code == ENOENT || code == ENOTDIR) {
      advice = "; the folder " + detail::quoted(folder) + " does not exist, create it first";
    } else if (code == EACCES || code == EPERM || code == EROFS) {
      advice = "; the folder " + detail::quoted(folder) + " is not writable, choose another";
    } else if (code == ENOSPC || code == EDQUOT) {
      advice = "; free some space or choose another folder";
    }
    mwalimu::detail::fail<FileError>("cannot write ", detail::quoted(target_), ": ",
                                     detail::errno_text(code), advice);
  }

  std::filesystem::path target_;
  std::filesystem::path temporary_;  ///< empty: written directly, or committed
  detail::Descriptor file_;
  std::vector<std::byte> buffer_;
};

/// Writes a whole file at once, atomically.
/// @throws FileError  as AtomicFile.
inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}
inline void write_file(const std::filesystem::path& path, std::string_view text) {
  write_file(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace mwalimu::io
