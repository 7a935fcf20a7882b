#include "mwalimu/report/map_page.hpp"

#include <gtest/gtest.h>
#include <stb/stb_image.h>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "report/xml_checker.hpp"

namespace mwalimu::report {
namespace {

using Json = nlohmann::json;

// The text of the first element that starts with `open`.
std::string inside(const std::string& html, std::string_view open) {
  const std::size_t at = html.find(open) + open.size();
  return html.substr(at, html.find("</script>", at) - at);
}
Json data_of(const std::string& html) {
  return Json::parse(inside(html, "<script type=\"application/json\" id=\"map-data\">"));
}
std::string bytes_of(std::string_view text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned word = 0, bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    word = word << 6 | static_cast<unsigned>(kAlphabet.find(c));
    bits += 6;
    if (bits >= 8) out += static_cast<char>(word >> (bits -= 8) & 0xFF);
  }
  return out;
}
std::vector<double> coordinates(const Json& packed) {
  const std::string bytes = bytes_of(packed.get<std::string>());
  std::vector<double> out;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    const int word = static_cast<unsigned char>(bytes[i]) | static_cast<unsigned char>(bytes[i + 1]) << 8;
    out.push_back(word / 32767.5 - 1);
  }
  return out;
}

MapPage small_page() {
  MapPage page;
  page.title = "A <map> & \"more\"";
  page.points = {.xy = {},
                 .label = {0, 1, 1},
                 .predicted = {0, 1, 0},
                 .sensor = {0, 1, 0},
                 .pair = {1, 0, -1},
                 .probability = {0.5f, 0.25f, 0.12345f},
                 .id = {"a.jpg", "a_rgn.jpg", "</script><script>alert(1)</script>.jpg"},
                 .classes = {"x", "y"}};
  page.views = {{"one", "KL 1", {0, 0, 4, 0, 4, 2}, {}, {}}};
  return page;
}

TEST(MapPage, HoldsThePointsAndWhatIsKnownOfThem) {
  const Json data = data_of(map_page_html(small_page()));
  EXPECT_EQ(data["n"], 3);
  EXPECT_EQ(data["label"], Json({0, 1, 1}));
  EXPECT_EQ(data["predicted"], Json({0, 1, 0}));
  EXPECT_EQ(data["sensor"], Json({0, 1, 0}));
  EXPECT_EQ(data["pair"], Json({1, 0, -1}));
  EXPECT_EQ(data["probability"], Json({0.5, 0.25, 0.1235}));
  EXPECT_EQ(data["classes"], Json({"x", "y"}));
  EXPECT_EQ(data["views"][0]["name"], "one");
  // The larger extent fills [-1, 1], the other keeps its scale, the middle is 0.
  const auto xy = coordinates(data["views"][0]["xy"]);
  const std::vector<double> want{-1, -0.5, 1, -0.5, 1, 0.5};
  ASSERT_EQ(xy.size(), want.size());
  for (std::size_t i = 0; i < xy.size(); ++i) EXPECT_NEAR(xy[i], want[i], 1.0 / 32767) << i;
}

TEST(MapPage, NothingFromOutsideBecomesMarkup) {
  const std::string html = map_page_html(small_page());
  // The page's two scripts and no third; the name is read back as it was.
  std::size_t scripts = 0;
  for (std::size_t at = 0; (at = html.find("<script", at)) != std::string::npos; ++at) ++scripts;
  EXPECT_EQ(scripts, 2u);
  EXPECT_EQ(data_of(html)["id"][2], "</script><script>alert(1)</script>.jpg");
  EXPECT_NE(html.find("<title>A &lt;map&gt; &amp; &quot;more&quot;</title>"), std::string::npos);
  // Without its scripts the page is well formed.
  std::string markup = html;
  for (std::size_t at; (at = markup.find("<script")) != std::string::npos;) {
    markup.erase(at, markup.find("</script>", at) + 9 - at);
  }
  EXPECT_EQ(test::Reader(markup).read().error, "");
}

TEST(MapPage, NeedsNoNetwork) {
  MapPage page = small_page();
  const std::vector<std::uint8_t> images(3 * 4 * 4 * 3, 100);
  page.images = images;
  page.height = page.width = 4;
  std::string html = map_page_html(page);
  // The markers' namespace-free SVG and data: addresses are all that looks like an address.
  for (const char* text : {"http:", "https:", "src=\"", "href=\"http", "import(", "fetch("}) {
    EXPECT_EQ(html.find(text), std::string::npos) << text;
  }
}

