#!/usr/bin/env python3
"""Gathers what tools/gpu_check.sh left behind into one results file and a table on the terminal.

The file is one JSON object: `format` (1), `device`, `driver`, `memory`, `clock`, `nvcc`, `torch`, `timm`
(null where unknown), `commit`, `uncommitted_changes`, `date`, and `parts`, an object with an entry for
each part that ran: {"status": exit status (124, 137: stopped at its limit), "seconds", "limit",
"results": below, "unreadable": why there are none, "log_end": last lines, of a part that failed}.

  tests      {"run": N, "failed": [names], "skipped": [names]}
  sanitizer  {"TOOL PROGRAM": the tool's summary, "exit N" where it gave none}
  study      {"float32" | "bfloat16" | "float16" | "off" (float32 without a graph): {"steps",
             "first_loss", "last_loss", "images_per_second", "accuracy"}, "find_lr_swav",
             "find_lr_classifier": {"steps", "first_loss", "smallest_loss"}, "evaluate": {"accuracy"},
             "map": {"kl"}, "failed": [commands]}
  bench      [{"name", "time", "unit", counters...} or {"name", "error"}]
  peers      what bench/peers/gpu_step.py writes
"""
import argparse
import csv
import datetime
import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

PARTS = ("build", "tests", "sanitizer", "study", "bench", "peers")


def output_of(*command, folder=None):
    """What a command prints, or None where it is missing or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine():
    query = "name,driver_version,memory.total,clocks.max.sm"
    text = output_of("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader")
    fields = [field.strip() for field in text.splitlines()[0].split(",")] if text else [None] * 4
    nvcc = re.search(r"release ([0-9.]+)", output_of("nvcc", "--version") or "")
    return {"device": fields[0], "driver": fields[1], "memory": fields[2], "clock": fields[3],
            "nvcc": nvcc.group(1) if nvcc else None,
            "torch": output_of(sys.executable, "-c", "import torch; print(torch.__version__)"),
            "timm": output_of(sys.executable, "-c", "import timm; print(timm.__version__)")}


def test_results(path):
    """Counts and failures of a CTest run."""
    root = xml.parse(path).getroot()
    cases = root.findall("testcase")
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    skipped = [case.get("name") for case in cases if case.find("skipped") is not None]
    return {"run": len(cases), "failed": failed, "skipped": skipped}


def sanitizer_results(log):
    found, name = {}, None
    for line in log.splitlines():
        if line.startswith("== "):
            name = line[3:]
        elif name and ("ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line):
            found[name] = line.split("SUMMARY:")[1].strip()
        elif name and line.startswith("-- "):
            found.setdefault(name, line[3:])
    return found


def table(path):
    """A CSV file's rows as dictionaries."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def study_results(folder, log):
    """By precision: first and last loss, speed, accuracy; and what the other programs found."""
    found = {}
    for path in sorted(folder.glob("*/pretrain/log.csv")):
        rows = table(path)
        if len(rows) < 2:
            continue
        found[path.parent.parent.name] = {
            "steps": int(rows[-1]["step"]), "first_loss": float(rows[0]["loss"]),
            "last_loss": float(rows[-1]["loss"]),
            "images_per_second": float(rows[-1]["images_per_second"])}
    for path in sorted(folder.glob("*/finetune/metrics.json")):
        accuracy = json.loads(path.read_text())["accuracy"]
        found.setdefault(path.parent.parent.name, {})["accuracy"] = accuracy
    for path in sorted(folder.glob("find_lr_*/lr.csv")):
        losses = [float(row["loss"]) for row in table(path)]
        found[path.parent.name] = {"steps": len(losses), "first_loss": losses[0],
                                   "smallest_loss": min(losses)}
    if (folder / "evaluate" / "metrics.json").exists():
        numbers = json.loads((folder / "evaluate" / "metrics.json").read_text())
        found["evaluate"] = {"accuracy": numbers["accuracy"]}
    for line in log.splitlines():
        kl = re.search(r"KL ([0-9.]+)", line)
        if kl:
            found["map"] = {"kl": float(kl.group(1))}
    failed = [command[3:] for command, _ in commands_and_exits(log.splitlines())]
    if failed:
        found["failed"] = failed
    return found


def commands_and_exits(lines):
    """(the last "== command", "-- exit N") for every command that failed."""
    command = ""
    for line in lines:
        if line.startswith("== "):
            command = line
        elif line.startswith("-- exit"):
            yield command, line


