#!/usr/bin/env python3
"""What pretraining costs past one machine, on paper: docs/scaling.md is written from this.

    bench/plan.py                              # the page's tables
    bench/plan.py --images 5e8 --gpus 64 512   # another case

Counts (operations, bytes, parameters) are exact for xresnet34 with SwAV's head; the rates of a device,
of its links and of a processor core are options, and their defaults are what the vendor states or what
data_bench measured. `--reached` is the one guess: the share of a step's lower bound that is reached.
"""

import argparse
import math


def convolutions(side):
    """xresnet34's convolutions on a square image: (out side, in channels, out channels, kernel)."""
    layers = []
    side = math.ceil(side / 2)
    layers += [(side, 3, 32, 3), (side, 32, 32, 3), (side, 32, 64, 3)]
    side = math.ceil(side / 2)
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        side = math.ceil(side / stride)
        for block in range(blocks):
            layers += [(side, channels, width, 3), (side, width, width, 3)]
            if channels != width:
                layers.append((side, channels, width, 1))
            channels = width
    return layers


def forward_flop(side):
    """Operations of one image's forward pass, two a multiply-add, padding's taps included."""
    return sum(2 * s * s * i * o * k * k for s, i, o, k in convolutions(side))


def image_bounds(side, options):
    """Seconds that one image's convolutions and what lies between them take at least, forward and
    backward, bfloat16. A convolution's three products are bound by arithmetic or by their operands.
    Between two of them batch norm, residual and ReLU are fused: forward the result is read for its
    statistics, read again and written; backward gradient and operand are read for the sums, read again,
    and the gradient is written."""
    products = passes = 0.0
    for s, i, o, k in convolutions(side):
        flop, operands = 2 * s * s * i * o * k * k, 2 * s * s * (i + o)
        products += 3 * max(flop / options.matrix_rate, operands / options.memory_rate)
        passes += (3 + 5) * 2 * s * s * o / options.memory_rate
    return products, passes


def parameters(prototypes):
    convs = sum(i * o * k * k + 2 * o for _, i, o, k in convolutions(128))
    head = 1024 * 2048 + 2048 + 2 * 2048 + 2048 * 128 + 128 + 128 * prototypes
    return convs + head


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def number(x, unit=""):
    """Three digits: 1.23 k, 45.6 M."""
    for factor, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= factor:
            return f"{x / factor:.3g} {name}{unit}"
    return f"{x:.3g} {unit}".rstrip()


def duration(seconds):
    for length, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if seconds >= length:
            return f"{seconds / length:.3g} {name}"
    return f"{seconds * 1e6:.3g} us"


def step(options):
    """One device's step: operations, and seconds at least of convolutions and of all between them."""
    flop = sum(3 * n * forward_flop(s) for n, s in options.crops) * options.batch
    bounds = [(n, image_bounds(s, options)) for n, s in options.crops]
    products = sum(n * b[0] for n, b in bounds) * options.batch
    passes = sum(n * b[1] for n, b in bounds) * options.batch
    return flop, products, passes


def all_reduce(bytes_, devices, options):
    """Each device sends and receives 2 (n - 1) / n of the bytes; messages go up a tree and down."""
    link = options.link_rate if devices <= options.node else options.network_rate
    hops = 2 * math.ceil(math.log2(devices))
    return 2 * (devices - 1) / devices * bytes_ / link + hops * options.latency


