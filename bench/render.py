#!/usr/bin/env python3
"""Makes a table and plots of a file of bench/run.py.

    bench/render.py results.json                               the table, in Markdown
    bench/render.py results.json --roofline roofline.svg       operations against the machine
    bench/render.py results.json --bars roof.svg               each row's share of its ceiling

The roofline's lines are the ceilings that the same run has measured: the copy bandwidth (a slope) and
the rate of a product of matrices (a level) for each type. A row lies on it by what its operation's
head says it moves and computes. Where several shapes of an operation were timed, the largest is drawn
unless --all is given.
"""

import argparse
import re
import sys
from pathlib import Path

import results
import svg
from results import number, value

BAR = 0.7  # what memory-bound work shall reach


def gigabytes(row):
    return row_rate(row, "bytes")


def gigaflops(row):
    return row_rate(row, "flop")


def row_rate(row, key):
    """10^9 a second of a counter that counts one call, or None."""
    each, ms = value(row, key), results.median(row["ms"])
    return each / ms / 1e6 if each and ms else None


def ceilings(rows):
    """{"copy": GB/s, "f32": GFLOP/s, ...} from the rows of ceilings_bench; what is there."""
    found = {}
    for name, row in rows.items():
        if not name.startswith("ceiling/") or not row["ms"]:
            continue
        _, what, _, kind = name.split("/")[:4]
        if what == "copy":
            found["copy"] = gigabytes(row)
        elif what == "multiply":
            found[kind] = gigaflops(row)
    return found


def table(rows):
    lines = ["| row | ms | ± | GB/s | GFLOP/s | roof | roof, CPU time | of the copy | of the copy, CPU time "
             "| more |", "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"]
    for name, row in rows.items():
        if not row["ms"]:
            lines.append(f"| {name} | | | | | | | | | {row.get('error', 'not run')} |")
            continue
        spread = results.spread(row["ms"])
        more = ", ".join(f"{key} {number(value(row, key))}"
                         for key in ("images_per_second", "ratio", "wait_share") if key in row)
        if "peak_bytes" in row:
            more += f"{', ' if more else ''}peak {value(row, 'peak_bytes') / 2**20:.0f} MiB"
        shown = [number(results.median(row["ms"])), "" if spread is None else f"{spread:.0%}",
                 number(gigabytes(row)), number(gigaflops(row)),
                 *("" if value(row, key) is None else f"{value(row, key):.2f}"
                   for key in ("roof", "roof_cpu", "copy_share", "copy_share_cpu"))]
        lines.append(f"| {name} | {' | '.join(shown)} | {more} |")
    return "\n".join(lines)


def parts(name):
    """OP/PASS, place, type and shape of a row's name."""
    found = re.match(r"(.+?)/(cpu|gpu)/([^/]+)(?:/(.*))?$", name)
    return found.groups() if found else (name, "", "", "")


def largest(rows):
    """For each operation and type the row that moves most."""
    kept = {}
    for name, row in rows.items():
        op, place, kind, _ = parts(name)
        size = value(row, "bytes") or 0
        if (op, place, kind) not in kept or size > kept[op, place, kind][0]:
            kept[op, place, kind] = (size, name)
    names = {name for _, name in kept.values()}
    return {name: row for name, row in rows.items() if name in names}


def roofline(rows, limits, title):
    points = []
    for name, row in rows.items():
        if name.startswith("ceiling/") or not row["ms"]:
            continue
        moved, flop = value(row, "bytes"), value(row, "flop")
        if moved and flop:
            points.append((flop / moved, gigaflops(row), name, value(row, "roof")))
    if not points:
        sys.exit("render.py: --roofline: no row has both bytes and flop")
    if "copy" not in limits:
        sys.exit("render.py: --roofline: the file has no row ceiling/copy; run ceilings_bench too")
    points.sort()
    rates = {kind: rate for kind, rate in limits.items() if kind != "copy" and rate}

    plot_height = max(480, 15 * len(points) - 60)
    drawing = svg.Drawing(1180, plot_height + 120)
    drawing.text(20, 26, title, 12, bold=True)
    low = min(p[0] for p in points) / 2
    high = max([p[0] for p in points] + [2 * r / limits["copy"] for r in rates.values()]) * 2
    top = max(list(rates.values()) + [p[1] for p in points]) * 2
    bottom = min(p[1] for p in points) / 2
    x = svg.LogAxis(low, high, 80, 740)
    y = svg.LogAxis(bottom, top, plot_height + 60, 50)
    svg.frame(drawing, x, y, "operations a byte moved", "10^9 operations a second")

    # The slope ends where the highest level begins, or at the edge.
    highest = max(rates.values(), default=top)
    ridge = min(highest / limits["copy"], high)
    begin = max(low, bottom / limits["copy"])
    if ridge > begin:
        drawing.path([(x(begin), y(begin * limits["copy"])), (x(ridge), y(ridge * limits["copy"]))],
                     "#222", 2)
        drawing.path([(x(begin), y(max(bottom, BAR * begin * limits["copy"]))),
                      (x(ridge), y(BAR * ridge * limits["copy"]))], "#999", 1, "5 4")
    drawing.text(x(ridge) - 8, y(ridge * limits["copy"]) + 4,
                 f"copy {limits['copy']:.1f} GB/s; dashed: {BAR:.0%}", 11, "end")
    for kind, rate in rates.items():
        start = max(low, min(rate / limits["copy"], high))
        drawing.path([(x(start), y(rate)), (x(high), y(rate))], "#222", 2)
        drawing.text(x(high) - 4, y(rate) - 14 if rate < highest else y(rate) - 6,
                     f"products in {kind}: {rate:.0f} GFLOP/s", 11, "end")

    kinds = sorted({parts(p[2])[2] for p in points})
    colour_of = {kind: svg.COLOURS[i % len(svg.COLOURS)] for i, kind in enumerate(kinds)}
    for i, kind in enumerate(kinds):
        drawing.circle(770 + 70 * i, 44, 5, colour_of[kind])
        drawing.text(780 + 70 * i, 48, kind)
    placed = []
    for i, (intensity, rate, name, roof) in enumerate(points):
        px, py = x(intensity), y(rate)
        kind = parts(name)[2]
        share = "" if roof is None else f", {roof:.0%}"
        drawing.circle(px, py, 4.5, colour_of[kind], f"{i + 1} {name}{share}")
        for dx, dy in ((6, -5), (6, 12), (-18, -5), (-18, 12), (6, -17), (6, 24), (-18, -17),
                       (18, 4), (-30, 4), (18, 20), (18, -16)):
            if all(abs(px + dx - qx) > 15 or abs(py + dy - qy) > 10 for qx, qy in placed):
                break
        placed.append((px + dx, py + dy))
        drawing.text(px + dx, py + dy, i + 1, 9, colour="#333")
        op, place, kind, shape = parts(name)
        row_y = 68 + 15 * i
        drawing.text(790, row_y, i + 1, 10, "end", colour_of[kind])
        drawing.text(796, row_y, f"{op} {kind} {shape}"[:58], 10)
        if roof is not None:
            drawing.text(1165, row_y, f"{roof:.0%}", 10, "end",
                         "#b00" if roof < BAR else "#222")
    return drawing.render()


