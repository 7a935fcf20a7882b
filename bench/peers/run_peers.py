#!/usr/bin/env python3
"""The same work here and elsewhere, interleaved in one run: ratios with their spread, and memory.

    bench/peers/run_peers.py --build build/cpu --json peers.json           all of it in float32
    bench/peers/run_peers.py --tasks swav sinkhorn --rounds 3              some of it
    bench/peers/run_peers.py --tasks train --precision bfloat16            beside autocast

Each round starts every contender of a task once, in turn, in a process of its own that has ended
before the next begins; odd rounds go backwards, so that a drift of the machine meets all alike. A
contender's time in a round is the median of its steps. A ratio is the peer's time over ours in the same
round: above 1, ours is faster. Memory is the most that a process held (resident set), less what the
same process holds for a batch of two: activations and gradients, without libraries and parameters.
A peer that is not installed is named as missing, and one that does other work (another number of
parameters) ends the run.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import run  # noqa: E402: bench/run.py

OURS = "mwalimu"
ARCHITECTURES = ("xresnet34", "res2next50")
SUFFIX = {"float32": "", "bfloat16": "-bf16"}  # of a task's name


class Task:
    """Contenders by name; `memory` gives each one's command for a batch."""

    def __init__(self, title, contenders, memory=None, batch=None):
        self.title, self.contenders, self.memory, self.batch = title, contenders, memory, batch


def tasks(options):
    """{name: Task} of everything that can be asked for."""
    def ours(program, *arguments):
        return [str(options.build / "bin" / program), *map(str, arguments)]

    def peer(script, *arguments):
        return [options.python, str(FOLDER / script), *map(str, arguments)]

    def rows(program, pattern):  # Google Benchmark's programs, through a report
        return ours(program, f"--benchmark_filter={pattern}", "--benchmark_min_time=0.5")

    loop = ["--steps", options.steps, "--warm-up", options.warm_up, "--threads", options.threads]

    def steps(title, program, script, work):
        """A training step; work(batch) gives what both sides are told."""
        both = work(options.batch)
        return Task(title,
                    {OURS: ours(program, *both),
                     "PyTorch NCHW": peer(script, *both, "--layout", "nchw"),
                     "PyTorch NHWC": peer(script, *both, "--layout", "nhwc")},
                    lambda batch: {OURS: ours(program, *work(batch)),
                                   "PyTorch NHWC": peer(script, *work(batch), "--layout", "nhwc")},
                    options.batch)

    found = {}
    for arch, precision, size in itertools.product(ARCHITECTURES, options.precision, options.sizes):
        family = {"xresnet34": "train", "res2next50": "res2next"}[arch]
        found[f"{family}{SUFFIX[precision]}-{size}"] = steps(
            f"training step, {arch}, {precision}, {size} px, batch {options.batch}",
            "train_step_bench", "train_step.py",
            lambda batch, arch=arch, precision=precision, size=size: [
                "--arch", arch, "--precision", precision, "--size", size, "--batch", batch, *loop])
    for arch, precision in itertools.product(ARCHITECTURES, options.precision):
        family = {"xresnet34": "swav", "res2next50": "swav-res2next"}[arch]
        found[f"{family}{SUFFIX[precision]}"] = steps(
            f"SwAV step, {arch}, {precision}, crops {options.crops}, batch {options.batch}, "
            f"K {options.prototypes}", "swav_step_bench", "swav_step.py",
            lambda batch, arch=arch, precision=precision: [
                "--arch", arch, "--precision", precision, "--batch", batch, "--crops",
                options.crops, "--prototypes", options.prototypes, *loop])
    for batch, queue in ((32, 0), (256, 0), (256, 3840)):
        found[f"sinkhorn-{batch}-{queue}"] = Task(
            f"codes by Sinkhorn, 2 crops, batch {batch}, queue {queue}, K 3000",
            {OURS: rows("ops_bench", f"^sinkhorn/forward/cpu/f32/B:{batch}/L:{queue}/K:3000/"),
             "PyTorch": peer("sinkhorn_step.py", "--batch", batch, "--queue", queue, "--threads",
                             options.threads)})
    found["crops"] = Task(
        "SwAV's crops of 32 pairs, 2x128,6x96, one thread",
        {OURS: rows("data_bench", "^crops/make/cpu/f32/2x128,6x96/"),
         "torchvision": peer("crops_step.py")})
    return found


