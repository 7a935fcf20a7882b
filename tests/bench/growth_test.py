"""bench/growth.py: sweeps, exponents and plots, on programs that stand in for the benches."""

import json
import unittest
from xml.etree import ElementTree

from common import ScriptTest

import growth

# A step takes 2 ms a sample and a pixel of the large crops' side; tensors are 1 MiB a sample.
STEP = '''#!/usr/bin/env python3
import json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
side = int(given["--crops"].split(",")[0].split("x")[1])
ms = 2.0 * int(given["--batch"]) * side**2 + 0 * int(given["--queue-length"])
print(json.dumps({"ms": [ms + 1, ms], "peak_bytes": int(given["--batch"]) * 2**20}))
'''
DATA = '''#!/usr/bin/env python3
import json, os, sys
given = dict(a.split("=", 1) for a in sys.argv[1:])
if given["--benchmark_filter"] == "/N:":
    rows = [{"name": f"split/by_pair/cpu/i64/N:{n}/manual_time", "real_time": n, "time_unit": "us"}
            for n in (100, 1000, 10000)]
else:  # a store of more than 1 MiB does not fit into memory
    mib = int(os.environ["MWALIMU_BENCH_STORE_MIB"])
    rows = [{"name": f"store/batch/cpu/u8/{kind}/px:128/B:64/MiB:{mib}/manual_time",
             "real_time": ms * mib, "time_unit": "ms"} for kind, ms in (("warm", 1), ("cold", 30))]
    if mib > 1:
        rows[0].update(error_occurred=True, error_message="memory does not hold the file")
open(given["--benchmark_out"], "w").write(json.dumps({"context": {}, "benchmarks": rows}))
'''
# Quadratic in the points' number, which it reads as .npy.
TSNE = '''#!/usr/bin/env python3
import array, ast, json, sys
file = open(sys.argv[1], "rb")
assert file.read(8) == b"\\x93NUMPY\\x01\\x00"
length = int.from_bytes(file.read(2), "little")
assert (10 + length) % 64 == 0
head = ast.literal_eval(file.read(length).decode())
n, d = head["shape"]
values = array.array("f")
values.frombytes(file.read())
assert head["descr"] == "<f4" and not head["fortran_order"] and len(values) == n * d
print(json.dumps({"n": n, "wall": 2.0 * n * n, "wall_neighbors": 1.0 * n}))
'''


class Growth(ScriptTest):
    def setUp(self):
        super().setUp()
        (self.folder / "bin").mkdir()
        self.write("bin/swav_step_bench", STEP).chmod(0o755)
        self.write("bin/data_bench", DATA).chmod(0o755)
        self.write("bin/tsne_bench", TSNE).chmod(0o755)
        self.out, self.svg = self.folder / "growth.json", self.folder / "growth.svg"

    def test_exponents_of_powers(self):
        for power in (0.5, 1, 2):
            self.assertAlmostEqual(growth.exponent([(x, 3 * x**power) for x in (1, 2, 4, 8)]), power)
        # The larger half decides: a constant cost hides the growth of small sizes.
        self.assertAlmostEqual(growth.exponent([(1, 1), (2, 1), (4, 16), (8, 64)]), 2)
        self.assertIsNone(growth.exponent([(1, 1)]))

    def test_crops_stay_multiples_of_eight(self):
        self.assertEqual([growth.crops(s) for s in (16, 64, 128)],
                         ["2x16,4x8", "2x64,4x48", "2x128,4x96"])

    def test_sweeps_vary_one_thing_and_are_drawn(self):
        done = self.script("growth.py", "--build", self.folder, "--quick", "--out", self.out,
                           "--svg", self.svg)
        self.assertEqual(done.returncode, 0, done.stderr)
        sweeps = json.loads(self.out.read_text())["sweeps"]
        self.assertEqual(list(sweeps),
                         ["batch", "size", "prototypes", "queue", "data", "tsne", "store"])
        self.assertEqual(sweeps["batch"]["curves"]["step"], {"4": 8192, "8": 16384})
        self.assertEqual(sweeps["batch"]["curves"]["tensors"], {"4": 4, "8": 8})
        self.assertEqual(sweeps["queue"]["curves"]["step"], {"64": 16384, "128": 16384})
        self.assertEqual(sweeps["data"]["curves"]["split/by_pair"],
                         {"100": 0.1, "1000": 1, "10000": 10})
        self.assertEqual(sweeps["tsne"]["curves"],
                         {"neighbours": {"200": 200, "400": 400},
                          "neighbours and map": {"200": 80000, "400": 320000}})
        self.assertEqual(sweeps["store"]["curves"], {"warm": {"1": 1}, "cold": {"1": 30, "2": 60}})
        self.assertIn("warm/px:128/B:64/MiB:2: memory does not hold the file", done.stderr)
        texts = [n.text for n in ElementTree.parse(self.svg).iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("step: exponent 2.00", texts)  # of size
        self.assertIn("step: exponent 0.00", texts)  # of prototypes: the stand-in ignores them
        self.assertIn("tensors, MiB: exponent 1.00", texts)
        self.assertIn("split/by_pair: exponent 1.00", texts)
        self.assertIn("neighbours and map: exponent 2.00", texts)
        self.assertIn("t-SNE, s", texts)

    def test_a_queue_is_asked_for_and_rounds_keep_the_fastest(self):
        log = self.folder / "log"
        self.write("bin/swav_step_bench", STEP.replace(
            "import json, sys", f"import json, sys; open('{log}', 'a').write(sys.argv[sys.argv.index("
            "'--queue-length') + 1] + ' ')")).chmod(0o755)
        done = self.script("growth.py", "--build", self.folder, "--sweeps", "queue", "--batch", 16,
                           "--rounds", 2, "--out", self.out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(log.read_text().split(), 2 * ["128", "512", "2048", "8192", "16384"])

    def test_a_file_is_drawn_again_without_running(self):
        self.script("growth.py", "--build", self.folder, "--quick", "--sweeps", "data", "--out",
                    self.out)
        done = self.script("growth.py", "--build", "/nowhere", "--draw", self.out, "--svg", self.svg)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("split/by_pair", self.svg.read_text())

    def test_what_cannot_be_done_is_told_in_one_line(self):
        bad = self.write("bad.json", "{}")
        for arguments, text in ((("--build", "/nowhere"), "no /nowhere/bin/swav_step_bench"),
                                (("--draw", bad), "not a file of growth.py"),
                                (("--draw", self.folder / "none"), "No such file")):
            done = self.script("growth.py", *arguments, "--svg", self.svg)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)
        self.assertEqual(self.script("growth.py").returncode, 2)
        self.assertEqual(self.script("growth.py", "--svg", self.svg, "--store-mib", 0).returncode, 2)
        self.assertFalse(self.svg.exists())


if __name__ == "__main__":
    unittest.main()
