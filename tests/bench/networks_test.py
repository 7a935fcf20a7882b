"""bench/peers/networks.py and the steps on it, where Python has PyTorch: they are the networks that
tests/models holds ours against, and a step of every kind trains."""

import json
import subprocess
import sys
import unittest
import unittest.mock

from common import BENCH

PEERS = BENCH / "peers"
sys.path[:0] = [str(PEERS), str(BENCH.parent / "tests/models")]
try:
    import torch
    import networks
    import torch_reference
except ImportError:
    torch = None


def steps(script, *arguments):
    done = subprocess.run([sys.executable, "-B", PEERS / script, "--steps", "1", "--warm-up", "1",
                           "--threads", "1", *arguments], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    if "missing" in told:
        raise unittest.SkipTest(told["missing"])
    return told


@unittest.skipIf(torch is None, "no PyTorch")
class Networks(unittest.TestCase):
    def test_res2next50_is_the_reference(self):
        theirs = torch_reference.make_encoder("res2next50", 64, 3, "concat")
        with torch.no_grad():
            torch_reference.fill(theirs)
            ours = networks.Res2Next50()
            ours.load_state_dict(theirs.state_dict(), strict=True)
            x = torch.randn(2, 3, 43, 38)
            average, maximum = theirs.eval()(x).chunk(2, 1)
            difference = ours.eval()(x) - torch.cat([maximum, average], 1)
        self.assertLess(float(difference.norm() / average.norm()), 1e-6)

    def test_the_reference_blas_is_told_from_others(self):
        import steps as shared
        maps = "7f00 r-xp 0 08:01 1 /usr/lib/x86_64-linux-gnu/{}/libblas.so.3\n"
        for folder, slow in (("blas", True), ("openblas-openmp", False), ("openblas-pthread", False)):
            with unittest.mock.patch.object(shared.Path, "read_text",
                                            return_value=maps.format(folder)):
                self.assertEqual(shared.reference_blas(), slow)

    def test_encoders_have_the_published_numbers_of_parameters(self):
        for arch, features, parameters in (("xresnet34", 1024, 21303904),
                                           ("res2next50", 4096, 22622464)):
            encoder, width, whose = networks.make_encoder(arch)
            self.assertEqual(sum(p.numel() for p in encoder.parameters()), parameters)
            self.assertEqual(width, features)
            self.assertTrue(whose)

    def test_steps_of_both_precisions_and_layouts_train(self):
        for precision in ("float32", "bfloat16"):
            told = steps("train_step.py", "--size", "48", "--batch", "2", "--layout", "nchw",
                         "--precision", precision)
            self.assertEqual((told["parameters"], told["precision"]), (21314144, precision))
            self.assertLess(told["last_loss"], told["first_loss"])
            told = steps("swav_step.py", "--crops", "2x48,1x32", "--batch", "2", "--prototypes", "10",
                         "--precision", precision)
            self.assertEqual((told["parameters"], len(told["ms"])), (21303904 + 2365568 + 1280, 1))
            self.assertLess(told["last_loss"], told["first_loss"])


if __name__ == "__main__":
    unittest.main()
