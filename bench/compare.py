#!/usr/bin/env python3
"""Holds two files of bench/run.py against each other and names what got slower.

    bench/compare.py before.json after.json

Times are medians of rounds. A row is slower when its median grew by more than --threshold and by more
than the noise of both files (half their ranges), and even its fastest round is slower than the
slowest before. A row measured once has no spread; it is taken to be off by a quarter. Rows that were
there before and are missing or fail now count as worse.

Exit status: 0 nothing is worse, 1 something is, 2 the files cannot be compared.
"""

import argparse
import re
import sys

import results

UNKNOWN = 0.25  # spread of a row measured once, by what single runs on busy machines showed
SAME = ("processor", "threads", "quick", "short")


def verdict(before, after, threshold):
    """(ratio, noise, "slower", "faster" or "") of two lists of times."""
    old, new = results.median(before), results.median(after)
    noise = sum(UNKNOWN if results.spread(times) is None else results.spread(times)
                for times in (before, after))
    ratio = new / old
    if ratio > 1 + max(threshold, noise) and min(after) > max(before):
        return ratio, noise, "slower"
    if 1 / ratio > 1 + max(threshold, noise) and max(after) < min(before):
        return ratio, noise, "faster"
    return ratio, noise, ""


def compare(before, after, threshold):
    """(table's lines, names that are worse)."""
    lines, worse = [], []
    for name, old in before.items():
        new = after.get(name)
        if not old["ms"]:
            continue
        if new is None or not new["ms"]:
            reason = "missing" if new is None else f"fails: {new.get('error', 'no time')}"
            lines.append(f"| {name} | {results.number(results.median(old['ms']))} | | | | {reason} |")
            worse.append(name)
            continue
        ratio, noise, word = verdict(old["ms"], new["ms"], threshold)
        if word == "slower":
            worse.append(name)
        lines.append(f"| {name} | {results.number(results.median(old['ms']))} | "
                     f"{results.number(results.median(new['ms']))} | {ratio:.2f} | {noise:.0%} | "
                     f"{word} |")
    for name, new in after.items():
        if name not in before and new["ms"]:
            lines.append(f"| {name} | | {results.number(results.median(new['ms']))} | | | new |")
    return lines, worse


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--threshold", type=float, default=0.10,
                        help="growth of a median that is let pass (default: 0.10)")
    parser.add_argument("--filter", default="", help="regular expression on the rows' names")
    parser.add_argument("--changed", action="store_true", help="show rows with a verdict alone")
    parser.add_argument("--force", action="store_true",
                        help="compare files of different machines or settings")
    options = parser.parse_args()
    if options.threshold < 0:
        parser.error("--threshold: want 0 or more")
    try:
        pattern = re.compile(options.filter)
    except re.error as problem:
        parser.error(f"--filter: {problem}")
    contents = []
    for path in (options.before, options.after):
        try:
            contents.append(results.load(path))
        except SystemExit as problem:
            print(f"compare.py: {problem}", file=sys.stderr)
            return 2
    about = [content.get("about", {}) for content in contents]
    for key in SAME:
        values = [one.get(key, False) for one in about]  # older files have no "short"
        if values[0] != values[1] and not options.force:
            print(f"compare.py: {key} differs: {values[0]} and {values[1]}; --force compares all the "
                  "same", file=sys.stderr)
            return 2
    rows = [{name: row for name, row in content["rows"].items() if pattern.search(name)}
            for content in contents]
    if not rows[0]:
        print(f"compare.py: {options.before} has no row that matches '{options.filter}'",
              file=sys.stderr)
        return 2

    lines, worse = compare(*rows, options.threshold)
    shown = [line for line in lines if not options.changed or not line.endswith("|  |")]
    print("| row | before, ms | after, ms | after / before | noise | |")
    print("|---|---:|---:|---:|---:|---|")
    if shown:
        print("\n".join(shown))
    loads = [one.get("load_before") or 0 for one in about]
    if max(loads) > 1:
        print(f"\nThe machine was busy (load {loads[0]} and {loads[1]}): take this as a rough guide.")
    if worse:
        print(f"\n{len(worse)} worse: {', '.join(worse)}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
