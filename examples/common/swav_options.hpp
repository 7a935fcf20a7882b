// examples/common/swav_options: SwAV's head, codes and queue, as pretrain, study and find_lr take them.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/train/swav_trainer.hpp"

namespace mwalimu::programs {

/// A program sets its own defaults before it declares them.
struct SwavOptions {
  models::SwavHeadOptions head;
  double epsilon = 0.05, temperature = 0.1;
  int sinkhorn_iterations = 3;
  std::string code_crops = "0,1";
  index_t queue_length = 2048;
  double queue_start = 0.5;
  std::string queues = "single", queue_begin = "random", enqueue = "before";
  std::int64_t freeze_prototypes = 0;
};

/// The head and the codes: all but the queue.
inline void add_code_options(CLI::App& app, SwavOptions& o) {
  app.add_option("--prototypes", o.head.prototypes, "K");
  app.add_option("--hidden", o.head.hidden, "width of the projector's hidden layer");
  app.add_option("--embedding", o.head.embedding, "extent of the space of the prototypes");
  app.add_option("--freeze-prototypes", o.freeze_prototypes,
                 "steps during which the prototypes stand still; -1: all");
  app.add_option("--epsilon", o.epsilon, "entropy of the codes; smaller is sharper");
  app.add_option("--temperature", o.temperature, "of the predictions");
  app.add_option("--sinkhorn-iterations", o.sinkhorn_iterations, "rounds of balancing");
  app.add_option("--code-crops", o.code_crops,
                 "crops that have codes, which the others predict, counted over all groups from 0")
      ->type_name("I,J,...");
}

inline void add_swav_options(CLI::App& app, SwavOptions& o) {
  add_code_options(app, o);
  app.add_option("--queue-length", o.queue_length,
                 "past embeddings that join the codes, a multiple of --batch; 0: no queue");
  app.add_option("--queue-start", o.queue_start,
                 "fraction of the run after which they do, or after which an empty queue fills");
  app.add_option("--queues", o.queues,
                 "single: one, of the first code crop's embeddings, for all; per-crop: one for each "
                 "code crop")
      ->check(CLI::IsMember({"single", "per-crop"}));
  app.add_option("--queue-begin", o.queue_begin,
                 "what a queue holds at first: random unit vectors; empty: nothing, and it joins "
                 "only once it is full")
      ->check(CLI::IsMember({"random", "empty"}));
  app.add_option("--enqueue", o.enqueue,
                 "the batch enters the queue before its codes are computed, or after")
      ->check(CLI::IsMember({"before", "after"}));
}

/// The numbers of "0,1".
/// @throws ValueError  another syntax; which crops there are, train::check knows.
inline std::vector<index_t> parse_code_crops(std::string_view text) {
  std::vector<index_t> crops;
  for (std::string_view rest = text;;) {
    const auto comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    index_t crop = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), crop);
    require<ValueError>(error == std::errc() && end == part.data() + part.size(),
                        "--code-crops: want crops such as 0,1, got '", text, "'");
    crops.push_back(crop);
    if (comma == std::string_view::npos) return crops;
    rest.remove_prefix(comma + 1);
  }
}

/// Fills in what the options say.
inline void apply(const SwavOptions& o, train::SwavTrainerOptions& trainer) {
  trainer.head = o.head;
  trainer.loss = {.epsilon = o.epsilon,
                  .sinkhorn_iterations = o.sinkhorn_iterations,
                  .temperature = o.temperature,
                  .code_crops = parse_code_crops(o.code_crops)};
  trainer.queue = {.length = o.queue_length,
                   .start = o.queue_start,
                   .per_crop = o.queues == "per-crop",
                   .empty_at_first = o.queue_begin == "empty",
                   .enqueue_first = o.enqueue == "before"};
  trainer.freeze_prototypes = o.freeze_prototypes;
}

}  // namespace mwalimu::programs
