// The main of every bench: Google Benchmark's, with MWALIMU_THREADS obeyed and the ceilings of the
// machine and of its device, which the `roof` counters refer to, in the context of the report.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "device.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "support.hpp"

int main(int argc, char** argv) {
  try {
    mwalimu::configure_threads();
    bool lists = false;  // names alone: nothing is measured
    for (int i = 1; i < argc; ++i) {
      lists = lists || std::string_view(argv[i]).starts_with("--benchmark_list_tests");
    }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    if (!lists) {
      benchmark::AddCustomContext("threads", std::to_string(mwalimu::num_threads()));
      benchmark::AddCustomContext("copy_gigabytes_per_second",
                                  std::to_string(mwalimu::bench::copy_bandwidth() / 1e9));
      benchmark::AddCustomContext("multiply_f32_gigaflops",
                                  std::to_string(mwalimu::bench::matrix_rate<float>().wall / 1e9));
    }
    if constexpr (mwalimu::kCuda) {
      if (!lists && mwalimu::bench::why_no_device().empty()) {
        benchmark::AddCustomContext("device", mwalimu::gpu::Driver::info(0).name);
        benchmark::AddCustomContext(
            "device_copy_gigabytes_per_second",
            std::to_string(mwalimu::bench::device_copy_bandwidth() / 1e9));
      }
    }
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  } catch (const mwalimu::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
