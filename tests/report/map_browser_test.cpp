// The map's page in a browser: a headless Chromium runs it, a script turns the wheel, drags, points
// and presses its buttons, and looks at the pixels of the canvas. Skipped where there is none.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mwalimu/io/file.hpp"
#include "mwalimu/report/map_page.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::report {
namespace {

/// What a command prints on standard output.
std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  char part[4096];
  for (std::size_t got; (got = fread(part, 1, sizeof part, pipe)) > 0;) text.append(part, got);
  pclose(pipe);
  return text;
}

std::string browser() {
  std::string path = output_of(
      "for b in chromium chromium-browser google-chrome; do command -v $b && break; done 2>/dev/null");
  while (!path.empty() && path.back() == '\n') path.pop_back();
  return path;
}

/// Before the page: every error is remembered, wherever it appears. Frames come by the clock, which
/// a browser without a screen can turn ahead; their time is when they began, well before now.
constexpr const char* kListen = R"js(<script>
const errors = [];
addEventListener("error", e => errors.push(String(e.message)));
addEventListener("unhandledrejection", e => errors.push(String(e.reason)));
console.error = console.warn = (...text) => errors.push(text.join(" "));
requestAnimationFrame = body => setTimeout(() => body(performance.now() - 100), 16);
</script>)js";

/// After it: what a check may use, and the checks' outcome as an element of the page.
constexpr const char* kTools = R"js(<script>
const checks = [];
const check = (name, got, want) => checks.push([name, JSON.stringify(got), JSON.stringify(want)]);
const pause = (time = 60) => new Promise(done => setTimeout(done, time));
const root = document.getElementById("map");
const canvas = (k = 0) => root.querySelectorAll("canvas.map")[k];
const zoom = () => Number(root.dataset.zoom);
// Where a place of the world, [-1, 1] upwards, lies on the canvas while the camera is at rest.
const at = (x, y, c = canvas()) => {
  const ratio = devicePixelRatio || 1, w = c.width / ratio, h = c.height / ratio, u = Math.min(w, h) / 2 * .91;
  return [w / 2 + x * u, h / 2 - y * u];
};
const pixel = ([x, y], c = canvas()) => {
  const ratio = devicePixelRatio || 1;
  return [...c.getContext("2d").getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data].slice(0, 3);
};
// Red of the pixels that a line from the lower left to the lower right corner crosses.
const line = () => [-2, -1, 0, 1, 2].map(k => pixel([at(.1, -1)[0], at(.1, -1)[1] + k])[0]);
const near = (a, b, tolerance = 45) => a.every((v, k) => Math.abs(v - b[k]) <= tolerance);
const rgb = hex => [1, 3, 5].map(k => parseInt(hex.slice(k, k + 2), 16));
const palette = JSON.parse(document.getElementById("map-data").textContent).palette.map(rgb);
const white = [255, 255, 255];
const send = (type, [x, y], more = {}, c = canvas()) => {
  const box = c.getBoundingClientRect();
  const Kind = type === "wheel" ? WheelEvent : type.startsWith("pointer") ? PointerEvent : MouseEvent;
  c.dispatchEvent(new Kind(type, {clientX: box.left + x, clientY: box.top + y, bubbles: true,
    cancelable: true, pointerId: 1, pointerType: "mouse", ...more}));
};
HTMLElement.prototype.setPointerCapture = () => {};  // there is no real pointer to capture
const press = text => {
  const b = [...root.querySelectorAll("button")].find(b => b.textContent === text);
  if (b) b.click(); else errors.push("no button " + text);
};
const tip = () => root.querySelector(".tip");
const finish = () => {
  const out = document.createElement("pre");
  out.id = "outcome";
  out.textContent = encodeURIComponent(JSON.stringify({checks, errors}));
  document.body.append(out);
};
</script>)js";

