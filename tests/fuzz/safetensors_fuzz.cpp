#include "fuzz/small_zip.hpp"
#include "fuzz/target.hpp"
#include "mwalimu/io/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mwalimu;
  static fuzz::MemoryFile file;
  try {
    const io::SafetensorsFile tensors(file.put({reinterpret_cast<const char*>(data), size}));
    fuzz::use(tensors.tensors());
  } catch (const FileError&) {
  }
  return 0;
}

std::vector<std::string> mwalimu::fuzz::seeds() {
  const auto with_length = [](std::string header, const std::string& data) {
    return little_endian(header.size(), 8) + header + data;
  };
  return {
      with_length("{}", ""),
      with_length(R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                  R"("b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}} )",
                  "0123456789"),
      with_length(
          R"({"__metadata__":{"format":"pt","x":"\u00e9\"\\"},)"
          R"("0.weight":{"data_offsets":[0,0],"shape":[0,9223372036854775807],"dtype":"I64"}})",
          ""),
  };
}
