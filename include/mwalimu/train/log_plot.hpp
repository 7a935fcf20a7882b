// train/log_plot: a pretraining log as a picture: loss, codes, probe and learning rate below each
// other, with the moment when the queue joins.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/report/line_plot.hpp"
#include "mwalimu/train/recorder.hpp"

namespace mwalimu::train {
namespace detail {

/// SVG documents of one width, one below the other, as one.
inline std::string stacked_svg(const std::vector<std::string>& panels, double width,
                               double height) {
  report::Svg whole(width, height * static_cast<double>(panels.size()), "training log");
  std::string text = whole.str();
  std::string inner;
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const auto begin = panels[i].find("<svg");
    inner += "<svg y=\"" + report::coordinate(height * static_cast<double>(i)) + "\"" +
             panels[i].substr(begin + 4);
  }
  text.insert(text.rfind("</svg>"), inner);
  return text;
}

}  // namespace detail

/// @param log         of pretrain().
/// @param prototypes  K: entropies are drawn as shares of ln K.
/// @return            an SVG document.
inline std::string pretraining_plot(const Log& log, index_t prototypes) {
  const auto& epoch = log.column("epoch");
  const auto& queue = log.column("queue");
  std::vector<report::Event> events;
  for (std::size_t i = 0; i < queue.size(); ++i) {
    if (queue[i] != (i == 0 ? 0.0 : queue[i - 1])) {
      events.push_back({epoch[i], queue[i] > 0 ? "queue on" : "queue off"});
    }
  }
  constexpr double kWidth = 760, kHeight = 260;
  std::vector<std::string> panels;
  const auto panel = [&](const char* title, const char* unit, std::vector<report::Series> series) {
    panels.push_back(report::line_plot_svg({.title = title,
                                            .x_label = "epoch",
                                            .y_label = unit,
                                            .series = std::move(series),
                                            .events = events,
                                            .width = kWidth,
                                            .height = kHeight}));
  };

  std::vector<report::Series> losses{{.name = "loss", .x = epoch, .y = log.column("loss")}};
  if (!events.empty()) {
    losses.push_back({.name = "the same batch, codes without the queue",
                      .x = epoch,
                      .y = log.column("loss_without_queue"),
                      .dashed = true});
  }
  panel("Loss", "nats", std::move(losses));

  const double log_prototypes = std::log(static_cast<double>(prototypes));
  std::vector<double> each, used;
  for (const double nats : log.column("code_entropy")) each.push_back(nats / log_prototypes);
  for (const double count : log.column("prototypes_used")) {
    used.push_back(count / static_cast<double>(prototypes));
  }
  panel("Codes", "share",
        {{.name = "entropy of a code / ln K", .x = epoch, .y = std::move(each)},
         {.name = "entropy of the mean code / ln K", .x = epoch, .y = log.column("mean_code_entropy")},
         {.name = "prototypes used in a step / K", .x = epoch, .y = std::move(used)}});

  if (log.has("probe_accuracy")) {
    report::Series probe{.name = "accuracy", .points = true};
    const auto& accuracy = log.column("probe_accuracy");
    for (std::size_t i = 0; i < accuracy.size(); ++i) {
      if (std::isnan(accuracy[i])) continue;  // only some rows have one
      probe.x.push_back(epoch[i]);
      probe.y.push_back(accuracy[i]);
    }
    panel("Probe: held-out labelled images", "accuracy", {std::move(probe)});
  }
  panel("Learning rate", "", {{.name = "lr", .x = epoch, .y = log.column("lr")}});
  return detail::stacked_svg(panels, kWidth, kHeight);
}

}  // namespace mwalimu::train
