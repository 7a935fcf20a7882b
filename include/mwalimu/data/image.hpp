// data/image: 8-bit RGB images in memory, and JPEG, PNG and BMP files.
#pragma once

#include <stb/stb_image.h>
#include <stb/stb_image_write.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::data {

/// Interleaved 8-bit RGB: pixels[(y * width + x) * 3 + c].
struct Image {
  int height = 0;
  int width = 0;
  std::vector<std::uint8_t> pixels;

  static constexpr int channels = 3;

  Image() = default;
  /// Black.
  /// @throws ValueError  height or width < 1.
  Image(int h, int w) : height(h), width(w) {
    require<ValueError>(h >= 1 && w >= 1, "Image: want height and width of at least 1, got ", h,
                        " x ", w);
    pixels.resize(static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * channels);
  }
  std::uint8_t* at(int y, int x) { return pixels.data() + offset(y, x); }
  const std::uint8_t* at(int y, int x) const { return pixels.data() + offset(y, x); }
  friend bool operator==(const Image&, const Image&) = default;

 private:
  std::size_t offset(int y, int x) const {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
            static_cast<std::size_t>(x)) *
           channels;
  }
};

struct DecodeOptions {
  /// Larger images are refused before any of their pixels is decoded.
  std::int64_t max_pixels = std::int64_t{1} << 28;
};

namespace detail {

using Bytes = std::span<const std::uint8_t>;

inline std::uint32_t little_endian(Bytes bytes, std::size_t at, int count) {
  std::uint32_t value = 0;
  for (int i = 0; i < count; ++i) {
    value |= std::uint32_t{bytes[at + static_cast<std::size_t>(i)]} << (8 * i);
  }
  return value;
}

inline bool starts_with(Bytes bytes, std::initializer_list<std::uint8_t> magic) {
  return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
}

// True if the stream of markers reaches end-of-image. Some versions of stb fill what a cut JPEG
// lacks with grey and report success; a thumbnail's own end marker sits inside a segment and is
// stepped over.
inline bool jpeg_is_complete(Bytes bytes) {
  std::size_t i = 2;
  while (i + 1 < bytes.size()) {
    if (bytes[i] != 0xFF) {  // entropy-coded data
      ++i;
      continue;
    }
    const std::uint8_t marker = bytes[i + 1];
    if (marker == 0xD9) return true;
    const bool bare = marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8);
    if (marker == 0xFF) {
      i += 1;  // fill byte
    } else if (bare) {
      i += 2;  // stuffed byte or restart
    } else {
      if (i + 3 >= bytes.size()) return false;
      i += 2 + (std::size_t{bytes[i + 2]} << 8 | bytes[i + 3]);
    }
  }
  return false;
}

// True if the file holds every row that its header promises. stb reads zeros past the end.
inline bool bmp_is_complete(Bytes bytes) {
  if (bytes.size() < 26) return false;
  const std::uint32_t pixels_at = little_endian(bytes, 10, 4), header = little_endian(bytes, 14, 4);
  std::int64_t width, height, bits;
  if (header == 12) {  // OS/2
    width = little_endian(bytes, 18, 2), height = little_endian(bytes, 20, 2);
    bits = little_endian(bytes, 24, 2);
  } else {
    if (bytes.size() < 30) return false;
    width = static_cast<std::int32_t>(little_endian(bytes, 18, 4));
    height = static_cast<std::int32_t>(little_endian(bytes, 22, 4));  // negative: rows run down
    bits = little_endian(bytes, 28, 2);
  }
  if (width < 1 || height == 0) return false;
  const double row = static_cast<double>((width * bits + 31) / 32 * 4);
  const double end = pixels_at + row * static_cast<double>(height < 0 ? -height : height);
  return static_cast<double>(bytes.size()) >= end;
}

inline void append_bytes(void* context, void* data, int size) {
  auto* out = static_cast<std::vector<std::uint8_t>*>(context);
  const auto* first = static_cast<const std::uint8_t*>(data);
  out->insert(out->end(), first, first + size);
}

