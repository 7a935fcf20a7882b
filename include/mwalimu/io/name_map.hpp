// io/name_map: the names that other libraries give to the tensors of the networks here.
//
// Ours are fastai's for xresnets (0.0.weight, 4.0.convpath.0.0.weight, 5.0.idpath.1.0.weight),
// torchvision's for ResNets and timm's for Res2Nets (conv1.weight, layer1.0.bn1.weight); SwAV
// networks put encoder., projector. and prototypes. in front.
//
//   fastai       xresnets: the same names; fastai's own classifier behind the encoder is left out.
//   timm         resnet50, Res2Nets: the same names. resnet18d, 34d, 50d, 101d: the same networks as
//                our xresnets (deep stem, average pooling in the shortcut) under other names.
//   torchvision  resnet50: the same names.
//   swav         facebookresearch/swav's checkpoints: torchvision's names, with module. in front,
//                projection_head. and prototypes.
//
// A classifier of theirs (fc.) is left out. Blocks of a ResNet are those of an xresnet with another
// stem and shortcut: with Naming::fastai, torchvision's and swav's become an xresnet's blocks, and
// the stem, one 7x7 convolution where an xresnet has three of 3x3, is left out.
//
// Source: the state_dicts of fastai 2.7 and timm 0.6.5 (names and shapes); torchvision's ResNet;
// facebookresearch/swav, src/resnet50.py.
#pragma once

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/file.hpp"
#include "mwalimu/io/tensor_info.hpp"

namespace mwalimu::io {

enum class NameMap { none, fastai, timm, torchvision, swav };

/// The map by its name. @throws ValueError  there is none of that name.
inline NameMap name_map(std::string_view name) {
  if (name == "none") return NameMap::none;
  if (name == "fastai") return NameMap::fastai;
  if (name == "timm") return NameMap::timm;
  if (name == "torchvision") return NameMap::torchvision;
  if (name == "swav") return NameMap::swav;
  mwalimu::detail::fail<ValueError>("no name map ", detail::quoted_text(name),
                                    "; want none, fastai, timm, torchvision or swav");
}

/// Which of our two namings a residual network shall get: that of models::ResNet or of XResNet.
enum class Naming { torchvision, fastai };

/// Tensors under other names.
struct RenamedTensors {
  std::vector<TensorInfo> tensors;
  std::vector<std::string> left_out;    ///< known, and without a counterpart: a classifier, a stem
  std::vector<std::string> unexpected;  ///< names that the map does not know
};

namespace detail {

/// What becomes of one name.
struct NewName {
  enum class Fate { renamed, left_out, unexpected } fate = Fate::unexpected;
  std::string name;
};
inline NewName renamed(std::string name) { return {NewName::Fate::renamed, std::move(name)}; }

inline std::vector<std::string_view> split_name(std::string_view name) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    parts.push_back(name.substr(at, dot - at));
    at = dot + 1;
  }
  return parts;
}
/// A number of one or two digits; -1 for other text.
inline int small_number(std::string_view text) {
  int value = -1;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = result.ec == std::errc() && result.ptr == text.data() + text.size();
  return whole && text.size() <= 2 ? value : -1;
}
inline bool is_norm_part(std::string_view text) {
  return text == "weight" || text == "bias" || text == "running_mean" || text == "running_var" ||
         text == "num_batches_tracked";
}
/// "conv2" -> 2 for the stem "conv"; 0 for other text.
inline int numbered(std::string_view text, std::string_view stem) {
  if (!text.starts_with(stem)) return 0;
  return std::max(0, small_number(text.substr(stem.size())));
}

/// How a residual network of torchvision's family writes what xresnets write otherwise.
struct ResNetNames {
  bool deep_stem;  ///< conv1 is three convolutions, and a pool leads the shortcut: timm's resnet*d
  int shortcut() const { return deep_stem ? 1 : 0; }  ///< index of its convolution in downsample

