"""bench/peers/run_peers.py: turns, ratios, memory and missing peers, on stand-ins."""

import json
import unittest

from common import ScriptTest

# Ours: 10 ms a step; a batch of more than two holds 64 MiB more.
OURS = '''#!/usr/bin/env python3
import json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
kept = bytearray(2**26 if int(given.get("--batch", 0)) > 2 else 1)
kept[::4096] = b"x" * len(kept[::4096])
open("{log}", "a").write("ours ")
print(json.dumps({{"ms": [10, 30, 10], "threads": int(given["--threads"]), "parameters": 5,
                  "version": "ours 1"}}))
'''
BENCH = '''#!/usr/bin/env python3
import json, sys
given = dict(a.split("=", 1) for a in sys.argv[1:])
rows = [{"name": "x", "best_ms": 4.0}]
if "B:256" in given["--benchmark_filter"]:
    rows = [{"name": "x", "error_occurred": True, "error_message": "wrong result"}]
open(given["--benchmark_out"], "w").write(json.dumps({"benchmarks": rows}))
'''
# The peers' Python: PyTorch takes 20 ms, 25 in NCHW, half of it in bfloat16; torchvision is not there.
PYTHON = '''#!/usr/bin/env python3
import json, os, sys
script, words = os.path.basename(sys.argv[1]), sys.argv[2:]
open("{log}", "a").write(script + " ")
if script == "crops_step.py":
    print(json.dumps({{"missing": "torchvision is not installed"}}))
else:
    ms = (25 if "nchw" in words else 20) / (2 if "bfloat16" in words else 1)
    print(json.dumps({{"ms": [ms], "threads": 1, "parameters": int(os.environ.get("PARAMETERS", 5)),
                      "network": "timm 9" if "res2next50" in words else "the same network",
                      "version": "torch 2"}}))
'''


class Peers(ScriptTest):
    def setUp(self):
        super().setUp()
        (self.folder / "bin").mkdir()
        self.log, self.json = self.folder / "log", self.folder / "peers.json"
        for name in ("train_step_bench", "swav_step_bench"):
            self.write(f"bin/{name}", OURS.format(log=self.log)).chmod(0o755)
        for name in ("ops_bench", "data_bench"):
            self.write(f"bin/{name}", BENCH).chmod(0o755)
        self.python = self.write("python", PYTHON.format(log=self.log))
        self.python.chmod(0o755)

    def peers(self, *options, **more):
        return self.script("peers/run_peers.py", "--build", self.folder, "--python", self.python,
                           "--json", self.json, "--sizes", 64, *options, **more)

    def test_ratios_are_the_peers_time_over_ours(self):
        done = self.peers("--tasks", "train", "--rounds", 2, "--no-memory")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| PyTorch NCHW (the same network) | 25.0 (25.0 to 25.0) | 2.50 (2.50 to 2.50) |",
                      done.stdout)
        self.assertIn("| PyTorch NHWC (the same network) | 20.0 (20.0 to 20.0) | 2.00 (2.00 to 2.00) |",
                      done.stdout)
        told = json.loads(self.json.read_text())
        self.assertEqual(told["tasks"]["train-64"]["contenders"]["mwalimu"]["rounds"], [10, 10])
        self.assertEqual(told["about"]["versions"], ["ours 1", "torch 2"])

    def test_odd_rounds_go_backwards(self):
        self.peers("--tasks", "train", "--rounds", 2, "--no-memory")
        self.assertEqual(self.log.read_text().split(),
                         ["ours", "train_step.py", "train_step.py",
                          "train_step.py", "train_step.py", "ours"])

    def test_memory_is_what_the_batch_adds(self):
        self.peers("--tasks", "train", "--rounds", 1)
        grown = json.loads(self.json.read_text())["tasks"]["train-64"]["grown"]["mwalimu"]
        self.assertAlmostEqual(grown, 64, delta=8)  # pages of the interpreter vary

    def test_missing_peers_are_named_and_asked_once(self):
        done = self.peers("--tasks", "crops", "--rounds", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("torchvision: torchvision is not installed", done.stdout)
        self.assertEqual(self.log.read_text().split().count("crops_step.py"), 1)
        self.assertIn("| mwalimu | 4.0 (4.0 to 4.0) |", done.stdout)

    def test_whose_network_a_peer_trains_is_told(self):
        done = self.peers("--tasks", "res2next-64", "swav-res2next", "--rounds", 1, "--no-memory")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("PyTorch NHWC (timm 9)"), 2)

    def test_precisions_are_tasks_of_their_own(self):
        both = ("--precision", "float32", "bfloat16")
        names = self.peers("--list", *both).stdout.split()
        self.assertLess({"train-64", "train-bf16-64", "res2next-bf16-64", "swav", "swav-bf16",
                         "swav-res2next-bf16"}, set(names))
        self.assertFalse([name for name in self.peers("--list").stdout.split() if "bf16" in name])
        done = self.peers("--tasks", "train", *both, "--rounds", 1, "--no-memory")
        self.assertIn("bfloat16, 64 px, batch 32 | PyTorch NHWC (the same network) | 10.0", done.stdout)
        self.assertIn("float32, 64 px, batch 32 | PyTorch NHWC (the same network) | 20.0", done.stdout)

    def test_other_networks_end_the_run(self):
        done = self.peers("--tasks", "train", "--rounds", 1, env={"PARAMETERS": "6",
                                                                  "PATH": "/usr/bin:/bin"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("the contenders train different networks", done.stderr)
        self.assertFalse(self.json.exists())

    def test_a_wrong_result_ends_the_run(self):
        done = self.peers("--tasks", "sinkhorn-256-0", "--rounds", 1)
        self.assertEqual(done.returncode, 1)
        self.assertIn("sinkhorn-256-0: mwalimu: wrong result", done.stderr)

    def test_unknown_tasks_and_missing_programs_are_told(self):
        self.assertIn("no task begins with zzz", self.peers("--tasks", "zzz").stderr)
        (self.folder / "bin/train_step_bench").unlink()
        done = self.peers("--tasks", "train", "--rounds", 1)
        self.assertEqual(done.returncode, 1)
        self.assertIn("build the benches", done.stderr)


if __name__ == "__main__":
    unittest.main()