/// The text that encodeURIComponent() was given.
std::string decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// Runs the page and the checks in the browser. `count` of them must have been made.
void expect_in_browser(const MapPage& page, const std::string& script, std::size_t count) {
  const std::string program = browser();
  if (program.empty()) GTEST_SKIP() << "no chromium: the page's program was not run";
  const test::TempDir folder;
  std::string html = map_page_html(page);
  const std::size_t head = html.find("<style>"), end = html.rfind("</body>");
  ASSERT_NE(head, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  html.insert(end, std::string(kTools) + "<script>(async () => { try {\nawait pause(200);\n" + script +
                       "\n} catch (e) { errors.push(String(e)); } finish(); })();</script>");
  html.insert(head, kListen);
  const auto file = folder.path() / "page.html";
  io::write_file(file, html);
  const std::string dom = output_of(
      "HOME='" + folder.path().string() + "' timeout 120 '" + program +
      "' --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,900 "
      "--user-data-dir='" + (folder.path() / "profile").string() +
      "' --virtual-time-budget=20000 --dump-dom 'file://" + file.string() + "' 2>/dev/null");
  const std::string open = "<pre id=\"outcome\">";
  const std::size_t from = dom.find(open);
  ASSERT_NE(from, std::string::npos) << "the checks did not come to their end\n" << dom.substr(0, 400);
  const std::size_t begin = from + open.size();
  const auto outcome =
      nlohmann::json::parse(decoded(dom.substr(begin, dom.find("</pre>", begin) - begin)));
  for (const auto& error : outcome["errors"]) ADD_FAILURE() << error.get<std::string>();
  EXPECT_EQ(outcome["checks"].size(), count);
  for (const auto& check : outcome["checks"]) {
    EXPECT_EQ(check[1], check[2]) << check[0].get<std::string>();
  }
}

/// Four points in the corners of a square and one in the middle, two classes, one wrong prediction.
MapPage square_page() {
  MapPage page;
  page.title = "Square";
  page.points = {.xy = {},
                 .label = {0, 1, 0, 1, 1},
                 .predicted = {0, 1, 0, 0, 1},
                 .sensor = {0, 1, 0, 1, 0},
                 .pair = {1, 0, -1, -1, -1},
                 .probability = {0.9f, 0.8f, 0.7f, 0.6f, 0.5f},
                 .id = {"a.jpg", "a_rgn.jpg", "b.jpg", "c_rgn.jpg", "d.jpg"},
                 .classes = {"x", "y"}};
  page.views = {{"one", "KL 1", {-1, -1, 1, -1, 1, 1, -1, 1, 0, 0}, {}, {}},
                {"two", "KL 2", {1, 1, -1, 1, -1, -1, 1, -1, 0, 0.5f}, {}, {}}};
  return page;
}

TEST(MapInABrowser, DrawsPointsZoomsMovesAndTells) {
  expect_in_browser(square_page(), R"js(
    check("first class", near(pixel(at(-1, -1)), palette[0]), true);
    check("second class", near(pixel(at(1, -1)), palette[1]), true);
    check("in the middle", near(pixel(at(0, 0)), palette[1]), true);
    check("nothing elsewhere", pixel(at(.5, .4)), white);
    check("camera", zoom(), 1);

    // The wheel zooms about the pointer: what is under it stays.
    send("wheel", at(1, -1), {deltaY: -60});
    await pause();
    check("wheel", zoom(), 1.271);  // exp(60 * 0.004)
    check("under the pointer", near(pixel(at(1, -1)), palette[1]), true);
    check("moved away", pixel(at(-1, -1)), white);
    send("wheel", at(0, 0), {deltaY: -1e6});
    await pause();
    check("one turn is limited", zoom(), 1.616);
    for (let k = 0; k < 60; ++k) send("wheel", at(0, 0), {deltaY: -60});
    await pause();
    check("zoom is limited", zoom(), 400);
    press("whole map");
    await pause();
    check("whole map", [zoom(), near(pixel(at(-1, -1)), palette[0])], [1, true]);
    send("dblclick", at(0, 0));
    await pause();
    check("double click", zoom(), 2);
    canvas().dispatchEvent(new KeyboardEvent("keydown", {key: "0"}));
    canvas().dispatchEvent(new KeyboardEvent("keydown", {key: "-"}));
    await pause();
    check("keys", zoom(), .707);
    canvas().dispatchEvent(new KeyboardEvent("keydown", {key: "0"}));
    await pause();

    // Dragging takes the map along.
    const [mx, my] = at(0, 0);
    send("pointerdown", [mx + 30, my + 30]);
    send("pointermove", [mx + 130, my - 20]);
    send("pointerup", [mx + 130, my - 20]);
    await pause();
    check("dragged", [near(pixel([mx + 100, my - 50]), palette[1]), pixel([mx, my])], [true, white]);
    press("whole map");
    await pause();

    // Pointing at an image says what it is.
    send("pointermove", at(-1, 1));
    await pause();
    const text = tip().textContent;
    check("tip", [tip().style.display, text.includes("c_rgn.jpg"), text.includes("x, 60.0 % (wrong)")],
          ["block", true, true]);
    send("pointermove", at(.5, .4));
    await pause();
    check("no tip", tip().style.display, "none");
    send("pointermove", at(-1, -1));
    await pause();
    check("a line to the pair", line().some(v => v < 60), true);
    send("pointerleave", at(.5, .4));
    await pause();
    check("line gone", line().every(v => v === 255), true);
  )js", 18);
}

TEST(MapInABrowser, ButtonsChooseWhatIsShown) {
  expect_in_browser(square_page(), R"js(
    const shown = () => [[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0]]
      .map(([x, y]) => near(pixel(at(x, y)), white, 3) ? 0 : 1).join("");
    check("all", shown(), "11111");
    press("x (2)");
    await pause();
    check("without a class", shown(), "01011");
    press("x (2)");
    press("RGN (2)");
    await pause();
    check("without a sensor", shown(), "10101");
    press("RGN (2)");
    press("wrong predictions only");
    await pause();
    check("wrong ones", shown(), "00010");
    press("wrong predictions only");
    const find = root.querySelector("input[type=search]");
    find.value = "A"; find.oninput();
    await pause();
    check("by name", shown(), "11000");
    find.value = ""; find.oninput();
    press("prediction");
    await pause();
    check("colour of the prediction", near(pixel(at(-1, 1)), palette[0]), true);
    press("label");
    await pause();
    check("colour of the label", near(pixel(at(-1, 1)), palette[1]), true);
    press("lines between pairs");
    await pause();
    check("pair lines", line().some(v => v < 230), true);
    press("two");
    await pause(1500);  // the points travel
    check("another map", [near(pixel(at(1, 1)), palette[0]), near(pixel(at(0, .5)), palette[1]),
                          pixel(at(0, 0))], [true, true, white]);
    press("all");
    await pause();
    check("side by side", root.querySelectorAll("canvas.map").length, 2);
    const c = canvas(1);
    check("the second of two", near(pixel(at(0, .5, c), c), palette[1]), true);
    send("wheel", at(0, 0), {deltaY: -60});
    await pause();
    check("one camera", pixel(at(1, 1, c), c), white);
  )js", 12);
}

TEST(MapInABrowser, ThumbnailsAppearWhereThereIsRoom) {
  MapPage page = square_page();
  page.views.resize(1);
  // Two points that are too close for two thumbnails, the others in corners. One colour an image.
  page.views[0].xy = {-1, -1, 1, -1, 1, 1, 0, 0, 0.02f, 0};
  std::vector<std::uint8_t> images;
  const std::uint8_t colours[5][3] = {
      {200, 30, 30}, {30, 200, 30}, {30, 30, 200}, {200, 200, 30}, {30, 200, 200}};
  for (const auto& colour : colours) {
    for (int pixel = 0; pixel < 16 * 16; ++pixel) images.insert(images.end(), colour, colour + 3);
  }
  page.images = images;
  page.height = page.width = 16;
  expect_in_browser(page, R"js(
    await pause(500);  // the sheet is decoded
    check("four have room", root.dataset.thumbnails, "4");
    check("the image itself", near(pixel(at(-1, -1)), [200, 30, 30], 12), true);
    check("another", near(pixel(at(1, 1)), [30, 30, 200], 12), true);
    send("pointermove", at(1, 1));
    await pause();
    check("tip with its image", [tip().style.display, tip().querySelectorAll("canvas").length,
                                 tip().textContent.includes("b.jpg")], ["block", 1, true]);
    for (let k = 0; k < 14; ++k) send("wheel", at(0, 0), {deltaY: -60});
    await pause();
    check("nearer, both have", [root.dataset.thumbnails, zoom() > 20], ["2", true]);
    press("whole map");
    press("images");
    await pause();
    check("without images", [root.dataset.thumbnails, near(pixel(at(-1, -1)), palette[0])], ["0", true]);
  )js", 6);
}

TEST(MapInABrowser, TheFilmRunsAndCanBeSteered) {
  MapPage page = square_page();
  page.views.resize(1);
  for (int k = 0; k < 5; ++k) {
    auto xy = page.views[0].xy;
    if (k < 4) xy[8] = xy[9] = 0.25f * static_cast<float>(4 - k);  // the last walks to the middle
    page.frames.push_back({10 * (k + 1), 5.0 - k, k < 2, xy});
  }
  expect_in_browser(page, R"js(
    const slider = root.querySelector(".play input"), text = root.querySelector(".play output");
    await pause(14000);  // it plays by itself for twelve seconds
    check("at its end", text.textContent, "iteration 50 of 50, KL 1.000");
    check("the map", near(pixel(at(0, 0)), palette[1]), true);
    slider.value = 2; slider.oninput();
    await pause();
    check("in between", text.textContent, "iteration 30 of 50, KL 3.000");
    check("on its way", near(pixel(at(.5, .5)), palette[1]), true);
    slider.value = 0; slider.oninput();
    await pause();
    check("early", text.textContent, "iteration 10 of 50, KL 5.000, early exaggeration");
    check("the curve", [...root.querySelector("canvas.curve").getContext("2d").getImageData(0, 0, 200, 60).data]
      .some((v, k) => k % 4 === 3 && v > 0), true);
  )js", 6);
}

}  // namespace
}  // namespace mwalimu::report
