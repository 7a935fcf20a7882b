"""A copy of tools/ in a folder of its own, and programs that stand in for those of a machine."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]


class ToolTest(unittest.TestCase):
    """`root` is the copied tree; `fake` comes first on the PATH, and `hidden` programs are not there."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name) / "tree"
        self.fake = pathlib.Path(folder.name) / "fake"
        self.fake.mkdir()
        shutil.copytree(SOURCE / "tools", self.root / "tools")

    def program(self, path, text, interpreter="bash"):
        """An executable script, in `fake` if it is a name alone."""
        path = self.fake / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/usr/bin/env {interpreter}\n{text}\n")
        path.chmod(0o755)
        return path

    def run_tool(self, name, *arguments, **environment):
        known = {"PATH": f"{self.fake}:/usr/bin:/bin", "HOME": str(self.root)}
        return subprocess.run(["bash", str(self.root / "tools" / name), *map(str, arguments)],
                              cwd=self.root, env={**known, **environment}, text=True,
                              capture_output=True, timeout=100)

    def lines(self, path):
        return path.read_text().splitlines() if path.exists() else []


def main():
    os.umask(0o022)
    unittest.main()
