#!/bin/sh
# Runs a compiler and keeps what ptxas says of registers, shared memory and spills beside the object,
# instead of on the terminal: ptxas_report.sh COMPILER ... -o OBJECT ...
report=/dev/null
previous=
for argument in "$@"; do
  [ "$previous" = -o ] && report=$argument.ptxas
  previous=$argument
done
"$@" 2> "$report.all"
status=$?
grep -E '^ptxas info|bytes stack frame|^ptxas warning' "$report.all" > "$report"
grep -vE '^ptxas info|bytes stack frame' "$report.all" >&2
rm -f "$report.all"
exit $status
