#!/usr/bin/env python3
"""Gathers what tools/gpu_check.sh left behind into one results file and a table on the terminal."""
import argparse
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
    found = {}
    for line in log.splitlines():
        if line.startswith("== "):
            name = line[3:]
        elif "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line:
            found[name] = line.split("SUMMARY:")[1].strip()
    return found


def last_losses(folder):
    """Per precision: the first and last loss of the log, and images a second."""
    found = {}
    for log in sorted(folder.glob("*/pretrain/log.csv")):
        lines = log.read_text().splitlines()
        if len(lines) < 3:
            continue
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","))) for line in lines[1:]]
        found[log.parent.parent.name] = {
            "steps": int(rows[-1]["step"]), "first_loss": float(rows[0]["loss"]),
            "last_loss": float(rows[-1]["loss"]),
            "images_per_second": float(rows[-1]["images_per_second"])}
    for metrics in sorted(folder.glob("*/finetune/metrics.json")):
        numbers = json.loads(metrics.read_text())
        found.setdefault(metrics.parent.parent.name, {})["accuracy"] = numbers["accuracy"]
    return found


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
    results = {**machine(), "commit": commit, "uncommitted_changes": changed,
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
                entry["results"] = last_losses(work / "study")
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
        elif part == "study" and found:
            line += "".join(f"\n      {name:<9} {numbers}" for name, numbers in found.items())
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
