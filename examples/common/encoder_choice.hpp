// examples/common/encoder_choice: which encoder a program begins with.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "mwalimu/models/architecture.hpp"

namespace mwalimu::programs {

/// --encoder, --arch and --width.
struct EncoderChoice {
  std::string encoder, arch;  ///< empty: not given
  index_t width = 0;          ///< 0: not given

  /// What --arch and --width say; where they are silent, what the encoder's file says of itself.
  /// @throws FileError  the file is not what it should be.
  models::Architecture architecture() const {
    models::Architecture chosen;
    if (!encoder.empty()) {
      if (const auto named = models::architecture_of(io::SafetensorsFile(encoder))) chosen = *named;
    }
    if (!arch.empty()) chosen.arch = arch;
    if (width > 0) chosen.width = width;
    return chosen;
  }
};

inline void add_encoder_options(CLI::App& app, EncoderChoice& o) {
  app.add_option("--encoder", o.encoder, "encoder.safetensors of pretrain, to start from")
      ->type_name("FILE");
  app.add_option("--arch", o.arch,
                 models::architecture_names() + " (default: the encoder's, else xresnet34)");
  app.add_option("--width", o.width,
                 "channels of the first stage (default: the encoder's, else 64)");
}

}  // namespace mwalimu::programs
