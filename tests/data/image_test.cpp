#include "mwalimu/data/image.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "data/put_file.hpp"
#include "mwalimu/core/random.hpp"

namespace mwalimu::data {
namespace {

using test::put_file;
using test::TempDir;

Image noise(int height, int width) {
  Image image(height, width);
  RandomStream random(7, Purpose::test);
  for (auto& p : image.pixels) p = static_cast<std::uint8_t>(random.below(256));
  return image;
}

// A picture that JPEG keeps well.
Image ramp(int height, int width) {
  Image image(height, width);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.at(y, x)[0] = static_cast<std::uint8_t>(40 + 150 * x / width);
      image.at(y, x)[1] = static_cast<std::uint8_t>(60 + 150 * y / height);
      image.at(y, x)[2] = 90;
    }
  }
  return image;
}

std::string text_of(const std::vector<std::uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string error_of(const std::filesystem::path& path, const DecodeOptions& options = {}) {
  try {
    read_image(path, options);
  } catch (const FileError& error) {
    return error.what();
  }
  return "no error";
}

void expect_error(const std::string& error, const std::string& name, const std::string& reason) {
  EXPECT_NE(error.find(name), std::string::npos) << error;
  EXPECT_NE(error.find(reason), std::string::npos) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

void append_little_endian(std::string& out, std::uint32_t value, int count) {
  for (int i = 0; i < count; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

// A 24-bit BMP, rows from the bottom up.
std::string bmp_of(const Image& image) {
  const int row = (image.width * 3 + 3) / 4 * 4;
  std::string out = "BM";
  append_little_endian(out, static_cast<std::uint32_t>(54 + row * image.height), 4);
  append_little_endian(out, 0, 4);
  append_little_endian(out, 54, 4);
  append_little_endian(out, 40, 4);
  append_little_endian(out, static_cast<std::uint32_t>(image.width), 4);
  append_little_endian(out, static_cast<std::uint32_t>(image.height), 4);
  append_little_endian(out, 1, 2);
  append_little_endian(out, 24, 2);
  out.append(24, '\0');
  for (int y = image.height - 1; y >= 0; --y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 2; c >= 0; --c) out.push_back(static_cast<char>(image.at(y, x)[c]));
    }
    out.append(static_cast<std::size_t>(row - image.width * 3), '\0');
  }
  return out;
}

// A PNG of another colour type, by stb's own writer: 1 grey, 2 grey and alpha, 4 RGB and alpha.
std::string png_of(int height, int width, int components, const std::vector<std::uint8_t>& pixels) {
  std::vector<std::uint8_t> out;
  stbi_write_png_to_func(detail::append_bytes, &out, width, height, components, pixels.data(),
                         width * components);
  return text_of(out);
}

TEST(Image, PngKeepsEveryByte) {
  const TempDir folder;
  const Image image = noise(13, 17);
  write_image(folder / "a.png", image);
  EXPECT_EQ(read_image(folder / "a.png"), image);
}

TEST(Image, BmpKeepsEveryByte) {
  const TempDir folder;
  const Image image = noise(5, 7);
  EXPECT_EQ(read_image(put_file(folder, "a.bmp", bmp_of(image))), image);
}

TEST(Image, JpegIsCloseAndQualityMatters) {
  const TempDir folder;
  const Image image = ramp(48, 64);
  write_image(folder / "a.JPG", image, 95);
  const Image back = read_image(folder / "a.JPG");
  ASSERT_EQ(back.pixels.size(), image.pixels.size());
  int worst = 0;
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    worst = std::max(worst, std::abs(int{back.pixels[i]} - int{image.pixels[i]}));
  }
  EXPECT_LE(worst, 6);  // two roundings of colour conversion and one of coefficients
  EXPECT_LT(encode_jpeg(noise(32, 32), 20).size(), encode_jpeg(noise(32, 32), 95).size());
  EXPECT_THROW(encode_jpeg(image, 0), ValueError);
  EXPECT_THROW(encode_jpeg(image, 101), ValueError);
}

TEST(Image, GreyIsRepeatedAndAlphaDropped) {
  const TempDir folder;
  const Image grey = read_image(put_file(folder, "g.png", png_of(1, 2, 1, {10, 200})));
  EXPECT_EQ(grey.pixels, (std::vector<std::uint8_t>{10, 10, 10, 200, 200, 200}));
  const Image grey_alpha = read_image(put_file(folder, "ga.png", png_of(1, 1, 2, {77, 0})));
  EXPECT_EQ(grey_alpha.pixels, (std::vector<std::uint8_t>{77, 77, 77}));
  // Transparent red stays red: not composited over anything.
  const Image rgba =
      read_image(put_file(folder, "c.png", png_of(1, 2, 4, {255, 1, 2, 0, 3, 4, 5, 128})));
  EXPECT_EQ(rgba.pixels, (std::vector<std::uint8_t>{255, 1, 2, 3, 4, 5}));
}

TEST(Image, SixteenBitsBecomeTheUpperEight) {
  // 2 x 1, 16-bit grey: 0x1234, 0xFE80. One stored (not compressed) block of zlib data.
  const unsigned char png[] = {
      0x89, 'P',  'N',  'G', '\r', '\n', 0x1A, '\n', 0,   0,   0,   13,   'I',  'H',  'D',
      'R',  0,    0,    0,   2,    0,    0,    0,    1,   16,  0,   0,    0,    0,    0,
      0,    0,    0,    0,   0,    0,    16,   'I',  'D', 'A', 'T', 0x78, 0x01, 0x01, 5,
      0,    0xFA, 0xFF, 0,   0x12, 0x34, 0xFE, 0x80, 0,   0,   0,   0,    0,    0,    0,
      0,    0,    0,    0,   0,    'I',  'E',  'N',  'D', 0,   0,   0,    0};
  const Image image = decode_image(png, "deep.png");
  EXPECT_EQ(image.pixels, (std::vector<std::uint8_t>{0x12, 0x12, 0x12, 0xFE, 0xFE, 0xFE}));
}

TEST(Image, OnePixelAndOneRowWork) {
  const TempDir folder;
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 20000}, {20000, 1}}) {
    const Image image = noise(height, width);
    write_image(folder / "a.png", image);
    EXPECT_EQ(read_image(folder / "a.png"), image);
    write_image(folder / "a.jpg", image);
    const Image back = read_image(folder / "a.jpg");
    EXPECT_EQ(back.height, height);
    EXPECT_EQ(back.width, width);
  }
}