  NewName to_ours(std::string_view name) const {
    const auto p = split_name(name);
    const std::string last(p.back());
    if (p[0] == "fc") return {NewName::Fate::left_out, {}};
    if (p.size() == 2 && p[0] == "bn1" && is_norm_part(last)) {
      return deep_stem ? renamed("2.1." + last) : NewName{NewName::Fate::left_out, {}};
    }
    if (p[0] == "conv1") {
      if (!deep_stem && p.size() == 2) return {NewName::Fate::left_out, {}};
      const int k = p.size() == 3 ? small_number(p[1]) : -1;  // 0 1 (2) 3 4 (5) 6
      if (!deep_stem || k < 0 || k > 6 || k % 3 == 2) return {};
      return renamed(std::to_string(k / 3) + (k % 3 == 0 ? ".0." : ".1.") + last);
    }
    const int layer = numbered(p[0], "layer");
    if (layer < 1 || layer > 4 || p.size() < 4 || small_number(p[1]) < 0) return {};
    std::string block = std::to_string(layer + 3);
    block.append(1, '.').append(p[1]).append(1, '.');
    if (const int k = numbered(p[2], "conv"); k >= 1 && p.size() == 4 && last == "weight") {
      return renamed(block + "convpath." + std::to_string(k - 1) + ".0.weight");
    }
    if (const int k = numbered(p[2], "bn"); k >= 1 && p.size() == 4 && is_norm_part(last)) {
      return renamed(block + "convpath." + std::to_string(k - 1) + ".1." + last);
    }
    if (p[2] == "downsample" && p.size() == 5) {
      const int part = small_number(p[3]) - shortcut();
      if (part != 0 && part != 1) return {};
      return renamed(block + (layer == 1 ? "idpath.0." : "idpath.1.") + std::to_string(part) + "." +
                     last);
    }
    return {};
  }

  NewName from_ours(std::string_view name) const {
    const auto p = split_name(name);
    const std::string last(p.back());
    const int child = small_number(p[0]);
    if (p.size() == 3 && child >= 0 && child <= 2) {  // the stem: child.0.weight, child.1.{norm}
      const int part = small_number(p[1]);
      if (part != 0 && part != 1) return {};
      if (!deep_stem) return {NewName::Fate::left_out, {}};
      if (child == 2 && part == 1) return renamed("bn1." + last);
      return renamed("conv1." + std::to_string(3 * child + part) + "." + last);
    }
    if (p.size() != 6 || child < 4 || child > 7) return {};
    std::string block = "layer" + std::to_string(child - 3);
    block.append(1, '.').append(p[1]).append(1, '.');
    const int index = small_number(p[3]), part = small_number(p[4]);
    if (index < 0 || (part != 0 && part != 1)) return {};
    if (p[2] == "convpath") {
      return renamed(block + (part == 0 ? "conv" : "bn") + std::to_string(index + 1) + "." + last);
    }
    if (p[2] == "idpath") {
      return renamed(block + "downsample." + std::to_string(part + shortcut()) + "." + last);
    }
    return {};
  }
};

inline bool any_name(std::span<const TensorInfo> tensors, auto&& holds) {
  return std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& tensor) {
    return holds(std::string_view(tensor.name));
  });
}

