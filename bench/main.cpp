// The main of every bench: Google Benchmark's, with MWALIMU_THREADS obeyed and the machine's copy
// bandwidth, which the `roof` counters refer to, in the context of the report.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "support.hpp"

int main(int argc, char** argv) {
  try {
    mwalimu::configure_threads();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::AddCustomContext("threads", std::to_string(mwalimu::num_threads()));
    benchmark::AddCustomContext("copy_gigabytes_per_second",
                                std::to_string(mwalimu::bench::copy_bandwidth() / 1e9));
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  } catch (const mwalimu::ValueError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