TEST(Image, UnreadableFilesAreRefusedByName) {
  const TempDir folder;
  expect_error(error_of(folder / "gone.jpg"), "gone.jpg", "No such file");
  expect_error(error_of(folder.path()), folder.path().string(), "folder");
  expect_error(error_of(put_file(folder, "empty.jpg", "")), "empty.jpg", "is empty");
  expect_error(error_of(put_file(folder, "note.jpg", "just some text")), "note.jpg", "not a JPEG");
  expect_error(error_of(put_file(folder, "short.jpg", "\xFF")), "short.jpg", "not a JPEG");
  expect_error(error_of(put_file(folder, "m.jpg", "\xFF\xD8\xFF\xE0")), "m.jpg", "does not decode");
  expect_error(
      error_of(put_file(folder, "w.bmp", "BMW is a car, not a bitmap, and this is long enough")),
      "w.bmp", "does not decode");
}

TEST(Image, ACutJpegIsRefusedWhereverItIsCut) {
  const TempDir folder;
  const std::string whole = text_of(encode_jpeg(ramp(40, 56)));
  for (std::size_t size = 2; size < whole.size(); size += 7) {
    const auto path = put_file(folder, "cut.jpg", whole.substr(0, size));
    EXPECT_NE(error_of(path), "no error") << size << " of " << whole.size() << " bytes";
  }
  expect_error(error_of(put_file(folder, "cut.jpg", whole.substr(0, whole.size() - 2))), "cut.jpg",
               "no end-of-image marker");
  // Cameras append things after the end marker.
  EXPECT_EQ(error_of(put_file(folder, "more.jpg", whole + "trailer")), "no error");
}

TEST(Image, TheEndMarkerOfAThumbnailDoesNotCount) {
  const TempDir folder;
  const std::string whole = text_of(encode_jpeg(ramp(40, 56)));
  const std::string thumbnail = "Exif..\xFF\xD8 a picture \xFF\xD9";
  std::string app1 = "\xFF\xE1";
  app1.push_back('\0');
  app1.push_back(static_cast<char>(thumbnail.size() + 2));
  const std::string with_thumbnail = whole.substr(0, 2) + app1 + thumbnail + whole.substr(2);
  EXPECT_EQ(error_of(put_file(folder, "t.jpg", with_thumbnail)), "no error");
  expect_error(
      error_of(put_file(folder, "t.jpg", with_thumbnail.substr(0, with_thumbnail.size() - 20))),
      "t.jpg", "no end-of-image marker");
}

TEST(Image, ACutPngOrBmpIsRefused) {
  const TempDir folder;
  const std::string png = text_of(encode_png(noise(20, 20))), bmp = bmp_of(noise(20, 20));
  for (std::size_t size = 8; size + 12 < png.size(); size += 31) {
    EXPECT_NE(error_of(put_file(folder, "c.png", png.substr(0, size))), "no error") << size;
  }
  for (std::size_t size = 2; size < bmp.size(); size += 31) {
    EXPECT_NE(error_of(put_file(folder, "c.bmp", bmp.substr(0, size))), "no error") << size;
  }
}

TEST(Image, AbsurdSizesAreRefusedBeforeDecoding) {
  const TempDir folder;
  std::string png = text_of(encode_png(noise(2, 2)));
  png[16] = 0, png[17] = 1, png[18] = 0, png[19] = 0;  // 65536 x 65536
  png[20] = 0, png[21] = 1, png[22] = 0, png[23] = 0;
  EXPECT_NE(error_of(put_file(folder, "huge.png", png)), "no error");
  const auto small = put_file(folder, "small.png", text_of(encode_png(noise(20, 30))));
  expect_error(error_of(small, {.max_pixels = 599}), "small.png", "limit of 599");
  EXPECT_EQ(error_of(small, {.max_pixels = 600}), "no error");
}

TEST(Image, WritingNeedsAKnownNameAndAFolder) {
  const TempDir folder;
  EXPECT_THROW(write_image(folder / "a.gif", noise(2, 2)), ValueError);
  EXPECT_THROW(write_image(folder / "no" / "a.png", noise(2, 2)), FileError);
  EXPECT_THROW(Image(0, 3), ValueError);
}

}  // namespace
}  // namespace mwalimu::data
