"""Plots as SVG, with the standard library alone."""

import html
import math

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555"]
FONT = "font-family='DejaVu Sans, Arial, sans-serif'"


class Drawing:
    def __init__(self, width, height):
        self.width, self.height = width, height
        self.parts = [f"<rect width='{width}' height='{height}' fill='white'/>"]

    def line(self, x1, y1, x2, y2, colour="#bbb", width=1.0, dash=None):
        dashed = f" stroke-dasharray='{dash}'" if dash else ""
        self.parts.append(f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
                          f"stroke='{colour}' stroke-width='{width}'{dashed}/>")

    def path(self, points, colour, width=1.6, dash=None):
        dashed = f" stroke-dasharray='{dash}'" if dash else ""
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f"<polyline points='{text}' fill='none' stroke='{colour}' "
                          f"stroke-width='{width}'{dashed}/>")

    def rect(self, x, y, width, height, colour, title=""):
        self.parts.append(f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(width, 0):.1f}' "
                          f"height='{height:.1f}' fill='{colour}'>{self.title(title)}</rect>")

    def circle(self, x, y, radius, colour, title=""):
        self.parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius}' fill='{colour}' "
                          f"stroke='white' stroke-width='0.7'>{self.title(title)}</circle>")

    def text(self, x, y, text, size=11, anchor="start", colour="#222", turn=None, bold=False):
        turned = f" transform='rotate({turn} {x:.1f} {y:.1f})'" if turn is not None else ""
        weight = " font-weight='bold'" if bold else ""
        self.parts.append(f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' {FONT} "
                          f"text-anchor='{anchor}' fill='{colour}'{weight}{turned}>"
                          f"{html.escape(str(text))}</text>")

    @staticmethod
    def title(text):
        return f"<title>{html.escape(text)}</title>" if text else ""

    def render(self):
        return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{self.width}' "
                f"height='{self.height}' viewBox='0 0 {self.width} {self.height}'>\n"
                + "\n".join(self.parts) + "\n</svg>\n")


class LogAxis:
    """Positive numbers to pixels, by decades."""

    def __init__(self, low, high, begin, end):
        if not 0 < low <= high:
            raise ValueError(f"a logarithmic axis from {low} to {high}")
        if low == high:
            low, high = low / 2, high * 2
        self.low, self.high, self.begin, self.end = low, high, begin, end

    def __call__(self, x):
        share = math.log(x / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self):
        """Decades; where there are few, also 2 and 5."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        few = math.log10(self.high / self.low) < 2.2
        found = [m * 10.0**e for e in range(first, last + 1) for m in ((1, 2, 5) if few else (1,))]
        return [x for x in found if self.low * 0.999 <= x <= self.high * 1.001]


def short(x):
    """A tick's label."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.3g}{unit}"
    return f"{x:.3g}"


def frame(drawing, x, y, x_name, y_name, x_ticks=None):
    """Grid, ticks and names of a plot between two axes; y_name may be empty."""
    left, right, bottom, top = x.begin, x.end, y.begin, y.end
    for tick in x_ticks or x.ticks():
        drawing.line(x(tick), bottom, x(tick), top, "#e6e6e6")
        drawing.text(x(tick), bottom + 15, short(tick), 10, "middle", "#555")
    for tick in y.ticks():
        drawing.line(left, y(tick), right, y(tick), "#e6e6e6")
        drawing.text(left - 6, y(tick) + 3.5, short(tick), 10, "end", "#555")
    drawing.line(left, bottom, right, bottom, "#444")
    drawing.line(left, bottom, left, top, "#444")
    drawing.text((left + right) / 2, bottom + 34, x_name, 12, "middle")
    if y_name:
        drawing.text(left - 44, (bottom + top) / 2, y_name, 12, "middle", turn=-90)
