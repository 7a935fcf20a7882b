// report/map_page_script: the style and the program of map_page.hpp's page, as the browser reads them.
//
// World coordinates are [-1, 1] with y upwards; the camera is a centre and a zoom, the same for all
// panels. Which thumbnails are drawn depends on the zoom's level (a power of sqrt 2) and on the
// points, never on where the camera looks, so that nothing flickers while it moves.
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

inline constexpr std::string_view kMapScript = R"js(
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

// --- Panels -----------------------------------------------------------------------------------
const stage = root.querySelector(".stage"), tip = root.querySelector(".tip");
let panels = [];
const buildPanels = () => {
  stage.textContent = "";
  const shown = state.view < 0 ? D.views.map((_, v) => v) : [state.view];
  const columns = shown.length < 2 ? 1 : shown.length < 5 ? Math.min(shown.length, innerWidth < 700 ? 1 : innerWidth < 1100 ? 2 : shown.length) : 3;
  stage.style.gridTemplateColumns = "repeat(" + columns + ", minmax(0, 1fr))";
  const earlier = panels;
  panels = shown.map(v => {
    const box = document.createElement("div"), head = document.createElement("h4");
    const canvas = document.createElement("canvas");
    box.className = "panel"; canvas.className = "map"; canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Map of " + n + " points: " + D.views[v].name);
    head.textContent = D.views[v].name + " ";
    const note = document.createElement("span");
    note.textContent = D.views[v].note;
    head.append(note);
    box.append(head, canvas);
    stage.append(box);
    const panel = {view: D.views[v], canvas, g: canvas.getContext("2d"), xy: D.views[v].xy, thumbs: null};
    listen(panel);
    return panel;
  });
  // One map after another: the points travel.
  if (panels.length === 1 && earlier.length === 1 && earlier[0].view !== panels[0].view) {
    travel(panels[0], earlier[0].xy, panels[0].view.xy);
  }
  resize();
};
const travel = (panel, from, to) => {
  const begin = performance.now(), length = 700;
  const step = now => {
    if (!panels.includes(panel)) return;
    const t = Math.min(1, (now - begin) / length), e = t * t * (3 - 2 * t);
    panel.xy = t < 1 ? from.map((v, k) => v + (to[k] - v) * e) : to;
    panel.moving = t < 1;
    panel.thumbs = null;
    draw();
    if (t < 1) requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
};
const resize = () => {
  const ratio = devicePixelRatio || 1;
  for (const p of panels) {
    const w = p.canvas.parentElement.clientWidth;
    const h = Math.round(Math.min(w, Math.max(300, innerHeight * (panels.length > 3 ? .45 : .74))));
    p.w = w; p.h = h;
    p.canvas.style.height = h + "px";
    p.canvas.width = Math.round(w * ratio); p.canvas.height = Math.round(h * ratio);
    p.thumbs = null;
  }
  draw();
};
const unit = p => Math.min(p.w, p.h) / 2 * .91;               // pixels a world unit at zoom 1
const screenX = (p, x) => p.w / 2 + (x - camera.x) * unit(p) * camera.zoom;
const screenY = (p, y) => p.h / 2 - (y - camera.y) * unit(p) * camera.zoom;

// The thumbnails of a zoom level: points in a fixed order, each drawn where no earlier one lies
// within its box. A hash of cells of the box's size keeps this linear.
const chooseThumbs = p => {
  const level = Math.floor(2 * Math.log2(camera.zoom) + 1e-9);
  if (p.thumbs && p.thumbs.level === level && p.thumbs.epoch === epoch) return p.thumbs;
  const size = state.size * Math.sqrt(Math.min(1, Math.min(p.w, p.h) / 700));
  const box = size / (unit(p) * 2 ** (level / 2)), gap = box * 1.16;
  const cells = new Map(), chosen = [], inside = new Uint8Array(n);
  const place = i => {
    const x = p.xy[2 * i], y = p.xy[2 * i + 1], cx = Math.floor(x / gap), cy = Math.floor(y / gap);
    for (let a = cx - 1; a <= cx + 1; ++a) for (let b = cy - 1; b <= cy + 1; ++b) {
      const j = cells.get(a * 4194304 + b);
      if (j !== undefined && Math.abs(p.xy[2 * j] - x) < gap && Math.abs(p.xy[2 * j + 1] - y) < gap) return;
    }
    cells.set(cx * 4194304 + cy, i);  // a cell never holds two: they would lie within one box
    chosen.push(i);
    inside[i] = 1;
  };
  for (const i of order) if (visible(i, p.view)) place(i);
  return p.thumbs = {level, epoch, box, chosen, inside};
};

const drawPanel = p => {
  const g = p.g, ratio = devicePixelRatio || 1, xy = p.xy, v = p.view;
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.fillStyle = "#ffffff";
  g.fillRect(0, 0, p.w, p.h);
  const thumbs = state.images && D.images && !p.moving ? chooseThumbs(p) : null;
  const r = Math.min(9, Math.max(1.8, Math.min(5.5, unit(p) / 3.2 / Math.sqrt(n))) * Math.sqrt(camera.zoom));
  const at = i => [screenX(p, xy[2 * i]), screenY(p, xy[2 * i + 1])];
  const near = (x, y, m) => x > -m && y > -m && x < p.w + m && y < p.h + m;
  if (state.pairs && hasPairs) {
    g.strokeStyle = "#5f6368"; g.globalAlpha = .4; g.lineWidth = 1;
    g.beginPath();
    for (let i = 0; i < n; ++i) {
      const j = pairOf(i);
      if (j <= i || !visible(i, v) || !visible(j, v)) continue;
      const [x, y] = at(i), [z, w] = at(j);
      g.moveTo(x, y); g.lineTo(z, w);
    }
    g.stroke();
    g.globalAlpha = 1;
  }
  const rings = [];
  for (const i of order) {
    if (thumbs && thumbs.inside[i] || !visible(i, v)) continue;
    const [x, y] = at(i);
    if (!near(x, y, 12)) continue;
    const m = marker(sensorOf(i), colourOf(i, v), r, ratio);
    g.drawImage(m, x - m.half, y - m.half, 2 * m.half, 2 * m.half);
    if (wrong(i, v)) rings.push(x, y);
  }
  g.strokeStyle = "#111111"; g.lineWidth = r < 3 ? 1 : 1.4;
  for (let k = 0; k < rings.length; k += 2) {
    g.beginPath(); g.arc(rings[k], rings[k + 1], r + Math.min(2.6, .4 + .7 * r), 0, 2 * Math.PI); g.stroke();
  }
  let count = 0;
  if (thumbs) {
    const side = thumbs.box * unit(p) * camera.zoom, half = side / 2, frame = Math.max(2, Math.min(4, side / 16));
    for (const i of thumbs.chosen) {
      const [x, y] = at(i);
      if (!near(x, y, side)) continue;
      ++count;
      if (wrong(i, v)) { g.fillStyle = "#111111"; g.fillRect(x - half - 2, y - half - 2, side + 4, side + 4);
        g.fillStyle = "#ffffff"; g.fillRect(x - half - .5, y - half - .5, side + 1, side + 1); }
      g.fillStyle = colourOf(i, v);
      g.fillRect(x - half, y - half, side, side);
      drawThumb(g, i, x - half + frame, y - half + frame, side - 2 * frame);
      // The sensor's marker in the corner.
      if (D.sensor) {
        const m = Math.max(3.2, side / 11), bx = x - half + m * 1.25, by = y + half - m * 1.25;
        g.fillStyle = "#ffffff"; g.fillRect(x - half, y + half - 2.5 * m, 2.5 * m, 2.5 * m);
        markerPath(g, sensorOf(i), bx, by + (sensorOf(i) === 1 ? m * .2 : 0), m * .78);
        g.fillStyle = ink; g.fill();
      }
    }
  }
  const h = state.hover;
  if (h >= 0) {
    const ring = (i, width) => {
      const [x, y] = at(i);
      const s = thumbs && thumbs.inside[i] ? thumbs.box * unit(p) * camera.zoom / 2 + 4 : r + 5;
      g.lineWidth = width + 3; g.strokeStyle = "#ffffff"; g.beginPath();
      if (thumbs && thumbs.inside[i]) g.rect(x - s, y - s, 2 * s, 2 * s); else g.arc(x, y, s, 0, 2 * Math.PI);
      g.stroke(); g.lineWidth = width; g.strokeStyle = ink; g.stroke();
    };
    const j = pairOf(h);
    if (j >= 0) {
      const [x, y] = at(h), [z, w] = at(j);
      for (const [width, colour] of [[4.5, "#ffffff"], [1.8, ink]]) {
        g.lineWidth = width; g.strokeStyle = colour; g.beginPath(); g.moveTo(x, y); g.lineTo(z, w); g.stroke();
      }
      ring(j, 1.4);
    }
    ring(h, 2.2);
  }
  p.shown = count;
};
let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    panels.forEach(drawPanel);
    // For whoever drives the page by a script.
    root.dataset.thumbnails = panels.map(p => p.shown).join(",");
    root.dataset.zoom = camera.zoom.toFixed(3);
  });
}
const changed = () => { ++epoch; draw(); };

