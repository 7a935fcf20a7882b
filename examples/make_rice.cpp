// make_rice: synthetic rice leaves by two sensors, in the challenge's own layout.
#include "common/program.hpp"
#include "mwalimu/data/rice_files.hpp"
#include "mwalimu/train/progress.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  data::RiceSetOptions set{.rice = {.size = 128}};
};

void run(const CLI::App& app, Options& o) {
  configure_threads(o.common.threads);
  o.set.seed = o.common.seed;
  require<ValueError>(o.set.rice.size >= 16 && o.set.rice.size <= 2048,
                      "--size: want 16 to 2048 pixels, got ", o.set.rice.size);
  const programs::OutputFolder out(o.common, data::rice_set_files());
  train::Progress progress("make_rice", o.set.train_pairs + o.set.test_pairs, {.unit = "pairs"});
  data::write_rice_set(out.path(), o.set, [&](index_t done, index_t) { progress.update(done); });
  progress.finish();
  programs::write_config_toml(app, out / "config.toml");
  std::cout << "wrote " << o.set.train_pairs << " training and " << o.set.test_pairs
            << " test pairs of " << o.set.rice.size << " x " << o.set.rice.size << " pixels to "
            << out.path().string() << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description =
           "Makes pictures of rice leaves (blast, brown spot, healthy) by two sensors, in "
           "the layout that the other programs read.",
       .example = "make_rice --out data/rice --pairs 2000 --test-pairs 500 --size 96"},
      [&](CLI::App& app) {
        programs::add_common_options(app, options.common,
                                     {.data = false, .compute = false, .resume = false});
        app.add_option("--pairs", options.set.train_pairs, "training plants, two images each")
            ->check(CLI::Range(1, 1 << 30))
            ->type_name("N");
        app.add_option("--test-pairs", options.set.test_pairs, "test plants")
            ->check(CLI::Range(1, 1 << 30))
            ->type_name("N");
        app.add_option("--size", options.set.rice.size, "height and width in pixels")
            ->type_name("N");
        app.add_option("--difficulty", options.set.rice.difficulty,
                       "0: large typical spots; 1: few, small and atypical ones among dirt")
            ->check(CLI::Range(0.0, 1.0))
            ->type_name("X");
        app.add_option("--closeup", options.set.rice.closeup,
                       "0: blades in a field; 1: one blade fills most of the picture")
            ->check(CLI::Range(0.0, 1.0))
            ->type_name("X");
        app.add_option("--quality", options.set.quality, "of the JPEG files")
            ->check(CLI::Range(1, 100))
            ->type_name("N");
        app.add_option("--threads", options.common.threads, "host threads; 0: all cores")
            ->check(CLI::Range(0, 4095))
            ->type_name("N");
      },
      [&](const CLI::App& app) { run(app, options); });
}
