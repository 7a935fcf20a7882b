// Whole torch files: the archive as well as what is in it.
#include "fuzz/small_zip.hpp"
#include "fuzz/target.hpp"
#include "mwalimu/io/torch_file.hpp"
#include "mwalimu/io/torch_writer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mwalimu;
  static fuzz::MemoryFile file;
  try {
    const io::TorchFile tensors(file.put({reinterpret_cast<const char*>(data), size}));
    fuzz::use(tensors.tensors());
    tensors.weights_prefix();
  } catch (const FileError&) {
  }
  return 0;
}

std::vector<std::string> mwalimu::fuzz::seeds() {
  io::detail::PickleWriter pickle;
  pickle.opcode('}').text("w").global("torch._utils", "_rebuild_tensor_v2").opcode('(').opcode('(');
  pickle.text("storage")
      .global("torch", "HalfStorage")
      .text("0")
      .text("cpu")
      .integer(6)
      .opcode('t');
  pickle.opcode('Q').integer(1).tuple(std::vector<std::int64_t>{2, 2});
  pickle.tuple(std::vector<std::int64_t>{1, 2}).opcode('\x89').opcode('N').opcode('t').opcode('R');
  pickle.opcode('s').opcode('.');
  return {
      small_zip({{"a/data.pkl", pickle.bytes()}, {"a/data/0", "0123456789ab"}}),
      small_zip({{"a/data.pkl", "\x80\x02}."}, {"a/byteorder", "little"}, {"a/version", "3\n"}})};
}
