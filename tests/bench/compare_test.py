"""bench/compare.py: what got slower beyond noise, and the exit status."""

import unittest

from common import ScriptTest, content, row


class Compare(ScriptTest):
    def compare(self, before, after, *options, about=None):
        old = self.write("before.json", content(before))
        new = self.write("after.json", content(after, **(about or {})))
        return self.script("compare.py", old, new, *options)

    def test_equal_files_pass(self):
        rows = {"a/cpu/f32": row(10, 10.1, 9.9), "b/cpu/f32": row(1, 1, 1)}
        done = self.compare(rows, rows)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertNotIn("worse", done.stdout)

    def test_a_row_that_grew_beyond_noise_is_named(self):
        done = self.compare({"a/cpu/f32": row(10, 10.1, 9.9), "b/cpu/f32": row(1, 1, 1)},
                            {"a/cpu/f32": row(13, 13.2, 12.9), "b/cpu/f32": row(1, 1, 1)})
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 worse: a/cpu/f32", done.stdout)
        self.assertIn("| 1.30 |", done.stdout)

    def test_growth_within_the_threshold_passes(self):
        before, after = {"a": row(10, 10, 10)}, {"a": row(10.9, 10.9, 10.9)}
        self.assertEqual(self.compare(before, after).returncode, 0)
        self.assertEqual(self.compare(before, after, "--threshold", "0.05").returncode, 1)

    def test_growth_within_the_noise_passes(self):
        # Medians 10 and 13, but each round varies by a third.
        done = self.compare({"a": row(7, 10, 13)}, {"a": row(9, 13, 16)})
        self.assertEqual(done.returncode, 0)

    def test_overlapping_rounds_are_no_verdict(self):
        done = self.compare({"a": row(10, 10, 10, 10, 11.9)}, {"a": row(11.8, 12.5, 12.5, 12.5, 12.5)})
        self.assertEqual(done.returncode, 0)

    def test_one_round_counts_as_noisy(self):
        self.assertEqual(self.compare({"a": row(10)}, {"a": row(14)}).returncode, 0)
        self.assertEqual(self.compare({"a": row(10)}, {"a": row(16)}).returncode, 1)

    def test_faster_is_told_and_passes(self):
        done = self.compare({"a": row(10, 10, 10)}, {"a": row(5, 5, 5)})
        self.assertEqual(done.returncode, 0)
        self.assertIn("faster", done.stdout)

    def test_missing_and_failing_rows_are_worse_and_new_ones_are_not(self):
        failing = dict(row(), error="wrong result")
        done = self.compare({"a": row(1, 1), "b": row(1, 1)}, {"b": failing, "c": row(1, 1)})
        self.assertEqual(done.returncode, 1)
        self.assertIn("2 worse: a, b", done.stdout)
        self.assertIn("fails: wrong result", done.stdout)
        self.assertIn("| new |", done.stdout)

    def test_filter_leaves_rows_out(self):
        before, after = {"a": row(1, 1), "b": row(1, 1)}, {"a": row(1, 1), "b": row(9, 9)}
        self.assertEqual(self.compare(before, after, "--filter", "^a").returncode, 0)
        self.assertEqual(self.compare(before, after, "--filter", "^z").returncode, 2)

    def test_changed_shows_verdicts_alone(self):
        done = self.compare({"same": row(1, 1), "b": row(1, 1)}, {"same": row(1, 1), "b": row(9, 9)},
                            "--changed")
        self.assertNotIn("same", done.stdout)
        self.assertIn("| b |", done.stdout)

    def test_other_machines_are_refused_unless_forced(self):
        rows = {"a": row(1, 1)}
        done = self.compare(rows, rows, about={"threads": 4})
        self.assertEqual(done.returncode, 2)
        self.assertIn("threads differs: 2 and 4", done.stderr)
        self.assertEqual(self.compare(rows, rows, "--force", about={"threads": 4}).returncode, 0)

    def test_short_runs_are_held_against_short_runs(self):
        rows = {"a": row(1, 1)}
        self.assertEqual(self.compare(rows, rows, about={"short": False}).returncode, 0)
        done = self.compare(rows, rows, about={"short": True})
        self.assertEqual(done.returncode, 2)
        self.assertIn("short differs: False and True", done.stderr)

    def test_a_busy_machine_is_told(self):
        rows = {"a": row(1, 1)}
        self.assertIn("busy", self.compare(rows, rows, about={"load_before": 7.0}).stdout)

    def test_bad_files_and_options_have_status_2(self):
        good = self.write("good.json", content({"a": row(1)}))
        bad = self.write("bad.json", "{")
        self.assertEqual(self.script("compare.py", good, bad).returncode, 2)
        self.assertEqual(self.script("compare.py", good, good, "--threshold", "-1").returncode, 2)
        self.assertEqual(self.script("compare.py", good, good, "--filter", "(").returncode, 2)


if __name__ == "__main__":
    unittest.main()
