#include "fuzz/small_zip.hpp"
#include "fuzz/target.hpp"
#include "mwalimu/io/npz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mwalimu;
  static fuzz::MemoryFile file;
  try {
    const io::NpzFile arrays(file.put({reinterpret_cast<const char*>(data), size}));
    fuzz::use(arrays.tensors());
  } catch (const FileError&) {
  }
  return 0;
}

std::vector<std::string> mwalimu::fuzz::seeds() {
  const std::string one = io::npy_header({2}, io::Dtype::f32) + "01234567";
  const std::string two = io::npy_header({}, io::Dtype::u8) + "x";
  return {small_zip({}), small_zip({{"a.npy", one}}),
          small_zip({{"a.npy", one}, {"b.c.npy", two}})};
}
