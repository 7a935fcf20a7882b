// train/swav_log: what pretraining writes into its log beside what every log has.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "mwalimu/data/multi_crop_options.hpp"
#include "mwalimu/train/recorder.hpp"
#include "mwalimu/train/swav_trainer.hpp"

namespace mwalimu::train {

/// The columns
///   loss_without_queue  of the same batch and weights, codes balanced over the batch alone
///   queue               1 where the queue joins the codes
///   code_entropy        mean over codes, nats
///   code_max            mean of each code's largest entry
///   prototypes_used     prototypes that are some code's largest entry
///   mean_code_entropy   of the mean of all codes, as a share of ln K: 1 where prototypes are used
///                       equally, less where some lie idle
///   loss_128px, ...     of the crops of one size. Crops of a size are drawn alike: one of them says
///                       no more than their mean
///   loss_scale, skipped where the loss is scaled
///   size                side of the largest crops, where it grows as training goes on; loss_128px
///                       is then named after the last size of those crops
///   probe_accuracy      of held-out labelled images, in the rows that end an epoch with a probe
class SwavLog {
 public:
  SwavLog(const data::MultiCropOptions& crops, index_t prototypes, bool scaled, bool probed,
          bool resized = false)
      : log_prototypes_(prototypes > 1 ? std::log(static_cast<double>(prototypes)) : 1),
        scaled_(scaled),
        columns_{"loss_without_queue", "queue",           "code_entropy",
                 "code_max",           "prototypes_used", "mean_code_entropy"} {
    for (const auto& group : crops.groups) {
      const std::string name = std::string("loss_").append(std::to_string(group.size)).append("px");
      const auto at = std::find(sizes_.begin(), sizes_.end(), name);
      const auto index = static_cast<std::size_t>(at - sizes_.begin());
      if (at == sizes_.end()) {
        sizes_.push_back(name);
        counts_.push_back(0);
      }
      counts_[index] += group.count;
      for (int i = 0; i < group.count; ++i) size_of_crop_.push_back(index);
    }
    columns_.insert(columns_.end(), sizes_.begin(), sizes_.end());
    if (scaled) columns_.insert(columns_.end(), {"loss_scale", "skipped"});
    if (resized) columns_.emplace_back("size");
    if (probed) columns_.emplace_back("probe_accuracy");
  }

  const std::vector<std::string>& columns() const { return columns_; }
  /// The values of one row; they name columns of this.
  std::vector<LogValue> values(const SwavTrainer::StepRecord& record,
                               std::optional<double> probe) const {
    const SwavStatistics& codes = record.codes;
    std::vector<LogValue> values{{"loss_without_queue", codes.loss_without_queue},
                                 {"queue", record.queue_on ? 1.0 : 0.0},
                                 {"code_entropy", codes.code_entropy},
                                 {"code_max", codes.code_max},
                                 {"prototypes_used", static_cast<double>(codes.prototypes_used)},
                                 {"mean_code_entropy", codes.mean_code_entropy / log_prototypes_}};
    std::vector<double> losses(sizes_.size(), 0.0);
    for (std::size_t v = 0; v < codes.crop_loss.size(); ++v) {
      losses[size_of_crop_[v]] += codes.crop_loss[v] / counts_[size_of_crop_[v]];
    }
    for (std::size_t i = 0; i < sizes_.size(); ++i) values.emplace_back(sizes_[i], losses[i]);
    if (scaled_) {
      values.emplace_back("loss_scale", record.loss_scale);
      values.emplace_back("skipped", record.skipped ? 1.0 : 0.0);
    }
    if (probe) values.emplace_back("probe_accuracy", *probe);
    return values;
  }

 private:
  double log_prototypes_;
  bool scaled_;
  std::vector<std::string> columns_, sizes_;
  std::vector<int> counts_;                // crops of each size
  std::vector<std::size_t> size_of_crop_;  // of crop v, in sizes_
};

}  // namespace mwalimu::train
