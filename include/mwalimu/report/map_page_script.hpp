// report/map_page_script: the program of map_page.hpp's page, as the browser reads it: one function, in
// the order of its parts.
//
// World coordinates are [-1, 1] with y upwards; the camera is a centre and a zoom, the same for all
// panels. Which thumbnails are drawn depends on the zoom's level (a power of sqrt 2) and on the
// points, never on where the camera looks, so that nothing flickers while it moves.
#pragma once

#include <string_view>

#include "mwalimu/report/map_page_controls.hpp"
#include "mwalimu/report/map_page_data.hpp"
#include "mwalimu/report/map_page_panels.hpp"
#include "mwalimu/report/map_page_pointer.hpp"

namespace mwalimu::report::detail {

inline constexpr std::string_view kMapScript[] = {kMapData, kMapPanels, kMapPointer, kMapControls};

}  // namespace mwalimu::report::detail
