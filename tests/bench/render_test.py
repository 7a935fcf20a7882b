"""bench/render.py: the table, the roofline and the bars."""

import unittest
from xml.etree import ElementTree

from common import ScriptTest, content, row

import render
import svg

ROWS = {
    "ceiling/copy/cpu/u8": row(10, bytes=1e8, roof=1),            # 10 GB/s
    "ceiling/multiply/cpu/f32/N:1024": row(20, flop=2e9, roof=1),  # 100 GFLOP/s
    "add/forward/cpu/f32/N:8": row(2, 4, 3, bytes=3e7, flop=2.5e6, roof=0.9, roof_cpu=0.95),
    "add/forward/cpu/f32/N:4": row(1, bytes=1e7, flop=1e6, roof=1.1),
    "conv2d/forward/cpu/bf16/k:3": row(1, bytes=1e6, flop=5e7, roof=0.5),
    "swav/step/cpu/f32/xresnet34": row(500, flop=2e10, roof=0.6, images_per_second=64,
                                       peak_bytes=2**30),
    "add/forward/gpu/f32/N:8": dict(row(), error="no CUDA device"),
}
SVG = "{http://www.w3.org/2000/svg}"


class Render(ScriptTest):
    def setUp(self):
        super().setUp()
        self.file = self.write("results.json", content(ROWS, commit="abc", changed=True))

    def texts(self, path):
        return [node.text for node in ElementTree.parse(path).iter(SVG + "text")]

    def test_table_has_rates_spread_and_errors(self):
        done = self.script("render.py", self.file)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = {line.split(" | ")[0].strip("| "): line for line in done.stdout.splitlines()}
        # 3e7 bytes in 3 ms: 10 GB/s; half the range of 2..4 over 3 is a third.
        self.assertIn("| 3 | 33% | 10 | 0.833 | 0.90 | 0.95 |", lines["add/forward/cpu/f32/N:8"])
        self.assertIn("images_per_second 64, peak 1024 MiB", lines["swav/step/cpu/f32/xresnet34"])
        self.assertIn("no CUDA device", lines["add/forward/gpu/f32/N:8"])
        self.assertIn("commit abc + changes", done.stdout)

    def test_ceilings_are_those_of_the_file(self):
        found = render.ceilings(ROWS)
        self.assertAlmostEqual(found["copy"], 10)
        self.assertAlmostEqual(found["f32"], 100)

    def test_roofline_draws_ceilings_and_names_points(self):
        path = self.folder / "roofline.svg"
        done = self.script("render.py", self.file, "--roofline", path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        texts = self.texts(path)
        self.assertIn("copy 10.0 GB/s; dashed: 70%", texts)
        self.assertIn("products in f32: 100 GFLOP/s", texts)
        self.assertIn("add/forward f32 N:8", texts)
        self.assertNotIn("add/forward f32 N:4", texts)  # the largest shape stands for all
        self.assertNotIn("swav/step f32 xresnet34", texts)  # its bytes are not known
        self.assertIn("operations a byte moved", texts)

    def test_all_draws_every_shape(self):
        path = self.folder / "roofline.svg"
        self.script("render.py", self.file, "--roofline", path, "--all")
        self.assertIn("add/forward f32 N:4", self.texts(path))

    def test_points_lie_where_they_should(self):
        # One decade of rate is one decade of intensity on the slope.
        x, y = svg.LogAxis(0.1, 10, 0, 100), svg.LogAxis(1, 100, 100, 0)
        self.assertAlmostEqual(x(1), 50)
        self.assertAlmostEqual(y(10), 50)
        self.assertEqual([round(t, 6) for t in svg.LogAxis(0.01, 1000, 0, 1).ticks()],
                         [0.01, 0.1, 1, 10, 100, 1000])

    def test_bars_have_a_row_each_and_no_ceiling(self):
        path = self.folder / "bars.svg"
        self.script("render.py", self.file, "--bars", path, "--all")
        texts = self.texts(path)
        self.assertIn("swav/step/cpu/f32/xresnet34", texts)
        self.assertIn("0.90 / 0.95", texts)
        self.assertFalse([text for text in texts if text.startswith("ceiling/")])

    def test_what_cannot_be_drawn_is_told_in_one_line(self):
        bare = self.write("bare.json", content({"a/cpu/f32": row(1, bytes=1e6, flop=1e6)}))
        out = self.folder / "x.svg"
        for arguments, text in (((bare, "--roofline", out), "no row ceiling/copy"),
                                ((bare, "--bars", out), "no row has the counter roof"),
                                ((bare, "--filter", "zzz"), "no row matches"),
                                ((bare, "--filter", "("), "--filter")):
            done = self.script("render.py", *arguments)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(text, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertFalse(out.exists())

    def test_names_are_escaped(self):
        rows = dict(ROWS, **{"a<b&c/f/cpu/f32/N:1": row(1, bytes=1e6, flop=1e6, roof=0.5)})
        path = self.folder / "roofline.svg"
        self.script("render.py", self.write("odd.json", content(rows)), "--roofline", path)
        self.assertIn("a<b&c/f f32 N:1", self.texts(path))


if __name__ == "__main__":
    unittest.main()
