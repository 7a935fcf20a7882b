// report/map_page_controls: the buttons above the map, and the optimisation as a film below it; at last
// the program's start.
#pragma once

#include <string_view>

namespace mwalimu::report::detail {

inline constexpr std::string_view kMapControls = R"js(// --- Controls ---------------------------------------------------------------------------------
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
