#include "mwalimu/io/torch_file.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "mwalimu/io/torch_writer.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

using namespace std::string_literals;
using detail::PickleWriter;

// A tensor as torch.save notes it; `stored` elements of data/0.
struct View {
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape{2, 3}, strides{3, 1};
  std::int64_t stored = 6;
  std::string type = "FloatStorage", key = "0";
};
PickleWriter& put_tensor(PickleWriter& pickle, const View& v) {
  pickle.global("torch._utils", "_rebuild_tensor_v2").opcode('(').opcode('(').text("storage");
  pickle.global("torch", v.type).text(v.key).text("cpu").integer(v.stored).opcode('t').opcode('Q');
  pickle.integer(v.offset).tuple(v.shape).tuple(v.strides).opcode('\x89');
  return pickle.global("collections", "OrderedDict")
      .opcode(')')
      .opcode('R')
      .opcode('t')
      .opcode('R');
}
// {"x": tensor}
std::string one_tensor(const View& v) {
  PickleWriter pickle;
  pickle.opcode('}').text("x");
  return put_tensor(pickle, v).opcode('s').opcode('.').bytes();
}

// Writes an archive around a pickle, with six floats 0..5 as storage 0.
void write_archive(const std::filesystem::path& path, const std::string& pickle,
                   const std::vector<std::pair<std::string, std::string>>& more = {}) {
  const std::vector<float> values{0, 1, 2, 3, 4, 5};
  ZipWriter zip(path);
  zip.add("t/data.pkl", pickle);
  zip.add("t/data/0", std::as_bytes(std::span(values)));
  for (const auto& [name, text] : more) zip.add(name, std::string_view(text));
  zip.add("t/version", std::string_view("3\n"));
  zip.commit();
}
std::string refusal(const std::string& pickle,
                    const std::vector<std::pair<std::string, std::string>>& more = {}) {
  const test::TempDir dir;
  write_archive(dir / "t.pth", pickle, more);
  try {
    TorchFile file(dir / "t.pth");
  } catch (const FileError& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find('\n'), text.npos) << text;
    EXPECT_NE(text.find("t.pth"), text.npos) << text;
    return text;
  }
  return "(accepted)";
}
#define EXPECT_REFUSED(text, ...) \
  EXPECT_NE(refusal(__VA_ARGS__).find(text), std::string::npos) << refusal(__VA_ARGS__)

std::vector<float> values_of(const View& v) {
  const test::TempDir dir;
  write_archive(dir / "t.pth", one_tensor(v));
  return TorchFile(dir / "t.pth").at("x").values<float>();
}

TEST(TorchFile, ReadsBackWhatWasWritten) {
  const test::TempDir dir;
  const std::vector<float> weight{1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> steps{std::int64_t{1} << 60};
  const std::vector<bfloat16> narrow{bfloat16(1.5f)};
  const std::vector<TensorInfo> tensors{
      tensor_info<float>("0.weight", {2, 3}, weight), tensor_info<std::int64_t>("steps", {}, steps),
      tensor_info<bfloat16>("b\xc3\xa9", {1, 1}, narrow), tensor_info<float>("none", {0, 300}, {})};
  write_torch(dir / "t.pth", tensors);
  const TorchFile file(dir / "t.pth");
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors()[i].name, tensors[i].name);
    EXPECT_EQ(file.tensors()[i].dtype, tensors[i].dtype);
    EXPECT_EQ(file.tensors()[i].shape, tensors[i].shape);
  }
  EXPECT_EQ(file.at("0.weight").values<float>(), weight);
  EXPECT_EQ(file.at("steps").values<std::int64_t>(), steps);
  EXPECT_EQ(file.at("b\xc3\xa9").values<bfloat16>(), narrow);
  EXPECT_EQ(file.find("more"), nullptr);
  EXPECT_THROW(file.at("more"), FileError);
  EXPECT_EQ(file.weights_prefix(), "");
  ASSERT_EQ(file.groups().size(), 1u);
  EXPECT_EQ(file.groups()[0].count, 4u);
}

TEST(TorchFile, WritesNoFileThatTorchRefuses) {
  const test::TempDir dir;
  const std::vector<float> one{1};
  const std::vector<TensorInfo> twice{tensor_info<float>("a", {1}, one),
                                      tensor_info<float>("a", {1}, one)};
  EXPECT_THROW(write_torch(dir / "t.pth", twice), ValueError);
  const std::vector<TensorInfo> latin{tensor_info<float>("\xe9", {1}, one)};
  EXPECT_THROW(write_torch(dir / "t.pth", latin), ValueError);
  const std::vector<TensorInfo> unfilled{tensor_info<float>("a", {2}, one)};
  EXPECT_THROW(write_torch(dir / "t.pth", unfilled), ValueError);
  EXPECT_FALSE(std::filesystem::exists(dir / "t.pth"));
}

