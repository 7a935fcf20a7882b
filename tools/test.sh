#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test. Works from any folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: tools/test.sh [--sanitize] [CTest options]
Installs what is missing, builds Mwalimu and runs its tests one at a time.

  --sanitize   build with AddressSanitizer and UBSan (build/cpu-asan) instead of a release (build/cpu)

example: tools/test.sh -R sinkhorn      only the tests whose names hold "sinkhorn"
TEXT
}

preset=cpu
arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    --sanitize) preset=cpu-asan ;;
    *) arguments+=("$argument") ;;
  esac
done

configure "$preset"
build "$preset"
cd "$root"
golden=${MWALIMU_GOLDEN:-$root/../shared/golden}
[ -f "$golden/manifest.json" ] ||
  echo "note: no reference numbers in $golden; the tests named Golden are skipped"
# One test at a time: oneDNN's weight gradients spin at a barrier, and two that share the cores slow
# each other thirty-fold.
exec ctest --preset "$preset" --parallel 1 "${arguments[@]}"