inline std::string lower_extension(const std::filesystem::path& path) {
  std::string text = path.extension().string();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace detail

/// True for the names of files that read_image takes: .jpg, .jpeg, .png, .bmp in any case.
inline bool has_image_extension(const std::filesystem::path& path) {
  const std::string extension = detail::lower_extension(path);
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".bmp";
}

/// The image in `bytes`, a whole JPEG, PNG or BMP file, as 8-bit RGB.
///
/// Grey is repeated over the three channels, 16 bits become their upper 8, and alpha is dropped,
/// not composited (as PIL's convert("RGB") does). Orientation tags are ignored.
///
/// @param name  what errors call it.
/// @throws FileError  empty, another format, cut short, corrupt, or more than max_pixels.
inline Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name,
                          const DecodeOptions& options = {}) {
  require<FileError>(!bytes.empty(), name, ": the file is empty");
  require<FileError>(bytes.size() <= std::numeric_limits<int>::max(), name,
                     ": larger than 2 GiB, which no image of ours is");
  // stb would also take formats that have no signature, and so read some text files as images.
  const bool jpeg = detail::starts_with(bytes, {0xFF, 0xD8, 0xFF});
  const bool png = detail::starts_with(bytes, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'});
  const bool bmp = detail::starts_with(bytes, {'B', 'M'});
  require<FileError>(jpeg || png || bmp, name,
                     ": not a JPEG, PNG or BMP file, whatever its name says");

  const int size = static_cast<int>(bytes.size());
  int width = 0, height = 0, components = 0;
  const char* kind = jpeg ? "JPEG" : png ? "PNG" : "BMP";
  if (stbi_info_from_memory(bytes.data(), size, &width, &height, &components) == 0) {
    mwalimu::detail::fail<FileError>(name, ": does not decode as ", kind, " (",
                                     stbi_failure_reason(), "); it is cut short or corrupt");
  }
  require<FileError>(
      width >= 1 && height >= 1 && std::int64_t{width} * height <= options.max_pixels, name, ": ",
      width, " x ", height, " pixels, more than the limit of ", options.max_pixels);
  require<FileError>(!jpeg || detail::jpeg_is_complete(bytes), name,
                     ": the JPEG is cut short (it has no end-of-image marker)");
  require<FileError>(!bmp || detail::bmp_is_complete(bytes), name,
                     ": the BMP is cut short (its header promises more rows)");

  const std::unique_ptr<stbi_uc, void (*)(void*)> decoded(
      stbi_load_from_memory(bytes.data(), size, &width, &height, &components, Image::channels),
      stbi_image_free);
  if (decoded == nullptr) {
    mwalimu::detail::fail<FileError>(name, ": does not decode as ", kind, " (",
                                     stbi_failure_reason(), "); it is cut short or corrupt");
  }
  Image image(height, width);
  std::memcpy(image.pixels.data(), decoded.get(), image.pixels.size());
  return image;
}

/// The image in a file; see decode_image.
/// @throws FileError  also if the file is missing, a folder, or unreadable.
inline Image read_image(const std::filesystem::path& path, const DecodeOptions& options = {}) {
  const std::string bytes = io::read_file(path, std::uint64_t{1} << 31);
  const auto* first = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return decode_image({first, bytes.size()}, path.string(), options);
}

/// A baseline JPEG file. Chroma is stored at half resolution for quality <= 90, fully above.
/// @param quality  1..100.
inline std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality = 92) {
  require<ValueError>(quality >= 1 && quality <= 100, "encode_jpeg: want quality in 1..100, got ",
                      quality);
  require<ValueError>(
      image.height >= 1 && image.height < 65536 && image.width >= 1 && image.width < 65536,
      "encode_jpeg: want extents in 1..65535, got ", image.height, " x ", image.width);
  std::vector<std::uint8_t> out;
  const int ok = stbi_write_jpg_to_func(detail::append_bytes, &out, image.width, image.height,
                                        Image::channels, image.pixels.data(), quality);
  require<Error>(ok != 0, "encode_jpeg: stb could not encode ", image.height, " x ", image.width);
  return out;
}

/// A PNG file: lossless.
inline std::vector<std::uint8_t> encode_png(const Image& image) {
  require<ValueError>(image.height >= 1 && image.width >= 1, "encode_png: the image is empty");
  std::vector<std::uint8_t> out;
  const int ok =
      stbi_write_png_to_func(detail::append_bytes, &out, image.width, image.height, Image::channels,
                             image.pixels.data(), image.width * Image::channels);
  require<Error>(ok != 0, "encode_png: stb could not encode ", image.height, " x ", image.width);
  return out;
}

/// Writes by extension (.jpg, .jpeg or .png), whole or not at all.
/// @throws ValueError  another extension.   @throws FileError  the file cannot be written.
inline void write_image(const std::filesystem::path& path, const Image& image, int quality = 92) {
  const std::string extension = detail::lower_extension(path);
  const bool jpeg = extension == ".jpg" || extension == ".jpeg";
  require<ValueError>(jpeg || extension == ".png", path.string(),
                      ": want a name that ends in .jpg or .png");
  const auto bytes = jpeg ? encode_jpeg(image, quality) : encode_png(image);
  io::write_file(path, std::as_bytes(std::span(bytes)));
}

}  // namespace mwalimu::data
