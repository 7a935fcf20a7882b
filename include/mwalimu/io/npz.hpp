// io/npz: named arrays in one file, as numpy.savez and numpy.load have them: a zip archive of
// NAME.npy members.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/mapped_file.hpp"
#include "mwalimu/io/npy.hpp"
#include "mwalimu/io/zip.hpp"
#include "mwalimu/io/zip_writer.hpp"

namespace mwalimu::io {

/// An .npz file, mapped and checked: every member is an array that parse_npy takes. Members must be
/// stored as they are (numpy.savez), not compressed.
class NpzFile {
 public:
  /// @throws FileError  the file is missing or unreadable, no sound archive, or a member is no
  /// array.
  explicit NpzFile(const std::filesystem::path& path) : path_(path), file_(path) {
    const std::string source = "npz file " + detail::quoted(path);
    const ZipArchive archive(file_.bytes(), source);
    for (const ZipMember& member : archive.members()) {
      const std::string_view name = member.name;
      require<FileError>(name.size() > 4 && name.ends_with(".npy"), source, " has a member ",
                         detail::quoted_text(name), " that is no array");
      arrays_.push_back(parse_npy(archive.verified(member),
                                  "member " + detail::quoted_text(name) + " of " + source));
      arrays_.back().name = std::string(name.substr(0, name.size() - 4));
    }
  }

  /// All arrays, in the order of the file.
  const std::vector<TensorInfo>& tensors() const { return arrays_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  MappedFile file_;
  std::vector<TensorInfo> arrays_;
};

/// Writes arrays under their names, atomically, as numpy.savez does.
/// @throws ValueError  a name is empty or repeated, a shape does not match its bytes, or numpy has
///                     no such type.
/// @throws FileError   the file cannot be written.
inline void write_npz(const std::filesystem::path& path, std::span<const TensorInfo> tensors) {
  ZipWriter zip(path);
  for (const TensorInfo& tensor : tensors) {
    require<ValueError>(!tensor.name.empty(), "write_npz: an array without a name");
    const auto size = detail::byte_size(tensor.shape, tensor.dtype);
    require<ValueError>(size && *size == tensor.bytes.size(), "write_npz: array ",
                        detail::quoted_text(tensor.name), " has ", tensor.bytes.size(),
                        " bytes, which its shape and type do not fill");
    const std::string header = npy_header(tensor.shape, tensor.dtype);
    const std::span<const std::byte> pieces[] = {
        std::as_bytes(std::span(header.data(), header.size())), tensor.bytes};
    zip.add(tensor.name + ".npy", pieces);
  }
  zip.commit();
}

}  // namespace mwalimu::io
