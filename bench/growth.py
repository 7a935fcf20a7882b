#!/usr/bin/env python3
"""How time grows: of a SwAV step with batch, image side, prototypes and queue; of indices and t-SNE
with the data; of a batch read from a store of decoded images with the store.

    bench/growth.py --build build/cpu --out growth.json --svg growth.svg
    bench/growth.py --draw growth.json --svg growth.svg        the plots again, nothing is run
    bench/growth.py --sweeps store --store-mib 1024 40960 --out store.json   a store past the memory

One thing is varied at a time; the others stay at --arch, --batch, --size, --prototypes and no queue.
A point is the fastest step of all rounds, and rounds go over all points in turn. Each curve is named
with its exponent, the slope of a straight line through its larger half in logarithms: 1 is in
proportion, 2 is quadratic. Stores are written to TMPDIR, which must be on a disk; a cold batch finds
none of its pages in memory.
"""

import argparse
import array
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import results
import run
import svg

STEPS = {"batch": "samples a step", "size": "side of the large crops, pixels",
         "prototypes": "prototypes", "queue": "embeddings in the queue"}
NAMES = {**STEPS, "data": "images", "tsne": "points of 50 numbers",
         "store": "store of decoded images, MiB"}
TITLES = {**dict.fromkeys(STEPS, "SwAV step"), "data": "Index", "tsne": "t-SNE",
          "store": "64 images read"}
POWERS = {"batch": 1, "size": 2, "data": 1, "tsne": 1}  # of growth in proportion; pixels: squared
DIMENSIONS = 50  # of t-SNE's points


def crops(size):
    """Two large views, and four of three quarters of their side (a multiple of 8)."""
    return f"2x{size},4x{max(8, size * 3 // 4 // 8 * 8)}"


def step_points(options):
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


def program(options, name):
    path = options.build / "bin" / name
    if not path.exists():
        sys.exit(f"growth.py: no {path}; build it with -DMWALIMU_BUILD_BENCH=ON")
    return str(path)


