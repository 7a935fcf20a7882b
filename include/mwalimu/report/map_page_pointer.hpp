// report/map_page_pointer: how the map's program is moved: the pointer, fingers, keys, and what is
// told of the point below.
#pragma once

#include <string_view>

namespace mwalimu::report::detail {

inline constexpr std::string_view kMapPointer = R"js(// --- Pointer and keys -------------------------------------------------------------------------
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

)js";

}  // namespace mwalimu::report::detail
