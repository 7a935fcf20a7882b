"""tools/bundle_deps.sh with an apt that hands out small packages."""

import shutil
import unittest

from common import ToolTest

# Downloads what is named as empty files; dpkg-deb "unpacks" the same little tree for each.
APT = r'''
[ -n "${OFFLINE:-}" ] && { echo "Could not resolve host" >&2; exit 100; }
shift 4
echo "$@" >> "$HOME/downloaded"
for name in "$@"; do touch "$name.deb"; done
'''
DPKG = r'''
lib=$3/usr/lib/x86_64-linux-gnu
mkdir -p $lib/cmake/Boost-1.74.0 $lib/cmake/dnnl $3/usr/include/boost/{context,asio} $3/usr/share/{doc,man}
mkdir -p $3/usr/share/cmake/CLI11 && touch $3/usr/share/cmake/CLI11/CLI11Config.cmake
printf 'x\0GLIBC_2.14\0GLIBC_2.34\0GLIBC_2.4\0' > $lib/libdnnl.so
touch $lib/libgtest.a $lib/libunused.a $lib/libboost_context.a
'''


class BundleDeps(ToolTest):
    def setUp(self):
        super().setUp()
        self.program("apt-get", APT)
        self.program("apt-cache", 'echo "  Depends: libboost-context1.74-dev"')
        self.program("dpkg-deb", DPKG)

    def test_a_bundle_is_what_the_build_needs_and_no_more(self):
        done = self.run_tool("bundle_deps.sh")
        self.assertEqual(done.returncode, 0, done.stderr)
        deps = self.root / "deps"
        found = {str(path.relative_to(deps)) for path in deps.rglob("*") if path.is_file()}
        lib = "usr/lib/x86_64-linux-gnu"
        self.assertEqual(found, {"mwalimu-deps.cmake", f"{lib}/libdnnl.so", f"{lib}/libgtest.a",
                                 f"{lib}/libboost_context.a", "usr/share/cmake/CLI11/CLI11Config.cmake"})
        self.assertTrue((deps / "usr/include/boost/context").exists())
        self.assertFalse((deps / "usr/include/boost/asio").exists())
        cmake = (deps / "mwalimu-deps.cmake").read_text()
        self.assertIn("${root}/lib/x86_64-linux-gnu", cmake)
        self.assertNotIn(str(self.root), cmake)  # it may be moved
        for package in ("libdnnl-dev", "libgtest-dev", "libboost-context1.74.0", "libhnswlib-dev"):
            self.assertIn(package, self.lines(self.root / "downloaded")[0].split())
        self.assertIn("glibc 2.34", done.stdout)

    def test_it_replaces_its_own_folder_and_no_other(self):
        mine = self.root / "mine"
        mine.mkdir()
        (mine / "thesis.txt").write_text("all of it")
        done = self.run_tool("bundle_deps.sh", "mine")
        self.assertEqual(done.returncode, 2)
        self.assertIn("is no bundle of ours", done.stderr)
        self.assertTrue((mine / "thesis.txt").exists())
        self.assertEqual(self.run_tool("bundle_deps.sh", "a/b").returncode, 0)
        (self.root / "a/b/old").write_text("")
        self.assertEqual(self.run_tool("bundle_deps.sh", "a/b").returncode, 0)
        self.assertFalse((self.root / "a/b/old").exists())

    def test_without_network_it_leaves_nothing(self):
        done = self.run_tool("bundle_deps.sh", OFFLINE="1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Could not resolve host", done.stderr)
        self.assertFalse((self.root / "deps").exists())

    def test_wrong_options(self):
        done = self.run_tool("bundle_deps.sh", "--folder", "deps")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(len(done.stderr.splitlines()), 1)


if __name__ == "__main__":
    assert shutil.which("bash")
    unittest.main()
