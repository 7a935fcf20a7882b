// Files exchanged with PyTorch and NumPy themselves, where Python has them: both directions, the
// same bits.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/io/any_tensor_file.hpp"
#include "mwalimu/io/safetensors.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

// Debian's packages are those of /usr/bin/python3.
constexpr const char* kPython = "/usr/bin/python3";

int run_python(const std::filesystem::path& folder, const std::string& script) {
  std::ofstream(folder / "script.py") << script;
  const std::string command =
      "cd '" + folder.string() + "' && " + kPython + " script.py > out.txt 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
std::string output(const std::filesystem::path& folder) { return read_file(folder / "out.txt"); }

class TorchPython : public testing::Test {
 protected:
  void SetUp() override {
    static const int found = run_python(dir_.path(), "import torch, numpy");  // takes seconds
    if (found != 0) GTEST_SKIP() << "no PyTorch and NumPy in " << kPython;
  }
  test::TempDir dir_;
};

// Tensors of every element type, with their bytes.
struct Sample {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<TensorInfo> tensors;
};
Sample every_type() {
  Sample sample;
  const std::vector<std::int64_t> shapes[] = {{2, 3, 1}, {}, {0, 4}, {300}};
  std::uint8_t next = 1;
  for (const Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::f32, Dtype::f64, Dtype::i64, Dtype::i32,
                            Dtype::u8, Dtype::boolean}) {
    for (const auto& shape : shapes) {
      const std::size_t size = static_cast<std::size_t>(*detail::byte_size(shape, dtype));
      std::vector<std::byte> bytes(size);
      for (std::size_t i = 0; i < size; ++i) {
        next = static_cast<std::uint8_t>(next * 5 + 17);
        // Finite numbers: the upper byte of each element stays small. Booleans are 0 or 1.
        const bool top = i % dtype_size(dtype) == dtype_size(dtype) - 1;
        bytes[i] = static_cast<std::byte>(dtype == Dtype::boolean ? next & 1
                                          : top                   ? next & 0x3f
                                                                  : next);
      }
      sample.bytes.push_back(std::move(bytes));
      sample.tensors.push_back({"t\xc3\xa9." + std::to_string(sample.tensors.size()), dtype, shape,
                                sample.bytes.back()});
    }
  }
  return sample;
}
void expect_same(const std::vector<TensorInfo>& got, const std::vector<TensorInfo>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE(want[i].name);
    EXPECT_EQ(got[i].name, want[i].name);
    EXPECT_EQ(got[i].dtype, want[i].dtype);
    EXPECT_EQ(got[i].shape, want[i].shape);
    EXPECT_TRUE(std::equal(got[i].bytes.begin(), got[i].bytes.end(), want[i].bytes.begin(),
                           want[i].bytes.end()));
  }
}

// Ours into PyTorch, out of it again, back here.
TEST_F(TorchPython, LoadsOursAndSavesTheSame) {
  const Sample sample = every_type();
  write_torch(dir_ / "ours.pth", sample.tensors);
  ASSERT_EQ(run_python(dir_.path(), R"(
import collections, inspect, torch
have = torch.load('ours.pth')
assert type(have) is collections.OrderedDict and len(have) == 32
assert all(t.is_contiguous() and not t.requires_grad for t in have.values())
if 'weights_only' in inspect.signature(torch.load).parameters:
    again = torch.load('ours.pth', weights_only=True)
    assert all(torch.equal(again[k].view(torch.uint8) if again[k].dim() else again[k],
                           have[k].view(torch.uint8) if have[k].dim() else have[k]) for k in have)
torch.save(have, 'theirs.pth')
torch.save(have, 'four.pth', pickle_protocol=4)
)"),
            0)
      << output(dir_.path());
  expect_same(TorchFile(dir_ / "theirs.pth").tensors(), sample.tensors);
  expect_same(TorchFile(dir_ / "four.pth").tensors(), sample.tensors);
}

TEST_F(TorchPython, ReadsZip64AsPythonDoes) {
  ZipWriter zip(dir_ / "wide.zip", {.always_wide = true});
  zip.add("a/one", std::string_view("first"));
  zip.add("two", std::string_view(""));
  zip.commit();
  ASSERT_EQ(run_python(dir_.path(), R"(
import zipfile
with zipfile.ZipFile('wide.zip') as z:
    assert z.testzip() is None
    assert z.read('a/one') == b'first' and z.read('two') == b''
with zipfile.ZipFile('theirs.zip', 'w') as z:
    with z.open('big', 'w', force_zip64=True) as f: f.write(b'12345')
    z.writestr('small', b'6')
)"),
            0)
      << output(dir_.path());
  const MappedFile file(dir_ / "theirs.zip");
  const ZipArchive archive(file.bytes(), "theirs");
  EXPECT_EQ(archive.verified(*archive.find("big")).size(), 5u);
  EXPECT_EQ(archive.verified(*archive.find("small")).size(), 1u);
}

