#include "mwalimu/report/curve_plot.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mwalimu/report/gallery.hpp"
#include "mwalimu/report/reliability_plot.hpp"
#include "report/xml_checker.hpp"

namespace mwalimu::report {
namespace {

using test::Document;
using test::Element;
using test::parse;

constexpr const char* kNasty = R"(<a> & "b" 'c' </svg>)";

// --- ROC and precision-recall curves

CurvePlot two_panels() {
  CurvePlot plot{.title = "Curves", .x_label = "recall", .y_label = "precision",
                 .area_name = "AP", .note = "a note", .diagonal = false, .steps = true,
                 .panels = {}};
  const UnitCurve rising{.name = "blast", .x = {0.5, 0.5, 1}, .y = {1, 0.8, 0.25}, .area = 0.625};
  const UnitCurve none{.name = "brown", .x = {}, .y = {}};
  plot.panels = {{"RGB", {rising, none}}, {"RGN", {rising, none}}};
  return plot;
}

std::vector<std::string> curves(const Document& svg) {
  std::vector<std::string> found;
  for (const Element& e : svg.all("path")) found.push_back(e.attributes.at("d"));
  return found;
}

TEST(CurvePlotSvg, NamesPanelsClassesAndAreas) {
  const Document svg = parse(curve_plot_svg(two_panels()));
  ASSERT_EQ(svg.error, "");
  for (const char* text : {"Curves", "recall", "precision", "RGB", "RGN", "blast", "brown",
                           "AP 0.625", "AP not defined", "a note"}) {
    EXPECT_TRUE(svg.has_text(text)) << text;
  }
  EXPECT_EQ(svg.count("path"), 2u);  // one a panel: the other class has no curve
}

// The first square of a row of several is at (66, 66), 252 pixels large.
TEST(CurvePlotSvg, StepsHoldFromThePointBefore) {
  CurvePlot plot = two_panels();
  const double middle = 66 + 126, end = 66 + 252, quarter = 66 + 0.75 * 252;
  EXPECT_EQ(curves(parse(curve_plot_svg(plot)))[0],
            "M66 66L" + coordinate(middle) + " 66L" + coordinate(middle) + " " +
                coordinate(quarter) + "L" + coordinate(end) + " " + coordinate(quarter));
  plot.steps = false;
  EXPECT_EQ(curves(parse(curve_plot_svg(plot)))[0],
            "M" + coordinate(middle) + " 66L" + coordinate(middle) + " " +
                coordinate(66 + 0.2 * 252) + "L" + coordinate(end) + " " + coordinate(quarter));
}

TEST(CurvePlotSvg, DrawsChanceWhereItIsAskedTo) {
  CurvePlot plot = two_panels();
  const std::size_t lines = parse(curve_plot_svg(plot)).count("line");
  plot.diagonal = true;
  EXPECT_EQ(parse(curve_plot_svg(plot)).count("line"), lines + 2);
  plot.panels[0].curves[0].chance = 0.3;
  const Document svg = parse(curve_plot_svg(plot));
  EXPECT_EQ(svg.count("line"), lines + 3);
}

TEST(CurvePlotSvg, OneSquareAloneIsLarger) {
  CurvePlot plot = two_panels();
  const auto side = [](const Document& svg) {
    return svg.all("rect")[1].attributes.at("width");  // behind the white sheet
  };
  EXPECT_EQ(side(parse(curve_plot_svg(plot))), "252");
  plot.panels.resize(1);
  EXPECT_EQ(side(parse(curve_plot_svg(plot))), "380");
}

TEST(CurvePlotSvg, HasRoomForManyClasses) {
  CurvePlot plot = two_panels();
  for (int c = 0; c < 20; ++c) plot.panels[0].curves.push_back(plot.panels[0].curves[0]);
  const Document svg = parse(curve_plot_svg(plot));
  ASSERT_EQ(svg.error, "");
  const double height = std::stod(svg.elements[0].attributes.at("height"));
  for (const Element& e : svg.all("text")) EXPECT_LT(std::stod(e.attributes.at("y")), height);
}

TEST(CurvePlotSvg, EscapesAndRefuses) {
  CurvePlot plot = two_panels();
  plot.title = plot.x_label = plot.y_label = plot.area_name = plot.note = kNasty;
  plot.panels[0].title = plot.panels[0].curves[0].name = kNasty;
  EXPECT_EQ(parse(curve_plot_svg(plot)).error, "");
  plot.panels[0].curves[0].y.pop_back();
  EXPECT_THROW(curve_plot_svg(plot), ShapeError);
  plot.panels.clear();
  EXPECT_THROW(curve_plot_svg(plot), ValueError);
}

// --- Reliability

ReliabilityPlot reliability() {
  ReliabilityPanel panel{"RGB", {}, {"ECE 0.034", "MCE 0.2"}};
  for (int b = 0; b < 5; ++b) panel.bins.push_back({b / 5.0, (b + 1) / 5.0, 0, 0, 0});
  panel.bins[3] = {0.6, 0.8, 4, 0.7, 0.5};   // short of its confidence
  panel.bins[4] = {0.8, 1.0, 12, 0.9, 1.0};  // beyond it
  return {.title = "Reliability", .panels = {panel}};
}

TEST(ReliabilityPlotSvg, DrawsABarAGapAndACountForEveryBinThatHoldsImages) {
  const Document svg = parse(reliability_plot_svg(reliability()));
  ASSERT_EQ(svg.error, "");
  for (const char* text : {"Reliability", "RGB", "ECE 0.034", "MCE 0.2", "confidence", "accuracy",
                           "12 images", "images"}) {
    EXPECT_TRUE(svg.has_text(text)) << text;
  }
  // A sheet, three boxes of the legend, the frame, and three rectangles for each of two bins.
  EXPECT_EQ(svg.count("rect"), 1u + 3 + 1 + 6);
}

TEST(ReliabilityPlotSvg, TheColourSaysWhichSideTheGapLiesOn) {
  const auto count = [](const std::string& svg, std::string_view colour) {
    std::size_t n = 0;
    for (const Element& e : parse(svg).all("rect")) n += e.attributes.at("fill") == colour;
    return n;
  };
  ReliabilityPlot plot = reliability();
  EXPECT_EQ(count(reliability_plot_svg(plot), palette(1)), 2u);  // legend and bin
  EXPECT_EQ(count(reliability_plot_svg(plot), palette(5)), 2u);
  plot.panels[0].bins[3].accuracy = 0.75;
  EXPECT_EQ(count(reliability_plot_svg(plot), palette(1)), 1u);
  EXPECT_EQ(count(reliability_plot_svg(plot), palette(5)), 3u);
}

TEST(ReliabilityPlotSvg, EscapesAndRefuses) {
  ReliabilityPlot plot = reliability();
  plot.title = plot.panels[0].title = plot.panels[0].notes[0] = kNasty;
  EXPECT_EQ(parse(reliability_plot_svg(plot)).error, "");
  plot.panels.clear();
  EXPECT_THROW(reliability_plot_svg(plot), ValueError);
}

// --- Gallery

TEST(GalleryHtml, ShowsEveryPictureWithItsText) {
  const std::vector<std::uint8_t> pixels(4 * 4 * 3, 100);
  const std::vector<GalleryItem> items{
      {.image = pixels.data(), .title = "brown 0.97", .lines = {"is blast", "a.jpg"}, .alt = "a"},
      {.image = pixels.data(), .title = kNasty, .lines = {kNasty}, .alt = kNasty}};
  const Document html = parse(gallery_html(items, 4, 4, 32));
  ASSERT_EQ(html.error, "");
  const auto images = html.all("img");
  ASSERT_EQ(images.size(), 2u);
  EXPECT_TRUE(images[0].attributes.at("src").starts_with("data:image/png;base64,iVBOR"));
  EXPECT_EQ(images[0].attributes.at("width"), "32");
  EXPECT_EQ(images[1].attributes.at("alt"), kNasty);
  EXPECT_TRUE(html.has_text("brown 0.97") && html.has_text("is blast") && html.has_text("a.jpg"));
  EXPECT_THROW(gallery_html(items, 4, 4, 0), ValueError);
}

}  // namespace
}  // namespace mwalimu::report
