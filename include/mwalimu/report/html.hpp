// report/html: one page that holds everything, opens without a network and prints well.
#pragma once

#include <cctype>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/report/base64.hpp"
#include "mwalimu/report/text.hpp"

namespace mwalimu::report {

/// Cells are text; a column whose filled cells are all numbers (with units such as % or s, "12 ±
/// 3",
/// "-" for none) is set flush right.
struct Table {
  std::string caption = {};
  std::vector<std::string> header = {};
  std::vector<std::vector<std::string>> rows = {};
};

/// One number that stands out: {"accuracy", "91.3 %"}.
struct KeyFigure {
  std::string name, value;
  std::string note = {};
};

namespace detail {

inline constexpr std::string_view kStyle = R"css(
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 56rem; padding: 1.5rem 1rem 4rem; background: #fff; color: #222;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.35rem; margin: 2.6rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid #d5d8dc; }
h3 { font-size: 1.08rem; margin: 1.6rem 0 .4rem; }
p { margin: .6rem 0; }
a { color: #0b57a4; }
.lead { color: #5f6368; font-size: 1.05rem; }
nav { margin: 1.2rem 0; padding: .7rem 1rem; background: #f6f7f9; border-radius: .5rem; }
nav ol { margin: 0; padding-left: 1.4rem; columns: 16rem; }
.figures { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1rem 0; }
.figures > div { flex: 1 1 10rem; padding: .7rem .9rem; border: 1px solid #d5d8dc; border-radius: .5rem; }
.figures b { display: block; font-size: 1.45rem; line-height: 1.25; }
.figures span { color: #5f6368; font-size: .88rem; display: block; }
figure { margin: 1.2rem 0; }
figure .wide { margin: 0; }
figure svg, figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption, caption { color: #5f6368; font-size: .9rem; text-align: left; }
figcaption { margin-top: .4rem; }
caption { caption-side: bottom; padding-top: .4rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .94rem; min-width: 50%; }
th, td { padding: .32rem .75rem; text-align: left; vertical-align: top; border-bottom: 1px solid #e3e5e8; }
thead th { border-bottom: 2px solid #9aa0a6; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #f6f7f9; padding: .8rem 1rem; border-radius: .5rem; overflow-x: auto; font-size: .88rem; }
footer { margin-top: 3rem; color: #5f6368; font-size: .88rem; }
@media (max-width: 40rem) {
  figure > .wide svg { max-width: 38rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure, tr, .figures { break-inside: avoid; }
  .wide { overflow: visible; }
}
)css";

/// "91.3 %", "-0.5", "1e-3", "12 ± 3", "4.2 s", "3 / 40" and "-" read as numbers.
inline bool looks_like_number(std::string_view text) {
  if (text.empty() || text == "-" || text == "\xE2\x80\x93" || text == "\xE2\x80\x94") return true;
  bool digit = false;
  std::size_t letters = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = std::max<std::size_t>(1, utf8_length(text, at));
    const std::string_view c = text.substr(at, length);
    const unsigned char byte = static_cast<unsigned char>(c[0]);
    if (std::isdigit(byte)) {
      digit = true;
    } else if (std::isalpha(byte)) {
      if (!digit) return false;  // a unit follows its number
      ++letters;
    } else if (std::string_view("+-.,%/ ()").find(c[0]) == std::string_view::npos &&
               c != "\xC2\xB1" && c != "\xE2\x88\x92" && c != "\xC3\x97") {
      return false;
    }
    at += length;
  }
  return digit && letters <= 6;
}

}  // namespace detail

/// A page, from top to bottom. All text is escaped; SVG and PNG go in as they are.
///
///     HtmlReport report("Study of 2 400 plants", "Pretrained without labels on pairs of images.");
///     report.section("Results");
///     report.table({"Per class.", {"class", "F1"}, {{"blast", "0.91"}, {"brown", "0.87"}}});
///     report.figure(confusion_plot_svg(plot), "Rows are the true classes.");
///     report.write(folder / "report.html");
class HtmlReport {
 public:
  /// @param lead  a sentence or two below the title; may be empty.
  explicit HtmlReport(std::string title, std::string lead = "")
      : title_(std::move(title)), lead_(std::move(lead)) {}

  /// A heading that the table of contents lists.
  void section(std::string_view name) {
    sections_.emplace_back(name);
    body_ += "<h2 id=\"s" + std::to_string(sections_.size()) + "\">" + escaped(name) + "</h2>\n";
  }
  void subsection(std::string_view name) { element("h3", name); }
  void paragraph(std::string_view text) { element("p", text); }
  void list(std::span<const std::string> items) {
    body_ += "<ul>\n";
    for (const std::string& item : items) element("li", item);
    body_ += "</ul>\n";
  }
  /// Text in a fixed-width font, as it stands: a command, a configuration.
  void code(std::string_view text) { element("pre", text); }
  void key_figures(std::span<const KeyFigure> figures) {
    body_ += "<div class=\"figures\">\n";
    for (const KeyFigure& f : figures) {
      body_ += "<div><span>" + escaped(f.name) + "</span><b>" + escaped(f.value) + "</b>";
      if (!f.note.empty()) body_ += "<span>" + escaped(f.note) + "</span>";
      body_ += "</div>\n";
    }
    body_ += "</div>\n";
  }
  /// @throws ShapeError  a row is not as long as the header.
  void table(const Table& t) {
    std::vector<bool> number(t.header.size(), true);
    for (std::size_t r = 0; r < t.rows.size(); ++r) {
      require<ShapeError>(t.rows[r].size() == t.header.size(), "HtmlReport::table: row ", r,
                          " has ", t.rows[r].size(), " cells, want ", t.header.size());
      for (std::size_t c = 0; c < t.header.size(); ++c) {
        if (!detail::looks_like_number(t.rows[r][c])) number[c] = false;
      }
    }
    const auto row = [&](const std::vector<std::string>& cells, const std::string& tag) {
      body_ += "<tr>";
      for (std::size_t c = 0; c < cells.size(); ++c) {
        body_ +=
            '<' + tag + (number[c] ? " class=\"n\">" : ">") + escaped(cells[c]) + "</" + tag + '>';
      }
      body_ += "</tr>\n";
    };
    body_ += "<div class=\"wide\"><table>\n";
    if (!t.caption.empty()) element("caption", t.caption);
    body_ += "<thead>\n";
    row(t.header, "th");
    body_ += "</thead>\n<tbody>\n";
    for (const auto& cells : t.rows) row(cells, "td");
    body_ += "</tbody></table></div>\n";
  }
  /// @param svg  a document of this library's plots; not escaped.
  void figure(std::string_view svg, std::string_view caption) {
    body_ += "<figure>\n<div class=\"wide\">\n";  // on a phone it scrolls, its text stays readable
    body_ += svg;
    body_ += "</div>\n";
    finish_figure(caption);
  }
  /// @param png  the bytes of a PNG file.
  /// @param alt  what the picture shows, for those who do not see it.
  void image(std::span<const std::byte> png, std::string_view alt, std::string_view caption) {
    body_ += "<figure>\n<img alt=\"" + escaped(alt) + "\" src=\"data:image/png;base64," +
             base64(png) + "\"/>\n";
    finish_figure(caption);
  }
  /// Markup of this library's own, which must never hold anything from outside the program
  /// unescaped.
  void markup(std::string_view html) { body_ += html; }
  /// The last line of the page: how it came about.
  void footer(std::string_view text) { footer_ = escaped(text); }

  std::string str() const {
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>" +
        escaped(title_) + "</title>\n<style>";
    out += detail::kStyle;
    out += "</style>\n</head>\n<body>\n<h1>" + escaped(title_) + "</h1>\n";
    if (!lead_.empty()) out += "<p class=\"lead\">" + escaped(lead_) + "</p>\n";
    if (sections_.size() > 2) {
      out += "<nav><ol>\n";
      for (std::size_t s = 0; s < sections_.size(); ++s) {
        out += "<li><a href=\"#s" + std::to_string(s + 1) + "\">" + escaped(sections_[s]) +
               "</a></li>\n";
      }
      out += "</ol></nav>\n";
    }
    out += body_;
    if (!footer_.empty()) out += "<footer>" + footer_ + "</footer>\n";
    out += "</body>\n</html>\n";
    return out;
  }
  /// @throws FileError  the file cannot be written.
  void write(const std::filesystem::path& path) const { io::write_file(path, str()); }

 private:
  void element(const std::string& tag, std::string_view text) {
    body_ += '<' + tag + '>' + escaped(text) + "</" + tag + ">\n";
  }
  void finish_figure(std::string_view caption) {
    if (!caption.empty()) element("figcaption", caption);
    body_ += "</figure>\n";
  }

  std::string title_, lead_, body_, footer_;
  std::vector<std::string> sections_;
};

}  // namespace mwalimu::report
