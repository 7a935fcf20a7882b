#include "mwalimu/report/terminal_image.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace mwalimu::report {
namespace {

data::Image filled(int height, int width, std::array<std::uint8_t, 3> color) {
  data::Image image(height, width);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = color[i % 3];
  return image;
}
std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++n;
  return n;
}

TEST(TerminalImage, UpperPixelIsForegroundLowerIsBackground) {
  data::Image image(2, 1);
  const std::uint8_t pixels[] = {255, 0, 10, 0, 128, 255};
  std::copy(std::begin(pixels), std::end(pixels), image.pixels.begin());
  EXPECT_EQ(terminal_image(image, 80, 24), "\x1b[38;2;255;0;10m\x1b[48;2;0;128;255m▀\x1b[0m\n");
}

TEST(TerminalImage, ShrinksToFitAndKeepsItsAspect) {
  const auto lines = [](const std::string& text) { return count(text, "\n"); };
  const auto wide = terminal_image(filled(100, 400, {1, 2, 3}), 40, 24);
  EXPECT_EQ(lines(wide), 5u);  // 40 x 10 pixels
  EXPECT_EQ(count(wide, "▀"), 5u * 40u);
  const auto tall = terminal_image(filled(400, 100, {1, 2, 3}), 80, 10);
  EXPECT_EQ(lines(tall), 10u);  // 5 x 20 pixels
  EXPECT_EQ(count(tall, "▀"), 10u * 5u);
  EXPECT_EQ(count(terminal_image(filled(3, 2, {1, 2, 3}), 80, 24), "▀"), 4u);  // never enlarged
  EXPECT_EQ(count(terminal_image(filled(1, 5000, {1, 2, 3}), 1, 1), "▀"), 1u);
}

TEST(TerminalImage, SetsColoursOnlyWhereTheyChange) {
  const auto text = terminal_image(filled(2, 50, {9, 9, 9}), 80, 24);
  EXPECT_EQ(count(text, "\x1b[38"), 1u);
  EXPECT_EQ(count(text, "\x1b[48"), 1u);
}

TEST(TerminalImage, RefusesNoRoom) {
  EXPECT_THROW(terminal_image(filled(2, 2, {0, 0, 0}), 0, 5), ValueError);
  EXPECT_THROW(terminal_image(filled(2, 2, {0, 0, 0}), 5, 0), ValueError);
}

}  // namespace
}  // namespace mwalimu::report
