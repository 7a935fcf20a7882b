#include "fuzz/target.hpp"
#include "mwalimu/io/npy.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mwalimu;
  try {
    const io::TensorInfo array = io::parse_npy(std::as_bytes(std::span(data, size)), "input");
    fuzz::use({&array, 1});
  } catch (const FileError&) {
  }
  return 0;
}

std::vector<std::string> mwalimu::fuzz::seeds() {
  std::vector<std::string> out;
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{}, std::vector<std::int64_t>{3},
        std::vector<std::int64_t>{2, 0, 5}}) {
    for (const io::Dtype dtype : {io::Dtype::f32, io::Dtype::i64, io::Dtype::boolean}) {
      const auto bytes = static_cast<std::size_t>(*io::detail::byte_size(shape, dtype));
      out.push_back(io::npy_header(shape, dtype) + std::string(bytes, 'x'));
    }
  }
  return out;
}
