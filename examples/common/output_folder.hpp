// examples/common/output_folder: the folder of a run. It never mixes two runs, and a run that fails
// before it has written anything leaves nothing behind.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "common/options.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::programs {

/// Makes --out ready. Constructed after the input has been read, before the first file is written.
///
///     OutputFolder out(options, {"log.csv", "checkpoint.safetensors", "encoder.safetensors"});
///     write_config_toml(app, out / "config.toml");
///     if (out.resumed()) ...
class OutputFolder {
 public:
  /// @param writes  names in the folder that this program writes. Where one is there already it
  ///                belongs to an earlier run: an error, unless --resume continues that run or
  ///                --overwrite removes those files. config.toml alone is no run.
  /// @throws ValueError  an earlier run is in the way, or --resume finds none.
  /// @throws FileError   the folder cannot be made or written.
  OutputFolder(const CommonOptions& options, const std::vector<std::string>& writes)
      : path_(options.out) {
    const std::string name = io::detail::quoted(path_);
    require<ValueError>(!path_.empty(), "--out: want a folder to write into");
    require<ValueError>(!options.resume || !options.overwrite,
                        "--resume and --overwrite exclude each other; give one");
    const std::string found = first_present(writes);
    require<ValueError>(!options.resume || !found.empty(), "--resume: no run to continue in ", name,
                        "; leave --resume out to start one");
    require<ValueError>(found.empty() || options.resume || options.overwrite, "--out: ", name,
                        " holds an earlier run (", found, "); choose another folder, or give ",
                        "--overwrite to replace it");
    make();
    if (options.resume || options.overwrite) remove_leftovers();
    if (options.overwrite) {
      std::error_code ignored;
      for (const std::string& file : writes) std::filesystem::remove_all(path_ / file, ignored);
    }
    std::error_code ignored;
    resumed_ = options.resume && std::filesystem::exists(path_ / "checkpoint.safetensors", ignored);
  }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder() {
    std::error_code ignored;  // remove() takes empty folders only
    for (const auto& made : made_) std::filesystem::remove(made, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  /// --resume was given and a checkpoint is there. A run killed before its first checkpoint starts
  /// again from the beginning.
  bool resumed() const { return resumed_; }

 private:
  std::string first_present(const std::vector<std::string>& names) const {
    std::error_code ignored;
    for (const std::string& name : names) {
      if (std::filesystem::exists(path_ / name, ignored)) return name;
    }
    return {};
  }
  // A killed run leaves the file that it was writing under its temporary name.
  void remove_leftovers() const {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path_, ignored)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(".mwalimu-") && name.ends_with(".tmp")) {
        std::filesystem::remove(entry.path(), ignored);
      }
    }
  }
  // Notes, innermost first, the folders it makes.
  void make() {
    std::error_code error;
    std::filesystem::path missing = std::filesystem::absolute(path_).lexically_normal();
    if (!missing.has_filename()) missing = missing.parent_path();
    while (!std::filesystem::exists(missing, error) && missing.has_relative_path()) {
      made_.push_back(missing);
      missing = missing.parent_path();
    }
    std::filesystem::create_directories(path_, error);
    std::error_code ignored;
    const bool is_folder = std::filesystem::is_directory(path_, ignored);
    if (!error && is_folder && ::access(path_.c_str(), W_OK | X_OK) == 0) return;
    const std::string reason = error        ? error.message()
                               : !is_folder ? "it is not a folder"
                                            : io::detail::errno_text(errno);
    for (const auto& folder : made_) std::filesystem::remove(folder, ignored);
    mwalimu::detail::fail<FileError>("--out: cannot write into ", io::detail::quoted(path_), ": ",
                                     reason, "; choose another folder");
  }

  std::filesystem::path path_;
  std::vector<std::filesystem::path> made_;
  bool resumed_ = false;
};

}  // namespace mwalimu::programs
