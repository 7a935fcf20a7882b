"""tools/gpu_check.sh on a made-up machine with a GPU, and on one without."""

import json
import shutil
import unittest

from common import SOURCE, ToolTest

# Configures and "builds": programs that write what the real ones write.
CMAKE = r'''
import os, pathlib, sys
if "--version" in sys.argv:
    sys.exit(print("cmake version 3.25.1"))
build = pathlib.Path("build/cuda")
(build / "bin").mkdir(parents=True, exist_ok=True)
with open("cmake.log", "a") as log:
    print(*sys.argv[1:], file=log)
if "--build" not in sys.argv:
    (build / "CMakeCache.txt").write_text("CMAKE_GENERATOR:INTERNAL=Ninja\n")
    sys.exit()
for name in ("make_rice pretrain finetune find_lr evaluate tsne ops_bench tsne_bench kernels_add_gpu "
             "kernels_network_gpu kernels_swav_step_gpu").split():
    program = build / "bin" / name
    program.write_text(f"#!/bin/sh\nexec python3 {os.environ['FAKE_PROGRAM']} {name} \"$@\"\n")
    program.chmod(0o755)
'''
PROGRAM = r'''
import json, os, pathlib, sys
name, arguments = sys.argv[1], sys.argv[2:]
given = dict(zip(arguments, arguments[1:]))
with open("programs.log", "a") as log:
    print(name, *arguments, file=log)
if os.environ.get("BROKEN") and os.environ["BROKEN"] in " ".join([name, *arguments]):
    sys.exit(f"{name}: broken")
out = pathlib.Path(given.get("--out", "."))
out.mkdir(parents=True, exist_ok=True)
if name == "pretrain":
    (out / "log.csv").write_text("step,loss,images_per_second\n1,3.5,100\n8,2.5,120\n")
elif name in ("finetune", "evaluate"):
    (out / "metrics.json").write_text('{"accuracy": 0.75}')
elif name == "find_lr":
    (out / "lr.csv").write_text("step,lr,loss\n0,1,3.0\n1,2,2.0\n2,3,9.0\n")
elif name == "tsne":
    print("perplexity 10    KL 0.6543, trustworthiness 0.912")
elif name == "ops_bench":
    path = [a.split("=", 1)[1] for a in arguments if a.startswith("--benchmark_out=")][0]
    row = {"name": "relu/forward/gpu/f32", "real_time": 2.0, "time_unit": "us", "roof": 0.9}
    pathlib.Path(path).write_text(json.dumps({"benchmarks": [
        row, {"name": "add", "error_occurred": True, "error_message": "wrong"}]}))
elif name == "tsne_bench":
    points = pathlib.Path(arguments[0]).read_bytes()
    assert points[:6] == b"\x93NUMPY" and len(points) % 64 == 10000 * 50 * 4 % 64, len(points)
    on_host = "--device" not in arguments
    if given["--repulsion"] == os.environ.get("SKIPS") and not on_host:
        sys.exit(print(json.dumps({"skipped": "no CUDA device"})))
    print(json.dumps({"n": 10000, "d": 50, "repulsion": given["--repulsion"], "wall": 1.5,
                      "kl": float(os.environ.get("HOST_KL", "2.1")) if on_host else 2.1,
                      "trustworthiness": 0.9}))
'''
CTEST = r'''
echo ctest "$@" >> programs.log
while [ "$1" != --output-junit ]; do shift; done
cat > "$2" <<'XML'
<testsuite><testcase name="kernels/add/gpu"/>
<testcase name="kernels/pool/gpu"><failure/></testcase>
<testcase name="gpu/cudnn"><skipped/></testcase></testsuite>
XML
exit ${CTEST_STATUS:-0}
'''
SANITIZER = r'''
[ "$2" = "${HANGS:-}" ] && exec sleep 60
echo "========= $([ "$2" = memcheck ] && echo ERROR || echo RACECHECK) SUMMARY: 0 errors"
'''
PEERS = ("import json, sys\n"
         "json.dump({'ms': {'32': {'torch eager': [2.0]}}, 'table': ['batch 32']},"
         " open(sys.argv[sys.argv.index('--json') + 1], 'w'))\n")
PARTS = ["build", "tests", "sanitizer", "study", "bench", "peers"]


