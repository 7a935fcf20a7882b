#!/usr/bin/env bash
# The whole study on synthetic rice leaves, from a fresh clone to a report. Works from any folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: tools/demo.sh [options of `study`]
Installs what is missing, builds the study, runs it on synthetic leaves made on the spot, and prints
where the report is: runs/demo/report.html.

example: tools/demo.sh --seed 2 --out runs/demo2
TEXT
}

out=$root/runs/demo
given=no
next_is_out=no
for argument in "$@"; do
  if [ $next_is_out = yes ]; then
    out=$argument
    given=yes
    next_is_out=no
    continue
  fi
  case $argument in
    -h | --help) usage; exit 0 ;;
    --out) next_is_out=yes ;;
    --out=*) out=${argument#--out=} given=yes ;;
  esac
done

configure cpu
build cpu --target study
options=(--preset demo)
[ $given = yes ] || options+=(--out "$out")
"$root/build/cpu/bin/study" "${options[@]}" "$@"
echo "report: $out/report.html"
