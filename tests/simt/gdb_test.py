"""Steps through stepping.cpp with tools/simt_gdb.py: gdb_test.py GDB COMMANDS PROGRAM SOURCE."""
import os
import re
import subprocess
import sys

gdb, commands, program, source = sys.argv[1:]
with open(source) as text:
    lines = {m.group(1): i for i, line in enumerate(text, 1)
             for m in [re.search(r"// (\w+)$", line)] if m}
file = os.path.basename(source)

script = [
    "simt break %s:%d 5 1" % (file, lines["load"]),
    "run",
    "print threadIdx.x", "print blockIdx.x", "print tile[63]",
    "simt threads",
    "simt thread 9", "print t", "print tile[t]",
    "simt thread 40", "print t",
    "simt back", "print t",
    "next", "print mirrored", "print threadIdx.x",
    "delete",
    "continue",
]
wanted = [
    r"\$1 = 5", r"\$2 = 1", r"\$3 = 227",
    r"5  0-4: returned", r"1  5: running",
    r"58  6-63: ready",
    r"reverse_kernel.*%s:%d" % (file, lines["barrier"]),
    r"\$4 = 9", r"\$5 = 173", r"\$6 = 40", r"\$7 = 5",
    r"\$8 = 222", r"\$9 = 5",
    r"out\[5\] = 163", r"exited normally",
]

arguments = [gdb, "-nx", "-batch", "-ex", "set pagination off", "-ex", "set debuginfod enabled off",
             "-x", commands]
for line in script:
    arguments += ["-ex", line]
environment = {name: value for name, value in os.environ.items()
               if not name.startswith("MWALIMU_SIMT")}
run = subprocess.run(arguments + [program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                     text=True, timeout=120, env=environment)
if "ptrace: Operation not permitted" in run.stdout:
    print("gdb may not trace here")
    sys.exit(77)
position = 0
for pattern in wanted:
    found = re.compile(pattern).search(run.stdout, position)
    if not found:
        sys.exit("want '%s' after what came before in:\n%s" % (pattern, run.stdout))
