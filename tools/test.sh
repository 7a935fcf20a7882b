#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test. Works from any folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: tools/test.sh [--sanitize] [CTest options]
Installs what is missing, builds Mwalimu and runs its tests one at a time. Kernels run on an emulated
device. Where nvcc is found, the CUDA half is compiled, too (build/cuda), its compiler's report is
checked for spilled registers, and programs are linked as users would link them; what needs a GPU says
that it was skipped where there is none.

  --sanitize   build with AddressSanitizer and UBSan (build/cpu-asan) instead of a release (build/cpu)
  --no-cuda    leave the CUDA half out

example: tools/test.sh -R sinkhorn      only the tests whose names hold "sinkhorn"
TEXT
}

preset=cpu
cuda=auto
arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    --sanitize) preset=cpu-asan; cuda=no ;;
    --no-cuda) cuda=no ;;
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
status=0
ctest --preset "$preset" --parallel 1 "${arguments[@]}" || status=$?

if [ "$cuda" = auto ] && { command -v nvcc > /dev/null || [ -x /usr/local/cuda/bin/nvcc ]; }; then
  configure cuda
  build cuda
  ctest --preset cuda --parallel 1 "${arguments[@]}" || status=$?
fi
exit $status