/// fastai's own classifier: Sequential's children behind the stages, 8 pool to 11 linear.
inline NewName fastai_name(std::string_view name) {
  const auto p = split_name(name);
  const int child = small_number(p[0]);
  if (p.size() == 2 && child >= 8 && child <= 11) return {NewName::Fate::left_out, {}};
  return renamed(std::string(name));
}
/// torchvision's and timm's names, which ResNets and Res2Nets here have, too.
inline NewName resnet_name(std::string_view name) {
  if (name.starts_with("fc.")) return {NewName::Fate::left_out, {}};
  const auto p = split_name(name);
  const int layer = numbered(p[0], "layer");
  const bool known = (p.size() == 2 && p[0] == "conv1" && p[1] == "weight") ||
                     (p.size() == 2 && p[0] == "bn1" && is_norm_part(p[1])) ||
                     (p.size() >= 4 && layer >= 1 && layer <= 4 && small_number(p[1]) >= 0);
  return known ? renamed(std::string(name)) : NewName{};
}
/// A ResNet's name in the naming that is wanted.
inline NewName resnet_to_ours(std::string_view name, Naming naming) {
  return naming == Naming::fastai ? ResNetNames{false}.to_ours(name) : resnet_name(name);
}
/// The other way: whose naming it has shows in the name.
inline NewName resnet_from_ours(std::string_view name) {
  const NewName kept = resnet_name(name);
  return kept.fate == NewName::Fate::renamed ? kept : ResNetNames{false}.from_ours(name);
}
inline NewName swav_to_ours(std::string_view name, Naming naming) {
  if (name.starts_with("projection_head.")) {
    return renamed("projector." + std::string(name.substr(16)));
  }
  if (name == "prototypes.weight") return renamed(std::string(name));
  NewName encoder = resnet_to_ours(name, naming);
  if (encoder.fate == NewName::Fate::renamed) encoder.name = "encoder." + encoder.name;
  return encoder;
}
inline NewName swav_from_ours(std::string_view name) {
  if (name.starts_with("projector.")) {
    return renamed("module.projection_head." + std::string(name.substr(10)));
  }
  if (name == "prototypes.weight") return renamed("module." + std::string(name));
  if (!name.starts_with("encoder.")) return {};
  NewName encoder = resnet_from_ours(name.substr(8));
  if (encoder.fate == NewName::Fate::renamed) encoder.name = "module." + encoder.name;
  return encoder;
}

template <class Rename>
RenamedTensors rename_all(std::span<const TensorInfo> tensors, std::string_view prefix,
                          Rename&& rename) {
  RenamedTensors out;
  for (const TensorInfo& tensor : tensors) {
    NewName fresh = rename(std::string_view(tensor.name).substr(prefix.size()));
    if (fresh.fate == NewName::Fate::renamed) {
      out.tensors.push_back({std::move(fresh.name), tensor.dtype, tensor.shape, tensor.bytes});
    } else {
      const bool known = fresh.fate == NewName::Fate::left_out;
      (known ? out.left_out : out.unexpected).push_back(tensor.name);
    }
  }
  return out;
}

}  // namespace detail

/// Names of `map` into ours. module., which DataParallel puts in front of all names, is removed.
/// @param naming  which network torchvision's and swav's tensors are for.
inline RenamedTensors to_our_names(std::span<const TensorInfo> tensors, NameMap map,
                                   Naming naming = Naming::torchvision) {
  using namespace detail;
  const std::string_view parallel = "module.";
  const bool wrapped = map != NameMap::none && !any_name(tensors, [&](std::string_view name) {
                         return !name.starts_with(parallel);
                       });
  const std::string_view prefix = wrapped ? parallel : "";
  switch (map) {
    case NameMap::none:
      break;
    case NameMap::fastai:
      return rename_all(tensors, prefix, fastai_name);
    case NameMap::timm: {
      const bool deep = any_name(tensors, [&](std::string_view name) {
        return name.substr(prefix.size()) == "conv1.6.weight";
      });
      return rename_all(tensors, prefix, [&](std::string_view name) {
        return deep ? ResNetNames{true}.to_ours(name) : resnet_name(name);
      });
    }
    case NameMap::torchvision:
      return rename_all(tensors, prefix,
                        [&](std::string_view name) { return resnet_to_ours(name, naming); });
    case NameMap::swav:
      return rename_all(tensors, prefix,
                        [&](std::string_view name) { return swav_to_ours(name, naming); });
  }
  return rename_all(tensors, "", [](std::string_view name) { return renamed(std::string(name)); });
}

/// Our names into those of `map`.
inline RenamedTensors from_our_names(std::span<const TensorInfo> tensors, NameMap map) {
  using namespace detail;
  switch (map) {
    case NameMap::none:
    case NameMap::fastai:
      break;
    case NameMap::timm:
      return rename_all(tensors, "", [](std::string_view name) {
        const NewName kept = resnet_name(name);
        return kept.fate == NewName::Fate::renamed ? kept : ResNetNames{true}.from_ours(name);
      });
    case NameMap::torchvision:
      return rename_all(tensors, "", resnet_from_ours);
    case NameMap::swav:
      return rename_all(tensors, "", swav_from_ours);
  }
  return rename_all(tensors, "", [](std::string_view name) { return renamed(std::string(name)); });
}

}  // namespace mwalimu::io
