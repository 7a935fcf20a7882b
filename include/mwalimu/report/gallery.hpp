// report/gallery: small pictures with a line or two below each, for a page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/report/base64.hpp"
#include "mwalimu/report/image_map.hpp"
#include "mwalimu/report/text.hpp"

namespace mwalimu::report {

struct GalleryItem {
  const std::uint8_t* image = nullptr;  ///< height x width x 3 bytes
  std::string title = {};               ///< below the picture, bold
  std::vector<std::string> lines = {};  ///< below the title
  std::string alt = {};                 ///< for those who do not see it
};

/// HTML that needs nothing else: pictures `side` pixels large as data, as many a row as fit. All
/// text is escaped. HtmlReport::figure takes it.
/// @throws ValueError  an extent or side < 1.
inline std::string gallery_html(std::span<const GalleryItem> items, index_t height, index_t width,
                                index_t side) {
  require<ValueError>(height >= 1 && width >= 1 && side >= 1, "gallery_html: pictures of ", height,
                      " x ", width, " at ", side, " pixels");
  const std::string size = std::to_string(side);
  std::string html = "<div style=\"display:flex;flex-wrap:wrap;gap:.9rem .8rem\">\n";
  for (const GalleryItem& item : items) {
    Raster picture(side, side);
    detail::draw_image(picture, item.image, height, width, 0, 0, side);
    html += "<div style=\"width:" + size + "px;font-size:.74rem;line-height:1.35\">";
    html += "<img width=\"" + size + "\" height=\"" + size + "\" alt=\"" + escaped(item.alt) +
            "\" style=\"border-radius:.3rem\" src=\"data:image/png;base64," +
            base64(picture.png()) + "\"/>";
    html += "<div style=\"margin-top:.2rem\"><b>" + escaped(item.title) + "</b></div>";
    for (const std::string& line : item.lines) html += "<div>" + escaped(line) + "</div>";
    html += "</div>\n";
  }
  return html + "</div>\n";
}

}  // namespace mwalimu::report
