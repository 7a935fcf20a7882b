"""bench/run.py: on a program that stands in for a bench."""

import json
import unittest

from common import ScriptTest

# Speaks Google Benchmark's command line. Row `bad` is an error.
PROGRAM = '''#!/usr/bin/env python3
import json, os, re, sys
names = [name + "/manual_time" for name in os.environ.get("NAMES", "").split()] or [
    "a/cpu/f32/N:1/process_time/manual_time", "b/cpu/f32/manual_time", "c/gpu/f32/manual_time"]
given = dict(a.split("=", 1) for a in sys.argv[1:])
seconds = given.get("--benchmark_min_time")
if given.get("--benchmark_list_tests") == "true":
    print("\\n".join(names))
    sys.exit(0)
rows = [{"name": n, "real_time": 2.0, "time_unit": "ms", "bytes": 8.0} for n in names
        if re.search(given["--benchmark_filter"], n)]
if os.environ.get("FAIL") == "row":
    rows[0].update(error_occurred=True, error_message="wrong result")
if os.environ.get("FAIL") == "program":
    print("no memory", file=sys.stderr)
    sys.exit(3)
context = {"threads": os.environ["MWALIMU_THREADS"], "quick": os.environ["MWALIMU_BENCH_QUICK"],
           "seconds": seconds}
open(given["--benchmark_out"], "w").write(json.dumps({"context": context, "benchmarks": rows}))
'''


class Run(ScriptTest):
    def setUp(self):
        super().setUp()
        (self.folder / "bin").mkdir()
        for name in ("x_bench", "swav_step_bench"):
            self.write(f"bin/{name}", PROGRAM).chmod(0o755)
        self.write("bin/not_a_bench", "").chmod(0o755)
        self.out = self.folder / "out.json"

    def run_py(self, *options, **more):
        return self.script("run.py", "--build", self.folder, "--out", self.out, *options, **more)

    def test_rounds_are_gathered(self):
        done = self.run_py("--rounds", 3, "--threads", 1)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(self.out.read_text())
        self.assertEqual(sorted(found["rows"]), ["a/cpu/f32/N:1", "b/cpu/f32"])
        self.assertEqual(found["rows"]["b/cpu/f32"]["ms"], [2, 2, 2])
        self.assertEqual(found["about"]["rounds"], 3)
        self.assertEqual(found["about"]["contexts"][0]["threads"], "1")
        self.assertEqual(found["about"]["contexts"][0]["quick"], "0")

    def test_filter_and_exclude_choose_rows(self):
        self.run_py("--filter", "^b|gpu", "--exclude", "gpu")
        self.assertEqual(list(json.loads(self.out.read_text())["rows"]), ["b/cpu/f32"])

    def test_quick_is_one_round_and_told_to_the_programs(self):
        self.run_py("--quick")
        about = json.loads(self.out.read_text())["about"]
        self.assertEqual((about["rounds"], about["quick"]), (1, True))
        self.assertEqual(about["contexts"][0]["quick"], "1")

    def test_short_leaves_the_slowest_rows_out(self):
        kept = ["swav/step/cpu/f32/xresnet34/2x64,4x48/K:3000/B:32", "augment/make/cpu/f32/B:32/px:128",
                "swav/loader/cpu/f32/xresnet18/w:16/2x48,4x32/K:24/B:32", "store/batch/cpu/u8/px:128/B:64"]
        slow = ["swav/step/cpu/f32/xresnet34/2x128,6x96/K:3000/B:32",
                "finetune/loader/cpu/f32/res2next50/px:128/B:32", "inference/cpu/bf16/a/px:128/B:32"]
        done = self.run_py("--short", env={"NAMES": " ".join(kept + slow), "PATH": "/usr/bin:/bin"})
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(self.out.read_text())
        self.assertEqual(list(found["rows"]), kept)
        self.assertEqual((found["about"]["rounds"], found["about"]["short"]), (3, True))
        self.assertEqual(found["about"]["contexts"][0]["seconds"], "0.1")

    def test_a_row_that_fails_is_kept_and_told(self):
        done = self.run_py(env={"FAIL": "row", "PATH": "/usr/bin:/bin"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("a/cpu/f32/N:1: wrong result", done.stderr)
        self.assertIn("error", json.loads(self.out.read_text())["rows"]["a/cpu/f32/N:1"])

    def test_a_program_that_fails_is_told(self):
        done = self.run_py(env={"FAIL": "program", "PATH": "/usr/bin:/bin"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("x_bench: exit status 3: no memory", done.stderr)

    def test_bad_options_are_refused_in_one_line_and_write_nothing(self):
        for options, text in ((("--filter", "("), "not a regular expression"),
                              (("--filter", "zzz"), "no row of the programs"),
                              (("--rounds", 0), "above 0")):
            done = self.run_py(*options)
            self.assertEqual(done.returncode, 1, options)
            self.assertIn(text, done.stderr)
        done = self.script("run.py", "--build", self.folder, "--out", self.folder / "no/out.json")
        self.assertIn("--out: no folder", done.stderr)
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    unittest.main()
