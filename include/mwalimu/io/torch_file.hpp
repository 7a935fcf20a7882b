// io/torch_file: the tensors of PyTorch's .pth and .pt files, without PyTorch and without running
// what is in them.
//
// Layout: a zip archive of NAME/data.pkl, a pickle of the saved object in which every storage is a
// persistent id, and NAME/data/KEY, a storage's bytes. A tensor is a view: offset, shape and
// strides. Source: PyTorch's text on serialization semantics and files that torch.save wrote.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/mapped_file.hpp"
#include "mwalimu/io/tensor_info.hpp"
#include "mwalimu/io/torch_tensors.hpp"
#include "mwalimu/io/zip.hpp"

namespace mwalimu::io {

/// A file of torch.save, mapped and fully checked: whatever it holds, the constructor either throws
/// or the tensors below are sound. A tensor in nested dicts is named by its path,
/// "model.encoder.0.weight", an element of a list by its number. What is no tensor is passed over.
class TorchFile {
 public:
  /// @throws FileError  the file is missing or unreadable; not a zip archive (torch.save
  ///                    before 1.6, TorchScript); holds what weights do not consist of; or is
  ///                    damaged.
  explicit TorchFile(std::filesystem::path path) : path_(std::move(path)), file_(path_) {
    const std::string source = "torch file " + detail::quoted(path_);
    refuse_old_formats(source);
    const ZipArchive archive(file_.bytes(), source);
    detail::TorchTensors found(archive, file_.bytes().size());
    tensors_ = std::move(found.tensors);
    copies_ = std::move(found.copies);
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      require<FileError>(by_name_.emplace(tensors_[i].name, i).second, source,
                         " has two tensors named ", detail::quoted_text(tensors_[i].name));
    }
    groups_ = std::move(found.groups);
  }

  /// All tensors, in the order of the file.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const std::filesystem::path& path() const { return path_; }
  /// What the saved object's own entries hold, in their order. One group with an empty prefix: a
  /// bare state_dict.
  const std::vector<TensorGroup>& groups() const { return groups_; }

  /// The prefix of the model's weights: empty for a bare state_dict, else the entry by the names in
  /// use ("model.", "state_dict.", ...); nothing where that is not clear.
  std::optional<std::string> weights_prefix() const {
    if (groups_.size() == 1) return groups_[0].prefix;
    for (const std::string_view known :
         {"state_dict.", "model.", "model_state_dict.", "net.", "module."}) {
      for (const TensorGroup& group : groups_) {
        if (group.prefix == known) return group.prefix;
      }
    }
    for (const TensorGroup& group : groups_) {
      if (group.prefix.empty()) return "";
    }
    return std::nullopt;
  }

  /// The tensor of that name, or nullptr.
  const TensorInfo* find(std::string_view name) const {
    const auto it = by_name_.find(std::string(name));
    return it == by_name_.end() ? nullptr : &tensors_[it->second];
  }
  /// @throws FileError  there is no tensor of that name.
  const TensorInfo& at(std::string_view name) const {
    const TensorInfo* tensor = find(name);
    require<FileError>(tensor != nullptr, "torch file ", detail::quoted(path_), " has no tensor ",
                       detail::quoted_text(name));
    return *tensor;
  }

 private:
  void refuse_old_formats(const std::string& source) const {
    const std::span<const std::byte> bytes = file_.bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    // A bare pickle whose first value is a magic number of ten bytes.
    require<FileError>(!text.starts_with(std::string_view("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46", 8)),
                       source,
                       " is of torch.save before PyTorch 1.6; load it in a newer PyTorch and "
                       "save it again");
    require<FileError>(
        text.size() < 262 || text.substr(257, 5) != "ustar", source,
        " is a tar archive, which PyTorch wrote before 0.2; load it in a newer PyTorch "
        "and save it again");
  }

  std::filesystem::path path_;
  MappedFile file_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::unique_ptr<std::byte[]>> copies_;  ///< of tensors that lie strided in the file
  std::unordered_map<std::string, std::size_t> by_name_;
  std::vector<TensorGroup> groups_;
};

}  // namespace mwalimu::io
