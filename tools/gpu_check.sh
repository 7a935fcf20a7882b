#!/usr/bin/env bash
# Everything that can be checked only where there is a GPU, as one command without network.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: tools/gpu_check.sh [options] [PART ...]
Builds Mwalimu for CUDA, checks and measures it on this machine's GPU, and writes one results file
with device, driver, commit, date and all figures. Needs a GPU, nvcc 13, cuDNN 9, cuBLASLt and Python
3.9; PyTorch for the peers, compute-sanitizer for its part. Takes the other libraries from the folder
deps, if tools/bundle_deps.sh has made one, else from the system. Never touches the network or the
card's settings.

parts, in this order, each within its time limit (seconds); all of them if none is named:
  build       240  library, tests, programs and benches (preset cuda, in build/cuda)
  tests       150  every test of a device: kernels, layers, models, steps, graphs; ptxas' spills
  sanitizer    70  compute-sanitizer memcheck and racecheck on the kernels' tests
  study        60  the study's programs on --device cuda: training in each precision, with and
                   without graph, profile, learning-rate tests, evaluation, map
  bench        50  the benches of the device's half, and t-SNE on 10,000 points
  peers        50  the same work in PyTorch: eager, channels-last, AMP, compiled
A part that fails does not keep the next from running; a part named alone takes build/cuda as it is.

options:
  --out FILE     where to write the results
                 (default: bench/results/DEVICE_DATE_COMMIT.json)
  --deps FOLDER  the bundle of libraries (default: deps, if there is one)
  --scale X      multiplies every time limit (default 1: ten minutes in all)
  --preflight    only say what is here and what is missing; nothing is built

Ends with 0 if all parts did, 1 if one failed or something needed is missing, 2 on a wrong option. The
results file's fields are described at the head of tools/gpu_report.py.

example: tools/gpu_check.sh build tests      only those two
TEXT
}

out= deps= scale=1 preflight=no parts=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --out | --deps | --scale)
      [ $# -ge 2 ] || { echo "gpu_check.sh: $1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift ;;
    --preflight) preflight=only ;;
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
[ -z "$deps" ] || deps=$(cd "$deps" && pwd)
export PATH=$PATH:/usr/local/cuda/bin

wanted() { case " ${parts[*]} " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# One line for each thing that the parts need; fails where one is missing that they cannot do without.
preflight() {
  local ready=0 device nvcc_release torch
  line() { printf '  %-18s %s\n' "$1" "$2"; }
  missing() { line "$1" "MISSING: $2"; ready=1; }
  device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | head -1) || true
  if [ -n "$device" ]; then
    line GPU "$device"
  else
    missing GPU "nvidia-smi finds none. Without one: tools/test.sh compiles the CUDA half and runs its kernels on the host"
  fi
  if wanted build; then
    nvcc_release=$(nvcc --version 2> /dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p') || true
    case $nvcc_release in
      '') missing nvcc "want CUDA 13's on the PATH or in /usr/local/cuda/bin" ;;
      [0-9].* | 1[0-2].*) missing nvcc "found $nvcc_release, want 13 or newer" ;;
      *) line nvcc "$nvcc_release" ;;
    esac
    for program in cmake c++; do
      if command -v "$program" > /dev/null; then
        line "$program" "$("$program" --version | head -1)"
      else
        missing "$program" "not on the PATH"
      fi
    done
    line libraries "${deps:-of the system; no bundle in deps}"
  elif [ ! -f "$build/CMakeCache.txt" ]; then
    missing build/cuda "nothing is built there; run the part build first"
  fi
  if wanted sanitizer; then
    command -v compute-sanitizer > /dev/null && line compute-sanitizer "found" ||
      line compute-sanitizer "not found: its part will fail"
  fi
  if wanted peers; then
    torch=$(python3 -c 'import torch; print(torch.__version__)' 2> /dev/null) || true
    line PyTorch "${torch:-not found: peers will measure ours alone, and fail}"
  fi
  return $ready
}
declare -A limit=([build]=240 [tests]=150 [sanitizer]=70 [study]=60 [bench]=50 [peers]=50)
seconds() { python3 -c "print(max(1, round($1 * $scale)))"; }