class GpuCheck(ToolTest):
    def setUp(self):
        super().setUp()
        self.out = self.root / "out.json"
        self.fake_program = self.program("program.py", PROGRAM, "python3")
        self.program("nvidia-smi", 'echo "NVIDIA H200, 580.1, 143771 MiB, 1980 MHz"')
        self.program("nvcc", 'echo "Cuda compilation tools, release 13.0, V13.0.88"')
        self.program("cmake", CMAKE, "python3")
        self.program("ctest", CTEST)
        self.program("compute-sanitizer", SANITIZER)
        peers = self.root / "bench" / "peers"
        peers.mkdir(parents=True)
        (peers / "gpu_step.py").write_text(PEERS)

    def check(self, *arguments, **environment):
        return self.run_tool("gpu_check.sh", "--out", self.out, *arguments,
                             FAKE_PROGRAM=str(self.fake_program), **environment)

    def parts(self):
        return json.loads(self.out.read_text())["parts"]

    def programs(self, name):
        return [line for line in self.lines(self.root / "programs.log") if line.split()[0] == name]

    def test_all_parts_end_in_one_file(self):
        done = self.check()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        results = json.loads(self.out.read_text())
        self.assertEqual(results["format"], 1)
        self.assertEqual(results["device"], "NVIDIA H200")
        self.assertEqual(results["driver"], "580.1")
        self.assertEqual(results["nvcc"], "13.0")
        parts = results["parts"]
        self.assertEqual(list(parts), PARTS)
        for name, part in parts.items():
            self.assertEqual(part["status"], 0, name)
            self.assertNotIn("unreadable", part, name)
        self.assertEqual(sum(part["limit"] for part in parts.values()), 620)
        self.assertEqual(parts["tests"]["results"],
                         {"run": 3, "failed": ["kernels/pool/gpu"], "skipped": ["gpu/cudnn"]})
        # Kernels under both tools, what is mostly cuDNN's under one.
        self.assertEqual(sorted(parts["sanitizer"]["results"]),
                         ["memcheck kernels_add_gpu", "memcheck kernels_network_gpu",
                          "memcheck kernels_swav_step_gpu", "racecheck kernels_add_gpu"])
        study = parts["study"]["results"]
        for run in ("float32", "bfloat16", "float16", "off", "tuned"):
            self.assertEqual(study[run], {"steps": 8, "first_loss": 3.5, "last_loss": 2.5,
                                          "images_per_second": 120.0, "accuracy": 0.75})
        self.assertEqual(study["find_lr_swav"], {"steps": 3, "first_loss": 3.0, "smallest_loss": 2.0})
        self.assertEqual(study["evaluate"], {"accuracy": 0.75})
        self.assertEqual(study["map"], {"kl": 0.6543})
        self.assertNotIn("failed", study)
        names = [row["name"] for row in parts["bench"]["results"]]
        self.assertEqual(names, ["relu/forward/gpu/f32", "add", "tsne/cuda/exact/N:10000/D:50",
                                 "tsne/cuda/fft/N:10000/D:50"])
        self.assertEqual(parts["peers"]["results"]["table"], ["batch 32"])

    def test_every_program_runs_on_the_device_in_every_precision(self):
        self.check("build", "study")
        for name in ("pretrain", "finetune"):
            runs = " ".join(self.programs(name))
            for wanted in ("float32 --graph on", "bfloat16", "float16", "float32 --graph off",
                           "--profile"):
                self.assertIn(wanted, runs, name)
        self.assertIn("--task swav", " ".join(self.programs("find_lr")))
        for name in ("pretrain", "finetune", "find_lr", "evaluate", "tsne"):
            for line in self.programs(name):
                self.assertIn("--device cuda", line)

    def test_a_part_that_fails_keeps_none_of_the_others(self):
        done = self.check(CTEST_STATUS="8", BROKEN="--precision float16")
        self.assertEqual(done.returncode, 1)
        parts = self.parts()
        self.assertEqual(list(parts), PARTS)
        self.assertEqual(parts["tests"]["status"], 8)
        self.assertEqual(parts["study"]["status"], 1)
        failed = parts["study"]["results"]["failed"]
        self.assertEqual([text.split()[0] for text in failed], ["pretrain", "finetune"])
        self.assertIn("map", parts["study"]["results"])
        self.assertIn("log_end", parts["study"])
        self.assertIn("FAILED", done.stdout)

    def test_a_bench_that_is_skipped_says_why(self):
        self.check("build")
        self.check("bench", SKIPS="fft")
        rows = {row["name"]: row for row in self.parts()["bench"]["results"]}
        self.assertEqual(rows["tsne/cuda/fft"], {"name": "tsne/cuda/fft", "error": "no CUDA device"})
        self.assertEqual(rows["tsne/cuda/exact/N:10000/D:50"]["time"], 1.5)

    def test_a_map_worse_than_the_hosts_fails(self):
        self.check("build")
        self.check("bench", HOST_KL="2.08")
        bench = self.parts()["bench"]
        self.assertIn("tsne_exact: KL 2.1 is not the host's 2.08", bench["log_end"])
        self.assertNotEqual(bench["status"], 0)

    def test_a_part_is_stopped_at_its_limit(self):
        self.check("build")
        # Three programs that hang, each stopped by itself after a second; the part after two.
        done = self.check("sanitizer", "--scale", "0.03", HANGS="memcheck")
        self.assertEqual(done.returncode, 1)
        part = self.parts()["sanitizer"]
        self.assertEqual(part["limit"], 2)
        self.assertEqual(part["status"], 124)
        self.assertLess(part["seconds"], 20)
        self.assertEqual(part["results"]["memcheck kernels_add_gpu"], "exit 124")
        self.assertIn("stopped at its limit of 2 s", done.stdout)

    def test_a_part_by_itself_takes_no_results_of_an_earlier_run(self):
        self.check("build", "tests")
        self.assertEqual(list(self.parts()), ["build", "tests"])
        self.assertIn("-L gpu|kernels", self.programs("ctest")[0])
        self.program("ctest", "exit 3")
        self.check("tests")
        self.assertEqual(list(self.parts()), ["tests"])
        self.assertNotIn("results", self.parts()["tests"])

    def test_the_bundle_is_used(self):
        deps = self.root / "deps"
        deps.mkdir()
        (deps / "mwalimu-deps.cmake").write_text("")
        self.check("build")
        self.assertIn(f"-C {deps}/mwalimu-deps.cmake", self.lines(self.root / "cmake.log")[0])
        done = self.check("build", "--deps", self.root / "nowhere")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no bundle in", done.stderr)

    def test_without_a_gpu_it_says_so_and_runs_nothing(self):
        self.program("nvidia-smi", "exit 9")
        done = self.check()
        self.assertEqual(done.returncode, 1)
        self.assertIn("GPU                MISSING: nvidia-smi finds none", done.stdout)
        self.assertIn("nothing was run", done.stderr)
        self.assertFalse(self.out.exists())
        self.assertFalse((self.root / "cmake.log").exists())

    def test_an_old_compiler_and_a_missing_build_are_named(self):
        self.program("nvcc", 'echo "Cuda compilation tools, release 12.4, V12.4.99"')
        done = self.check("build")
        self.assertEqual(done.returncode, 1)
        self.assertIn("found 12.4, want 13 or newer", done.stdout)
        done = self.check("tests")
        self.assertEqual(done.returncode, 1)
        self.assertIn("run the part build first", done.stdout)

    def test_preflight_builds_nothing(self):
        done = self.check("--preflight")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("NVIDIA H200", done.stdout)
        self.assertFalse((self.root / "cmake.log").exists())

    def test_wrong_options(self):
        for wrong in (["--scale", "fast"], ["--scale"], ["everything"], ["--outt", "x"]):
            done = self.check(*wrong)
            self.assertEqual(done.returncode, 2, wrong)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


class EveryPart(unittest.TestCase):
    # What has a variant for a real device must be reached by a part of the script.
    def test_benches_of_a_device_are_run(self):
        script = (SOURCE / "tools" / "gpu_check.sh").read_text()
        listed = (SOURCE / "bench" / "CMakeLists.txt").read_text()
        with_device = [line.split()[0].removeprefix("target_link_libraries(")
                       for line in listed.splitlines()
                       if "mwalimu_backends" in line and "target_link_libraries(" in line.strip()]
        peers = (SOURCE / "bench" / "peers" / "gpu_step.py").read_text()
        names = [name.split("(")[-1] for name in with_device]
        self.assertIn("ops_bench", names)
        for name in names:
            self.assertTrue(name in script or name in peers, f"no part runs {name}")


if __name__ == "__main__":
    assert shutil.which("bash")
    unittest.main()