// --- Pointer and keys -------------------------------------------------------------------------
const zoomAt = (p, x, y, factor) => {
  const zoom = Math.min(400, Math.max(.5, camera.zoom * factor));
  const wx = camera.x + (x - p.w / 2) / (unit(p) * camera.zoom), wy = camera.y - (y - p.h / 2) / (unit(p) * camera.zoom);
  camera.zoom = zoom;
  camera.x = wx - (x - p.w / 2) / (unit(p) * zoom);
  camera.y = wy + (y - p.h / 2) / (unit(p) * zoom);
  draw();
};
const nearest = (p, x, y) => {
  const thumbs = state.images && D.images ? p.thumbs : null;
  const half = thumbs ? thumbs.box * unit(p) * camera.zoom / 2 : 0;
  let best = -1, distance = 14 * 14;
  if (thumbs) for (const i of thumbs.chosen) {
    if (Math.abs(screenX(p, p.xy[2 * i]) - x) <= half && Math.abs(screenY(p, p.xy[2 * i + 1]) - y) <= half) return i;
  }
  for (let i = 0; i < n; ++i) {
    if (!visible(i, p.view)) continue;
    const dx = screenX(p, p.xy[2 * i]) - x, dy = screenY(p, p.xy[2 * i + 1]) - y, d = dx * dx + dy * dy;
    if (d < distance) { distance = d; best = i; }
  }
  return best;
};
const percent = q => q === undefined || q === null || q < 0 ? "" : ", " + (100 * q).toFixed(1) + " %";
const showTip = (p, i, x, y) => {
  tip.textContent = "";
  const images = document.createElement("div");
  images.className = "images";
  const both = pairOf(i) >= 0 ? [i, pairOf(i)] : [i];
  if (D.images) for (const k of both) {
    const box = document.createElement("div"), c = document.createElement("canvas"), side = k === i ? 150 : 100;
    c.width = c.height = side * 2; c.style.width = c.style.height = side + "px";
    const g = c.getContext("2d");
    g.imageSmoothingQuality = "high";
    drawThumb(g, k, 0, 0, side * 2);
    box.append(c, D.sensors[sensorOf(k)] + (k === i ? "" : ", same plant"));
    images.append(box);
  }
  if (D.images) tip.append(images);
  const table = document.createElement("table");
  const row = (name, value, bad) => {
    const tr = table.insertRow();
    tr.insertCell().textContent = name;
    const cell = tr.insertCell();
    cell.textContent = value;
    if (bad) cell.className = "bad";
  };
  row("image", D.id ? D.id[i] : String(i));
  if (D.sensor) row("sensor", D.sensors[sensorOf(i)]);
  if (D.label) row("label", labelOf(i) < 0 ? "not known" : D.classes[labelOf(i)]);
  const say = (k, v) => predictedOf(k, v) < 0 ? "none" : D.classes[predictedOf(k, v)] + percent(probabilityOf(k, v))
    + (wrong(k, v) ? " (wrong)" : "");
  if (hasPredictions) {
    const views = panels.length > 1 && D.views.some(v => v.predicted) ? panels.map(q => q.view) : [p.view];
    for (const v of views) row(views.length > 1 ? v.name : "prediction", say(i, v), wrong(i, v));
    if (both.length > 1) row("its pair's", say(both[1], p.view), wrong(both[1], p.view));
  }
  tip.append(table);
  tip.style.display = "block";
  const w = tip.offsetWidth, h = tip.offsetHeight;
  tip.style.left = Math.max(4, x + 18 + w > innerWidth ? x - 18 - w : x + 18) + "px";
  tip.style.top = Math.max(4, Math.min(y + 14, innerHeight - h - 6)) + "px";
};
const hideTip = () => { tip.style.display = "none"; if (state.hover >= 0) { state.hover = -1; draw(); } };
function listen(p) {
  const c = p.canvas, down = new Map();
  let pinch = 0;
  const place = e => { const b = c.getBoundingClientRect(); return [e.clientX - b.left, e.clientY - b.top]; };
  c.addEventListener("wheel", e => {
    e.preventDefault();
    const [x, y] = place(e);
    zoomAt(p, x, y, Math.exp(-Math.max(-60, Math.min(60, e.deltaY)) * .004));
  }, {passive: false});
  c.addEventListener("pointerdown", e => { c.setPointerCapture(e.pointerId); down.set(e.pointerId, place(e)); pinch = 0; });
  c.addEventListener("pointermove", e => {
    const [x, y] = place(e), last = down.get(e.pointerId);
    if (last && down.size === 1) {
      camera.x -= (x - last[0]) / (unit(p) * camera.zoom);
      camera.y += (y - last[1]) / (unit(p) * camera.zoom);
      down.set(e.pointerId, [x, y]);
      tip.style.display = "none";
      draw();
    } else if (last && down.size === 2) {
      down.set(e.pointerId, [x, y]);
      const [a, b] = [...down.values()], length = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (pinch > 0) zoomAt(p, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, length / pinch);
      pinch = length;
    } else if (!last) {
      const i = nearest(p, x, y);
      if (i !== state.hover) { state.hover = i; draw(); }
      if (i >= 0) showTip(p, i, e.clientX, e.clientY); else hideTip();
    }
  });
  const up = e => {
    down.delete(e.pointerId);
    pinch = 0;
    if (e.type === "pointerup" && e.pointerType === "touch") {
      const [x, y] = place(e), i = nearest(p, x, y);
      state.hover = i; draw();
      if (i >= 0) showTip(p, i, e.clientX, e.clientY); else hideTip();
    }
  };
  c.addEventListener("pointerup", up);
  c.addEventListener("pointercancel", up);
  c.addEventListener("pointerleave", e => { if (e.pointerType !== "touch") hideTip(); });
  c.addEventListener("dblclick", e => { const [x, y] = place(e); zoomAt(p, x, y, 2); });
  c.addEventListener("keydown", e => {
    const step = 40 / (unit(p) * camera.zoom);
    if (e.key === "+" || e.key === "=") zoomAt(p, p.w / 2, p.h / 2, Math.SQRT2);
    else if (e.key === "-") zoomAt(p, p.w / 2, p.h / 2, Math.SQRT1_2);
    else if (e.key === "0") reset();
    else if (e.key === "ArrowLeft") camera.x -= step;
    else if (e.key === "ArrowRight") camera.x += step;
    else if (e.key === "ArrowUp") camera.y += step;
    else if (e.key === "ArrowDown") camera.y -= step;
    else return;
    e.preventDefault();
    draw();
  });
}
const reset = () => { camera.x = camera.y = 0; camera.zoom = 1; draw(); };

