#include "mwalimu/models/architecture.hpp"

#include <gtest/gtest.h>

#include <string>

#include "mwalimu/nn/state_dict.hpp"
#include "support/reference.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::models {
namespace {

TEST(Architecture, EveryNameBuildsItsNetwork) {
  EXPECT_EQ(architecture_names(),
            "xresnet18, xresnet34, xresnet50, xresnet101, resnet50, res2net50 or res2next50");
  for (const KnownArchitecture& known : known_architectures()) {
    const Architecture chosen{.arch = std::string(known.name), .width = 16, .channels = 3,
                              .pooling = Pooling::concat};
    EXPECT_EQ(chosen.encoder().network.index(), known.options.index()) << known.name;
  }
  EXPECT_TRUE(std::holds_alternative<XResNet>(Architecture{}.encoder().network));
}

TEST(Architecture, ReachesEveryOption) {
  const Architecture chosen{.arch = "res2next50", .width = 32, .channels = 5,
                            .pooling = Pooling::average};
  const Encoder encoder = chosen.encoder();
  const auto& options = std::get<Res2Net>(encoder.network).options;
  EXPECT_EQ(options.width, 32);
  EXPECT_EQ(options.in_channels, 5);
  EXPECT_EQ(options.pooling, Pooling::average);
  EXPECT_EQ(options.cardinality, 8);
  EXPECT_EQ(encoder.features(), 32 * 8 * 4);
}

TEST(Architecture, AnUnknownNameIsAnsweredWithThoseKnown) {
  test::expect_error<ValueError>([] { encoder_options("resnet1000"); },
                                 "--arch: no architecture 'resnet1000'; want xresnet18, xresnet34");
  test::expect_error<ValueError>([] { pooling_named("mean"); },
                                 "pool: want concat, avg or max, got 'mean'");
}

TEST(Architecture, WeightsFilesSayWhatTheyAreOf) {
  test::TempDir folder;
  const auto path = folder / "encoder.safetensors";
  const auto written = [&](const io::Metadata& metadata) {
    Encoder encoder(XResNetOptions{.blocks = {1, 1, 1, 1}, .width = 2});
    nn::save_state_dict(path, encoder, metadata);
    return architecture_of(io::SafetensorsFile(path));
  };
  const Architecture chosen{.arch = "res2net50", .width = 24, .channels = 4,
                            .pooling = Pooling::maximum};
  EXPECT_EQ(written(chosen.metadata()), chosen);
  EXPECT_EQ(written({}), std::nullopt);
  EXPECT_EQ(written({{"arch", "xresnet18"}}), std::nullopt);
  // Files from before channels and pool were named.
  EXPECT_EQ(written({{"arch", "xresnet18"}, {"width", "16"}}),
            (Architecture{.arch = "xresnet18", .width = 16, .channels = 3,
                          .pooling = Pooling::concat}));
  for (const auto& [metadata, text] : std::vector<std::pair<io::Metadata, std::string>>{
           {{{"arch", "xresnet18"}, {"width", "16x"}}, "names the width '16x'"},
           {{{"arch", "xresnet18"}, {"width", ""}}, "names the width ''"},
           {{{"arch", "xresnet18"}, {"width", "99999"}}, "names the width '99999'"},
           {{{"arch", "xresnet18"}, {"width", "8"}, {"channels", "0"}}, "names the channels '0'"},
           {{{"arch", "xresnet18"}, {"width", "8"}, {"pool", "mean"}}, "got 'mean'"},
           {{{"arch", "vgg"}, {"width", "8"}}, "no architecture 'vgg'"}}) {
    test::expect_error<FileError>([&] { written(metadata); }, text);
  }
}

}  // namespace
}  // namespace mwalimu::models
