// The pickle of a torch file, in an archive that is sound whatever the pickle says.
#include "fuzz/small_zip.hpp"
#include "fuzz/target.hpp"
#include "mwalimu/io/torch_file.hpp"
#include "mwalimu/io/torch_writer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mwalimu;
  const std::string archive =
      fuzz::small_zip({{"data.pkl", {reinterpret_cast<const char*>(data), size}},
                       {"data/0", std::string(24, '0')},
                       {"data/1", std::string(8, '1')}});
  try {
    const io::ZipArchive zip(std::as_bytes(std::span(archive.data(), archive.size())), "input");
    const io::detail::TorchTensors found(zip, archive.size());
    fuzz::use(found.tensors);
  } catch (const FileError&) {
  }
  return 0;
}

namespace {

using mwalimu::io::detail::PickleWriter;

PickleWriter& put_tensor(PickleWriter& p, const char* type, const char* key, std::int64_t stored,
                         const std::vector<std::int64_t>& shape,
                         const std::vector<std::int64_t>& strides) {
  p.global("torch._utils", "_rebuild_tensor_v2").opcode('(').opcode('(').text("storage");
  p.global("torch", type).text(key).text("cpu").integer(stored).opcode('t').opcode('Q').integer(0);
  p.tuple(shape).tuple(strides).opcode('\x89').global("collections", "OrderedDict");
  return p.opcode(')').opcode('R').opcode('t').opcode('R');
}

}  // namespace

std::vector<std::string> mwalimu::fuzz::seeds() {
  using namespace std::string_literals;
  PickleWriter flat, nested, parameter;
  flat.global("collections", "OrderedDict").opcode(')').opcode('R').opcode('(').text("0.weight");
  put_tensor(flat, "FloatStorage", "0", 6, {2, 3}, {3, 1}).text("0.bias");
  put_tensor(flat, "LongStorage", "1", 1, {}, {}).opcode('u');
  flat.opcode('}').text("_metadata").integer(1000).opcode('s').opcode('b').opcode('.');
  nested.opcode('}').opcode('(').text("model").opcode('}').opcode('q').opcode('\1').text("w");
  put_tensor(nested, "HalfStorage", "0", 12, {3, 4}, {1, 3}).opcode('s').integer(7).opcode(']');
  nested.opcode('(').opcode('h').opcode('\1').opcode('N').opcode('e').opcode('u').opcode('.');
  parameter.opcode('(').global("torch._utils", "_rebuild_parameter").opcode('(');
  put_tensor(parameter, "ByteStorage", "1", 8, {1, 8}, {300, 1}).opcode('\x88').opcode('}');
  parameter.opcode('t').opcode('R').global("argparse", "Namespace").opcode(')').opcode('\x81');
  parameter.opcode('l').opcode('.');
  return {flat.bytes(), nested.bytes(), parameter.bytes(),
          "\x80\x04\x95\x05\0\0\0\0\0\0\0\x8c\x01x\x94\x93K\x01\x85."s};
}
