"""What run.py writes and the other scripts read: one JSON file of a run.

    {"about": {...}, "rows": {NAME: {"program": ..., "ms": [a time a round], "error": ...,
                                     COUNTER: [a value a round], ...}}}

`ms` is the fastest call of a round where the bench tells it, else the mean of the round's calls.
"""

import json
import re
import statistics
import sys
from pathlib import Path

UNITS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
STANDARD = {"name", "run_name", "run_type", "real_time", "cpu_time", "time_unit", "iterations",
            "repetitions", "threads", "family_index", "per_family_instance_index",
            "repetition_index", "error_occurred", "error_message", "label", "aggregate_name"}
SUFFIX = re.compile(r"/(iterations:\d+|process_time|manual_time|real_time|repeats:\d+|min_time:[^/]*)")


def clean(name):
    """Google Benchmark's name without what it appends of its own accord."""
    return SUFFIX.sub("", name)


def add_round(rows, program, report):
    """Adds the rows of one of Google Benchmark's reports to {name: row}."""
    for found in report.get("benchmarks", []):
        if found.get("run_type") == "aggregate":
            continue
        row = rows.setdefault(clean(found["name"]), {"program": program, "ms": []})
        if found.get("error_occurred"):
            row["error"] = found.get("error_message", "no message")
            continue
        mean = found["real_time"] * UNITS[found.get("time_unit", "ns")]
        row["ms"].append(found.get("best_ms", mean))
        row.setdefault("mean_ms", []).append(mean)
        for key, value in found.items():
            if key not in STANDARD and key != "best_ms" and isinstance(value, (int, float)):
                row.setdefault(key, []).append(value)


def load(path):
    """A file of results; exits with one line where it is none."""
    try:
        content = json.loads(Path(path).read_text())
        rows = content["rows"]
        assert all(isinstance(row["ms"], list) for row in rows.values())
    except OSError as problem:
        sys.exit(f"{path}: {problem.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        sys.exit(f"{path}: not a file of bench/run.py")
    return content


def median(values):
    return statistics.median(values) if values else None


def spread(values):
    """Half the range over the median: what a median of these may be off by; None for one value."""
    if len(values) < 2:
        return None
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / middle if middle else None


def value(row, key):
    """The median of a row's counter, or None."""
    return median(row.get(key, []))


def number(x, digits=3):
    """For people: three digits, no exponent where it can be helped."""
    if x is None:
        return ""
    if x == 0 or 1e-3 <= abs(x) < 1e5:
        return f"{x:.{digits}g}" if abs(x) < 10**digits else f"{x:.0f}"
    return f"{x:.2e}"