// --- Controls ---------------------------------------------------------------------------------
const bar = root.querySelector(".bar");
const group = title => {
  const g = document.createElement("div"), b = document.createElement("b");
  g.className = "group"; b.textContent = title;
  if (title) g.append(b);
  bar.append(g);
  return g;
};
const button = (to, text, pressed, act, icon) => {
  const b = document.createElement("button");
  b.type = "button";
  if (icon) b.innerHTML = icon;
  b.append(text);
  if (pressed !== null) b.setAttribute("aria-pressed", pressed());
  b.refresh = () => { if (pressed !== null) b.setAttribute("aria-pressed", pressed()); };
  b.onclick = () => { act(); root.querySelectorAll("#map .bar button").forEach(o => o.refresh && o.refresh()); };
  to.append(b);
  return b;
};
const disc = colour => '<svg viewBox="0 0 10 10"><circle cx="5" cy="5" r="4.5" fill="' + colour + '"/></svg>';
const shape = (s, colour) => s === 1 ? '<svg viewBox="0 0 10 10"><path d="M5 .8L9.6 9H.4Z" fill="' + colour + '"/></svg>'
  : s === 0 ? disc(colour) : '<svg viewBox="0 0 10 10"><rect x="1" y="1" width="8" height="8" fill="' + colour + '"/></svg>';