def bench_results(folder):
    rows = []
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text())
        except ValueError:
            continue  # a bench that was stopped
        for row in content.get("benchmarks", []):
            if row.get("error_occurred"):
                rows.append({"name": row["name"], "error": row["error_message"]})
                continue
            kept = {"name": row["name"], "time": row["real_time"], "unit": row["time_unit"]}
            standard = {"real_time", "cpu_time", "iterations", "repetitions", "threads",
                        "family_index", "per_family_instance_index", "repetition_index"}
            kept.update({key: value for key, value in row.items()
                         if isinstance(value, (int, float)) and key not in standard})
            rows.append(kept)
    for path in sorted(folder.glob("tsne_*.line")):
        try:
            row = json.loads(path.read_text())
            if "skipped" in row:
                rows.append({"name": path.stem.replace("_", "/cuda/"), "error": row["skipped"]})
                continue
            rows.append({"name": f"tsne/cuda/{row['repulsion']}/N:{row['n']}/D:{row['d']}",
                         "time": row["wall"], "unit": "s", "kl": row["kl"],
                         "trustworthiness": row["trustworthiness"]})
        except (ValueError, KeyError):
            continue  # it failed, and said so in the log
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    work, source = arguments.work, arguments.source

    commit = output_of("git", "rev-parse", "--short=12", "HEAD", folder=source)
    changed = bool(output_of("git", "status", "--porcelain", "--untracked-files=no", folder=source))
    date = datetime.datetime.now(datetime.timezone.utc)
    results = {"format": 1, **machine(), "commit": commit, "uncommitted_changes": changed,
               "date": date.strftime("%Y-%m-%dT%H:%M:%SZ"), "parts": {}}
    for part in PARTS:
        status = work / f"{part}.status"
        if not status.exists():
            continue
        entry = json.loads(status.read_text())
        log = (work / f"{part}.log").read_text(errors="replace")
        try:
            if part == "tests" and (work / "tests.xml").exists():
                entry["results"] = test_results(work / "tests.xml")
            elif part == "sanitizer":
                entry["results"] = sanitizer_results(log)
            elif part == "study":
                entry["results"] = study_results(work / "study", log)
            elif part == "bench":
                entry["results"] = bench_results(work / "bench")
            elif part == "peers" and (work / "peers.json").exists():
                entry["results"] = json.loads((work / "peers.json").read_text())
        except (OSError, ValueError, KeyError, xml.ParseError) as problem:
            entry["unreadable"] = str(problem)
        if entry["status"] != 0:
            entry["log_end"] = log.splitlines()[-40:]
        results["parts"][part] = entry

    out = arguments.out
    if out is None:
        name = re.sub(r"[^A-Za-z0-9]+", "-", results["device"] or "no-device").strip("-").lower()
        out = source / "bench" / "results" / f"{name}_{date:%Y-%m-%d}_{commit or 'unknown'}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    temporary.replace(out)

    print(f"\n{results['device'] or 'no device'}, driver {results['driver']}, nvcc {results['nvcc']}, "
          f"commit {commit}{' + changes' if changed else ''}")
    for part, entry in results["parts"].items():
        verdict = {0: "ok", 124: "over its limit", 137: "over its limit"}.get(entry["status"], "FAILED")
        line = f"  {part:<10} {verdict:<15} {entry['seconds']:>4} s"
        found = entry.get("results")
        if part == "tests" and found:
            line += f"   {found['run']} run, {len(found['failed'])} failed, {len(found['skipped'])} skipped"
            line += "".join(f"\n      failed: {name}" for name in found["failed"])
        elif part == "sanitizer" and found:
            line += "".join(f"\n      {name:<40} {summary}" for name, summary in found.items()
                            if not summary.startswith(("0 errors", "0 hazards")))
        elif part == "study" and found:
            line += "".join(f"\n      {name:<18} {numbers}" for name, numbers in found.items())
        elif part == "bench" and found:
            for row in found:
                if "error" in row:
                    line += f"\n      {row['name']:<56} {row['error']}"
                    continue
                roof = f"{100 * row['roof']:.0f} % of roof" if "roof" in row else ""
                line += f"\n      {row['name']:<56} {row['time']:10.1f} {row['unit']} {roof}"
        elif part == "peers" and found:
            line += "".join(f"\n      {row}" for row in found.get("table", []))
        print(line)
    print(f"wrote {out}")
    sys.exit(any(entry["status"] != 0 for entry in results["parts"].values()))


if __name__ == "__main__":
    main()
