// tests/gpu/described_devices: devices that are not here, in the words in which cuDNN takes a device's
// properties (and would give them: DeviceProperties::json), so that its choices for them can be
// asked. Numbers: NVIDIA's data sheets and the CUDA programming guide's table of compute capabilities.
#pragma once

#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"

namespace mwalimu::test {

struct DescribedDevice {
  const char* name;
  int capability;        ///< 900 is 9.0
  int multiprocessors;
  long long memory;      ///< bytes
  int l2_cache;          ///< bytes
  int shared_per_block;  ///< bytes, opted in
  int threads_per_multiprocessor;
  int clock, memory_clock;  ///< kHz

  std::string json() const {
    return mwalimu::detail::concatenate(
        R"({"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],)",
        R"("regsPerBlock":65536,"multiProcessorCount":)", multiprocessors,
        R"(,"warpSize":32,"maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":)",
        shared_per_block, R"(,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,)",
        R"("maxCtasPerSM":)", threads_per_multiprocessor / 64, R"(,"maxThreadsPerBlock":1024,)",
        R"("maxThreadsPerSM":)", threads_per_multiprocessor,
        R"(,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,"totalGlobalMem":)", memory,
        R"(,"smClockRateKHz":)", clock, R"(,"memClockRateKHz":)", memory_clock,
        R"(,"l2CacheSize":)", l2_cache, R"(,"cudaDeviceId":0,"deviceVer":)", capability,
        R"(,"driverVer":13000,"deviceName":")", name, R"("})");
  }
};

inline const std::vector<DescribedDevice>& described_devices() {
  static const std::vector<DescribedDevice> devices{
      {"NVIDIA A100-SXM4-80GB", 800, 108, 85'000'000'000, 41'943'040, 166'912, 2048, 1'410'000,
       1'593'000},
      {"NVIDIA GeForce RTX 4090", 890, 128, 25'000'000'000, 75'497'472, 101'376, 1536, 2'520'000,
       10'501'000},
      {"NVIDIA H100 80GB HBM3", 900, 132, 85'000'000'000, 52'428'800, 232'448, 2048, 1'980'000,
       2'619'000},
      {"NVIDIA H200", 900, 132, 150'000'000'000, 62'914'560, 232'448, 2048, 1'980'000, 3'201'000},
  };
  return devices;
}

}  // namespace mwalimu::test
