// optim/segment_step: what a rule has to know about one segment at one step, on the host and on a
// device.
#pragma once

#include "mwalimu/core/config.hpp"
#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/segment.hpp"

namespace mwalimu::optim::detail {

struct SegmentStep {
  double lr = 0;              // the group's scale is in it
  double momentum = 0;        // beta1
  double gradient_scale = 1;  // factor on every gradient
  bool decay = true;          // weight decay applies
  double t = 1;               // the step of this segment, 1 on the first

  MWALIMU_HOST_DEVICE double weight_decay(double weight_decay) const {
    return decay ? weight_decay : 0.0;
  }
};

// Sums of squares: of the parameter, and of the gradient or the proposed update.
struct NormSums {
  double parameter = 0, other = 0;
};

inline double group_scale(const HyperParameters& hyper, const Segment& segment) {
  if (hyper.group_scale.empty()) return 1.0;
  return hyper.group_scale[static_cast<std::size_t>(segment.group)];
}

}  // namespace mwalimu::optim::detail
