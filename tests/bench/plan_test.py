"""bench/plan.py: its counts against what is known otherwise, and the page that quotes it."""

import unittest
from pathlib import Path

from common import BENCH, ScriptTest

import plan


class Plan(ScriptTest):
    def test_counts_are_the_networks(self):
        layers = plan.convolutions(128)
        encoder = sum(i * o * k * k + 2 * o for _, i, o, k in layers)
        self.assertEqual(encoder, 21303904)  # as fastai's xresnet34 without its head
        # The head: 1024 -> 2048 with batch norm -> 128 -> prototypes without bias.
        self.assertEqual(plan.parameters(3000) - encoder, 2099200 + 2 * 2048 + 262272 + 384000)
        # One convolution by hand: 3 -> 32, 3x3, stride 2, at 8 pixels; and odd sides round up.
        self.assertEqual(plan.convolutions(8)[0], (4, 3, 32, 3))
        self.assertEqual(plan.convolutions(9)[0][0], 5)
        self.assertGreater(plan.forward_flop(96), 2 * 48 * 48 * 3 * 32 * 9)

    def test_an_all_reduce_moves_twice_the_bytes_but_a_share(self):
        options = plan.parse(["--latency", "0", "--link-rate", "100", "--network-rate", "10"])
        self.assertEqual(plan.all_reduce(1000, 1, options), 0)
        self.assertAlmostEqual(plan.all_reduce(1000, 2, options), 10)
        self.assertAlmostEqual(plan.all_reduce(1000, 8, options), 17.5)
        self.assertAlmostEqual(plan.all_reduce(1000, 16, options), 187.5)  # past the node
        slow = plan.parse(["--latency", "1", "--link-rate", "1e30"])
        self.assertAlmostEqual(plan.all_reduce(0, 8, slow), 6)  # three hops up a tree, three down

    def test_every_option_changes_the_plan(self):
        before = self.script("plan.py").stdout
        for option, value in (("--images", "1e9"), ("--epochs", "3"), ("--crops", "2x96"),
                              ("--batch", "64"), ("--prototypes", "300"), ("--iterations", "10"),
                              ("--gpus", "4"), ("--node", "64"), ("--matrix-rate", "1e14"),
                              ("--memory-rate", "1e12"), ("--link-rate", "1e9"),
                              ("--network-rate", "1e9"), ("--latency", "1e-3"), ("--reached", "0.3"),
                              ("--jpeg-bytes", "1e6"), ("--raw-bytes", "1e6"),
                              ("--decode-seconds", "1"), ("--crop-seconds", "1")):
            self.assertNotEqual(self.script("plan.py", option, value).stdout, before, option)

    def test_nonsense_is_refused(self):
        for option, value in (("--batch", "0"), ("--reached", "-1"), ("--gpus", "0"),
                              ("--crops", "large")):
            self.assertEqual(self.script("plan.py", option, value).returncode, 2, option)

    def test_the_page_quotes_it(self):
        page = (BENCH.parent / "docs" / "scaling.md").read_text()
        rows = [line for line in self.script("plan.py").stdout.splitlines() if line.startswith("|")]
        self.assertGreater(len(rows), 20)
        for row in rows:
            self.assertIn(row, page)


if __name__ == "__main__":
    unittest.main()