if (D.views.length > 1) {
  const g = group("Map");
  D.views.forEach((v, k) => button(g, v.name, () => state.view === k, () => { state.view = k; buildPanels(); }));
  button(g, "all", () => state.view < 0, () => { state.view = -1; buildPanels(); });
}
if (D.classes.length && (hasLabels || hasPredictions)) {
  const g = group("Class");
  const count = c => D.label && hasLabels ? D.label.filter(v => v === c).length : (D.predicted || D.views[0].predicted).filter(v => v === c).length;
  D.classes.forEach((name, c) => {
    button(g, name + " (" + count(c) + ")", () => state.classes[c],
      () => { state.classes[c] = !state.classes[c]; changed(); }, disc(classColour(c))).classList.add("chip");
  });
  if (count(-1) > 0) button(g, "no label (" + count(-1) + ")", () => state.noLabel,
    () => { state.noLabel = !state.noLabel; changed(); }, disc(grey)).classList.add("chip");
}
if (D.sensor) {
  const g = group("Sensor");
  D.sensors.forEach((name, s) => {
    button(g, name + " (" + D.sensor.filter(v => v === s).length + ")", () => state.sensors[s],
      () => { state.sensors[s] = !state.sensors[s]; changed(); }, shape(s, ink)).classList.add("chip");
  });
}
{
  const g = group("Colour"), pick = (name, value) => button(g, name, () => state.colour === value,
    () => { state.colour = value; changed(); });
  if (hasLabels) pick("label", "label");
  if (hasPredictions) pick("prediction", "prediction");
  if (D.sensor) pick("sensor", "sensor");
  const show = group("Show");
  if (D.images) button(show, "images", () => state.images, () => { state.images = !state.images; changed(); });
  if (D.images) {
    button(show, "\u2212", null, () => { state.size = Math.max(16, state.size / 1.25); changed(); }).title = "smaller images";
    button(show, "+", null, () => { state.size = Math.min(140, state.size * 1.25); changed(); }).title = "larger images";
  }
  if (hasPairs) button(show, "lines between pairs", () => state.pairs, () => { state.pairs = !state.pairs; draw(); });
  if (hasLabels && hasPredictions) button(show, "wrong predictions only", () => state.wrongOnly,
    () => { state.wrongOnly = !state.wrongOnly; changed(); });
  button(show, "whole map", null, reset);
  if (D.id) {
    const find = document.createElement("input");
    find.type = "search"; find.placeholder = "find an image by name";
    find.setAttribute("aria-label", find.placeholder);
    find.oninput = () => {
      const text = find.value.trim().toLowerCase();
      state.found = text ? new Set(D.id.flatMap((id, i) => id.toLowerCase().includes(text) ? [i] : [])) : null;
      changed();
    };
    show.append(find);
  }
}

