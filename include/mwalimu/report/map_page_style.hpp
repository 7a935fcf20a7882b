// report/map_page_style: the style of map_page.hpp's page.
#pragma once

#include <string_view>

namespace mwalimu::report::detail {

inline constexpr std::string_view kMapStyle = R"css(
body { max-width: 92rem; }
body > p, body > .wide { max-width: 56rem; }
#map { color: #222; font-size: .9rem; margin: 1rem 0; }
#map .bar { display: flex; flex-wrap: wrap; gap: .45rem .9rem; align-items: center; margin: .5rem 0; }
#map .group { display: flex; flex-wrap: wrap; gap: .3rem; align-items: center; }
#map .group > b { font-weight: 600; margin-right: .15rem; }
#map button { font: inherit; color: #222; background: #fff; border: 1px solid #b7bcc2; border-radius: .4rem;
  padding: .16rem .55rem; cursor: pointer; display: inline-flex; align-items: center; gap: .35rem; }
#map button:hover { background: #eef3f8; }
#map button[aria-pressed="true"] { background: #e3eef8; border-color: #0072B2; }
#map button.chip[aria-pressed="false"] { color: #8a8f95; text-decoration: line-through; }
#map button svg { width: .95em; height: .95em; }
#map input[type="search"] { font: inherit; padding: .16rem .5rem; border: 1px solid #b7bcc2; border-radius: .4rem;
  width: 14rem; }
#map .stage { position: relative; display: grid; gap: .6rem; }
#map .panel { position: relative; }
#map .panel h4 { margin: 0 0 .2rem; font-size: .95rem; font-weight: 600; }
#map .panel h4 span { font-weight: 400; color: #5f6368; }
#map canvas.map { display: block; width: 100%; border: 1px solid #d5d8dc; border-radius: .4rem;
  background: #fff; cursor: grab; touch-action: none; }
#map canvas.map:active { cursor: grabbing; }
#map .tip { position: fixed; z-index: 5; pointer-events: none; background: #fff; border: 1px solid #9aa0a6;
  border-radius: .5rem; box-shadow: 0 3px 14px rgba(0,0,0,.18); padding: .5rem .6rem; display: none;
  max-width: 24rem; font-size: .86rem; line-height: 1.4; }
#map .tip canvas { display: block; border-radius: .25rem; }
#map .tip .images { display: flex; gap: .5rem; margin-bottom: .35rem; }
#map .tip .images div { color: #5f6368; font-size: .8rem; }
#map .tip table { min-width: 0; font-size: inherit; }
#map .tip td { padding: 0 .6rem 0 0; border: 0; }
#map .tip td:first-child { color: #5f6368; white-space: nowrap; }
#map .tip .bad { color: #a40016; font-weight: 600; }
#map .play { display: flex; gap: .7rem; align-items: center; margin: .5rem 0; }
#map .play input { flex: 1; accent-color: #0072B2; }
#map .play output { min-width: 22rem; font-variant-numeric: tabular-nums; }
#map canvas.curve { width: 100%; height: 5.5rem; display: block; }
#map .hint { color: #5f6368; font-size: .84rem; max-width: 60rem; }
@media print { #map .bar, #map .play, #map .hint { display: none; } }
)css";

}  // namespace mwalimu::report::detail
