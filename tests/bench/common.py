"""What the tests of the benches' scripts share."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))


def row(*ms, **counters):
    """A row of results: times of the rounds, and counters that each round had."""
    return {"program": "ops_bench", "ms": list(ms),
            **{key: [value] * max(len(ms), 1) for key, value in counters.items()}}


def content(rows, **about):
    return {"about": {"processor": "p", "threads": 2, "quick": False, "load_before": 0.1, **about},
            "rows": rows}


class ScriptTest(unittest.TestCase):
    """Has a folder of its own, and runs the scripts as a user does."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name, what):
        path = self.folder / name
        path.write_text(what if isinstance(what, str) else json.dumps(what))
        return path

    def script(self, name, *arguments, **options):
        return subprocess.run([sys.executable, "-B", str(BENCH / name), *map(str, arguments)],
                              capture_output=True, text=True, timeout=50, **options)
