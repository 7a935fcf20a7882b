// models/architecture: encoders by name, as users choose them and as weights files name them.
#pragma once

#include <array>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "mwalimu/io/safetensors.hpp"
#include "mwalimu/models/encoder.hpp"

namespace mwalimu::models {

/// One name of --arch and what it builds.
struct KnownArchitecture {
  std::string_view name;
  EncoderOptions options;
};

/// All of them, in the order in which help texts list them.
inline const std::array<KnownArchitecture, 7>& known_architectures() {
  static const std::array<KnownArchitecture, 7> known{{
      {"xresnet18", xresnet_options("xresnet18")},
      {"xresnet34", xresnet_options("xresnet34")},
      {"xresnet50", xresnet_options("xresnet50")},
      {"xresnet101", xresnet_options("xresnet101")},
      {"resnet50", ResNetOptions{}},
      {"res2net50", res2net_options("res2net50")},
      {"res2next50", res2net_options("res2next50")},
  }};
  return known;
}

/// "xresnet18, xresnet34, ... or res2next50".
inline std::string architecture_names() {
  std::string text;
  const auto& known = known_architectures();
  for (std::size_t i = 0; i < known.size(); ++i) {
    text += i == 0 ? "" : i + 1 == known.size() ? " or " : ", ";
    text += known[i].name;
  }
  return text;
}

/// An encoder's options by name; res2net50 may be called res2net50_26w_4s, as timm does.
/// @throws ValueError  another name; the text lists those known.
inline EncoderOptions encoder_options(std::string_view name) {
  for (const KnownArchitecture& known : known_architectures()) {
    if (name == known.name || (name == "res2net50_26w_4s" && known.name == "res2net50")) {
      return known.options;
    }
  }
  mwalimu::detail::fail<ValueError>("--arch: no architecture '", name, "'; want ",
                                    architecture_names());
}

/// What has to be known to build an encoder.
struct Architecture {
  std::string arch = "xresnet34";
  index_t width = 64;  ///< channels of the first stage; all others are multiples of it
  index_t channels = 3;  ///< of the images; a pair stacked (R, G, B, NIR) has 4
  Pooling pooling = Pooling::concat;

  /// @throws ValueError  no architecture of that name.
  EncoderOptions options() const {
    auto chosen = encoder_options(arch);
    std::visit(
        [&](auto& o) {
          o.width = width;
          o.in_channels = channels;
          o.pooling = pooling;
        },
        chosen);
    return chosen;
  }
  /// The network, without values.
  /// @throws ValueError  no architecture of that name, or it cannot have that width.
  Encoder encoder() const { return Encoder(options()); }
  /// What a weights file says of itself, so that its reader can build the network.
  io::Metadata metadata() const {
    return {{"arch", arch},
            {"width", std::to_string(width)},
            {"channels", std::to_string(channels)},
            {"pool", std::string(name_of(pooling))}};
  }
  bool operator==(const Architecture&) const = default;
};

/// The architecture that a weights file of ours says it is of; nothing for other files. Where it
/// does not name channels or pool, these are 3 and concat.
/// @throws FileError  the file names an architecture that cannot be.
inline std::optional<Architecture> architecture_of(const io::SafetensorsFile& file) {
  const auto& metadata = file.metadata();
  if (!metadata.contains("arch") || !metadata.contains("width")) return std::nullopt;
  const auto number = [&](const char* key, index_t otherwise, index_t largest) -> index_t {
    const auto found = metadata.find(key);
    if (found == metadata.end()) return otherwise;
    char* end = nullptr;
    const long value = std::strtol(found->second.c_str(), &end, 10);
    require<FileError>(*end == '\0' && value > 0 && value <= largest, file.path().string(),
                       ": its metadata names the ", key, " '", found->second, "'");
    return value;
  };
  Architecture found{.arch = metadata.at("arch"),
                     .width = number("width", 64, 4096),
                     .channels = number("channels", 3, 64),
                     .pooling = Pooling::concat};
  try {
    if (metadata.contains("pool")) found.pooling = pooling_named(metadata.at("pool"));
    (void)encoder_options(found.arch);
  } catch (const ValueError& error) {
    throw FileError(file.path().string() + ": its metadata is not ours: " + error.what());
  }
  return found;
}

}  // namespace mwalimu::models