def run_once(command, threads):
    """(what the contender told, most memory in MiB). {"missing": ...} and {"error": ...} are results."""
    environment = dict(os.environ, OMP_WAIT_POLICY="passive", OMP_NUM_THREADS=str(threads),
                       MWALIMU_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        # Google Benchmark's programs hold the operands of their ceilings, too.
        reports = any(word.startswith("--benchmark_filter") for word in command)
        if reports:
            command = [*command, f"--benchmark_out={report}", "--benchmark_out_format=json"]
        out, error = Path(scratch) / "out", Path(scratch) / "error"
        try:
            with out.open("w") as stdout, error.open("w") as stderr:
                process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
                _, status, usage = os.wait4(process.pid, 0)
        except OSError as problem:
            return {"missing": f"{command[0]}: {problem.strerror}"}, None
        process.returncode = os.waitstatus_to_exitcode(status)
        memory = usage.ru_maxrss / 1024
        if process.returncode != 0:
            last = (error.read_text().strip().splitlines() or ["no message"])[-1]
            return {"error": f"exit status {process.returncode}: {last}"}, memory
        try:
            if reports:
                rows = json.loads(report.read_text())["benchmarks"]
                bad = [row for row in rows if row.get("error_occurred")]
                if not rows or bad:
                    return {"error": bad[0]["error_message"] if bad else "no such row"}, memory
                return {"ms": [rows[0]["best_ms"]], "threads": threads}, None
            return json.loads(out.read_text().strip().splitlines()[-1]), memory
        except (ValueError, KeyError, IndexError):
            return {"error": "its output is not what was expected"}, memory


def compare(name, task, options):
    """{contender: {"rounds": [median ms], ...} or {"missing": ...}}."""
    found = {contender: {"rounds": []} for contender in task.contenders}
    for number in range(options.rounds):
        order = list(task.contenders)
        for contender in order if number % 2 == 0 else reversed(order):
            entry = found[contender]
            if "missing" in entry:
                continue
            told, memory = run_once(task.contenders[contender], options.threads)
            if "missing" in told:
                entry["missing"] = told["missing"]
                continue
            if "error" in told:
                sys.exit(f"run_peers.py: {name}: {contender}: {told['error']}")
            entry["rounds"].append(statistics.median(told["ms"]))
            if memory is not None:
                entry["memory"] = max(memory, entry.get("memory", 0))
            for key in ("version", "threads", "parameters", "precision", "network", "first_loss"):
                if key in told:
                    entry[key] = told[key]
            print(f"{name}, round {number + 1} of {options.rounds}: {contender} "
                  f"{entry['rounds'][-1]:.1f} ms", file=sys.stderr)
    counts = {key: entry["parameters"] for key, entry in found.items() if "parameters" in entry}
    if len(set(counts.values())) > 1:
        sys.exit(f"run_peers.py: {name}: the contenders train different networks: {counts}")
    return found


def memory_of_batch(task, options):
    """{contender: MiB that the batch takes beyond a batch of two}."""
    grown = {}
    for contender, command in task.memory(task.batch).items():
        told, full = run_once(command, options.threads)
        small_told, small = run_once(task.memory(2)[contender], options.threads)
        if "ms" in told and "ms" in small_told:
            grown[contender] = full - small
    return grown


def table(all_found):
    lines = ["| work | contender | ms: median (min to max) | peer / ours: median (range) | peak MiB |"
             " of the batch, MiB |", "|---|---|---|---|---:|---:|"]
    missing = []
    for entry in all_found.values():
        ours = entry["contenders"][OURS]["rounds"]
        for contender, row in entry["contenders"].items():
            if "missing" in row:
                missing.append(f"{entry['title']}: {contender}: {row['missing']}")
                continue
            rounds, ratio = row["rounds"], ""
            if contender != OURS and ours:
                ratios = [peer / own for peer, own in zip(rounds, ours)]
                ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            grown = entry.get("grown", {}).get(contender)
            network = f" ({row['network']})" if "network" in row else ""
            lines.append(
                f"| {entry['title']} | {contender}{network} | {statistics.median(rounds):.1f} "
                f"({min(rounds):.1f} to {max(rounds):.1f}) | {ratio} | "
                f"{format(row['memory'], '.0f') if 'memory' in row else ''} | "
                f"{'' if grown is None else f'{grown:.0f}'} |")
    if missing:
        lines += ["", "Missing:", *(f"- {one}" for one in missing)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=run.ROOT / "build/cpu")
    parser.add_argument("--python", default="/usr/bin/python3", help="the Python that has the peers")
    parser.add_argument("--tasks", nargs="+", default=[""],
                        help="names, or what names begin with: train, res2next, swav, sinkhorn, crops")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="of training steps")
    parser.add_argument("--precision", nargs="+", choices=list(SUFFIX), default=["float32"],
                        help="of the steps; bfloat16 beside PyTorch's autocast")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--crops", default="2x64,4x48", help="of SwAV's step")
    parser.add_argument("--prototypes", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="timed steps a round")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them, 2 or more")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true", help="leave the memory of a batch out")
    parser.add_argument("--list", action="store_true", help="print the names of the tasks")
    parser.add_argument("--json", type=Path, help="write every number to this file")
    options = parser.parse_args()
    everything = tasks(options)
    if options.list:
        print("\n".join(everything))
        return 0
    asked = {name: task for name, task in everything.items()
             if any(name.startswith(begin) for begin in options.tasks)}
    if not asked:
        sys.exit(f"run_peers.py: no task begins with {' or '.join(options.tasks)}; there are "
                 + ", ".join(everything))
    if options.warm_up < 2 or options.rounds < 1 or options.steps < 1:
        sys.exit("run_peers.py: want --warm-up 2 or more, --rounds and --steps 1 or more")

    load = os.getloadavg()[0]
    all_found, versions = {}, set()
    for name, task in asked.items():
        found = compare(name, task, options)
        if "missing" in found[OURS]:
            sys.exit(f"run_peers.py: {found[OURS]['missing']}; build the benches, or give --build")
        all_found[name] = {"title": task.title, "contenders": found}
        versions |= {row["version"] for row in found.values() if "version" in row}
        if task.memory and not options.no_memory:
            all_found[name]["grown"] = memory_of_batch(task, options)
    about = {"date": run.now(), "commit": run.commit(), "processor": run.processor(),
             "cores": os.cpu_count(), "threads": options.threads, "load_before": round(load, 2),
             "rounds": options.rounds, "steps": options.steps, "versions": sorted(versions)}
    print(table(all_found))
    print()
    print(", ".join(f"{key}: {value}" for key, value in about.items()))
    if load > 1:
        print("The machine was busy: take this as a rough guide.")
    if options.json:
        options.json.write_text(json.dumps({"about": about, "tasks": all_found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
