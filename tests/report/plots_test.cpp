#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/report/comparison_plot.hpp"
#include "mwalimu/report/confusion_plot.hpp"
#include "mwalimu/report/line_plot.hpp"
#include "mwalimu/report/scatter_plot.hpp"
#include "report/xml_checker.hpp"

namespace mwalimu::report {
namespace {

using test::Document;
using test::Element;
using test::parse;

constexpr const char* kNasty = R"(<a> & "b" 'c' </svg>)";

TEST(XmlChecker, SeesWhatIsWrong) {
  EXPECT_EQ(parse("<a><b x=\"1 &amp; 2\"/>t</a>").error, "");
  for (const char* bad : {"<a>", "<a></b>", "<a x=1/>", "<a x=\"1\" x=\"2\"/>", "<a>&</a>",
                          "<a>&nbsp;</a>", "<a/><b/>", "<a x=\"<\"/>", "a", "<a", "<a>\x01</a>"}) {
    EXPECT_NE(parse(bad).error, "") << bad;
  }
}

// --- Line plots
// ------------------------------------------------------------------------------------

LinePlot two_curves() {
  LinePlot plot{.title = "Loss", .x_label = "step", .y_label = "nats"};
  plot.series = {{.name = "train", .x = {0, 1, 2, 3}, .y = {4, 3, 2, 1}},
                 {.name = "valid", .x = {0, 1, 2, 3}, .y = {4, 3.5, 3, 2.5}, .dashed = true}};
  return plot;
}

TEST(LinePlotSvg, IsWellFormedWithALegendAndLabels) {
  const Document svg = parse(line_plot_svg(two_curves()));
  ASSERT_EQ(svg.error, "");
  EXPECT_EQ(svg.count("path"), 2u);
  for (const char* text : {"Loss", "step", "nats", "train", "valid"}) {
    EXPECT_TRUE(svg.has_text(text)) << text;
  }
  EXPECT_EQ(svg.elements[0].name, "svg");
  EXPECT_EQ(svg.elements[0].attributes.at("viewBox"), "0 0 760 420");
}

TEST(LinePlotSvg, ASingleSeriesNeedsNoLegend) {
  LinePlot plot = two_curves();
  plot.series.resize(1);
  const Document svg = parse(line_plot_svg(plot));
  EXPECT_FALSE(svg.has_text("train"));
}

TEST(LinePlotSvg, EscapesEveryText) {
  LinePlot plot = two_curves();
  plot.title = plot.x_label = plot.y_label = plot.series[0].name = kNasty;
  plot.events = {{1, kNasty}};
  const Document svg = parse(line_plot_svg(plot));
  ASSERT_EQ(svg.error, "");
  std::size_t found = 0;
  for (const auto& e : svg.elements) found += e.text == kNasty;
  EXPECT_EQ(found, 6u);  // <title>, heading, two axes, legend, event
}

TEST(LinePlotSvg, ValuesThatAreNotFiniteInterruptTheLine) {
  LinePlot plot = two_curves();
  plot.series.resize(1);
  plot.series[0] = {.name = "a", .x = {0, 1, 2, 3, 4}, .y = {1, 2, std::nan(""), 2, 1}};
  EXPECT_EQ(parse(line_plot_svg(plot)).count("path"), 2u);
  plot.series[0].y[1] = std::numeric_limits<double>::infinity();
  const Document svg = parse(line_plot_svg(plot));
  EXPECT_EQ(svg.count("path"), 1u);
  EXPECT_EQ(svg.count("circle"), 1u);  // the lone first point
  EXPECT_EQ(line_plot_svg(plot).find("nan"), std::string::npos);
  EXPECT_EQ(line_plot_svg(plot).find("inf"), std::string::npos);
}

TEST(LinePlotSvg, EventsInRangeAreMarkedAndTheirLabelsDoNotOverlap) {
  LinePlot plot = two_curves();
  plot.events = {{1, "queue on"}, {1.01, "warm-up ends"}, {3, "last"}, {99, "never"}};
  const Document svg = parse(line_plot_svg(plot));
  EXPECT_FALSE(svg.has_text("never"));
  double queue_y = 0, warm_y = 0;
  for (const auto& e : svg.all("text")) {
    if (e.text == "queue on") queue_y = std::stod(e.attributes.at("y"));
    if (e.text == "warm-up ends") warm_y = std::stod(e.attributes.at("y"));
    if (e.text == "last") {
      EXPECT_EQ(e.attributes.at("text-anchor"), "end");
    }
  }
  EXPECT_GE(warm_y, queue_y + 12);
}

TEST(LinePlotSvg, LongSeriesAreThinnedAndKeepTheirExtremes) {
  LinePlot plot{.title = "Long", .x_label = "x", .y_label = "y"};
  Series s{.name = "s"};
  for (int i = 0; i < 200000; ++i) {
    s.x.push_back(i);
    s.y.push_back(i == 123457 ? 10 : std::sin(0.7 * i));
  }
  plot.series = {s};
  const std::string text = line_plot_svg(plot);
  EXPECT_LT(text.size(), 80000u);
  // The peak is the highest point drawn: near the top, 5 % of the range below it.
  const std::string d = parse(text).all("path").at(0).attributes.at("d");
  double highest = 1e9;
  for (std::size_t at = 0; at < d.size(); ++at) {
    if (d[at] == ' ') highest = std::min(highest, std::stod(d.substr(at + 1)));
  }
  EXPECT_LT(highest, 80);
}

TEST(LinePlotSvg, EmptyConstantAndLogarithmicPlotsHold) {
  LinePlot plot{.title = "Empty", .x_label = "x", .y_label = "y"};
  EXPECT_TRUE(parse(line_plot_svg(plot)).has_text("no data"));
  plot.log_x = plot.log_y = true;
  plot.series = {{.name = "s", .x = {-1, 0}, .y = {1, 1}}};  // nothing that a logarithm takes
  EXPECT_TRUE(parse(line_plot_svg(plot)).has_text("no data"));
  plot.series = {{.name = "s", .x = {0, 1e-4, 1e-2, 1}, .y = {1, 5, 5, 5}}};
  const Document svg = parse(line_plot_svg(plot));
  EXPECT_EQ(svg.error, "");
  EXPECT_FALSE(svg.has_text("no data"));
  plot.series[0].y.pop_back();
  EXPECT_THROW(line_plot_svg(plot), ShapeError);
}

// --- Confusion
// ---------------------------------------------------------------------------------------

TEST(ConfusionPlotSvg, ShowsCountsAndSharesOfRows) {
  const Document svg = parse(confusion_plot_svg({.title = "C",
                                                 .classes = {"blast", "brown", kNasty},
                                                 .counts = {8, 1, 1, 0, 4, 0, 0, 0, 0}}));
  ASSERT_EQ(svg.error, "");
  EXPECT_EQ(svg.count("rect"), 10u);  // background and nine cells
  EXPECT_TRUE(svg.has_text("8"));
  EXPECT_TRUE(svg.has_text("80.0 %"));
  EXPECT_TRUE(svg.has_text("100.0 %"));
  EXPECT_TRUE(svg.has_text("predicted") && svg.has_text("true"));
  std::size_t names = 0;
  for (const auto& e : svg.elements) names += e.text == kNasty;
  EXPECT_EQ(names, 2u);  // row and column
}

TEST(ConfusionPlotSvg, ColourIsTheShareOfTheRow) {
  const std::string rare =
      confusion_plot_svg({.title = "C", .classes = {"a", "b"}, .counts = {1000, 0, 0, 1}});
  const Document svg = parse(rare);
  const auto cells = svg.all("rect");
  EXPECT_EQ(cells[1].attributes.at("fill"), "rgb(8,64,120)");
  EXPECT_EQ(cells[4].attributes.at("fill"), cells[1].attributes.at("fill"));
  EXPECT_EQ(cells[2].attributes.at("fill"), "rgb(247,250,254)");
}

TEST(ConfusionPlotSvg, Errors) {
  EXPECT_THROW(confusion_plot_svg({.classes = {"a", "b"}, .counts = {1, 2, 3}}), ShapeError);
  EXPECT_THROW(confusion_plot_svg({}), ShapeError);
  EXPECT_THROW(confusion_plot_svg({.classes = {"a"}, .counts = {-1}}), ValueError);
}

// --- Scatter
// -----------------------------------------------------------------------------------------

MapPoints six_points() {
  return {.xy = {0, 0, 10, 0, 10, 5, 0, 5, 5, 2, 3, 3},
          .label = {0, 0, 1, 1, 2, -1},
          .predicted = {0, 1, 1, 1, 0, 0},
          .sensor = {0, 1, 0, 1, 0, 1},
          .classes = {"blast", "brown", kNasty}};
}

TEST(ScatterPlotSvg, ShapesSensorsRingsAndLegend) {
  const Document svg = parse(scatter_plot_svg({.title = kNasty, .points = six_points()}));
  ASSERT_EQ(svg.error, "");
  // Circles: 3 RGB points, 2 wrong ones' rings, legend: 3 classes + no label, RGB, wrong twice.
  EXPECT_EQ(svg.count("circle"), 3u + 2 + 4 + 1 + 2);
  EXPECT_EQ(svg.count("path"), 3u + 1);  // triangles: 3 RGN points and the legend's
  for (const char* text :
       {"blast (2)", "brown (2)", "no label (1)", "RGB (3)", "RGN (3)", "wrong (2)"}) {
    EXPECT_TRUE(svg.has_text(text)) << text;
  }
}

TEST(ScatterPlotSvg, ColourIsTheLabelElseThePredictionElseWhatIsAskedFor) {
  MapPoints p = six_points();
  const auto count = [&](MapColour colour, std::string_view fill) {
    std::size_t found = 0;
    const Document svg = parse(scatter_plot_svg({.title = "t", .points = p, .colour = colour}));
    for (const Element& e : svg.elements) {
      const auto at = e.attributes.find("fill");
      found += e.attributes.contains("fill-opacity") && at->second == fill;
    }
    return found;
  };
  EXPECT_EQ(count(MapColour::automatic, palette(1)), 2u);  // labels: 0 0 1 1 2 -
  EXPECT_EQ(count(MapColour::prediction, palette(1)), 3u);
  EXPECT_EQ(count(MapColour::sensor, palette(1)), 3u);
  EXPECT_EQ(count(MapColour::label, palette(2)), 1u);
  EXPECT_EQ(count(MapColour::prediction, palette(2)), 0u);
  p.label.assign(6, -1);
  EXPECT_EQ(count(MapColour::automatic, palette(1)), 3u);
  EXPECT_TRUE(parse(scatter_plot_svg({.points = p})).has_text("Predicted class"));
  EXPECT_FALSE(parse(scatter_plot_svg({.points = p})).has_text("wrong (0)"));
}

TEST(ScatterPlotSvg, LinesJoinPairsWhereAskedFor) {
  MapPoints p = six_points();
  p.pair = {1, 0, 3, 2, -1, -1};
  EXPECT_EQ(parse(scatter_plot_svg({.points = p})).count("line"), 0u);
  const Document svg = parse(scatter_plot_svg({.points = p, .pair_lines = true}));
  EXPECT_EQ(svg.count("line"), 2u);
  p.pair = {1, 2, 1, -1, -1, -1};  // not mutual
  EXPECT_THROW(scatter_plot_svg({.points = p}), ValueError);
  p.pair = {6, -1, -1, -1, -1, -1};
  EXPECT_THROW(scatter_plot_svg({.points = p}), ValueError);
}

TEST(ScatterPlotSvg, ALegendOfManyClassesStaysInThePicture) {
  MapPoints p{.xy = {0, 0, 1, 1}, .label = {0, 1}};
  for (int c = 0; c < 100; ++c) p.classes.push_back(std::string("c").append(std::to_string(c)));
  const Document svg = parse(scatter_plot_svg({.points = p}));
  EXPECT_TRUE(svg.has_text("c0 (1)"));
  EXPECT_FALSE(svg.has_text("c99 (0)"));
  for (const Element& e : svg.all("text")) EXPECT_LT(std::stod(e.attributes.at("y")), 620);
}

TEST(ScatterPanelsSvg, APanelAMapUnderOneLegend) {
  const MapPoints p = six_points();
  const std::vector<float> turned{0, 0, 0, 10, -5, 10, -5, 0, -2, 5, -3, 3};
  const auto panels = [&](std::size_t count) {
    ScatterPanels plot{.title = "several", .points = p, .panels = {}};
    for (std::size_t k = 0; k < count; ++k) {
      plot.panels.push_back({std::string("map ").append(std::to_string(k)), "KL", k == 0 ? p.xy : turned, {}});
    }
    return plot;
  };
  for (const std::size_t count : {1u, 2u, 3u, 4u, 5u, 7u}) {
    const Document svg = parse(scatter_panels_svg(panels(count)));
    ASSERT_EQ(svg.error, "");
    EXPECT_EQ(svg.count("rect"), 1 + count);            // the paper and a frame a panel
    EXPECT_EQ(svg.count("path"), 3 * count + 1);        // triangles
    EXPECT_TRUE(svg.has_text(std::string("map ").append(std::to_string(count - 1))));
    EXPECT_TRUE(svg.has_text("blast (2)") && svg.has_text("wrong (2)"));
    // No panel over another, all on the paper.
    const auto frames = svg.all("rect");
    const auto edge = [](const Element& e, const char* low, const char* extent) {
      return std::stod(e.attributes.at(low)) + std::stod(e.attributes.at(extent));
    };
    for (std::size_t a = 1; a < frames.size(); ++a) {
      EXPECT_LT(edge(frames[a], "x", "width"), std::stod(frames[0].attributes.at("width")));
      EXPECT_LT(edge(frames[a], "y", "height"), std::stod(frames[0].attributes.at("height")));
      for (std::size_t b = 1; b < a; ++b) {
        EXPECT_TRUE(edge(frames[b], "x", "width") < std::stod(frames[a].attributes.at("x")) ||
                    edge(frames[b], "y", "height") < std::stod(frames[a].attributes.at("y")));
      }
    }
  }
  // Predictions of its own: the rings are the panel's, and the legend counts none.
  ScatterPanels own = panels(2);
  own.panels[1].predicted = {0, 0, 1, 1, 2, 0};
  const Document svg = parse(scatter_panels_svg(own));
  EXPECT_TRUE(svg.has_text("wrong"));
  EXPECT_THROW(scatter_panels_svg({}), ValueError);
  own.panels[1].xy.pop_back();
  EXPECT_THROW(scatter_panels_svg(own), ShapeError);
}

TEST(ScatterPlotSvg, OneScaleForBothAxesAndYUpwards) {
  MapPoints p{.xy = {0, 0, 10, 0, 10, 5}};
  const Document svg = parse(scatter_plot_svg({.title = "t", .points = p}));
  std::vector<std::pair<double, double>> at;
  for (const auto& e : svg.all("circle")) {
    at.emplace_back(std::stod(e.attributes.at("cx")), std::stod(e.attributes.at("cy")));
  }
  ASSERT_EQ(at.size(), 3u);  // no labels, no sensors: no legend
  std::sort(at.begin(), at.end());
  const double width = at[2].first - at[0].first;
  const double height = std::abs(at[1].second - at[2].second);
  EXPECT_NEAR(width, 2 * height, 0.05);
  EXPECT_LT(std::min(at[1].second, at[2].second), at[0].second);
}

TEST(ScatterPlotSvg, EveryPointLiesInTheFrame) {
  for (const std::vector<float>& xy :
       {std::vector<float>{0, 0, 1, 90, -1, 40}, {0, 0, 90, 1, 40, -1}, {-5, -5, 5, 5}}) {
    const Document svg = parse(scatter_plot_svg({.title = "t", .points = {.xy = xy}}));
    const auto frame = svg.all("rect").at(1).attributes;
    const auto inside = [&](double v, const char* low, const char* extent) {
      const double first = std::stod(frame.at(low));
      return v > first && v < first + std::stod(frame.at(extent));
    };
    for (const auto& e : svg.all("circle")) {
      EXPECT_TRUE(inside(std::stod(e.attributes.at("cx")), "x", "width"));
      EXPECT_TRUE(inside(std::stod(e.attributes.at("cy")), "y", "height"));
    }
  }
}

TEST(ScatterPlotSvg, NoPointsOnePointAndCoincidentPoints) {
  EXPECT_TRUE(parse(scatter_plot_svg({.title = "t"})).has_text("no points"));
  for (const std::vector<float>& xy :
       {std::vector<float>{3, 4}, {3, 4, 3, 4}, {1e30f, 0, 1e30f, 0}}) {
    const std::string text = scatter_plot_svg({.title = "t", .points = {.xy = xy}});
    EXPECT_EQ(parse(text).count("circle"), xy.size() / 2);
    EXPECT_EQ(text.find("nan"), std::string::npos);
    EXPECT_EQ(text.find("inf"), std::string::npos);
  }
}

TEST(ScatterPlotSvg, Errors) {
  MapPoints p = six_points();
  p.label[0] = 3;
  EXPECT_THROW(scatter_plot_svg({.points = p}), ValueError);
  p = six_points();
  p.sensor[2] = 2;
  EXPECT_THROW(scatter_plot_svg({.points = p}), ValueError);
  p = six_points();
  p.predicted.pop_back();
  EXPECT_THROW(scatter_plot_svg({.points = p}), ShapeError);
  p = six_points();
  p.xy[3] = std::nanf("");
  EXPECT_THROW(scatter_plot_svg({.points = p}), ValueError);
}

// --- Comparison
// ----------------------------------------------------------------------------------------

TEST(ComparisonPlotSvg, EveryRunMeanAndDeviation) {
  ComparisonPlot plot{.title = "Accuracy", .value_label = "accuracy", .groups = {"full", kNasty}};
  plot.rows = {{.name = "pairs", .values = {0.9, 0.92, 0.94}},
               {.name = kNasty, .values = {0.8}, .group = 1},
               {.name = "failed", .values = {std::nan("")}}};
  for (const bool bars : {false, true}) {
    plot.bars = bars;
    const Document svg = parse(comparison_plot_svg(plot));
    ASSERT_EQ(svg.error, "");
    EXPECT_EQ(svg.count("circle"), 3u);
    EXPECT_EQ(svg.count("path"), bars ? 0u : 2u);           // diamonds
    EXPECT_EQ(svg.count("rect"), 1u + 2 + (bars ? 2 : 0));  // background, legend, bars
    EXPECT_TRUE(svg.has_text("0.920 \xC2\xB1 0.020"));
    EXPECT_TRUE(svg.has_text("0.800"));
    EXPECT_TRUE(svg.has_text("no data"));
  }
}

TEST(ComparisonPlotSvg, EmptyAndErrors) {
  EXPECT_EQ(parse(comparison_plot_svg({.title = "none"})).error, "");
  ComparisonPlot plot;
  plot.rows = {{.name = "a", .values = {1}, .group = 1}};
  EXPECT_THROW(comparison_plot_svg(plot), ValueError);
}

}  // namespace
}  // namespace mwalimu::report