// --- The optimisation as a film ---------------------------------------------------------------
if (D.frames.length) {
  const play = root.querySelector(".play"), curve = root.querySelector("canvas.curve");
  const toggle = document.createElement("button"), slider = document.createElement("input"), text = document.createElement("output");
  toggle.type = "button"; slider.type = "range"; slider.min = 0; slider.max = D.frames.length - 1; slider.step = "any";
  slider.setAttribute("aria-label", "iteration");
  play.append(toggle, slider, text);
  const drawCurve = () => {
    const ratio = devicePixelRatio || 1, w = curve.clientWidth, h = curve.clientHeight, g = curve.getContext("2d");
    curve.width = w * ratio; curve.height = h * ratio;
    g.scale(ratio, ratio);
    const kl = D.frames.map(f => f.kl), low = Math.min(...kl), high = Math.max(...kl) + 1e-9, left = 44, right = w - 8;
    const last = D.frames[D.frames.length - 1].iteration, X = it => left + it / last * (right - left);
    const Y = v => 8 + (high - v) / (high - low) * (h - 28);
    g.font = "12px system-ui, sans-serif"; g.fillStyle = "#5f6368";
    const early = D.frames.filter(f => f.early).length;
    if (early) {
      const end = D.frames[early - 1].iteration;
      g.fillStyle = "#f3f5f8"; g.fillRect(X(0), 4, X(end) - X(0), h - 22);
      g.fillStyle = "#5f6368"; g.fillText("early exaggeration", X(0) + 6, h - 24);
    }
    g.textAlign = "right"; g.fillText(high.toFixed(2), left - 5, 14); g.fillText(low.toFixed(2), left - 5, h - 18);
    g.textAlign = "left"; g.fillText("KL", 2, (h - 10) / 2);
    g.strokeStyle = "#0072B2"; g.lineWidth = 2; g.beginPath();
    D.frames.forEach((f, k) => k ? g.lineTo(X(f.iteration), Y(f.kl)) : g.moveTo(X(f.iteration), Y(f.kl)));
    g.stroke();
    g.textAlign = "center"; g.fillStyle = "#5f6368";
    for (let t = 0; t <= 4; ++t) g.fillText(Math.round(last * t / 4), Math.min(right - 12, X(last * t / 4)), h - 4);
    const k = Math.round(state.frame), f = D.frames[k];
    g.fillStyle = "#D55E00"; g.beginPath(); g.arc(X(f.iteration), Y(f.kl), 4.5, 0, 2 * Math.PI); g.fill();
  };
  const show = () => {
    const k = Math.min(D.frames.length - 1, Math.floor(state.frame)), t = state.frame - k;
    const a = D.frames[k].xy, b = D.frames[Math.min(k + 1, D.frames.length - 1)].xy, f = D.frames[Math.round(state.frame)];
    const xy = t > 0 ? a.map((v, q) => v + (b[q] - v) * t) : a;
    for (const p of panels) { p.xy = xy; p.thumbs = null; }
    slider.value = state.frame;
    text.textContent = "iteration " + f.iteration + " of " + D.frames[D.frames.length - 1].iteration + ", KL " + f.kl.toFixed(3)
      + (f.early ? ", early exaggeration" : "");
    toggle.textContent = state.playing ? "pause" : "play";
    drawCurve();
    draw();
  };
  let last = 0;
  const tick = now => {
    if (!state.playing) return;
    // Twelve seconds in all. A frame may have begun before it was asked for.
    state.frame += Math.max(0, Math.min(.1, (now - last) / 1000)) * D.frames.length / 12;
    last = now;
    if (state.frame >= D.frames.length - 1) { state.frame = D.frames.length - 1; state.playing = false; }
    show();
    if (state.playing) requestAnimationFrame(tick);
  };
  const start = () => {
    if (state.frame >= D.frames.length - 1) state.frame = 0;
    state.playing = true; last = performance.now();
    requestAnimationFrame(tick);
  };
  toggle.onclick = () => { if (state.playing) { state.playing = false; show(); } else start(); };
  slider.oninput = () => { state.playing = false; state.frame = Number(slider.value); show(); };
  addEventListener("resize", drawCurve);
  state.frame = D.frames.length - 1;
  buildPanels();
  show();
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches && !location.hash.includes("still")) start();
} else {
  buildPanels();
}
let waiting = 0;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(resize, 60); });
})();
)js";

}  // namespace mwalimu::report::detail
