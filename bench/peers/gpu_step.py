#!/usr/bin/env python3
"""One SwAV training step on a GPU: Mwalimu against PyTorch, in one run.

The step of both: two crops of 128 and six of 96 pixels; encoder, projector, K prototypes, Sinkhorn
over the batch, loss, backward, SGD with momentum, prototypes scaled to unit length. Our step makes
its crops from images on the device; PyTorch is given its own. The time of our crops alone stands
beside. PyTorch runs eagerly, replayed from a CUDA graph, and compiled, each under autocast to
bfloat16, with cuDNN choosing by time, in each of --layouts. Times are medians by CUDA events. --json
keeps all numbers.

    gpu_step.py --arch res2next50 --layouts nhwc nchw
    gpu_step.py --device cpu --batches 4 --crops 2x48,4x32 --prototypes 30 --steps 2    a rehearsal
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import swav_step  # noqa: E402


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=["xresnet34", "res2next50"], default="xresnet34")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--crops", default="2x128,6x96")
    parser.add_argument("--prototypes", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before them, 2 or more")
    parser.add_argument("--program", type=Path, help="our swav_step_bench",
                        default=Path(os.environ.get("MWALIMU_BUILD", FOLDER.parent.parent /
                                                    "build/cuda")) / "bin/swav_step_bench")
    parser.add_argument("--layouts", nargs="+", choices=["nhwc", "nchw"], default=["nhwc"],
                        help="of PyTorch; grouped convolutions may prefer nchw")
    parser.add_argument("--skip-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--compile-mode", default="default",
                        help="of torch.compile; max-autotune tries more and takes minutes")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda",
                        help="cpu: without graphs, to see that the script runs")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def ours(options, batch):
    """({name: ms of each step}, ms of the crops alone, number of parameters)."""
    command = [str(options.program), "--device", options.device, "--arch", options.arch,
               "--precision", "bfloat16", "--augment", "on", "--batch", str(batch), "--crops",
               options.crops, "--prototypes", str(options.prototypes), "--steps",
               str(options.steps), "--warm-up", str(options.warm_up)]
    results, crops, parameters = {}, None, None
    for graph in ("on", "off") if options.device == "cuda" else ("off",):
        done = subprocess.run([*command, "--graph", graph], capture_output=True, text=True)
        if done.returncode != 0:
            print(f"gpu_step.py: {done.stderr.strip() or done.stdout.strip()}", file=sys.stderr)
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        results[f"mwalimu, graph {graph}"] = found["ms"]
        crops = found.get("augment_ms", crops)
        parameters = found.get("parameters", parameters)
    return results, crops, parameters


class Peer:
    """The same step in PyTorch."""

    def __init__(self, torch, options, batch, layout):
        import networks
        torch.manual_seed(0)
        self.torch, self.options, self.batch = torch, options, batch
        encoder, features, self.network = networks.make_encoder(options.arch)
        model = swav_step.make_model(torch, encoder, features, options.prototypes)
        form = torch.channels_last if layout == "nhwc" else torch.contiguous_format
        self.model = model.to(options.device).to(memory_format=form)
        self.crops = [crops.to(options.device).contiguous(memory_format=form) for crops in
                      swav_step.random_crops(torch, options.crops, batch)]
        fused = {"fused": True} if options.device == "cuda" else {}
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9, **fused)

    def parameters(self):
        return sum(p.numel() for p in self.model.parameters())

    def loss(self):
        torch = self.torch
        with torch.autocast(self.options.device, dtype=torch.bfloat16):
            scores = swav_step.scores_of(torch, self.model, self.crops)
        return swav_step.loss_of(torch, scores.float(), self.batch)

    def step(self):
        self.optimizer.zero_grad(set_to_none=False)  # a graph's gradients stay where they are
        loss = self.compute()
        loss.backward()
        self.optimizer.step()
        swav_step.normalize_prototypes(self.torch, self.model)
        return loss

    def recorded(self):
        """The step as a CUDA graph, after a few that made what it keeps."""
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay

    def milliseconds(self, run):
        torch = self.torch
        if self.options.device == "cpu":
            begin = time.perf_counter()
            run()
            return 1e3 * (time.perf_counter() - begin)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    def time(self, kind):
        self.compute = self.loss
        if kind == "compile":
            self.compute = self.torch.compile(self.loss, mode=self.options.compile_mode)
        run = self.recorded() if kind == "graph" else self.step
        times = [self.milliseconds(run) for _ in range(self.options.warm_up + self.options.steps)]
        loss = float(self.step())  # a replay's is its own; what it has trained is in the weights
        if not 0 < loss < float("inf"):
            raise ValueError(f"the loss is {loss}")
        return times[self.options.warm_up:]


def kinds(options):
    """Of PyTorch: (name, kind, layout)."""
    for layout in options.layouts:
        for kind in ("eager", "graph", "compile"):
            if kind == "graph" and options.device == "cpu":
                continue
            if kind == "compile" and options.skip_compile:
                continue
            yield f"torch {kind}" + ("" if layout == "nhwc" else ", nchw"), kind, layout


def main():
    options = parse()
    results, crop_times, table, network = {}, {}, [], None
    try:
        import torch
        found = options.device == "cpu" or torch.cuda.is_available()
        missing = None if found else "PyTorch sees no GPU"
        torch.backends.cudnn.benchmark = True
    except ImportError:
        torch, missing = None, f"{sys.executable} has no PyTorch"
    for batch in options.batches:
        rows, crops, parameters = {}, None, None
        if options.program.exists():
            rows, crops, parameters = ours(options, batch)
        if not rows:
            print(f"gpu_step.py: no result of {options.program}", file=sys.stderr)
        for name, kind, layout in kinds(options) if missing is None else ():
            try:
                peer = Peer(torch, options, batch, layout)
                network = peer.network
                if parameters not in (None, peer.parameters()):
                    sys.exit(f"gpu_step.py: {name} trains another network: {peer.parameters()} "
                             f"parameters, ours has {parameters}")
                rows[name] = peer.time(kind)
            except Exception as problem:  # a peer that fails is a finding, not the end
                print(f"gpu_step.py: {name} at {batch}: {problem}", file=sys.stderr)
            peer = None
            if options.device == "cuda":
                torch.cuda.empty_cache()
        results[batch], crop_times[batch] = rows, crops
        base = next((times for name, times in rows.items() if name.startswith("mwalimu")), None)
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
        options.json.write_text(json.dumps({
            "torch": torch.__version__ if torch else None, "arch": options.arch,
            "network": network, "crops": options.crops, "prototypes": options.prototypes,
            "ms": results, "our_crops_ms": crop_times, "table": table}, indent=1) + "\n")
    sys.exit(0 if missing is None and all(results.values()) else 1)


if __name__ == "__main__":
    main()