TEST_F(TorchPython, ReadsViewsNestsAndParameters) {
  ASSERT_EQ(run_python(dir_.path(), R"(
import argparse, collections, torch
x = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5))
model = model.to(memory_format=torch.channels_last)
opt = torch.optim.Adam(model.parameters())
model(torch.rand(2, 3, 8, 8)).sum().backward()
opt.step()
torch.save({'model': model.state_dict(), 'opt': opt.state_dict(), 'epoch': 3, 'rate': 0.5,
            'args': argparse.Namespace(lr=0.1, crops=[2, 6], out=None), 'size': x.shape,
            'views': [x.transpose(0, 2), x[:, 1], x[..., ::2], x[1, 2, 3], x],
            'parameter': torch.nn.Parameter(x[0])}, 'nested.pth')
want = {'model.' + k: v for k, v in model.state_dict().items()}
want.update({f'views.{i}': v for i, v in enumerate([x.transpose(0, 2), x[:, 1], x[..., ::2],
                                                    x[1, 2, 3], x])})
want['parameter'] = x[0]
for i, s in opt.state_dict()['state'].items():
    want.update({f'opt.state.{i}.{k}': v for k, v in s.items() if torch.is_tensor(v)})
torch.save({k: v.contiguous().clone() for k, v in want.items()}, 'flat.pth')
)"),
            0)
      << output(dir_.path());
  const TorchFile nested(dir_ / "nested.pth"), flat(dir_ / "flat.pth");
  ASSERT_EQ(nested.tensors().size(), flat.tensors().size());
  for (const TensorInfo& want : flat.tensors()) {
    SCOPED_TRACE(want.name);
    ASSERT_NE(nested.find(want.name), nullptr);
    expect_same({nested.at(want.name)}, {want});
  }
  EXPECT_EQ(nested.weights_prefix(), "model.");
}

TEST_F(TorchPython, RefusesWhatPythonCanExecute) {
  ASSERT_EQ(run_python(dir_.path(), R"(
import os, torch
class Evil:
    def __reduce__(self): return os.system, ('touch executed',)
torch.save({'w': torch.ones(2), 'x': Evil()}, 'evil.pth')
torch.save({'w': torch.ones(2), 'x': Evil()}, 'evil4.pth', pickle_protocol=4)
torch.save(torch.nn.Linear(2, 2), 'module.pth')
torch.save({'w': torch.ones(2)}, 'old.pth', _use_new_zipfile_serialization=False)
torch.jit.script(torch.nn.Linear(2, 2)).save('script.pth')
)"),
            0)
      << output(dir_.path());
  const std::pair<const char*, const char*> cases[] = {
      {"evil.pth", "posix.system"},
      {"evil4.pth", "posix.system"},
      {"module.pth", "torch.nn.modules.linear.Linear"},
      {"old.pth", "torch.save before PyTorch 1.6"},
      {"script.pth", "TorchScript"}};
  for (const auto& [name, text] : cases) {
    try {
      TorchFile file(dir_ / name);
      ADD_FAILURE() << name << " is accepted";
    } catch (const FileError& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }
  EXPECT_FALSE(std::filesystem::exists(dir_ / "executed"));
}

TEST_F(TorchPython, NumpyLoadsOursAndSavesTheSame) {
  Sample sample = every_type();
  std::erase_if(sample.tensors, [](const TensorInfo& t) { return t.dtype == Dtype::bf16; });
  write_npz(dir_ / "ours.npz", sample.tensors);
  ASSERT_EQ(run_python(dir_.path(), R"(
import numpy as np
with np.load('ours.npz') as f:
    arrays = {k: f[k] for k in f.files}
assert len(arrays) == 28
np.savez('theirs.npz', **arrays)
np.savez_compressed('small.npz', **arrays)
)"),
            0)
      << output(dir_.path());
  expect_same(NpzFile(dir_ / "theirs.npz").tensors(), sample.tensors);
  try {
    NpzFile file(dir_ / "small.npz");
    ADD_FAILURE() << "compressed members are accepted";
  } catch (const FileError& error) {
    EXPECT_NE(std::string(error.what()).find("numpy.savez, not savez_compressed"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace mwalimu::io
