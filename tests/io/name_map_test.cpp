#include "mwalimu/io/name_map.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mwalimu/io/tensor_fit.hpp"

namespace mwalimu::io {
namespace {

std::vector<TensorInfo> tensors(const std::vector<std::string>& names) {
  std::vector<TensorInfo> out;
  for (const std::string& name : names) out.push_back({name, Dtype::f32, {1}, {}});
  return out;
}
std::vector<std::string> names_of(const std::vector<TensorInfo>& tensors) {
  std::vector<std::string> out;
  for (const TensorInfo& tensor : tensors) out.push_back(tensor.name);
  return out;
}
using Names = std::vector<std::string>;

// The names of a block in timm's resnet50d and in our xresnet50, one of each kind.
const Names kDeep{"conv1.0.weight",
                  "conv1.1.running_var",
                  "conv1.3.weight",
                  "conv1.4.bias",
                  "conv1.6.weight",
                  "bn1.num_batches_tracked",
                  "layer1.0.conv3.weight",
                  "layer1.0.bn3.weight",
                  "layer1.0.downsample.1.weight",
                  "layer1.0.downsample.2.running_mean",
                  "layer4.2.conv1.weight",
                  "layer2.0.downsample.1.weight"};
const Names kOurs{"0.0.weight",
                  "0.1.running_var",
                  "1.0.weight",
                  "1.1.bias",
                  "2.0.weight",
                  "2.1.num_batches_tracked",
                  "4.0.convpath.2.0.weight",
                  "4.0.convpath.2.1.weight",
                  "4.0.idpath.0.0.weight",
                  "4.0.idpath.0.1.running_mean",
                  "7.2.convpath.0.0.weight",
                  "5.0.idpath.1.0.weight"};

TEST(NameMap, TimmsDeepResNetsAreXResNets) {
  EXPECT_EQ(names_of(to_our_names(tensors(kDeep), NameMap::timm).tensors), kOurs);
  EXPECT_EQ(names_of(from_our_names(tensors(kOurs), NameMap::timm).tensors), kDeep);
}

TEST(NameMap, TimmsRes2NetsKeepTheirNames) {
  const Names names{"conv1.weight", "bn1.bias", "layer1.0.convs.0.weight",
                    "layer1.0.downsample.0.weight", "fc.weight", "optimizer.0"};
  const RenamedTensors ours = to_our_names(tensors(names), NameMap::timm);
  EXPECT_EQ(names_of(ours.tensors), Names(names.begin(), names.begin() + 4));
  EXPECT_EQ(ours.left_out, Names{"fc.weight"});
  EXPECT_EQ(ours.unexpected, Names{"optimizer.0"});
  EXPECT_EQ(names_of(from_our_names(ours.tensors, NameMap::timm).tensors),
            Names(names.begin(), names.begin() + 4));
}

// Here a ResNet has the names that both libraries give it.
TEST(NameMap, ResNetsKeepTheirNames) {
  const Names names{"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight",
                    "layer2.0.bn3.num_batches_tracked", "layer2.0.downsample.1.bias"};
  Names theirs = names;
  theirs.insert(theirs.end(), {"fc.weight", "head.weight"});
  for (const NameMap map : {NameMap::timm, NameMap::torchvision}) {
    const RenamedTensors ours = to_our_names(tensors(theirs), map);
    EXPECT_EQ(names_of(ours.tensors), names);
    EXPECT_EQ(ours.left_out, Names{"fc.weight"});
    EXPECT_EQ(ours.unexpected, Names{"head.weight"});
    EXPECT_EQ(names_of(from_our_names(ours.tensors, map).tensors), names);
  }
}

// As an xresnet.
TEST(NameMap, TorchvisionsBlocksMapAndItsStemDoesNot) {
  const Names theirs{"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer2.0.bn2.bias",
                     "layer2.0.downsample.0.weight", "layer2.0.downsample.1.weight", "fc.bias"};
  const RenamedTensors ours = to_our_names(tensors(theirs), NameMap::torchvision, Naming::fastai);
  EXPECT_EQ(names_of(ours.tensors),
            (Names{"4.0.convpath.0.0.weight", "5.0.convpath.1.1.bias", "5.0.idpath.1.0.weight",
                   "5.0.idpath.1.1.weight"}));
  EXPECT_EQ(ours.left_out, (Names{"conv1.weight", "bn1.weight", "fc.bias"}));
  EXPECT_EQ(names_of(from_our_names(ours.tensors, NameMap::torchvision).tensors),
            Names(theirs.begin() + 2, theirs.end() - 1));
}

TEST(NameMap, FastaisEncodersKeepTheirNames) {
  const Names names{"0.0.weight", "7.0.idpath.1.0.weight", "11.weight", "encoder.0.0.weight"};
  const RenamedTensors ours = to_our_names(tensors(names), NameMap::fastai);
  EXPECT_EQ(names_of(ours.tensors), (Names{names[0], names[1], names[3]}));
  EXPECT_EQ(ours.left_out, Names{"11.weight"});
}

TEST(NameMap, SwavsCheckpointsBecomeSwavNetworks) {
  const Names theirs{"module.conv1.weight", "module.layer1.0.conv1.weight",
                     "module.projection_head.0.weight", "module.projection_head.1.running_mean",
                     "module.prototypes.weight"};
  const RenamedTensors resnet = to_our_names(tensors(theirs), NameMap::swav);
  EXPECT_EQ(names_of(resnet.tensors),
            (Names{"encoder.conv1.weight", "encoder.layer1.0.conv1.weight", "projector.0.weight",
                   "projector.1.running_mean", "prototypes.weight"}));
  EXPECT_EQ(names_of(from_our_names(resnet.tensors, NameMap::swav).tensors), theirs);
  const RenamedTensors ours = to_our_names(tensors(theirs), NameMap::swav, Naming::fastai);
  EXPECT_EQ(names_of(ours.tensors),
            (Names{"encoder.4.0.convpath.0.0.weight", "projector.0.weight",
                   "projector.1.running_mean", "prototypes.weight"}));
  EXPECT_EQ(ours.left_out, Names{"module.conv1.weight"});
  EXPECT_EQ(names_of(from_our_names(ours.tensors, NameMap::swav).tensors),
            Names(theirs.begin() + 1, theirs.end()));
}

TEST(NameMap, ModuleGoesOnlyWhereAllNamesHaveIt) {
  EXPECT_EQ(names_of(to_our_names(tensors({"module.0.0.weight"}), NameMap::fastai).tensors),
            Names{"0.0.weight"});
  EXPECT_EQ(names_of(to_our_names(tensors({"module.0.0.weight", "a"}), NameMap::fastai).tensors),
            (Names{"module.0.0.weight", "a"}));
  EXPECT_EQ(names_of(to_our_names(tensors({"module.0.0.weight"}), NameMap::none).tensors),
            Names{"module.0.0.weight"});
}

TEST(NameMap, UnknownNamesAreUnexpectedWhateverTheyAre) {
  for (const char* name :
       {"", ".", "conv1", "conv1.2.weight", "conv1.7.weight", "layer5.0.conv1.weight",
        "layer1.0.conv.weight", "layer1.x.conv1.weight", "layer1.0.downsample.3.weight",
        "layer1.0.conv1.bias.more", "bn1.other", "layer99999999999.0.conv1.weight", "8.0.weight"}) {
    EXPECT_EQ(to_our_names(tensors({name, "conv1.6.weight"}), NameMap::timm).unexpected,
              Names{name});
  }
  for (const char* name : {"", ".", "conv1", "conv1.2.weight", "layer5.0.conv1.weight",
                           "layer1.x.conv1.weight", "bn1.other", "8.0.weight"}) {
    EXPECT_EQ(to_our_names(tensors({name}), NameMap::timm).unexpected, Names{name});
    EXPECT_EQ(from_our_names(tensors({name}), NameMap::torchvision).unexpected, Names{name});
  }
  EXPECT_THROW(name_map("keras"), ValueError);
  EXPECT_EQ(name_map("swav"), NameMap::swav);
}

TEST(TensorFit, NamesWhatIsMissingUnexpectedAndMisshapen) {
  std::vector<TensorInfo> want = tensors({"a", "b", "c"}), have = tensors({"c", "b", "d"});
  have[1].shape = {2, 3};
  const TensorFit fit = fit_tensors(have, want);
  EXPECT_EQ(fit.missing, Names{"a"});
  EXPECT_EQ(fit.unexpected, Names{"d"});
  EXPECT_EQ(fit.text(),
            "1 missing (a); 1 of another shape (b is [2, 3], want [1]); 1 unexpected (d)");
  EXPECT_FALSE(fit.perfect());
  EXPECT_TRUE(fit_tensors(want, want).perfect());
  EXPECT_EQ(counted_names(Names{"a", "b", "c"}, "missing", 2), "3 missing (a, b, ...)");
}

}  // namespace
}  // namespace mwalimu::io
