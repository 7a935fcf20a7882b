// examples/common/encoder_choice: which encoder a program begins with.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "common/training.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/train/input.hpp"

namespace mwalimu::programs {

/// --encoder, --arch, --width, --pool and --input.
struct EncoderChoice {
  std::string encoder, arch;  ///< empty: not given
  index_t width = 0;          ///< 0: not given
  std::string pool = "auto", input = "auto";

  /// What the options say; where they are silent, what the encoder's file says of itself.
  /// @throws FileError   the file is not what it should be.
  /// @throws ValueError  it is of images that there are not.
  models::Architecture architecture() const {
    models::Architecture chosen;
    if (!encoder.empty()) {
      if (const auto named = models::architecture_of(io::SafetensorsFile(encoder))) chosen = *named;
    }
    if (!arch.empty()) chosen.arch = arch;
    if (width > 0) chosen.width = width;
    if (pool != "auto") chosen.pooling = models::pooling_named(pool);
    chosen.channels = train::channels_of(train::input_named(input, chosen.channels, encoder));
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
  add_pool_option(app, o.pool, "auto: the encoder's, else concat");
  add_input_option(app, o.input,
                   "auto: the encoder's, else images; an encoder of the other one begins with its "
                   "first weights spread over the channels");
}

}  // namespace mwalimu::programs
