// report/map_page_data: what the map's program knows and draws with: the points as the page
// brings them, the state that the user changes, thumbnails and markers.
#pragma once

#include <string_view>

namespace mwalimu::report::detail {

inline constexpr std::string_view kMapData = R"js(
"use strict";
(() => {
const D = JSON.parse(document.getElementById("map-data").textContent);
const root = document.getElementById("map");
const n = D.n, ink = "#222222", grey = "#9aa0a6";

// --- Data -------------------------------------------------------------------------------------
const unpack = text => {
  const raw = atob(text), out = new Float32Array(raw.length / 2);
  for (let i = 0; i < out.length; ++i) {
    out[i] = (raw.charCodeAt(2 * i) | raw.charCodeAt(2 * i + 1) << 8) / 32767.5 - 1;
  }
  return out;
};
for (const v of D.views) v.xy = unpack(v.xy);
for (const f of D.frames) f.xy = unpack(f.xy);
const labelOf = i => D.label ? D.label[i] : -1;
const predictedOf = (i, v) => (v.predicted || D.predicted || [])[i] ?? -1;
const probabilityOf = (i, v) => (v.predicted ? v.probability : D.probability || [])?.[i];
const sensorOf = i => D.sensor ? D.sensor[i] : 0;
const pairOf = i => D.pair ? D.pair[i] : -1;
const wrong = (i, v) => labelOf(i) >= 0 && predictedOf(i, v) >= 0 && labelOf(i) !== predictedOf(i, v);
const hasLabels = D.label && D.label.some(v => v >= 0);
const hasPredictions = D.views.some(v => v.predicted) || (D.predicted && D.predicted.some(v => v >= 0));
const hasPairs = D.pair && D.pair.some(v => v >= 0);

// A fixed shuffled order (a small linear congruential generator), so that no class lies on top.
const order = Array.from({length: n}, (_, i) => i);
for (let i = n - 1, s = 12345; i > 0; --i) {
  s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
  const j = s % (i + 1);
  [order[i], order[j]] = [order[j], order[i]];
}

// --- State ------------------------------------------------------------------------------------
const state = {
  colour: hasLabels ? "label" : hasPredictions ? "prediction" : "sensor",
  images: D.images && !D.frames.length && !D.together, size: 36, pairs: D.pairLines, wrongOnly: false,
  classes: D.classes.map(() => true), sensors: D.sensors.map(() => true), noLabel: true,
  view: D.together ? -1 : D.first, hover: -1, found: null, frame: 0, playing: false
};
const camera = {x: 0, y: 0, zoom: 1};
let epoch = 0;  // of what the choice of thumbnails depends on, beside the zoom

// --- Sprites ----------------------------------------------------------------------------------
const sheets = D.sheets.map(src => { const im = new Image(); im.onload = draw; im.src = src; return im; });
const drawThumb = (g, i, x, y, side) => {
  const sheet = sheets[Math.floor(i / D.perSheet)], k = i % D.perSheet, c = D.cell;
  if (!sheet || !sheet.complete) return;
  // Half a pixel less on every side: smoothing must not reach into the neighbour.
  g.drawImage(sheet, (k % D.columns) * c + .5, Math.floor(k / D.columns) * c + .5, c - 1, c - 1, x, y, side, side);
};
const markerPath = (g, sensor, x, y, r) => {
  g.beginPath();
  if (sensor === 0) g.arc(x, y, r, 0, 2 * Math.PI);
  else if (sensor === 1) {
    g.moveTo(x, y - 1.45 * r); g.lineTo(x + 1.3 * r, y + .85 * r); g.lineTo(x - 1.3 * r, y + .85 * r); g.closePath();
  } else g.rect(x - .9 * r, y - .9 * r, 1.8 * r, 1.8 * r);
};
const markers = new Map();
const marker = (sensor, colour, r, ratio) => {
  const key = sensor + colour + r.toFixed(1) + ratio;
  let m = markers.get(key);
  if (!m) {
    m = document.createElement("canvas");
    m.half = Math.ceil(1.6 * r + 1);
    m.width = m.height = 2 * m.half * ratio;
    const g = m.getContext("2d");
    g.scale(ratio, ratio);
    markerPath(g, sensor, m.half, m.half, r);
    g.fillStyle = colour; g.globalAlpha = .85; g.fill();
    g.globalAlpha = 1; g.strokeStyle = "#ffffff"; g.lineWidth = .7; g.stroke();
    if (markers.size > 400) markers.clear();
    markers.set(key, m);
  }
  return m;
};
const classColour = c => c < 0 ? grey : D.palette[c % D.palette.length];
const sensorColour = s => D.palette[s % D.palette.length];
const colourOf = (i, v) => state.colour === "sensor" ? sensorColour(sensorOf(i))
  : classColour(state.colour === "label" ? labelOf(i) : predictedOf(i, v));
const visible = (i, v) => {
  if (!state.sensors[sensorOf(i)]) return false;
  const c = state.colour === "prediction" || !hasLabels ? predictedOf(i, v) : labelOf(i);
  if (!(c < 0 ? state.noLabel : state.classes[c])) return false;
  if (state.found && !state.found.has(i)) return false;
  return !state.wrongOnly || wrong(i, v);
};

)js";

}  // namespace mwalimu::report::detail
