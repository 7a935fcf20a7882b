#!/usr/bin/python3
"""A contender of run_peers.py: SwAV's crops by torchvision.

The work of data_bench's row crops/make: for each of B pairs of 128-pixel images the views of --crops,
by one thread: random resized crop, flip, colour jitter, grayscale, blur, rotation with the study's
probabilities, and normalisation. Both libraries' random numbers differ, and so do their filters: this
compares times, not pixels.
"""

import argparse
import json
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", default="2x128,6x96")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="ignored: a worker is one thread")
    options = parser.parse_args()
    try:
        import torch
        import torchvision
        from torchvision import transforms
    except ImportError as problem:
        print(json.dumps({"missing": f"{problem.name} is not installed"}))
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = (256 * torch.rand(2 * options.batch, 3, 128, 128)).to(torch.uint8)
    views = []
    for number, group in enumerate(options.crops.split(",")):
        count, side = map(int, group.split("x"))
        scale = (0.25, 1.0) if number == 0 else (0.05, 0.30)
        views += [transforms.Compose([
            transforms.RandomResizedCrop(side, scale=scale, antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.48, 0.48, 0.48, 0.12)], p=0.3),
            transforms.RandomGrayscale(0.3),
            transforms.RandomApply([transforms.GaussianBlur(2 * (side // 20) + 1, (0.1, 2.0))], 0.3),
            transforms.RandomApply([transforms.RandomRotation(10)], 0.3),
            transforms.ConvertImageDtype(torch.float32),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])] * count
    milliseconds = []
    for _ in range(options.warm_up + options.steps):
        begin = time.perf_counter()
        for row in range(options.batch):
            for number, view in enumerate(views):
                view(images[2 * row + number % 2])
        milliseconds.append(1e3 * (time.perf_counter() - begin))
    print(json.dumps({"ms": milliseconds[options.warm_up:], "threads": 1,
                      "version": f"PyTorch {torch.__version__}, torchvision "
                                 f"{torchvision.__version__}"}))


if __name__ == "__main__":
    main()
