// examples/common/reference_quirks: what the rice study's program did that it did not say, for curves
// that have to be compared with its own.
#pragma once

#include <string>

#include "common/crops.hpp"
#include "common/swav_options.hpp"

namespace mwalimu::programs {

/// What --help says of --reference-quirks.
inline constexpr const char* kReferenceQuirksText =
    "--reference-quirks repeats what the study's program did, for curves to compare with its own\n"
    "(settings are --recipe study):\n"
    "  all crops of a plant come from its RGB image, the other sensor's is not used;\n"
    "  view v of all samples of a batch has one box and one order of the jitter's operations;\n"
    "  the jitter works on normalised pixels and clamps to 0..1: what is darker than the mean is lost;\n"
    "  no view is blurred or rotated;\n"
    "  one queue for all codes, random at first, which the batch enters before its codes.\n"
    "Not repeated: the warp, turn, zoom and flip of the whole image before its crops; codes from\n"
    "16-bit scores; a queue drawn anew when a run is resumed; the validation loss and the early stop\n"
    "by it.";

/// Sets them.
/// @throws ValueError  an option asks for something else.
inline void apply_reference_quirks(const CropOptions& o, const SwavOptions& swav,
                                   data::MultiCropOptions& crops) {
  const auto want = [](bool as_the_study, const char* option, const char* value) {
    require<ValueError>(as_the_study, option, ": --reference-quirks has ", value,
                        "; leave one of them out");
  };
  want(o.pairs == "auto", "--pairs", "a plant's RGB image alone");
  want(o.rotate_degrees < 0, "--rotate", "no rotation");
  want(parse_code_crops(swav.code_crops) == std::vector<index_t>{0, 1}, "--code-crops", "0,1");
  want(swav.queues == "single", "--queues", "a single queue");
  want(swav.queue_begin == "random", "--queue-begin", "random vectors");
  want(swav.enqueue == "before", "--enqueue", "before");
  crops.blur = crops.rotate = 0;
  crops.shared_box = crops.normalise_first = true;
}

}  // namespace mwalimu::programs