def told(command, environment, what):
    """The JSON object in the last line of a program's output."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(f"growth.py: {what}: {last}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def keep_least(curve, x, y):
    curve[x] = min(y, curve.get(x, y))


def time_steps(options, environment):
    bench = program(options, "swav_step_bench")
    sweeps = {name: sweep for name, sweep in step_points(options).items() if name in options.sweeps}
    found = {name: {"name": NAMES[name], "curves": {"step": {}, "tensors": {}}} for name in sweeps}
    for number in range(options.rounds):
        for name, all_of_it in sweeps.items():
            curves = found[name]["curves"]
            for value, arguments in all_of_it:
                step = told([bench, *arguments], environment, f"{name} {value}")
                keep_least(curves["step"], value, min(step["ms"]))
                if "peak_bytes" in step:
                    curves["tensors"][value] = step["peak_bytes"] / 2**20
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
    return found


def rows_of(options, environment, pattern, seconds):
    """Rows of data_bench by name; `seconds` of calls each."""
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        done = subprocess.run([program(options, "data_bench"), f"--benchmark_filter={pattern}",
                               f"--benchmark_min_time={0.01 if options.quick else seconds}",
                               f"--benchmark_out={report}", "--benchmark_out_format=json"],
                              capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            sys.exit(f"growth.py: data_bench: {(done.stderr.splitlines() or ['no message'])[-1]}")
        results.add_round(rows, "data_bench", json.loads(report.read_text()))
    for name, row in rows.items():
        if not row["ms"]:
            print(f"growth.py: {name}: {row.get('error', 'no time')}", file=sys.stderr)
    return {name: row for name, row in rows.items() if row["ms"]}


def time_data(options, environment):
    curves = {}
    for name, row in rows_of(options, environment, "/N:", 0.2).items():
        operation, count = name.split("/cpu/")[0], int(name.rsplit("N:", 1)[1])
        curves.setdefault(operation, {})[count] = min(row["ms"])
    print("data", file=sys.stderr)
    return {"data": {"name": NAMES["data"], "curves": curves}}


def time_store(options, environment):
    curves = {}
    for size in options.store_mib:
        there = dict(environment, MWALIMU_BENCH_STORE_MIB=str(size))
        for name, row in rows_of(options, there, "^store/", 2).items():
            curves.setdefault("cold" if "/cold/" in name else "warm", {})[size] = min(row["ms"])
        print(f"store of {size} MiB", file=sys.stderr)
    return {"store": {"name": NAMES["store"], "curves": curves}}


def write_points(path, values):
    """A .npy matrix of float32, DIMENSIONS to a row."""
    shape = (len(values) // DIMENSIONS, DIMENSIONS)
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
        values.tofile(file)


def mixture(count):
    """Points of fifty Gaussians, each point of another one than the last."""
    rng = random.Random(1)
    centres = [[rng.gauss(0, 6) for _ in range(DIMENSIONS)] for _ in range(50)]
    return array.array("f", (c + rng.gauss(0, 1) for i in range(count) for c in centres[i % 50]))


def time_tsne(options, environment):
    bench = program(options, "tsne_bench")
    curves = {"neighbours": {}, "neighbours and map": {}}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "points.npy"
        values = mixture(max(options.tsne))
        for number in range(options.rounds):
            for count in options.tsne:
                write_points(path, values[:count * DIMENSIONS])
                run_ = told([bench, str(path), "--perplexity", "30", "--threads",
                             str(options.threads)], environment, f"tsne {count}")
                keep_least(curves["neighbours"], count, run_["wall_neighbors"])
                keep_least(curves["neighbours and map"], count, run_["wall"])
            print(f"round {number + 1} of {options.rounds}: tsne", file=sys.stderr)
    return {"tsne": {"name": NAMES["tsne"], "unit": "s", "curves": curves}}


def panel(drawing, left, top, width, height, key, sweep):
    """One sweep: heading, a line a curve with its exponent, and the plot."""
    unit = sweep.get("unit", "ms")
    curves = {name: sorted((float(x), y) for x, y in curve.items() if float(x) > 0 and y > 0)
              for name, curve in sweep["curves"].items()}
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        return
    all_x = [x for curve in curves.values() for x, _ in curve]
    all_y = [y for curve in curves.values() for _, y in curve]
    x = svg.LogAxis(min(all_x), max(all_x), left + 44, left + width - 16)
    low = min(all_y) / 1.4  # at least a decade: what is flat shall look flat
    y = svg.LogAxis(low, max(max(all_y) * 1.4, 10 * low), top + height - 54,
                    top + 26 + 15 * len(curves))
    drawing.text(left + 12, top + 12, f"{TITLES.get(key, '')}, {unit}", 12, bold=True)
    own = sorted(set(all_x))
    fits = len(own) <= 7 and all(len(svg.short(value)) <= 3 for value in own)
    svg.frame(drawing, x, y, sweep["name"], "", own if fits else None)

    if key in POWERS:  # what growth in proportion looks like
        power, (end_x, end_y) = POWERS[key], list(curves.values())[0][-1]
        begin_x = max(min(all_x), end_x * (y.low / end_y) ** (1 / power))
        drawing.path([(x(begin_x), y(end_y * (begin_x / end_x) ** power)), (x(end_x), y(end_y))],
                     "#999", 1, "4 4")
    for c, (name, curve) in enumerate(curves.items()):
        colour = svg.COLOURS[c % len(svg.COLOURS)]
        drawing.path([(x(a), y(b)) for a, b in curve], colour, dash="2 3" if name == "tensors" else None)
        for a, b in curve:
            drawing.circle(x(a), y(b), 3, colour, f"{name}: {svg.short(a)}: {b:.3g}")
        slope = exponent(curve)
        label = name + (", MiB" if name == "tensors" else "")
        if slope is not None:
            label += f": exponent {slope:.2f}"
        drawing.circle(left + 18, top + 24 + 15 * c, 3.5, colour)
        drawing.text(left + 27, top + 28 + 15 * c, label, 10.5)


def draw(content):
    """A panel a sweep, four in a row."""
    sweeps = content["sweeps"]
    across, width, height = min(4, max(len(sweeps), 2)), 262, 286
    rows = (len(sweeps) + across - 1) // across
    drawing = svg.Drawing(width * across + 8, height * rows + 56)
    about = content.get("about", {})
    drawing.text(12, 22, f"{about.get('processor', '')}, {about.get('threads', '?')} threads, "
                 f"{about.get('date', '')[:10]}", 13, bold=True)
    drawing.text(12, 40, f"{about.get('arch', '')}. Dashed: in proportion (pixels: to the square of "
                 "the side).", 11, colour="#555")
    for i, (name, sweep) in enumerate(sweeps.items()):
        panel(drawing, width * (i % across), 62 + height * (i // across), width, height, name, sweep)
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
    parser.add_argument("--prototypes", type=int, default=3000)
    parser.add_argument("--tsne", type=int, nargs="+", help="numbers of points",
                        default=[1000, 2000, 5000, 10000, 20000, 50000, 100000])
    parser.add_argument("--store-mib", type=int, nargs="+", default=[64, 256, 1024],
                        help="sizes of stores; one past the memory is read cold alone")
    parser.add_argument("--steps", type=int, default=3, help="timed steps a point and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two small points a sweep, one round")
    parser.add_argument("--out", type=Path, help="write the numbers here")
    parser.add_argument("--svg", type=Path, help="write the plots here")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="a file of --out to draw again")
    options = parser.parse_args()
    if not options.out and not options.svg:
        parser.error("want --out, --svg or both")
    if min(options.rounds, options.steps, options.threads, *options.tsne, *options.store_mib) < 1:
        parser.error("want --rounds, --steps, --threads, --tsne and --store-mib of 1 or more")
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
            options.batch, options.size, options.prototypes = 8, 32, 30
            options.tsne, options.store_mib = [200, 400], [1, 2]
        load = os.getloadavg()[0]
        environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads),
                           MWALIMU_THREADS=str(options.threads), OMP_WAIT_POLICY="passive",
                           MWALIMU_BENCH_QUICK="1" if options.quick else "0")
        sweeps = time_steps(options, environment) if set(options.sweeps) & set(STEPS) else {}
        for name, time in (("data", time_data), ("tsne", time_tsne), ("store", time_store)):
            if name in options.sweeps:
                sweeps.update(time(options, environment))
        content = {"about": {"arch": f"{options.arch}, width {options.width}, "
                                     f"{options.precision}, batch {options.batch}, "
                                     f"{crops(options.size)}, K {options.prototypes}",
                             "processor": run.processor(), "threads": options.threads,
                             "date": run.now(), "commit": run.commit(),
                             "load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)},
                   "sweeps": sweeps}
        if options.out:
            options.out.write_text(json.dumps(content, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(draw(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
