#!/usr/bin/env python3
"""Training step of xresnet34: Mwalimu against PyTorch, interleaved in one run.

Each round starts every contender once, in turn, in a process of its own that has ended before the
next begins; odd rounds go backwards, so that a drift of the machine meets all alike. A contender's
time in a round is the median of its steps. Its ratio is the peer's time over ours in the same
round: above 1, ours is faster. Prints a table in Markdown; --json keeps every number.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
OURS = "mwalimu"


def commands(options):
    work = ["--batch", str(options.batch), "--steps", str(options.steps)]
    work += ["--warm-up", str(options.warm_up), "--threads", str(options.threads)]
    peer = [options.python, str(FOLDER / "resnet_step.py"), *work, "--layout"]
    return {
        OURS: [str(options.program), *work],
        "torch NCHW": [*peer, "nchw"],
        "torch NHWC": [*peer, "nhwc"],
    }


def run(name, command, size, environment):
    result = subprocess.run(
        [*command, "--size", str(size)], env=environment, capture_output=True, text=True
    )
    if result.returncode != 0:
        error = (result.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(f"compare_step.py: {name} failed at {size} px: {error}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def commit():
    result = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return result.stdout.strip() or "unknown"


def compare(size, options, environment):
    """All rounds at one size: {contender: [result of each round]}."""
    contenders = commands(options)
    results = {name: [] for name in contenders}
    for round_number in range(options.rounds):
        order = list(contenders)
        for name in order if round_number % 2 == 0 else reversed(order):
            results[name].append(run(name, contenders[name], size, environment))
            median = statistics.median(results[name][-1]["ms"])
            print(f"{size} px, round {round_number + 1}: {name} {median:.0f} ms", file=sys.stderr)
    counts = {name: rounds[0]["parameters"] for name, rounds in results.items()}
    if len(set(counts.values())) != 1:
        sys.exit(f"compare_step.py: the contenders train different networks: {counts}")
    return results


def table(all_results):
    lines = [
        "| size | contender | ms a step: median (min) | images/s | peer / ours: median (range) |",
        "|---|---|---|---|---|",
    ]
    for size, results in all_results.items():
        medians = {
            name: [statistics.median(r["ms"]) for r in rounds] for name, rounds in results.items()
        }
        for name, rounds in results.items():
            every = [ms for r in rounds for ms in r["ms"]]
            median = statistics.median(medians[name])
            ratios = [peer / ours for peer, ours in zip(medians[name], medians[OURS])]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            lines.append(
                f"| {size} | {name} | {median:.0f} ({min(every):.0f}) | "
                f"{1e3 * rounds[0]['batch'] / median:.1f} | {'' if name == OURS else ratio} |"
            )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128], help="pixels a side")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="timed steps a round")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", type=Path, default=ROOT / "build/cpu/bin/train_step_bench")
    parser.add_argument("--python", default="/usr/bin/python3", help="the Python that has PyTorch")
    parser.add_argument("--wait-policy", choices=["passive", "active"], default="passive")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    options = parser.parse_args()
    if not options.program.exists():
        sys.exit(
            f"compare_step.py: no {options.program}; build it with\n"
            "  cmake --preset cpu && cmake --build --preset cpu --target train_step_bench"
        )

    environment = dict(os.environ, OMP_WAIT_POLICY=options.wait_policy)
    environment["OMP_NUM_THREADS"] = str(options.threads)
    load_before = os.getloadavg()[0]
    all_results = {size: compare(size, options, environment) for size in options.sizes}
    versions = set()
    for results in all_results.values():
        for rounds in results.values():
            for result in rounds:
                result["batch"] = options.batch
                versions.add(result["version"])
    about = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "wait_policy": options.wait_policy,
        "load_before": round(load_before, 2),
        "versions": sorted(versions),
        "batch": options.batch,
        "rounds": options.rounds,
        "steps": options.steps,
    }
    print(table(all_results))
    print()
    print(", ".join(f"{key}: {value}" for key, value in about.items()))
    if options.json:
        options.json.write_text(json.dumps({"about": about, "results": all_results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
