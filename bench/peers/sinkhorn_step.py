#!/usr/bin/python3
"""A contender of run_peers.py: SwAV's codes in PyTorch on the CPU.

The work of ops_bench's row sinkhorn/forward: codes of two crops of B samples against K prototypes,
each balanced together with L rows of a queue; three iterations at epsilon 0.05. The rule is the
published one (Caron et al. 2020, arXiv:2006.09882, sec. 3.1), on the exponentials themselves, as
facebook's program computes it.
"""

import argparse
import json
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--queue", type=int, default=3840)
    parser.add_argument("--prototypes", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print(json.dumps({"missing": "PyTorch is not installed"}))
        return
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = options.batch + options.queue
    crops = [(0.6 * torch.rand(rows, options.prototypes) - 0.3) for _ in range(2)]
    milliseconds = []
    with torch.no_grad():
        for _ in range(options.warm_up + options.steps):
            begin = time.perf_counter()
            for scores in crops:
                plan = torch.exp(scores / 0.05).t()
                plan /= plan.sum()
                for _ in range(3):
                    plan /= plan.sum(1, keepdim=True) * options.prototypes
                    plan /= plan.sum(0, keepdim=True) * rows
                codes = (plan * rows).t()[:options.batch].contiguous()
            milliseconds.append(1e3 * (time.perf_counter() - begin))
    if abs(codes.sum(1) - 1).max() > 1e-4:
        raise SystemExit("a code does not sum to one")
    print(json.dumps({"ms": milliseconds[options.warm_up:], "threads": torch.get_num_threads(),
                      "version": "PyTorch " + torch.__version__}))


if __name__ == "__main__":
    main()
