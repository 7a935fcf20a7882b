#!/usr/bin/env python3
"""Runs the benches and writes one JSON file; prints where it lies.

    bench/run.py --build build/cpu --out results.json          all of it, three rounds
    bench/run.py --short --out results.json                    figures in a quarter of an hour
    bench/run.py --quick                                       does all of it run? (not for figures)
    bench/run.py --filter 'batch_norm.*/f32' --rounds 5        some of it

A round starts every program once, and the rounds follow one another, so that a drift of the machine
meets all rows alike. bench/render.py makes a table and plots of the file, bench/compare.py holds two
of them against each other.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import results

ROOT = Path(__file__).resolve().parent.parent
# What --quick leaves out: seconds a call, or gigabytes of operands.
HEAVY = r"conv2d/(step|onednn)|swav/(step|loader)/cpu/[a-z0-9]+/(xresnet34|res2next50)|K:3000/B:256|L:16384|/px:224|" \
        r"(finetune/(step|loader)|inference)/cpu/[a-z0-9]+/(xresnet34|res2next50)|rows:1048576|N:1000000|tsne"

# What --short leaves out: whole networks on the study's crops, minutes a round.
SLOW = r"loader/cpu/[a-z0-9]+/(xresnet34|res2next50)|2x128,6x96/K:3000|px:128/B:32"


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit():
    """The commit's name; "" outside of a checkout."""
    return output_of("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")


def listed(program):
    """The rows of a program, or None where it is not one of Google Benchmark's."""
    try:
        done = subprocess.run([program, "--benchmark_list_tests=true"], capture_output=True,
                              text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n") if done.returncode == 0 else None


def programs(folder):
    found = {}
    for path in sorted(folder.glob("*_bench")):
        if path.name.endswith("_step_bench"):
            continue  # programs of their own, which the peers and growth.py run
        rows = listed(str(path))
        if rows is not None:
            found[path.name] = [row for row in rows if row]
    return found


def chosen(names, include, exclude):
    """The rows, without what Google Benchmark appends, that both expressions leave."""
    return [name for name in map(results.clean, names)
            if re.search(include, name) and not (exclude and re.search(exclude, name))]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/cpu", help="the build folder")
    parser.add_argument("--filter", default="/cpu/", help="regular expression on the rows' names")
    parser.add_argument("--exclude", default="", help="rows to leave out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--min-time", type=float, default=0.5, help="seconds a row and round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--short", action="store_true",
                        help="a tenth of a second a row and round, without the slowest rows")
    parser.add_argument("--quick", action="store_true",
                        help="one short round of the light rows, to see that they run")
    parser.add_argument("--out", type=Path, default=Path("bench_results.json"))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.min_time = 1, 0.01
    elif options.short:
        options.min_time = 0.1
    left_out = [options.exclude, HEAVY if options.quick else "", SLOW if options.short else ""]
    options.exclude = "|".join(text for text in left_out if text)
    for text in (options.filter, options.exclude):
        try:
            re.compile(text)
        except re.error as problem:
            sys.exit(f"run.py: '{text}' is not a regular expression: {problem}")
    if options.rounds < 1 or options.threads < 1 or options.min_time <= 0:
        sys.exit("run.py: want --rounds, --threads and --min-time above 0")
    if not options.out.resolve().parent.is_dir():
        sys.exit(f"run.py: --out: no folder {options.out.resolve().parent}")

    folder = options.build / "bin"
    rows_of = {name: chosen(rows, options.filter, options.exclude)
               for name, rows in programs(folder).items()}
    rows_of = {name: rows for name, rows in rows_of.items() if rows}
    if not rows_of:
        sys.exit(f"run.py: no row of the programs in {folder} matches '{options.filter}'; build with"
                 " -DMWALIMU_BUILD_BENCH=ON, or give --build")

    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads),
                       MWALIMU_THREADS=str(options.threads), OMP_WAIT_POLICY="passive",
                       MWALIMU_BENCH_QUICK="1" if options.quick else "0")
    about = {"date": now(), "commit": commit(),
             "changed": bool(output_of("git", "-C", str(ROOT), "status", "--porcelain",
                                       "--untracked-files=no")),
             "processor": processor(), "cores": os.cpu_count(), "threads": options.threads,
             "rounds": options.rounds, "min_time": options.min_time, "quick": options.quick,
             "short": options.short,
             "load_before": round(os.getloadavg()[0], 2), "contexts": []}
    rows, failed, begin = {}, [], time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        for number in range(options.rounds):
            for program, names in rows_of.items():
                # Names have no letters that mean something in an expression but these.
                exact = "|".join("^" + re.escape(name).replace("\\-", "-").replace("\\:", ":") +
                                 "(/iterations.*|/process.*|/manual.*|/real.*)?$" for name in names)
                done = subprocess.run(
                    [str(folder / program), f"--benchmark_filter={exact}",
                     f"--benchmark_min_time={options.min_time}", f"--benchmark_out={report}",
                     "--benchmark_out_format=json"],
                    env=environment, capture_output=True, text=True)
                if done.returncode != 0:
                    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                    failed.append(f"{program}: exit status {done.returncode}: {last}")
                    print(f"run.py: {failed[-1]}", file=sys.stderr)
                    continue
                content = json.loads(report.read_text())
                results.add_round(rows, program, content)
                about["contexts"].append({"program": program, **{
                    key: value for key, value in content["context"].items()
                    if key not in ("caches", "executable")}})
                print(f"round {number + 1} of {options.rounds}: {program}, {len(names)} rows, "
                      f"{time.monotonic() - begin:.0f} s", file=sys.stderr)
    about["load_after"] = round(os.getloadavg()[0], 2)
    about["seconds"] = round(time.monotonic() - begin, 1)
    about["failed"] = failed
    partial = options.out.with_name(options.out.name + ".part")
    partial.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    partial.replace(options.out)
    errors = [name for name, row in rows.items() if "error" in row]
    for name in errors:
        print(f"run.py: {name}: {rows[name]['error']}", file=sys.stderr)
    print(options.out)
    return 1 if failed or errors else 0


if __name__ == "__main__":
    sys.exit(main())
