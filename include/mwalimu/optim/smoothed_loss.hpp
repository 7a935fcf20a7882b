// optim/smoothed_loss: the running loss that training shows and the learning-rate test judges by.
#pragma once

#include <cmath>
#include <cstdint>

namespace mwalimu::optim {

/// Exponential moving average without the bias of its start: m <- loss + beta (m - loss), shown as
/// m / (1 - beta^t). Its members are its whole state.   Source: fastai, AvgSmoothLoss, beta 0.98.
struct SmoothedLoss {
  double beta = 0.98;
  double average = 0;      ///< m
  std::int64_t count = 0;  ///< t, losses seen

  /// Takes one more loss in, returns value().
  double add(double loss) {
    average = loss + beta * (average - loss);
    ++count;
    return value();
  }
  /// NaN before the first loss.
  double value() const {
    return count == 0 ? std::nan("") : average / (1 - std::pow(beta, static_cast<double>(count)));
  }
};

}  // namespace mwalimu::optim
