#!/usr/bin/env bash
# The two figures of the study: the map of a model's predictions by class, and the same map with the
# images themselves, for any data set that the programs read; and early training against late.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: tools/figures.sh [--data DIR] [--out DIR] [--size N] [--width N] [--epochs N] [--perplexity LIST]
                        [--bin DIR]
Trains a small classifier on the training part, and maps its logits of the test part.
Without --data, on synthetic rice leaves made on the spot.

  --out DIR          where to write                       (default: runs/figures)
  --size N           side of the input, pixels            (default: 64)
  --width N          channels of the first stage          (default: 16)
  --epochs N         passes over the training images      (default: 60)
  --perplexity LIST  a map each                           (default: 2,10,30,50,100)
  --bin DIR          where the programs are               (default: built into build/cpu/bin)

writes  OUT/map/scatter.svg       the predictions by class, wrong ones ringed
        OUT/map/images.png        the same map with the images
        OUT/map/perplexities.svg  a panel a perplexity
        OUT/map/map.html          the map to walk about in
        OUT/training/             the same for three stages of training, side by side

example: tools/figures.sh --data paired_cwfid --size 96 --width 24 --epochs 40
TEXT
}

data='' out=$root/runs/figures size=64 width=16 epochs=60 perplexity=2,10,30,50,100 bin=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --data | --out | --size | --width | --epochs | --perplexity | --bin)
      if [ $# -lt 2 ]; then
        echo "tools/figures.sh: $1: the value is missing; --help lists the options" >&2
        exit 2
      fi
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    *) echo "tools/figures.sh: unknown argument '$1'; --help lists the options" >&2; exit 2 ;;
  esac
done
case $epochs in
  '' | *[!0-9]*) echo "tools/figures.sh: --epochs: want a whole number, got '$epochs'" >&2; exit 2 ;;
esac

if [ -z "$bin" ]; then
  configure cpu
  build cpu --target make_rice finetune tsne
  bin=$root/build/cpu/bin
fi
name=${data:+$(basename "$data")}
if [ -z "$data" ]; then
  data=$out/rice
  name='Rice leaves'
  [ -e "$data/Train.csv" ] ||
    "$bin/make_rice" --out "$data" --pairs 300 --test-pairs 200 --size "$size" --closeup 0.7 --seed 1
fi

# Three stages of training with the same seed: a thirtieth, a tenth, and all of the epochs.
stages=()
for share in 30 10 1; do
  stage=$((epochs / share > 0 ? epochs / share : 1))
  [ ${#stages[@]} -gt 0 ] && [ "${stages[-1]}" = $stage ] && continue
  stages+=($stage)
  [ -e "$out/epochs$stage/classifier.safetensors" ] ||
    "$bin/finetune" --data "$data" --out "$out/epochs$stage" --arch xresnet18 --width "$width" \
      --size "$size" --epochs $stage --optimizer adamw --lr 2e-3 --seed 1 --overwrite
done

"$bin/tsne" --logits "$out/epochs${stages[-1]}" --data "$data" --out "$out/map" --overwrite \
  --perplexity "$perplexity" --animate --title "$name: logits of the test images"
if [ ${#stages[@]} -gt 1 ]; then
  list=''
  for stage in "${stages[@]}"; do list+=",epoch $stage=$out/epochs$stage"; done
  "$bin/tsne" --checkpoints "${list#,}" --data "$data" --out "$out/training" --overwrite \
    --title "$name: early training against late"
fi
echo "figures: $out/map/scatter.svg and $out/map/images.png; to walk about in: $out/map/map.html"
