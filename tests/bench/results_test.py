"""bench/results.py: reports of Google Benchmark become rows."""

import unittest

from common import ScriptTest

import results


class Results(ScriptTest):
    def test_names_lose_what_google_benchmark_appends(self):
        name = "ceiling/copy/cpu/u8/iterations:1/process_time/manual_time"
        self.assertEqual(results.clean(name), "ceiling/copy/cpu/u8")
        self.assertEqual(results.clean("sampler/epoch/cpu/i64/N:100/manual_time"),
                         "sampler/epoch/cpu/i64/N:100")

    def test_rounds_gather_in_one_row_in_milliseconds(self):
        rows = {}
        for mean, best in ((2000, 1.5), (4000, 1.25)):
            results.add_round(rows, "ops_bench", {"benchmarks": [
                {"name": "a/cpu/f32/manual_time", "real_time": mean, "time_unit": "us",
                 "best_ms": best, "roof": 0.5},
                {"name": "b/cpu/f32", "real_time": mean, "time_unit": "us"},
                {"name": "b/cpu/f32_mean", "run_type": "aggregate", "real_time": 1}]})
        self.assertEqual(list(rows), ["a/cpu/f32", "b/cpu/f32"])
        self.assertEqual(rows["a/cpu/f32"]["ms"], [1.5, 1.25])  # the fastest call, where told
        self.assertEqual(rows["a/cpu/f32"]["mean_ms"], [2, 4])
        self.assertEqual(rows["a/cpu/f32"]["roof"], [0.5, 0.5])
        self.assertEqual(rows["b/cpu/f32"]["ms"], [2, 4])

    def test_an_error_is_kept_and_has_no_time(self):
        rows = {}
        results.add_round(rows, "ops_bench", {"benchmarks": [
            {"name": "a", "error_occurred": True, "error_message": "wrong result"}]})
        self.assertEqual(rows["a"]["ms"], [])
        self.assertEqual(rows["a"]["error"], "wrong result")

    def test_spread_is_half_the_range_over_the_median(self):
        self.assertAlmostEqual(results.spread([9, 10, 13]), 0.2)
        self.assertIsNone(results.spread([3]))

    def test_what_is_no_file_of_results_is_refused_in_one_line(self):
        for bad in ("not json", "[]", '{"rows": 3}', '{"rows": {"a": {"ms": 3}}}'):
            with self.assertRaises(SystemExit) as caught:
                results.load(self.write("bad.json", bad))
            self.assertIn("bad.json: not a file of bench/run.py", str(caught.exception))
        with self.assertRaises(SystemExit) as caught:
            results.load(self.folder / "none.json")
        self.assertIn("No such file", str(caught.exception))

    def test_numbers_for_people(self):
        self.assertEqual([results.number(x) for x in (None, 0.0123, 4.567, 1234.5, 2e7)],
                         ["", "0.0123", "4.57", "1234", "2.00e+07"])


if __name__ == "__main__":
    unittest.main()