TEST(TorchFile, CopiesStridedViewsIntoOrder) {
  EXPECT_EQ(values_of({}), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values_of({.shape = {3, 2}, .strides = {1, 3}}),  // a transpose
            (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(values_of({.offset = 1, .shape = {2}, .strides = {3}}), (std::vector<float>{1, 4}));
  EXPECT_EQ(values_of({.offset = 5, .shape = {}, .strides = {}}), (std::vector<float>{5}));
  // The stride of an extent of one means nothing.
  const std::int64_t any = std::int64_t{1} << 62;
  EXPECT_EQ(values_of({.shape = {1, 6}, .strides = {any, 1}}).size(), 6u);
  EXPECT_EQ(values_of({.shape = {2, 1, 2}, .strides = {3, any, 1}}),
            (std::vector<float>{0, 1, 3, 4}));
}

TEST(TorchFile, NamesNestedTensorsByTheirPath) {
  // {"model": OrderedDict(w=t), "opt": {"state": [{"mom": t}, t]}, "epoch": 3, 7: t}
  PickleWriter p;
  p.opcode('}').opcode('(').text("model").global("collections", "OrderedDict");
  p.opcode(')').opcode('R').text("w");
  put_tensor(p, {}).opcode('s').opcode('}').opcode('b').text("opt").opcode('}').text("state");
  p.opcode('(').opcode('}').text("mom");
  put_tensor(p, {}).opcode('s');
  put_tensor(p, {}).opcode('l').opcode('s').text("epoch").integer(3).integer(7);
  put_tensor(p, {}).opcode('u').opcode('.');
  const test::TempDir dir;
  write_archive(dir / "t.pth", p.bytes());
  const TorchFile file(dir / "t.pth");
  std::vector<std::string> names;
  for (const TensorInfo& tensor : file.tensors()) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"model.w", "opt.state.0.mom", "opt.state.1", "7"}));
  ASSERT_EQ(file.groups().size(), 3u);
  EXPECT_EQ(file.groups()[0].prefix, "model.");
  EXPECT_EQ(file.groups()[1].prefix, "opt.");
  EXPECT_EQ(file.groups()[1].count, 2u);
  EXPECT_EQ(file.groups()[2].prefix, "");
  EXPECT_EQ(file.weights_prefix(), "model.");
}

// What fastai's learn.save(with_opt=True) holds beside the model.
TEST(TorchFile, PassesOverNotesThatAreNoTensors) {
  PickleWriter p;
  p.opcode('}')
      .opcode('(')
      .text("opt")
      .global("fastcore.foundation", "L")
      .opcode(')')
      .opcode('\x81');
  p.opcode('}').text("items").opcode(']').opcode('s').opcode('b');
  p.text("args").global("argparse", "Namespace").opcode(')').opcode('\x81');
  p.opcode('}').text("ema");
  put_tensor(p, {}).opcode('s').opcode('b').opcode('u').opcode('.');
  const test::TempDir dir;
  write_archive(dir / "t.pth", p.bytes());
  const TorchFile file(dir / "t.pth");
  ASSERT_EQ(file.tensors().size(), 1u);
  EXPECT_EQ(file.tensors()[0].name, "args.ema");
}

TEST(TorchFile, ReadsParametersAndSubclasses) {
  const auto wrapped = [](const char* module, const char* name, auto&& arguments) {
    PickleWriter p;
    p.opcode('}').text("x").global(module, name).opcode('(');
    arguments(p);
    return p.opcode('t').opcode('R').opcode('s').opcode('.').bytes();
  };
  const std::string parameter = wrapped("torch._utils", "_rebuild_parameter", [](PickleWriter& p) {
    put_tensor(p, {}).opcode('\x88').opcode('}');
  });
  const std::string subclass =
      wrapped("torch._tensor", "_rebuild_from_type_v2", [](PickleWriter& p) {
        p.global("torch._utils", "_rebuild_tensor_v2").global("torch.nn.parameter", "Parameter");
        p.opcode('(')
            .opcode('(')
            .text("storage")
            .global("torch", "FloatStorage")
            .text("0")
            .text("cpu");
        p.integer(6).opcode('t').opcode('Q').integer(0).tuple(std::vector<std::int64_t>{6});
        p.tuple(std::vector<std::int64_t>{1}).opcode('\x89').opcode('}').opcode('t').opcode('}');
      });
  for (const std::string& pickle : {parameter, subclass}) {
    const test::TempDir dir;
    write_archive(dir / "t.pth", pickle);
    EXPECT_EQ(TorchFile(dir / "t.pth").at("x").numel(), 6);
  }
}

TEST(TorchFile, RefusesOtherFormats) {
  const test::TempDir dir;
  const auto text = [&](const std::string& bytes) -> std::string {
    write_file(dir / "t.pth", bytes);
    try {
      TorchFile file(dir / "t.pth");
    } catch (const FileError& error) {
      return error.what();
    }
    return "(accepted)";
  };
  EXPECT_NE(text("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."s)
                .find("torch.save before PyTorch 1.6"),
            std::string::npos);
  EXPECT_NE(text(std::string(257, '\0') + "ustar").find("tar archive"), std::string::npos);
  EXPECT_NE(text("").find("too few"), std::string::npos);
  ZipWriter zip(dir / "t.pth");
  zip.add("a.npy", std::string_view("x"));
  zip.commit();
  EXPECT_NE(text(read_file(dir / "t.pth")).find("without data.pkl"), std::string::npos);
  EXPECT_REFUSED("big-endian", one_tensor({}), {{"t/byteorder", "big"}});
  EXPECT_REFUSED("TorchScript", one_tensor({}), {{"t/constants.pkl", ""}});
}