def plan(options):
    weights = parameters(options.prototypes)
    flop, products, passes = step(options)
    seconds = (products + passes) / options.reached
    views = sum(n for n, _ in options.crops)
    print(f"One device, batch {options.batch}, {views} crops an image, {options.prototypes} prototypes:\n")
    table(["what", "amount", "at least"],
          [["convolutions, forward and backward", number(flop, "FLOP"), duration(products)],
           ["batch norm, residual and ReLU between them, fused", "", duration(passes)],
           [f"a step that reaches {options.reached:.0%} of these bounds", "", duration(seconds)],
           ["parameters: float32, bfloat16 copy, gradient, momentum",
            f"{number(weights)}: {number(14 * weights, 'B')}", ""]])

    rows = []
    for devices in options.gpus:
        gradients = all_reduce(2 * weights, devices, options)
        # An iteration of Sinkhorn sums the prototypes' masses over all devices, and their total.
        codes = 2 * options.iterations * all_reduce(4 * options.prototypes, devices, options)
        exposed = max(0.0, gradients - 0.6 * seconds) + codes  # gradients of late layers go out early
        whole = seconds + exposed
        rate = devices * options.batch / whole
        rows.append([str(devices), number(devices * options.batch), duration(gradients), duration(codes),
                     duration(whole), f"{seconds / whole:.0%}", number(rate, "img/s"),
                     duration(options.images * options.epochs / rate)])
    print(f"{number(options.images)} images, {options.epochs} epochs:\n")
    table(["devices", "batch", "gradients' all-reduce", "codes' sums", "step", "efficiency", "rate",
           "the run"], rows)

    rows = []
    for devices in options.gpus:
        rate = devices * options.batch / seconds
        rows.append([str(devices), number(rate * options.jpeg_bytes, "B/s"),
                     number(rate * options.raw_bytes, "B/s"),
                     number(rate * options.decode_seconds), number(rate * options.crop_seconds)])
    print("What the devices eat:\n")
    table(["devices", "as JPEG", "as decoded pixels", "cores that decode", "cores that crop"], rows)
    table(["the data set", "size"],
          [["JPEG files", number(options.images * options.jpeg_bytes, "B")],
           ["decoded, 160 x 160", number(options.images * options.raw_bytes, "B")],
           ["index: offset, length, pair, label", number(options.images * 24, "B")],
           ["an epoch's order kept as a list", number(options.images * 8, "B")],
           ["features for maps and probes, 1024 x bfloat16", number(options.images * 2048, "B")]])


def parse(arguments=None):
    def crops(text):
        return [tuple(int(x) for x in group.split("x")) for group in text.split(",")]

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=float, default=2e8)
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--crops", type=crops, default=crops("2x128,6x96"), metavar="NxSIDE,...")
    p.add_argument("--batch", type=int, default=256, help="images a device")
    p.add_argument("--prototypes", type=int, default=3000)
    p.add_argument("--iterations", type=int, default=3, help="of Sinkhorn")
    p.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64, 512])
    p.add_argument("--node", type=int, default=8, help="devices that share the fast links")
    p.add_argument("--matrix-rate", type=float, default=800e12, help="FLOP/s, bfloat16")
    p.add_argument("--memory-rate", type=float, default=3.0e12, help="B/s")
    p.add_argument("--link-rate", type=float, default=450e9, help="B/s each way inside a node")
    p.add_argument("--network-rate", type=float, default=50e9, help="B/s each way a device between nodes")
    p.add_argument("--latency", type=float, default=5e-6, help="seconds a message")
    p.add_argument("--reached", type=float, default=0.6, help="share of the lower bound: a guess")
    p.add_argument("--jpeg-bytes", type=float, default=20e3, help="a photograph of 256 pixels' side")
    p.add_argument("--raw-bytes", type=float, default=3 * 160 * 160, help="decoded, as the store keeps it")
    p.add_argument("--decode-seconds", type=float, default=0.5e-3, help="one core, one JPEG")
    p.add_argument("--crop-seconds", type=float, default=0.4e-3, help="one core, all crops of an image")
    options = p.parse_args(arguments)
    for name in ("images", "epochs", "batch", "prototypes", "matrix_rate", "memory_rate", "link_rate",
                 "network_rate", "reached"):
        if not getattr(options, name) > 0:
            p.error(f"--{name.replace('_', '-')}: want a positive number")
    if any(n < 1 for n in options.gpus):
        p.error("--gpus: want at least 1")
    return options


if __name__ == "__main__":
    plan(parse())