def bars(rows, title):
    drawn = [(name, row) for name, row in rows.items()
             if value(row, "roof") is not None and not name.startswith("ceiling/")]
    if not drawn:
        sys.exit("render.py: --bars: no row has the counter roof")
    drawing = svg.Drawing(1000, 90 + 16 * len(drawn))
    drawing.text(20, 26, title, 12, bold=True)
    scale = 420 / 1.2
    for share in (0, 0.25, 0.5, BAR, 1):
        at = 500 + scale * share
        drawing.line(at, 46, at, 56 + 16 * len(drawn), "#444" if share == BAR else "#ddd",
                     dash="5 4" if share == BAR else None)
        drawing.text(at, 42, f"{share:.0%}", 10, "middle", "#555")
    for i, (name, row) in enumerate(drawn):
        at = 52 + 16 * i
        # What was timed beside the row where there is such: the ceiling of the run may have drifted.
        roof = value(row, "copy_share" if "copy_share" in row else "roof")
        cpu = value(row, "copy_share_cpu" if "copy_share" in row else "roof_cpu")
        memory = (value(row, "bytes") or 0) > 0 and not name.startswith(("conv2d", "linear"))
        colour = svg.COLOURS[0] if not memory else svg.COLOURS[2] if roof >= BAR else svg.COLOURS[1]
        drawing.text(492, at + 10, name[:78], 10, "end")
        drawing.rect(500, at, scale * min(roof, 1.2), 11, colour, f"{name}: {roof:.2f}")
        if cpu is not None:
            drawing.circle(500 + scale * min(cpu, 1.2), at + 5.5, 3, "#222", f"CPU time: {cpu:.2f}")
        drawing.text(930, at + 10, f"{roof:.2f}" + ("" if cpu is None else f" / {cpu:.2f}"), 10)
    drawing.text(500, 74 + 16 * len(drawn),
                 "bars: by the wall's clock; points: by CPU time; dashed: 70 %", 10, colour="#555")
    return drawing.render()


def about_line(about):
    shown = [str(about.get("processor", "")), f"{about.get('threads', '?')} threads",
             f"commit {about.get('commit') or '?'}{' + changes' if about.get('changed') else ''}",
             f"{about.get('date', '')}", f"load {about.get('load_before', '?')}"]
    return ", ".join(text for text in shown if text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="of bench/run.py")
    parser.add_argument("--filter", default="", help="regular expression on the rows' names")
    parser.add_argument("--table", type=Path, help="write the table here, not to the terminal")
    parser.add_argument("--roofline", type=Path, help="an SVG")
    parser.add_argument("--bars", type=Path, help="an SVG")
    parser.add_argument("--all", action="store_true", help="plot every shape")
    options = parser.parse_args()
    content = results.load(options.file)
    try:
        rows = {name: row for name, row in content["rows"].items()
                if re.search(options.filter, name)}
    except re.error as problem:
        sys.exit(f"render.py: --filter: {problem}")
    if not rows:
        sys.exit(f"render.py: no row matches '{options.filter}'")
    about = about_line(content.get("about", {}))
    text = table(rows) + "\n\n" + about + "\n"
    if options.table:
        options.table.write_text(text)
    elif not (options.roofline or options.bars):
        print(text, end="")
    plotted = rows if options.all else largest(rows)
    if options.roofline:
        options.roofline.write_text(
            roofline(plotted, ceilings(content["rows"]), f"Roofline: {about}"))
    if options.bars:
        options.bars.write_text(bars(plotted, f"Share of the ceiling: {about}"))


if __name__ == "__main__":
    main()
