#!/usr/bin/env python3
"""Fails where a kernel has no test that asks what it moves.

usage: traffic_claims.py [ROOT]     ROOT holds kernels/ and tests/kernels/

A kernel is a __global__ function NAME_kernel of kernels/*.cuh. A claim is a test file that counts
traffic and has the name in a string, as "NAME", "NAME_kernel" or "NAME_kernel<...". Whether the
claim is a good one is for its reader to say; that somebody has to write one, this sees to.
"""
import pathlib
import re
import sys

# Kernels without a claim, and the reason.
ALLOWED = {
    "plan_inputs": "a few numbers an image, beside augment's pixels",
    "draw_crops": "a few numbers a crop, beside crop's pixels",
}


def kernels_of(source):
    """The names, without _kernel, of the __global__ functions in a file."""
    code = re.sub(r"//[^\n]*", "", source)
    return re.findall(r"__global__[^;{}]*?\b(\w+)_kernel\s*\(", code)


def claims_of(source):
    """The names of kernels in the strings of a test that counts traffic."""
    if "traffic_of(" not in source and "simt::traffic()" not in source:
        return set()
    literals = re.findall(r'"((?:[^"\\\n]|\\.)*)"', re.sub(r"//[^\n]*", "", source))
    return {re.sub(r"_kernel(<.*)?$", "", text) for text in literals}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    where = {name: path.name for path in sorted((root / "kernels").glob("*.cuh"))
             for name in kernels_of(path.read_text())}
    claimed = set().union(*(claims_of(path.read_text())
                            for path in (root / "tests" / "kernels").glob("*_test.cpp")))
    if not where or not claimed:
        sys.exit(f"traffic_claims.py: {len(where)} kernels and {len(claimed)} names in {root}")
    bad = [f"{where[name]}: no test says what {name}_kernel moves"
           for name in sorted(where) if name not in claimed and name not in ALLOWED]
    bad += [f"{name} may go unclaimed, but there is no such kernel"
            for name in sorted(ALLOWED) if name not in where]
    bad += [f"{name} may go unclaimed, but a test claims it: take it off the list"
            for name in sorted(ALLOWED) if name in where and name in claimed]
    print("\n".join(bad + [f"{len(where)} kernels, {len(bad)} complaints"]))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