TEST(TorchFile, RefusesViewsThatLeaveTheirStorage) {
  const std::int64_t large = std::int64_t{1} << 62;
  EXPECT_EQ(refusal(one_tensor({})), "(accepted)");
  EXPECT_REFUSED("elements up to 6, but its storage has 6", one_tensor({.offset = 1}));
  EXPECT_REFUSED("elements up to 10", one_tensor({.strides = {8, 1}}));
  EXPECT_REFUSED("strides beyond", one_tensor({.shape = {3, 1}, .strides = {large, 1}}));
  EXPECT_REFUSED("shape beyond any memory", one_tensor({.shape = {large, 8}}));
  EXPECT_REFUSED("its offset", one_tensor({.offset = -1}));
  EXPECT_REFUSED("its strides", one_tensor({.strides = {-1, 1}}));
  EXPECT_REFUSED("its strides", one_tensor({.strides = {1}}));
  EXPECT_REFUSED("expanded view", one_tensor({.shape = {4, 2}, .strides = {0, 1}}));
  EXPECT_REFUSED("gives the storage of tensor 'x' 7 elements", one_tensor({.stored = 7}));
  EXPECT_REFUSED("gives the storage", one_tensor({.stored = large}));
  EXPECT_REFUSED("its storage", one_tensor({.stored = -6}));
  EXPECT_REFUSED("lacks the storage '1'", one_tensor({.key = "1"}));
  EXPECT_REFUSED("'torch.ShortStorage'", one_tensor({.stored = 12, .type = "ShortStorage"}));
}

TEST(TorchFile, RefusesCode) {
  PickleWriter p;
  p.opcode('}').text("x").global("posix", "system").text("true").opcode('\x85').opcode('R');
  EXPECT_REFUSED("'posix.system', which is not allowed in weights",
                 p.opcode('s').opcode('.').bytes());
  PickleWriter module;
  module.global("torch.nn.modules.linear", "Linear").opcode(')').opcode('\x81').opcode('.');
  EXPECT_REFUSED("save the model's state_dict()", module.bytes());
  PickleWriter quantized;
  quantized.opcode('}')
      .text("x")
      .global("torch._utils", "_rebuild_qtensor")
      .opcode(')')
      .opcode('R');
  EXPECT_REFUSED("torch._utils._rebuild_qtensor", quantized.opcode('s').opcode('.').bytes());
}

// Values that hold themselves or each other many times over.
TEST(TorchFile, BoundsWhatItWalksOver) {
  EXPECT_REFUSED("deeper than 64", "\x80\x02]q\0h\0a."s);
  std::string laughs = "\x80\x02";  // each tuple holds the one before it ten times
  laughs += ")q\0"s + "0";
  for (int level = 1; level < 30; ++level) {
    laughs += '(';
    for (int i = 0; i < 10; ++i) laughs += std::string("h") + static_cast<char>(level - 1);
    laughs += std::string("tq") + static_cast<char>(level) + "0";
  }
  EXPECT_REFUSED("without end", laughs + "h\x1d.");
  PickleWriter p;  // a tensor that is shown a thousand times
  p.opcode('(');
  put_tensor(p, {}).opcode('q').opcode('\x01');
  for (int i = 0; i < 1000; ++i) p.opcode('h').opcode('\x01');
  EXPECT_REFUSED("as too many tensors", p.opcode('l').opcode('.').bytes());
  PickleWriter empty;  // the same without an element, which costs the file nothing
  empty.opcode('(');
  put_tensor(empty, {.shape = {0}, .strides = {1}}).opcode('q').opcode('\x01');
  for (int i = 0; i < 200000; ++i) empty.opcode('h').opcode('\x01');
  EXPECT_REFUSED("more than 100000 tensors", empty.opcode('l').opcode('.').bytes());
}

// Any single byte changed: an error, or tensors inside the file.
TEST(TorchFile, SurvivesEveryChangedByte) {
  const test::TempDir dir;
  write_archive(dir / "t.pth", one_tensor({.shape = {3, 2}, .strides = {1, 3}}));
  const std::string whole = read_file(dir / "t.pth");
  int refused = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ 0x55);
    std::ofstream(dir / "u.pth", std::ios::binary) << bytes;
    try {
      const TorchFile file(dir / "u.pth");
      for (const TensorInfo& tensor : file.tensors()) crc32(tensor.bytes);
    } catch (const FileError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(whole.size() / 2));
}

}  // namespace
}  // namespace mwalimu::io
