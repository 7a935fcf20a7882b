// Files that a test needs, written in one call.
#pragma once

#include <filesystem>
#include <string_view>

#include "mwalimu/io/atomic_file.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::test {

/// Writes dir/name, making the folders above it; returns where it lies.
inline std::filesystem::path put_file(const TempDir& dir, const std::filesystem::path& name,
                                      std::string_view content) {
  const auto file = dir / name;
  std::filesystem::create_directories(file.parent_path());
  io::write_file(file, content);
  return file;
}

}  // namespace mwalimu::test
