// examples/common/options: the options that the programs share, with one meaning everywhere.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <iostream>
#include <string>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/cpu/dnnl.hpp"
#include "mwalimu/gpu/math_options.hpp"

namespace mwalimu::programs {

/// The values of the shared options; a program sets its own defaults before it declares them.
struct CommonOptions {
  std::string data;  ///< folder of images; required where it has no default
  std::string out;   ///< folder to write; required where it has no default
  std::string device = "auto";
  std::string precision = "float32";
  std::string math = "ieee";        ///< of float32 on a GPU
  std::string plans = "heuristic";  ///< of convolutions on a GPU
  std::uint64_t seed = 0;
  int threads = 0;  ///< 0: MWALIMU_THREADS, else all cores
  bool resume = false;
  bool overwrite = false;
  bool skip_bad = false;
};

/// For options bound to std::uint64_t: CLI11 itself would read -1 as the largest number and cut
/// what is larger still.
inline std::string check_unsigned(const std::string& text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec == std::errc() && result.ptr == end) return {};
  return "want a whole number from 0 to 18446744073709551615, got " + text;
}

/// Which of them a program takes: all, unless it says otherwise.
struct CommonChoice {
  bool data = true;     ///< --data and --skip-bad
  bool out = true;      ///< --out and --overwrite
  bool compute = true;  ///< --device, --precision, --math, --plans, --threads
  bool seed = true;     ///< --seed
  bool resume = true;   ///< --resume
};

/// Declares the chosen options on `app`, bound to `options`, which must outlive the parsing.
inline void add_common_options(CLI::App& app, CommonOptions& options, CommonChoice choice = {}) {
  if (choice.data) {
    app.add_option("--data", options.data, "folder of images and labels")
        ->required(options.data.empty())
        ->type_name("DIR");
  }
  if (choice.out) {
    app.add_option("--out", options.out, "folder to write into")
        ->required(options.out.empty())
        ->type_name("DIR");
  }
  if (choice.compute) {
    app.add_option("--device", options.device, "where to compute")
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
        ->type_name("NAME");
    app.add_option("--precision", options.precision,
                   "element type of activations; parameters are float32")
        ->check(CLI::IsMember({"float32", "bfloat16", "float16"}))
        ->type_name("NAME");
    app.add_option("--math", options.math,
                   "how a GPU multiplies float32: exactly, or rounded to 11 bits on tensor cores")
        ->check(CLI::IsMember({"ieee", "tf32"}))
        ->type_name("NAME");
    app.add_option("--plans", options.plans,
                   "how a GPU's convolutions are chosen: cuDNN's first suggestion, or the fastest as "
                   "measured here, kept in MWALIMU_CACHE")
        ->check(CLI::IsMember({"heuristic", "measured"}))
        ->type_name("NAME");
    app.add_option("--threads", options.threads, "host threads; 0: all cores")
        ->check(CLI::Range(0, 4095))
        ->type_name("N");
  }
  if (choice.seed) {
    app.add_option("--seed", options.seed, "determines every random number")
        ->check(check_unsigned)
        ->type_name("N");
  }
  if (choice.data) {
    app.add_flag("--skip-bad", options.skip_bad,
                 "leave out files and rows that are broken, instead of stopping");
  }
  // What to do about an earlier run describes this call, not the run: no config file holds it.
  if (choice.resume) {
    app.add_flag("--resume", options.resume, "continue the run in --out")->configurable(false);
  }
  if (choice.out) {
    app.add_flag("--overwrite", options.overwrite, "replace an earlier run in --out")
        ->configurable(false);
  }
}

/// Sets the number of threads, checks device and precision, says what will be used, and returns the
/// device to compute on. Programs call it before anything that computes.
/// @throws DeviceError  --device names what this build or machine does not have.
/// @throws ValueError   --precision, --math or --plans is not available, or MWALIMU_THREADS is
///                      malformed.
inline Device start(const CommonOptions& options) {
  configure_threads(options.threads);
  std::string why_not = "this build has no CUDA";
  Device device = Device::cpu();
  if constexpr (kCuda) {
    if (cuda_available()) device = Device::cuda();
    if (device.is_cpu()) why_not = "no CUDA device: " + gpu::Driver::why_no_device();
  }
  require<DeviceError>(options.device != "cuda" || !device.is_cpu(), "--device cuda: ", why_not,
                       "; use --device cpu or auto");
  if (options.device == "cpu") device = Device::cpu();
  require<ValueError>(options.precision != "float16" || !device.is_cpu(),
                      "--precision: float16 needs a GPU; use bfloat16");
  require<ValueError>(options.math != "tf32" || !device.is_cpu(),
                      "--math tf32: only a GPU has it; use ieee");
  require<ValueError>(options.plans != "measured" || !device.is_cpu(),
                      "--plans measured: the cpu has one plan a convolution; use heuristic");
  gpu::set_math_options(
      {.float32 = options.math == "tf32" ? gpu::Float32Math::tf32 : gpu::Float32Math::ieee,
       .deterministic = true,
       .plans = options.plans == "measured" ? gpu::PlanChoice::measured
                                            : gpu::PlanChoice::heuristic});
  std::cout << "device: " << device;
  if constexpr (kCuda) {
    if (!device.is_cpu()) std::cout << " (" << gpu::Driver::info(device.index).name << ")";
  }
  if (device.is_cpu() && options.device == "auto") std::cout << " (" << why_not << ")";
  std::cout << ", " << num_threads() << (num_threads() == 1 ? " thread, " : " threads, ")
            << options.precision << (options.math == "tf32" ? " (tf32)" : "")
            << (options.plans == "measured" ? ", measured plans" : "") << std::endl;
  if (device.is_cpu() && options.precision == "bfloat16" && !cpu::has_avx512()) {
    std::cout << "note: this processor has no AVX-512, so bfloat16 is slower than float32 here"
              << std::endl;
  }
  return device;
}

}  // namespace mwalimu::programs
