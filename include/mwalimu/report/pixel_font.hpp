// report/pixel_font: the letters that pictures are labelled with, five dots wide.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace mwalimu::report::detail {

struct Glyph {
  char letter;
  std::uint64_t dots;  // eight rows of five, the upper left dot is bit 39; the baseline is row 6
};

// Sorted by letter.
inline constexpr std::array kGlyphs = std::to_array<Glyph>(
    {{'%', 0xce44444e60}, {'(', 0x4421084100}, {')', 0x8210842200}, {'+', 0x0109f21000},
     {',', 0x0000002110}, {'-', 0x0000e00000}, {'.', 0x0000006300}, {'/', 0x0844444200},
     {'0', 0x74675cc5c0}, {'1', 0x23084211c0}, {'2', 0x74426443e0}, {'3', 0xf042e087c0},
     {'4', 0x11952f8840}, {'5', 0xfc3c10c5c0}, {'6', 0x7421e8c5c0}, {'7', 0xf844421080},
     {'8', 0x7462e8c5c0}, {'9', 0x7462f085c0}, {':', 0x0031806300}, {'=', 0x003e0f8000},
     {'?', 0x7442620080}, {'A', 0x7463f8c620}, {'B', 0xf463e8c7c0}, {'C', 0x74610845c0},
     {'D', 0xf46318c7c0}, {'E', 0xfc21e843e0}, {'F', 0xfc21e84200}, {'G', 0x746178c5c0},
     {'H', 0x8c63f8c620}, {'I', 0xe210842380}, {'J', 0x3884214980}, {'K', 0x8ca98a4a20},
     {'L', 0x84210843e0}, {'M', 0x8eeb58c620}, {'N', 0x8e7359ce20}, {'O', 0x746318c5c0},
     {'P', 0xf463e84200}, {'Q', 0x74631ac9a0}, {'R', 0xf463ea4a20}, {'S', 0x7c20e087c0},
     {'T', 0xf908421080}, {'U', 0x8c6318c5c0}, {'V', 0x8c63152880}, {'W', 0x8c635aee20},
     {'X', 0x8c54454620}, {'Y', 0x8c54421080}, {'Z', 0xf8444443e0}, {'_', 0x00000003e0},
     {'a', 0x001c17c5e0}, {'b', 0x843d18c7c0}, {'c', 0x001d0841c0}, {'d', 0x085f18c5e0},
     {'e', 0x001d1fc1c0}, {'f', 0x323c842100}, {'g', 0x001f18bc2e}, {'h', 0x843d18c620},
     {'i', 0x8021084200}, {'j', 0x2008421098}, {'k', 0x84254c5240}, {'l', 0xc210842180},
     {'m', 0x00355ad6a0}, {'n', 0x003d18c620}, {'o', 0x001d18c5c0}, {'p', 0x003d18fa10},
     {'q', 0x001f18bc21}, {'r', 0x002d884200}, {'s', 0x001f0707c0}, {'t', 0x423c8420c0},
     {'u', 0x002318c5e0}, {'v', 0x0023152880}, {'w', 0x00235ad540}, {'x', 0x0022a22a20},
     {'y', 0x002318bc2e}, {'z', 0x003e2223e0}});

inline constexpr int kGlyphRows = 8, kGlyphColumns = 5;

/// The letter's dots, those of '?' for a letter that the font does not have. A blank has none.
constexpr std::uint64_t glyph(char letter) {
  if (letter == ' ') return 0;
  const auto find = [](char c) {
    return std::lower_bound(kGlyphs.begin(), kGlyphs.end(), c,
                            [](const Glyph& g, char wanted) { return g.letter < wanted; });
  };
  const auto it = find(letter);
  return it != kGlyphs.end() && it->letter == letter ? it->dots : find('?')->dots;
}

constexpr bool dot(std::uint64_t dots, int row, int column) {
  return (dots >> (kGlyphRows * kGlyphColumns - 1 - row * kGlyphColumns - column) & 1u) != 0;
}

/// Columns that the letter fills: letters are set in their own width.
constexpr int glyph_width(std::uint64_t dots) {
  int width = dots == 0 ? 3 : 1;
  for (int row = 0; row < kGlyphRows; ++row) {
    for (int column = 0; column < kGlyphColumns; ++column) {
      if (dot(dots, row, column)) width = std::max(width, column + 1);
    }
  }
  return width;
}

}  // namespace mwalimu::report::detail
