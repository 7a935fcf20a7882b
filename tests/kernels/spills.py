#!/usr/bin/env python3
"""Fails where a kernel spills registers to memory, by the compiler's own report.

usage: spills.py FOLDER [--table]     FOLDER holds the reports *.ptxas of a build
"""
import pathlib
import re
import subprocess
import sys

# Kernels that may spill: a part of the name, and the reason.
ALLOWED = {}


def demangle(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True)
    return done.stdout.splitlines() if done.returncode == 0 else list(names)


def kernels_of(report):
    """(mangled name, registers, shared bytes, stack bytes, spill bytes) of each kernel."""
    name, stack, spills = None, 0, 0
    for line in report.read_text().splitlines():
        if found := re.search(r"Function properties for (\S+)", line):
            name = found.group(1)
        elif found := re.search(r"Compiling entry function '(\S+)'", line):
            name = found.group(1)
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, "
                                r"(\d+) bytes spill loads", line):
            stack, spills = int(found.group(1)), int(found.group(2)) + int(found.group(3))
        elif found := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            yield name, int(found.group(1)), int(shared.group(1)) if shared else 0, stack, spills


def main():
    folder = pathlib.Path(sys.argv[1])
    reports = sorted(folder.rglob("*.ptxas"))
    rows = [row for report in reports for row in kernels_of(report)]
    if not rows:
        sys.exit(f"spills.py: no compiler report with a kernel in {folder}; build mwalimu_kernels")
    rows = [(name, *row[1:]) for name, row in zip(demangle([row[0] for row in rows]), rows)]
    if "--table" in sys.argv:
        for name, registers, shared, stack, spills in sorted(rows):
            print(f"{registers:4} registers {shared:6} B shared {stack:5} B stack {spills:5} B spilled  {name}")
    bad = [row for row in rows if row[4] > 0
           and not any(name in row[0] for name in ALLOWED)]
    for name, registers, _, stack, spills in bad:
        print(f"spills {spills} bytes ({registers} registers, {stack} bytes of stack): {name}")
    print(f"{len(rows)} kernels in {len(reports)} reports, {len(bad)} with spills")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
