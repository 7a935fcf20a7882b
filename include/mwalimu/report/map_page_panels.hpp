// report/map_page_panels: what the map's program draws: points, pairs and thumbnails of each panel, as
// the camera sees them.
#pragma once

#include <string_view>

namespace mwalimu::report::detail {

inline constexpr std::string_view kMapPanels = R"js(// --- Panels -----------------------------------------------------------------------------------
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

)js";

}  // namespace mwalimu::report::detail
