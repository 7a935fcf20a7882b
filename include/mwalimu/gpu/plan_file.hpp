// gpu/plan_file: the engines that were measured to be fastest, kept between runs.
//
// One JSON file: {"version": 1, "devices": {"NVIDIA H200, cuDNN 91900": {"forward bfloat16 ...":
// {"engine": 62, "knobs": {"2": 24}, "milliseconds": 0.031}}}}. It only saves time: a file that is
// damaged, of another version or unwritable is reported in one line, and the run goes on without.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "mwalimu/core/check.hpp"
#include "mwalimu/gpu/engine_choice.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::gpu {

struct MeasuredEngine {
  EngineChoice choice;
  double milliseconds = 0;
  bool operator==(const MeasuredEngine&) const = default;
};

class PlanFile {
 public:
  static constexpr int kVersion = 1;

  /// MWALIMU_CACHE, else ~/.cache/mwalimu; conv_plans.json there. Empty, so that nothing is kept,
  /// where the environment names neither.
  static std::filesystem::path default_path() {
    if (const char* named = std::getenv("MWALIMU_CACHE"); named != nullptr && *named != '\0') {
      return std::filesystem::path(named) / "conv_plans.json";
    }
    if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
      return std::filesystem::path(home) / ".cache" / "mwalimu" / "conv_plans.json";
    }
    return {};
  }

  /// Reads the file if there is one.
  /// @param path  empty: nothing is read or kept.
  explicit PlanFile(std::filesystem::path path) : path_(std::move(path)) { load(entries_, true); }
  ~PlanFile() {
    try {
      save();
    } catch (...) {  // destructors do not throw; save() itself reports files it cannot write
    }
  }
  PlanFile(const PlanFile&) = delete;
  PlanFile& operator=(const PlanFile&) = delete;

  /// @param device   name of the device and version of cuDNN: plans mean nothing on others.
  /// @param problem  ConvProblem::key().
  std::optional<MeasuredEngine> find(const std::string& device, const std::string& problem) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find({device, problem});
    if (found == entries_.end()) return std::nullopt;
    return found->second;
  }
  /// Remembers a measurement, and writes the file if that was last done some seconds ago.
  void put(const std::string& device, const std::string& problem, const MeasuredEngine& measured) {
    const std::lock_guard lock(mutex_);
    entries_[{device, problem}] = measured;
    fresh_[{device, problem}] = measured;
    if (Clock::now() - saved_ > kSaveEvery) save_locked();
  }
  /// Writes what has been put since the last time, over what other runs have written meanwhile.
  void save() {
    const std::lock_guard lock(mutex_);
    save_locked();
  }

 private:
  using Key = std::pair<std::string, std::string>;
  using Entries = std::map<Key, MeasuredEngine>;
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kSaveEvery{5};

  void warn(const std::string& what, const char* consequence) const {
    std::cerr << "mwalimu: plan file " << path_.string() << ": " << what << "; " << consequence
              << '\n';
  }

  void load(Entries& into, bool report) const {
    std::error_code ignored;
    if (path_.empty() || !std::filesystem::exists(path_, ignored)) return;
    try {
      into = parse(io::read_file(path_));
    } catch (const std::exception& error) {
      if (report) warn(error.what(), "convolutions are measured anew");
    }
  }

  static Entries parse(const std::string& text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    require<FileError>(json.is_object(), "not JSON");
    const auto version = json.value("version", nlohmann::json());
    require<FileError>(version == kVersion, "its version is ", version.dump(), ", want ", kVersion);
    Entries entries;
    try {
      for (const auto& [device, problems] : json.at("devices").items()) {
        for (const auto& [problem, fields] : problems.items()) {
          MeasuredEngine measured;
          measured.choice.engine = fields.at("engine").get<std::int64_t>();
          measured.milliseconds = fields.at("milliseconds").get<double>();
          for (const auto& [knob, value] : fields.at("knobs").items()) {
            measured.choice.knobs[std::stoi(knob)] = value.get<std::int64_t>();
          }
          entries[{device, problem}] = std::move(measured);
        }
      }
    } catch (const std::exception&) {  // nlohmann's texts name places in its own source
      mwalimu::detail::fail<FileError>("not a list of plans");
    }
    return entries;
  }

  void save_locked() {
    if (path_.empty() || fresh_.empty()) return;
    saved_ = Clock::now();
    Entries all;
    load(all, false);
    for (const auto& [key, measured] : fresh_) all[key] = measured;
    nlohmann::json devices = nlohmann::json::object();
    for (const auto& [key, measured] : all) {
      nlohmann::json knobs = nlohmann::json::object();
      for (const auto& [knob, value] : measured.choice.knobs) knobs[std::to_string(knob)] = value;
      devices[key.first][key.second] = {{"engine", measured.choice.engine},
                                        {"knobs", std::move(knobs)},
                                        {"milliseconds", measured.milliseconds}};
    }
    const nlohmann::json json{{"version", kVersion}, {"devices", std::move(devices)}};
    try {
      std::filesystem::create_directories(path_.parent_path());
      io::write_file(path_, json.dump(1) + '\n');
      fresh_.clear();
    } catch (const std::exception& error) {
      if (!std::exchange(reported_, true)) warn(error.what(), "plans are not kept");
    }
  }

  std::filesystem::path path_;
  mutable std::mutex mutex_;
  Entries entries_;  ///< all that is known
  Entries fresh_;    ///< what the file does not have yet
  Clock::time_point saved_{};
  bool reported_ = false;
};

}  // namespace mwalimu::gpu
