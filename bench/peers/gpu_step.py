#!/usr/bin/env python3
"""One SwAV training step on a GPU: Mwalimu against PyTorch, in one run.

The step of both: two crops of 128 and six of 96 pixels; xresnet34, projector 1024-2048-128, K
prototypes, Sinkhorn over the batch, loss, backward, SGD with momentum, prototypes scaled to unit
length. Our step makes its crops from images on the device; PyTorch is given its own. The time of our
crops alone stands beside. PyTorch runs eagerly, compiled, and replayed from a CUDA graph, each
channels-last under autocast to bfloat16. Times are medians by CUDA events. --json keeps all numbers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--prototypes", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before them, 2 or more")
    parser.add_argument("--program", type=Path, help="our swav_step_bench",
                        default=Path(os.environ.get("MWALIMU_BUILD", FOLDER.parent.parent /
                                                    "build/cuda")) / "bin/swav_step_bench")
    parser.add_argument("--skip-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def ours(options, batch):
    command = [str(options.program), "--device", "cuda", "--precision", "bfloat16", "--augment", "on",
               "--batch", str(batch), "--crops", "2x128,6x96", "--prototypes",
               str(options.prototypes), "--steps", str(options.steps),
               "--warm-up", str(options.warm_up)]
    results, crops = {}, None
    for graph in ("on", "off"):
        done = subprocess.run([*command, "--graph", graph], capture_output=True, text=True)
        if done.returncode != 0:
            print(f"gpu_step.py: {done.stderr.strip() or done.stdout.strip()}", file=sys.stderr)
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        results[f"mwalimu, graph {graph}"] = found["ms"]
        crops = found.get("augment_ms", crops)
    return results, crops


class Peer:
    """The same step in PyTorch."""

    def __init__(self, torch, batch, prototypes):
        sys.path.insert(0, str(FOLDER))
        from resnet_step import XResNet34
        nn = torch.nn
        torch.manual_seed(0)
        self.torch, self.batch = torch, batch
        self.encoder = XResNet34()
        self.projector = nn.Sequential(nn.Linear(1024, 2048), nn.BatchNorm1d(2048), nn.ReLU(True),
                                       nn.Linear(2048, 128))
        self.prototypes = nn.Linear(128, prototypes, bias=False)
        self.model = nn.ModuleList([self.encoder, self.projector, self.prototypes]).cuda().train()
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9, fused=True)
        make = lambda n, size: torch.randn(n * batch, 3, size, size, device="cuda").contiguous(
            memory_format=torch.channels_last)
        self.crops = [make(2, 128), make(6, 96)]

    def sinkhorn(self, scores):
        torch = self.torch
        q = torch.exp((scores - scores.max()) / 0.05).t()
        q = q / q.sum()
        rows, columns = q.shape
        for _ in range(3):
            q = q / q.sum(1, keepdim=True) / rows
            q = q / q.sum(0, keepdim=True) / columns
        return (q * columns).t()

    def loss(self):
        torch, B = self.torch, self.batch
        with torch.autocast("cuda", torch.bfloat16):
            features = torch.cat([self.encoder(crops) for crops in self.crops])
            embeddings = torch.nn.functional.normalize(self.projector(features))
            scores = self.prototypes(embeddings)
        scores = scores.float()
        logs = torch.log_softmax(scores / 0.1, 1)
        loss = 0
        for crop in (0, 1):
            with torch.no_grad():
                code = self.sinkhorn(scores[crop * B:(crop + 1) * B].detach())
            others = [v for v in range(8) if v != crop]
            loss = loss - sum((code * logs[v * B:(v + 1) * B]).sum(1).mean() for v in others) / 14
        return loss

    def step(self):
        self.optimizer.zero_grad(set_to_none=False)
        loss = self.compute()
        loss.backward()
        self.optimizer.step()
        with self.torch.no_grad():
            w = self.prototypes.weight
            w.copy_(self.torch.nn.functional.normalize(w))
        return loss

    def time(self, kind, warm_up, steps):
        torch = self.torch
        self.compute = torch.compile(self.loss) if kind == "compile" else self.loss
        run = self.step
        if kind == "graph":
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.step()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.step()
            run = graph.replay
        times = []
        for i in range(warm_up + steps):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            if i >= warm_up:
                times.append(begin.elapsed_time(end))
        return times


def main():
    options = parse()
    results, crop_times, table = {}, {}, []
    try:
        import torch
        missing = None if torch.cuda.is_available() else "PyTorch sees no GPU"
    except ImportError:
        torch, missing = None, f"{sys.executable} has no PyTorch"
    for batch in options.batches:
        rows, crops = ours(options, batch) if options.program.exists() else ({}, None)
        if not rows:
            print(f"gpu_step.py: no result of {options.program}", file=sys.stderr)
        if missing is None:
            kinds = ["eager", "graph"] + ([] if options.skip_compile else ["compile"])
            for kind in kinds:
                try:
                    peer = Peer(torch, batch, options.prototypes)
                    rows[f"torch {kind}"] = peer.time(kind, options.warm_up, options.steps)
                except Exception as problem:  # a peer that fails is a finding, not the end
                    print(f"gpu_step.py: torch {kind} at {batch}: {problem}", file=sys.stderr)
                torch.cuda.empty_cache()
        results[batch], crop_times[batch] = rows, crops
        base = rows.get("mwalimu, graph on")
        for name, times in rows.items():
            median = statistics.median(times)
            ratio = f"{median / statistics.median(base):.2f} x ours" if base else ""
            note = ""
            if crops and name.startswith("mwalimu"):
                note = f"  with crops made, alone {statistics.median(crops):.2f} ms"
            table.append(f"batch {batch:4}  {name:<20} {median:9.2f} ms  "
                         f"(min {min(times):.2f})  {ratio}{note}")
    if missing:
        table.append(f"peers missing: {missing}")
    print("\n".join(table))
    if options.json:
        version = torch.__version__ if torch else None
        options.json.write_text(json.dumps({"torch": version, "prototypes": options.prototypes,
                                            "ms": results, "our_crops_ms": crop_times,
                                            "table": table}, indent=1) + "\n")
    sys.exit(0 if missing is None and all(results.values()) else 1)


if __name__ == "__main__":
    main()
