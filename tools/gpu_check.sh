#!/usr/bin/env bash
# Everything that can be checked only where there is a GPU, as one command without network.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: tools/gpu_check.sh [options] [PART ...]
Builds Mwalimu for CUDA, checks and measures it on this machine's GPU, and writes one results file
with device, driver, commit, date and all figures. Needs nvcc, cuDNN, cuBLASLt and Python 3; PyTorch
(and timm) for the peers. Takes the other libraries from the folder deps, if tools/bundle_deps.sh has
made one, else from the system. Never touches the network or the card's settings.

parts, in this order, each within its time limit (seconds); all of them if none is named:
  build       240  library, tests, programs and benches (preset cuda, in build/cuda)
  tests       150  every test with the label gpu: kernels, layers, models, steps, graphs
  sanitizer    70  compute-sanitizer memcheck and racecheck on the kernels' tests
  study        60  a short run of the study's programs on --device cuda, in each precision
  bench        50  the benches of the device's half
  peers        50  the same work in PyTorch: eager, channels-last, AMP, compiled

options:
  --out FILE     where to write the results
                 (default: bench/results/DEVICE_DATE_COMMIT.json)
  --deps FOLDER  the bundle of libraries (default: deps, if there is one)
  --scale X      multiplies every time limit (default 1: ten minutes in all)

example: tools/gpu_check.sh build tests      only those two
TEXT
}

out= deps= scale=1 parts=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --out | --deps | --scale)
      [ $# -ge 2 ] || { echo "gpu_check.sh: $1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift ;;
    build | tests | sanitizer | study | bench | peers) parts+=("$1") ;;
    *) echo "gpu_check.sh: unknown argument '$1'; see tools/gpu_check.sh --help" >&2; exit 2 ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=(build tests sanitizer study bench peers)
[[ $scale =~ ^[0-9]*\.?[0-9]+$ ]] || { echo "gpu_check.sh: --scale: want a number, got '$scale'" >&2; exit 2; }
command -v python3 > /dev/null || { echo "gpu_check.sh: no python3 here; it writes the results file" >&2; exit 1; }
[ -n "$deps" ] || { [ -f "$root/deps/mwalimu-deps.cmake" ] && deps=$root/deps; } || true
[ -z "$deps" ] || [ -f "$deps/mwalimu-deps.cmake" ] ||
  { echo "gpu_check.sh: no bundle in '$deps'; make one with tools/bundle_deps.sh $deps" >&2; exit 2; }

cd "$root"
build=$root/build/cuda
work=$build/gpu_check
mkdir -p "$work"
[ -n "$deps" ] && deps=$(cd "$deps" && pwd)

declare -A limit=([build]=240 [tests]=150 [sanitizer]=70 [study]=60 [bench]=50 [peers]=50)
seconds() { python3 -c "print(max(1, round($1 * $scale)))"; }

# run_part NAME: the function part_NAME in a time limit; its log and its exit status are kept.
run_part() {
  local name=$1 started=$SECONDS status=0 most
  most=$(seconds "${limit[$1]}")
  printf '%-10s ' "$name"
  # A function cannot be given to timeout: this script calls itself.
  GPU_CHECK_PART=$name GPU_CHECK_DEPS=$deps timeout --kill-after=10 "$most" \
    bash "${BASH_SOURCE[0]}" > "$work/$name.log" 2>&1 || status=$?
  local took=$((SECONDS - started))
  printf '{"status": %d, "seconds": %d, "limit": %d}\n' "$status" "$took" "$most" > "$work/$name.status"
  case $status in
    0) echo "ok, $took s" ;;
    124 | 137) echo "stopped at its limit of $most s; log: $work/$name.log" ;;
    *) echo "failed (exit $status) after $took s; log: $work/$name.log"; tail -5 "$work/$name.log" | sed 's/^/             /' ;;
  esac
}

part_build() {
  local first=()
  [ -z "$deps" ] || first=(-C "$deps/mwalimu-deps.cmake")
  cmake "${first[@]}" --preset cuda -DCMAKE_CUDA_ARCHITECTURES=native
  cmake --build --preset cuda --parallel "$(nproc)"
  # By themselves: what fails here must not keep the tests from running.
  cmake --build --preset cuda --parallel "$(nproc)" --target ops_bench swav_step_bench ||
    echo "the device's benches do not build"
}
part_tests() {
  ctest --preset cuda -L gpu --parallel 1 --output-junit "$work/tests.xml"
}
part_sanitizer() {
  local status=0 program
  for program in "$build"/bin/kernels_*_gpu; do
    echo "== memcheck $(basename "$program")"
    compute-sanitizer --tool memcheck --error-exitcode 9 "$program" --gtest_brief=1 || status=1
    echo "== racecheck $(basename "$program")"
    compute-sanitizer --tool racecheck --error-exitcode 9 "$program" --gtest_brief=1 || status=1
  done
  return $status
}
part_study() {
  rm -rf "$work/study"
  "$build/bin/make_rice" --out "$work/study/rice" --pairs 120 --size 96 --seed 0
  local precision
  for precision in float32 bfloat16 float16; do
    echo "== $precision"
    "$build/bin/pretrain" --data "$work/study/rice" --out "$work/study/$precision/pretrain" \
      --device cuda --precision "$precision" --arch xresnet34 --crops 2x64,4x48 --batch 32 \
      --epochs 4 --prototypes 24 --epsilon 0.02 --queue-length 64 --images all --overwrite
    "$build/bin/finetune" --data "$work/study/rice" --out "$work/study/$precision/finetune" \
      --device cuda --precision "$precision" --encoder "$work/study/$precision/pretrain/encoder.safetensors" \
      --size 64 --epochs 4 --overwrite
  done
}
part_bench() {
  local program status=0
  rm -rf "$work/bench"; mkdir -p "$work/bench"
  for program in "$build"/bin/*_bench; do
    case $program in *_step_bench) continue ;; esac  # programs of their own, see part_peers
    "$program" --benchmark_filter=/gpu/ --benchmark_min_time=0.05 \
      --benchmark_out="$work/bench/$(basename "$program").json" --benchmark_out_format=json || status=1
  done
  return $status
}
part_peers() {
  MWALIMU_BUILD=$build python3 "$root/bench/peers/gpu_step.py" --json "$work/peers.json"
}

if [ -n "${GPU_CHECK_PART:-}" ]; then
  deps=$GPU_CHECK_DEPS
  "part_$GPU_CHECK_PART"
  exit
fi

rm -f "$work"/*.status
for part in "${parts[@]}"; do run_part "$part"; done
python3 "$root/tools/gpu_report.py" --work "$work" --source "$root" ${out:+--out "$out"}