TEST(MapPage, ThumbnailsLieInSheetsInTheOrderOfThePoints) {
  // 1030 images of one grey each: more than a sheet of 32 x 32 cells of 64 pixels holds.
  const index_t n = 1030;
  std::vector<std::uint8_t> images;
  MapPage page;
  page.views = {{"one", "", {}, {}, {}}};
  for (index_t i = 0; i < n; ++i) {
    images.insert(images.end(), 2 * 2 * 3, static_cast<std::uint8_t>(i % 251));
    page.views[0].xy.insert(page.views[0].xy.end(), {static_cast<float>(i), 0.0f});
  }
  page.images = images;
  page.height = page.width = 2;
  page.thumbnail = 64;
  const Json data = data_of(map_page_html(page));
  ASSERT_EQ(data["sheets"].size(), 2u);
  const index_t cell = data["cell"], columns = data["columns"], per_sheet = data["perSheet"];
  EXPECT_EQ(cell, 64);
  EXPECT_EQ(per_sheet, 1024);
  std::vector<std::vector<unsigned char>> sheets;
  std::vector<int> widths;
  for (const auto& sheet : data["sheets"]) {
    const std::string source = sheet, head = "data:image/jpeg;base64,";
    ASSERT_TRUE(source.starts_with(head));
    const std::string jpeg = bytes_of(source.substr(head.size()));
    int width = 0, height = 0, channels = 0;
    stbi_uc* pixels = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(jpeg.data()),
                                            static_cast<int>(jpeg.size()), &width, &height, &channels, 3);
    ASSERT_NE(pixels, nullptr);
    sheets.emplace_back(pixels, pixels + width * height * 3);
    widths.push_back(width);
    stbi_image_free(pixels);
  }
  for (const index_t i : {0, 1, 33, 1023, 1024, 1029}) {
    const auto s = static_cast<std::size_t>(i / per_sheet);
    const index_t k = i % per_sheet;
    // Corners as well as the middle: JPEG's blocks do not reach into the neighbour.
    for (const auto& [dx, dy] : {std::pair<index_t, index_t>{0, 0}, {63, 0}, {0, 63}, {63, 63}, {32, 32}}) {
      const index_t x = k % columns * cell + dx, y = k / columns * cell + dy;
      EXPECT_NEAR(sheets[s][static_cast<std::size_t>((y * widths[s] + x) * 3)], i % 251, 3) << i;
    }
  }
}

TEST(MapPage, FramesFollowTheMapAsItGrows) {
  MapPage page = small_page();
  for (int k = 0; k < 9; ++k) {
    const float s = std::pow(2.0f, static_cast<float>(k));
    page.frames.push_back({10 * (k + 1), 3.0 - k, k < 4, {0, 0, 4 * s, 0, 4 * s, 2 * s}});
  }
  const Json data = data_of(map_page_html(page));
  ASSERT_EQ(data["frames"].size(), 9u);
  EXPECT_EQ(data["frames"][3]["iteration"], 40);
  EXPECT_EQ(data["frames"][3]["early"], true);
  EXPECT_EQ(data["frames"][4]["early"], false);
  // A map 256 times as wide in the end: each frame still fills a good part of the picture.
  for (const auto& frame : data["frames"]) {
    const auto xy = coordinates(frame["xy"]);
    EXPECT_GT(xy[2] - xy[0], 0.5);
    EXPECT_LE(xy[2], 1.0);
  }
  page.frames[2].xy.pop_back();
  EXPECT_THROW(map_page_html(page), ShapeError);
}

TEST(MapPage, SaysWhatItIsAskedToSay) {
  MapPage page = small_page();
  page.paragraphs = {"RGB & RGN differ."};
  page.tables = {{.caption = "c", .header = {"a"}, .rows = {{"1"}}}};
  page.pair_lines = true;
  page.views.push_back({"two", "", {1, 1, 2, 2, 3, 1}, {1, 1, 1}, {0.9f, 0.8f, 0.7f}});
  page.together = true;
  page.first = 1;
  const std::string html = map_page_html(page);
  EXPECT_NE(html.find("<p>RGB &amp; RGN differ.</p>"), std::string::npos);
  EXPECT_NE(html.find("What the map shows"), std::string::npos);
  const Json data = data_of(html);
  EXPECT_EQ(data["pairLines"], true);
  EXPECT_EQ(data["together"], true);
  EXPECT_EQ(data["first"], 1);
  EXPECT_EQ(data["views"][1]["predicted"], Json({1, 1, 1}));
  EXPECT_FALSE(data["views"][0].contains("predicted"));
}

TEST(MapPage, Errors) {
  EXPECT_THROW(map_page_html({}), ValueError);
  MapPage page = small_page();
  page.first = 1;
  EXPECT_THROW(map_page_html(page), ValueError);
  page = small_page();
  page.views.push_back({"short", "", {0, 0}, {}, {}});
  EXPECT_THROW(map_page_html(page), ShapeError);
  page = small_page();
  page.views[0].xy[1] = std::nanf("");
  EXPECT_THROW(map_page_html(page), ValueError);
  page = small_page();
  const std::vector<std::uint8_t> images(7);
  page.images = images;
  page.height = page.width = 4;
  EXPECT_THROW(map_page_html(page), ShapeError);
  const std::vector<std::uint8_t> one(48);
  EXPECT_THROW(pack_sprites(one, 1, 4, 4, 40), ValueError);
}

}  // namespace
}  // namespace mwalimu::report