# run_part NAME: the function part_NAME in a time limit; its log and its exit status are kept.
run_part() {
  local name=$1 started=$SECONDS status=0 most
  most=$(seconds "${limit[$1]}")
  printf '%-10s ' "$name"
  # A function cannot be given to timeout: this script calls itself.
  GPU_CHECK_PART=$name GPU_CHECK_DEPS=$deps GPU_CHECK_SCALE=$scale timeout --kill-after=10 "$most" \
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
  local options=(-DCMAKE_CUDA_ARCHITECTURES=native)
  [ -z "$deps" ] || options+=(-C "$deps/mwalimu-deps.cmake")
  # A build folder keeps its generator.
  if [ ! -f "$build/CMakeCache.txt" ] && ! command -v ninja > /dev/null; then
    options+=(-G "Unix Makefiles")
  fi
  cmake --preset cuda "${options[@]}"
  # All that compiles, even where something does not: the other parts use what there is.
  local keep_going=(-k 0)
  grep -q '^CMAKE_GENERATOR:INTERNAL=Ninja' "$build/CMakeCache.txt" || keep_going=(-k)
  cmake --build --preset cuda --parallel "$(nproc)" -- "${keep_going[@]}"
}
part_tests() {
  ctest --preset cuda -L 'gpu|kernels' --parallel 1 --output-junit "$work/tests.xml"
}
# The kernels' own tests under both tools, cheap ones first; whole networks, which are cuDNN's kernels
# for the most part, under memcheck alone. One program that hangs does not take the others' time.
part_sanitizer() {
  local status=0 program name tool large=() programs=()
  command -v compute-sanitizer > /dev/null || { echo "no compute-sanitizer on the PATH"; return 1; }
  for program in "$build"/bin/kernels_*_gpu; do
    [ -x "$program" ] || { echo "no tests in $build/bin; run the part build first"; return 1; }
    case $program in
      */kernels_network_gpu | */kernels_*_step_gpu) large+=("$program") ;;
      *) programs+=("$program") ;;
    esac
  done
  check() {
    echo "== $1 $(basename "$2")"
    timeout --kill-after=5 "$(seconds 30)" compute-sanitizer --tool "$1" --error-exitcode 9 "$2" \
      --gtest_brief=1 || { echo "-- exit $?"; status=1; }
  }
  for tool in memcheck racecheck; do
    for program in "${programs[@]}"; do check $tool "$program"; done
  done
  for program in "${large[@]}"; do check memcheck "$program"; done
  return $status
}
part_study() {
  local study=$work/study rice=$work/study/rice kind how status=0
  rm -rf "$study"
  run() {
    echo "== $1 ${*: -1}"
    "$build/bin/$1" --data "$rice" --device cuda "${@:2}" || { echo "-- exit $?"; status=1; }
  }
  "$build/bin/make_rice" --out "$rice" --pairs 120 --test-pairs 40 --size 96 --seed 0
  swav=(--arch xresnet34 --crops 2x64,4x48 --batch 32 --prototypes 24 --epsilon 0.02)
  # off: float32 kernel by kernel, without graphs. tuned: float32 on the tensor cores, plans measured.
  for kind in float32 bfloat16 float16 off tuned; do
    case $kind in
      off) how=(--precision float32 --graph off) ;;
      tuned) how=(--precision float32 --graph on --math tf32 --plans measured) ;;
      *) how=(--precision $kind --graph on) ;;
    esac
    run pretrain "${swav[@]}" "${how[@]}" --epochs 4 \
      --queue-length 64 --images all --profile --out "$study/$kind/pretrain"
    run finetune "${how[@]}" --size 64 --epochs 4 --profile \
      --encoder "$study/$kind/pretrain/encoder.safetensors" --out "$study/$kind/finetune"
  done
  run find_lr --task swav "${swav[@]}" --steps 30 --images all --out "$study/find_lr_swav"
  run find_lr --task classifier --arch xresnet34 --size 64 --steps 30 --out "$study/find_lr_classifier"
  run evaluate --classifier "$study/bfloat16/finetune/classifier.safetensors" --precision bfloat16 \
    --out "$study/evaluate"
  run tsne --logits "$study/float32/finetune" --perplexity 10 --out "$study/map"
  return $status
}
part_bench() {
  local status=0 repulsion
  rm -rf "$work/bench"; mkdir -p "$work/bench"
  "$build/bin/ops_bench" --benchmark_filter=/gpu/ --benchmark_min_time=0.05 \
    --benchmark_out="$work/bench/ops_bench.json" --benchmark_out_format=json || status=1
  # 10,000 points of 50 columns around 20 centres, without NumPy.
  python3 - "$work/bench/points.npy" <<'PYTHON'
import array, random, struct, sys
random.seed(0)
rows, columns = 10000, 50
centres = [[random.gauss(0, 4) for _ in range(columns)] for _ in range(20)]
values = array.array("f", (c + random.gauss(0, 1) for _ in range(rows) for c in random.choice(centres)))
header = repr({"descr": "<f4", "fortran_order": False, "shape": (rows, columns)})
header += " " * (-(len(header) + 11) % 64) + "\n"
with open(sys.argv[1], "wb") as file:
    file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    file.write(values.tobytes())
PYTHON
  for repulsion in exact fft; do
    echo "== tsne_bench $repulsion"
    "$build/bin/tsne_bench" "$work/bench/points.npy" --device cuda --repulsion $repulsion \
      --threads "$(nproc)" | tee "$work/bench/tsne_$repulsion.line" || status=1
  done
  # The maps are as good as the host's: KL within half a percent, as far apart as two seeds' may be.
  echo "== tsne_bench on the host"
  "$build/bin/tsne_bench" "$work/bench/points.npy" --repulsion fft --threads "$(nproc)" |
    tee "$work/bench/host_tsne.line" || status=1
  python3 - "$work/bench" <<'PYTHON' || status=1
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
host = json.loads((folder / "host_tsne.line").read_text())
for path in sorted(folder.glob("tsne_*.line")):
    row = json.loads(path.read_text())
    if "skipped" not in row and abs(row["kl"] - host["kl"]) > 0.005 * host["kl"]:
        sys.exit(f"{path.stem}: KL {row['kl']} is not the host's {host['kl']}")
PYTHON
  return $status
}
part_peers() {
  MWALIMU_BUILD=$build python3 "$root/bench/peers/gpu_step.py" --json "$work/peers.json"
}

if [ -n "${GPU_CHECK_PART:-}" ]; then
  deps=$GPU_CHECK_DEPS scale=$GPU_CHECK_SCALE
  "part_$GPU_CHECK_PART"
  exit
fi

echo "gpu_check.sh: parts ${parts[*]}"
preflight || { echo "gpu_check.sh: not everything is here; nothing was run" >&2; exit 1; }
[ $preflight = no ] || exit 0
mkdir -p "$work"
# Of an earlier run: results, which must not be taken for this one's.
for part in "${parts[@]}"; do rm -f "$work/$part.status" "$work/$part.log"; done
rm -f "$work"/*.status "$work"/{tests.xml,peers.json}
for part in "${parts[@]}"; do run_part "$part"; done
python3 "$root/tools/gpu_report.py" --work "$work" --source "$root" ${out:+--out "$out"}
