#include "mwalimu/io/any_tensor_file.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "mwalimu/io/tensor_values.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

TEST(AnyTensorFile, EveryFormatReadsBackWhatItWrote) {
  const test::TempDir dir;
  const std::vector<float> values{1, -2, 3};
  const std::vector<TensorInfo> one{tensor_info<float>("x", {3, 1}, values)};
  for (const char* name : {"t.safetensors", "t.pth", "t.pt", "t.pth.tar", "t.npz", "t.npy"}) {
    SCOPED_TRACE(name);
    write_tensors(dir / name, one, {{"k", "v"}});
    const AnyTensorFile file(dir / name);
    ASSERT_EQ(file.tensors().size(), 1u);
    EXPECT_EQ(file.tensors()[0].values<float>(), values);
    EXPECT_EQ(file.tensors()[0].shape, one[0].shape);
    EXPECT_EQ(file.torch() != nullptr, tensor_format(dir / name) == TensorFormat::torch);
    EXPECT_EQ(file.metadata().size(), std::string(name) == "t.safetensors" ? 1u : 0u);
  }
}

TEST(AnyTensorFile, RefusesOtherNames) {
  const test::TempDir dir;
  EXPECT_THROW(AnyTensorFile(dir / "t.h5"), ValueError);
  EXPECT_THROW(AnyTensorFile(dir / "t.tar"), ValueError);
  EXPECT_THROW(write_tensors(dir / "t", {}), ValueError);
  EXPECT_THROW(write_tensors(dir / "t.npy", {}), ValueError);
  EXPECT_THROW(AnyTensorFile(dir / "none.pth"), FileError);
}

TEST(TensorValues, ConvertsAsTensorsDo) {
  const float large = 1e6f, infinite = std::numeric_limits<float>::infinity();
  std::vector<float> values(3000, 0.1f);  // more than a block
  values[0] = large;
  values[1] = infinite;
  const auto out = convert_elements(tensor_info<float>("x", {3000}, values), Dtype::f16);
  EXPECT_EQ(out.overflowed, 1);
  std::vector<half> halves(3000);
  ASSERT_EQ(out.bytes.size(), 6000u);
  std::memcpy(halves.data(), out.bytes.data(), 6000);
  for (std::size_t i = 0; i < 3000; ++i) EXPECT_EQ(halves[i].bits, half(values[i]).bits) << i;
  const std::vector<std::int64_t> whole{1};
  EXPECT_THROW(convert_elements(tensor_info<std::int64_t>("n", {1}, whole), Dtype::f32),
               ValueError);
}

}  // namespace
}  // namespace mwalimu::io
