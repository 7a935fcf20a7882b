#!/usr/bin/env python3
"""Deletes one synchronisation of the kernels at a time and asks the tests whether they notice.

For each __syncthreads(), __syncwarp(), simt::grid_sync(), grid.sync() and __threadfence() statement in
kernels/*.cuh: a copy of the sources without it is built, in the check flavour, and the kernels' tests
run until one fails. A mutant that all tests pass has survived: a test is missing, or the statement is
not needed. Exit status: 0 where every survivor is named below, else 1.

  tools/mutate_barriers.py                    all of them
  tools/mutate_barriers.py sinkhorn reduce    those of kernels/sinkhorn.cuh and kernels/reduce.cuh
  tools/mutate_barriers.py --list             which there are
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATEMENT = re.compile(r"(__syncthreads\(\)|__syncwarp\([^;]*\)|simt::grid_sync\(\)|"
                       r"\w+\.sync\(\)|__threadfence\(\));")
# kernels/simt.cuh declares them.
NO_KERNELS = {"simt.cuh"}

# (file, function, which of its statements, from 1): why no test notices that it is gone.
UNNOTICED = {
    ("global_pool.cuh", "global_pool_kernel", 2):
        "a block takes a second sample only beyond 65535 of them, too many for a test",
}


class Mutant:
    def __init__(self, path, line, text, function, ordinal):
        self.path, self.line, self.text = path, line, text
        self.function, self.ordinal = function, ordinal

    @property
    def key(self):
        return (self.path.name, self.function, self.ordinal)

    def __str__(self):
        return "%s:%d %s in %s" % (self.path.name, self.line, self.text, self.function)


def function_at(lines, index):
    """The name of the __global__ or __device__ function that line `index` lies in."""
    for start in range(index, -1, -1):
        if "__global__" not in lines[start] and "__device__" not in lines[start]:
            continue
        head = " ".join(line.strip() for line in lines[start:start + 4])
        head = re.sub(r"__launch_bounds__\([^)]*\)", "", head)
        name = re.search(r"(operator\(\)|\w+)\s*\(", head)
        if name and lines[start].startswith(("__global__", "__device__", "inline __")):
            return name.group(1)
    return "?"


def find_mutants(stems):
    mutants, counts = [], {}
    for path in sorted((ROOT / "kernels").glob("*.cuh")):
        if path.name in NO_KERNELS or (stems and path.stem not in stems):
            continue
        lines = path.read_text().split("\n")
        for i, line in enumerate(lines):
            found = STATEMENT.search(line.split("//")[0])
            if not found:
                continue
            function = function_at(lines, i)
            counts[path.name, function] = counts.get((path.name, function), 0) + 1
            mutants.append(Mutant(path, i + 1, found.group(1), function,
                                  counts[path.name, function]))
    return mutants


def copy_sources(to):
    """The files that git knows or would add, as they are now; unchanged ones keep their time."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\n")
    wanted = {name for name in names if name and (ROOT / name).is_file()}
    for name in wanted:
        source, copy = ROOT / name, to / name
        if copy.is_file() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        shutil.copymode(source, copy)
    for copy in to.rglob("*"):
        if copy.is_file() and str(copy.relative_to(to)) not in wanted:
            copy.unlink()


class Build:
    def __init__(self, work, jobs):
        self.source, self.build, self.jobs = work / "source", work / "build", jobs
        copy_sources(self.source)
        launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
        self.command(["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja",
                      "-DCMAKE_BUILD_TYPE=Release", "-DMWALIMU_BUILD_BENCH=OFF",
                      "-DMWALIMU_BUILD_EXAMPLES=OFF"] + launcher)
        targets = self.command(["ninja", "-C", self.build, "-t", "targets", "all"]).stdout
        self.tests = sorted(set(re.findall(r"^bin/(kernels_\w+_check):", targets, re.M)))
        if not self.tests:
            sys.exit("mutate_barriers: the build has no tests kernels_NAME_check")

    def command(self, arguments):
        run = subprocess.run(arguments, capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit("mutate_barriers: %s failed:\n%s%s" % (
                " ".join(map(str, arguments)), run.stdout[-3000:], run.stderr[-3000:]))
        return run

    def in_order(self, stem):
        """Tests, those named like the kernel first."""
        words = set(stem.split("_"))
        return sorted(self.tests, key=lambda t: (stem not in t, -len(words & set(t.split("_"))), t))

    def failure(self, test):
        """Builds and runs one test: None where it passes, else the line that says why not."""
        built = subprocess.run(["ninja", "-C", self.build, "-j", str(self.jobs), test],
                               capture_output=True, text=True)
        if built.returncode != 0:
            error = re.search(r".*\berror\b.*", built.stdout)
            return "does not compile: " + (error.group(0) if error else built.stdout[-300:])
        environment = dict(os.environ, OMP_NUM_THREADS="1", MWALIMU_THREADS="1")
        try:
            run = subprocess.run([self.build / "bin" / test, "--gtest_brief=1",
                                  "--gtest_fail_fast"], capture_output=True, text=True, timeout=900,
                                 env=environment)
        except subprocess.TimeoutExpired:
            return "did not end"
        if run.returncode == 0:
            return None
        output = run.stdout + run.stderr
        reason = re.search(r"(\S+ race on|uninitialised read on|deadlock|different barriers).*",
                           output) or re.search(r".*Failure.*", output)
        return reason.group(0).strip()[:100] if reason else "exit status %d" % run.returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stems", nargs="*", help="stems of kernels/STEM.cuh; all by default")
    parser.add_argument("--list", action="store_true", help="name the mutants and stop")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants",
                        help="folder to copy to and build in (default build/mutants)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    for stem in options.stems:
        if not (ROOT / "kernels" / (stem + ".cuh")).is_file():
            parser.error("there is no kernels/%s.cuh" % stem)

    mutants = find_mutants(options.stems)
    if options.list:
        for mutant in mutants:
            print(mutant)
        return 0
    build = Build(options.work.resolve(), options.jobs)
    for test in build.tests:
        reason = build.failure(test)
        if reason:
            sys.exit("mutate_barriers: %s fails before anything is deleted: %s" % (test, reason))

    survivors = 0
    for mutant in mutants:
        copy = build.source / "kernels" / mutant.path.name
        original = copy.read_text()
        lines = original.split("\n")
        lines[mutant.line - 1] = lines[mutant.line - 1].replace(mutant.text + ";", "(void)0;", 1)
        copy.write_text("\n".join(lines))
        verdict = None
        for test in build.in_order(mutant.path.stem):
            reason = build.failure(test)
            if reason:
                verdict = "found by %s: %s" % (test, reason)
                break
        copy.write_text(original)
        if verdict is None and mutant.key in UNNOTICED:
            verdict = "survived, as it may: " + UNNOTICED[mutant.key]
        elif verdict is None:
            survivors += 1
            verdict = "SURVIVED"
        print("%s: %s" % (mutant, verdict), flush=True)
    print("%d mutants, %d survived unexplained" % (len(mutants), survivors))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
