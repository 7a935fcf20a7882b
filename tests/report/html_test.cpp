#include "mwalimu/report/html.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/io/file.hpp"
#include "mwalimu/report/confusion_plot.hpp"
#include "report/xml_checker.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::report {
namespace {

using test::Document;
using test::parse;

constexpr const char* kNasty = R"(<b>&"bold"</b><script>alert('x')</script>)";

TEST(HtmlReport, AWholePageIsWellFormed) {
  HtmlReport report("Study", "Of leaves.");
  for (const char* name : {"Data", "Training", "Results"}) {
    report.section(name);
    report.paragraph("A paragraph.");
  }
  report.subsection("Details");
  const std::array<std::string, 2> items{"one", "two"};
  report.list(items);
  const std::array<KeyFigure, 2> figures{{{"accuracy", "91.3 %"}, {"time", "4 min", "2 threads"}}};
  report.key_figures(figures);
  report.code("study --data rice");
  report.figure(confusion_plot_svg({.title = "C", .classes = {"a"}, .counts = {3}}), "One class.");
  report.footer("End.");
  const std::string page = report.str();
  const Document html = parse(page);
  ASSERT_EQ(html.error, "");
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
  EXPECT_EQ(html.elements[0].name, "html");
  EXPECT_EQ(html.count("h2"), 3u);
  EXPECT_EQ(html.count("li"), 3u + 2);  // contents and list
  EXPECT_EQ(html.count("figure"), 1u);
  EXPECT_EQ(html.count("svg"), 1u);
  EXPECT_EQ(html.count("script"), 0u);
  EXPECT_EQ(html.all("a")[1].attributes.at("href"), "#s2");
  EXPECT_EQ(html.all("h2")[1].attributes.at("id"), "s2");
}

TEST(HtmlReport, NothingIsLoadedFromElsewhere) {
  HtmlReport report("Study");
  report.image(std::as_bytes(std::span("png")), "alt", "caption");
  const std::string page = report.str();
  for (const char* part : {"http:", "https:", "src=\"/", "@import", "url("}) {
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  }
}

TEST(HtmlReport, EscapesEveryText) {
  HtmlReport report(kNasty, kNasty);
  for (int i = 0; i < 3; ++i) report.section(kNasty);
  report.subsection(kNasty);
  report.paragraph(kNasty);
  report.code(kNasty);
  report.list(std::array<std::string, 1>{kNasty});
  report.key_figures(std::array<KeyFigure, 1>{{{kNasty, kNasty, kNasty}}});
  report.table({.caption = kNasty, .header = {kNasty}, .rows = {{kNasty}}});
  report.figure("<svg/>", kNasty);
  report.image({}, kNasty, kNasty);
  report.footer(kNasty);
  const Document html = parse(report.str());
  ASSERT_EQ(html.error, "");
  EXPECT_EQ(html.count("script"), 0u);
  std::size_t found = 0;
  for (const auto& e : html.elements) found += e.text == kNasty;
  // title, h1, lead, 3 h2 and their contents, h3, p, pre, li, 3 figures, caption, th, td, 2
  // captions, footer
  EXPECT_EQ(found, 3u + 6 + 4 + 3 + 3 + 2 + 1);
  EXPECT_EQ(html.all("img")[0].attributes.at("alt"), kNasty);
}

TEST(HtmlReport, NumbersAreSetFlushRight) {
  HtmlReport report("t");
  report.table({.caption = "c",
                .header = {"class", "F1", "note"},
                .rows = {{"blast", "0.91", "2 rounds, 3 folds"},
                         {"brown",
                          "\xE2\x88\x92"
                          "0.1 \xC2\xB1 0.02",
                          ""},
                         {"healthy", "-", "4 s"}}});
  const Document html = parse(report.str());
  const auto cells = html.all("td");
  ASSERT_EQ(cells.size(), 9u);
  for (std::size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(cells[i].attributes.count("class"), i % 3 == 1 ? 1u : 0u) << cells[i].text;
  }
  EXPECT_EQ(html.all("th")[1].attributes.count("class"), 1u);
  EXPECT_THROW(report.table({.header = {"a", "b"}, .rows = {{"1"}}}), ShapeError);
}

TEST(HtmlReport, WhatLooksLikeANumber) {
  for (const char* yes : {"1", "-2.5", "91.3 %", "1e-3", "12 \xC2\xB1 3", "4.2 s", "3 / 40", "-",
                          "1,200", "640 MiB", "2\xC3\x97"}) {
    EXPECT_TRUE(detail::looks_like_number(yes)) << yes;
  }
  for (const char* no : {"blast", "ResNet34", "3 rounds each", "n/a", "full (5 folds)"}) {
    EXPECT_FALSE(detail::looks_like_number(no)) << no;
  }
}

TEST(HtmlReport, ImagesAreInside) {
  HtmlReport report("t");
  const std::array<std::byte, 3> bytes{std::byte{'f'}, std::byte{'o'}, std::byte{'o'}};
  report.image(bytes, "alt", "caption");
  EXPECT_EQ(parse(report.str()).all("img")[0].attributes.at("src"), "data:image/png;base64,Zm9v");
}

TEST(HtmlReport, WritesTheFileWhole) {
  const mwalimu::test::TempDir folder;
  HtmlReport report("t");
  report.write(folder / "report.html");
  EXPECT_EQ(io::read_file(folder / "report.html"), report.str());
  EXPECT_THROW(report.write(folder / "none" / "report.html"), FileError);
}

}  // namespace
}  // namespace mwalimu::report
