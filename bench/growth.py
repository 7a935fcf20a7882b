#!/usr/bin/env python3
"""How the time of a SwAV step grows with batch, image side, prototypes and queue, and how indices grow
with the data.

    bench/growth.py --build build/cpu --out growth.json --svg growth.svg
    bench/growth.py --draw growth.json --svg growth.svg        the plots again, nothing is run

One thing is varied at a time; the others stay at --arch, --batch, --size, --prototypes and no queue.
A point is the fastest step of all rounds, and rounds go over all points in turn. Each curve is named
with its exponent, the slope of a straight line through its larger half in logarithms: 1 is in
proportion, 2 is quadratic.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import results
import run
import svg

NAMES = {"batch": "samples a step", "size": "side of the large crops, pixels",
         "prototypes": "prototypes", "queue": "embeddings in the queue", "data": "images"}


def crops(size):
    """Two large views, and four of three quarters of their side (a multiple of 8)."""
    return f"2x{size},4x{max(8, size * 3 // 4 // 8 * 8)}"


def points(options):
    """{sweep: [(value, arguments of swav_step_bench)]}."""
    def command(batch=options.batch, size=options.size, prototypes=options.prototypes, queue=0):
        return ["--arch", options.arch, "--width", str(options.width), "--batch", str(batch),
                "--crops", crops(size), "--prototypes", str(prototypes), "--queue-length",
                str(queue), "--steps", str(options.steps), "--warm-up", "2", "--threads",
                str(options.threads), "--precision", options.precision]

    few = options.quick
    return {
        "batch": [(b, command(batch=b)) for b in ([4, 8] if few else [4, 8, 16, 32, 64, 128])],
        "size": [(s, command(size=s)) for s in ([16, 32] if few else [32, 48, 64, 96, 128])],
        "prototypes": [(k, command(prototypes=k))
                       for k in ([30, 300] if few else [30, 100, 300, 1000, 3000, 10000, 30000])],
        "queue": [(q, command(queue=q)) for q in
                  (options.batch * n for n in ([8, 16] if few else [8, 32, 128, 512, 1024]))],
    }


def exponent(values):
    """Slope through the larger half of [(x, y)] in logarithms; None where there are too few."""
    upper = sorted(values)[len(values) // 2 - (1 if len(values) < 4 else 0):]
    if len(upper) < 2:
        return None
    xs, ys = [math.log(x) for x, _ in upper], [math.log(y) for _, y in upper]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    width = sum((x - mx) ** 2 for x in xs)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / width if width else None


def time_steps(options, environment):
    program = options.build / "bin/swav_step_bench"
    if not program.exists():
        sys.exit(f"growth.py: no {program}; build it with -DMWALIMU_BUILD_BENCH=ON")
    sweeps = {name: sweep for name, sweep in points(options).items() if name in options.sweeps}
    found = {name: {"name": NAMES[name], "curves": {"step": {}, "tensors": {}}} for name in sweeps}
    for number in range(options.rounds):
        for name, all_of_it in sweeps.items():
            for value, arguments in all_of_it:
                done = subprocess.run([str(program), *arguments], capture_output=True, text=True,
                                      env=environment)
                if done.returncode != 0:
                    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                    sys.exit(f"growth.py: {name} {value}: {last}")
                told = json.loads(done.stdout.strip().splitlines()[-1])
                curves = found[name]["curves"]
                best = min(told["ms"])
                curves["step"][value] = min(best, curves["step"].get(value, best))
                if "peak_bytes" in told:
                    curves["tensors"][value] = told["peak_bytes"] / 2**20
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
    return found


def time_data(options, environment):
    program = options.build / "bin/data_bench"
    if not program.exists():
        sys.exit(f"growth.py: no {program}; build it with -DMWALIMU_BUILD_BENCH=ON")
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        subprocess.run([str(program), "--benchmark_filter=/N:",
                        f"--benchmark_min_time={0.01 if options.quick else 0.2}",
                        f"--benchmark_out={report}", "--benchmark_out_format=json"],
                       capture_output=True, check=True, env=environment)
        results.add_round(rows, "data_bench", json.loads(report.read_text()))
    curves = {}
    for name, row in rows.items():
        operation, count = name.split("/cpu/")[0], int(name.rsplit("N:", 1)[1])
        if row["ms"]:
            curves.setdefault(operation, {})[count] = min(row["ms"])
    return {"data": {"name": NAMES["data"], "curves": curves}}


def draw(content):
    """A panel a sweep; `tensors` are MiB, all other curves milliseconds."""
    sweeps = content["sweeps"]
    width, height, across = 470, 340, 2
    rows = (len(sweeps) + across - 1) // across
    drawing = svg.Drawing(width * across, height * rows + 40)
    about = content.get("about", {})
    drawing.text(20, 24, f"Growth: {about.get('arch', '')}, {about.get('processor', '')}, "
                 f"{about.get('threads', '?')} threads, {about.get('date', '')}", 12, bold=True)
    for i, (name, sweep) in enumerate(sweeps.items()):
        curves = {key: sorted((float(x), y) for x, y in curve.items() if float(x) > 0 and y > 0)
                  for key, curve in sweep["curves"].items()}
        curves = {key: curve for key, curve in curves.items() if curve}
        if not curves:
            continue
        left, top = width * (i % across), 40 + height * (i // across)
        all_x = [x for curve in curves.values() for x, _ in curve]
        all_y = [y for curve in curves.values() for _, y in curve]
        x = svg.LogAxis(min(all_x), max(all_x), left + 70, left + width - 20)
        y = svg.LogAxis(min(all_y) / 1.3, max(all_y) * 1.3, top + height - 50,
                        top + 20 + 15 * len(curves))
        svg.frame(drawing, x, y, sweep["name"], "ms" + (", MiB" if "tensors" in curves else ""))
        for c, (key, curve) in enumerate(curves.items()):
            colour = svg.COLOURS[c % len(svg.COLOURS)]
            drawing.path([(x(a), y(b)) for a, b in curve], colour)
            for a, b in curve:
                drawing.circle(x(a), y(b), 3, colour, f"{key}: {svg.short(a)}: {b:.3g}")
            slope = exponent(curve)
            label = key + (", MiB" if key == "tensors" else ", ms")
            if slope is not None:
                label += f": exponent {slope:.2f}"
            drawing.circle(left + 80, top + 10 + 15 * c, 4, colour)
            drawing.text(left + 90, top + 14 + 15 * c, label, 11)
    return drawing.render()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=run.ROOT / "build/cpu")
    parser.add_argument("--sweeps", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--arch", default="xresnet34")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--prototypes", type=int, default=300)
    parser.add_argument("--steps", type=int, default=5, help="timed steps a point and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two small points a sweep, one round")
    parser.add_argument("--out", type=Path, help="write the numbers here")
    parser.add_argument("--svg", type=Path, help="write the plots here")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="a file of --out to draw again")
    options = parser.parse_args()
    if not options.out and not options.svg:
        parser.error("want --out, --svg or both")
    if options.draw:
        try:
            content = json.loads(options.draw.read_text())
            assert isinstance(content["sweeps"], dict)
        except OSError as problem:
            sys.exit(f"growth.py: {options.draw}: {problem.strerror}")
        except (ValueError, KeyError, TypeError, AssertionError):
            sys.exit(f"growth.py: {options.draw}: not a file of growth.py")
    else:
        if options.quick:
            options.arch, options.width, options.rounds, options.steps = "xresnet18", 8, 1, 2
            options.batch, options.size = 8, 32
        environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads),
                           MWALIMU_THREADS=str(options.threads), OMP_WAIT_POLICY="passive",
                           MWALIMU_BENCH_QUICK="1" if options.quick else "0")
        sweeps = time_steps(options, environment) if set(options.sweeps) - {"data"} else {}
        if "data" in options.sweeps:
            sweeps.update(time_data(options, environment))
        content = {"about": {"arch": f"{options.arch}, width {options.width}, "
                                     f"{options.precision}, batch {options.batch}, "
                                     f"{crops(options.size)}, K {options.prototypes}",
                             "processor": run.processor(), "threads": options.threads,
                             "date": run.now(), "commit": run.commit(),
                             "load_after": round(os.getloadavg()[0], 2)},
                   "sweeps": sweeps}
        if options.out:
            options.out.write_text(json.dumps(content, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(draw(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
