"""What the steps of this folder share: options, layout, precision, and the loop that times."""

import argparse
import json
import time
from pathlib import Path


def parser(description):
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--arch", choices=["xresnet34", "res2next50"], default="xresnet34")
    made.add_argument("--batch", type=int, default=32)
    made.add_argument("--steps", type=int, default=4, help="timed steps")
    made.add_argument("--warm-up", type=int, default=2, help="steps before them")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--layout", choices=["nchw", "nhwc"], default="nhwc")
    made.add_argument("--precision", choices=["float32", "bfloat16"], default="float32",
                      help="bfloat16: autocast, parameters stay float32")
    return made


def reference_blas():
    """Whether the BLAS that is loaded is Debian's reference one. PyTorch works with it, but SwAV's step of
    res2next50 then takes twice as long (3.2 s beside 1.5 with OpenBLAS): no fair peer."""
    try:
        return "/blas/libblas.so" in Path("/proc/self/maps").read_text()
    except OSError:
        return False  # not Linux


def need_torch(options):
    """PyTorch, set up; ends the program with what run_peers.py reads where there is none."""
    try:
        import torch
    except ImportError:
        print(json.dumps({"missing": "PyTorch is not installed"}))
        raise SystemExit(0)
    if reference_blas():
        print(json.dumps({"missing": "PyTorch's BLAS is the reference one; "
                                     "apt-get install libopenblas0-openmp"}))
        raise SystemExit(0)
    torch.set_num_threads(options.threads)  # Debian's PyTorch starts with one
    torch.manual_seed(0)
    return torch


def autocast(torch, options):
    """Around forward passes; backward passes follow the types that these have chosen."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.precision == "bfloat16")


def laid_out(torch, options, model, inputs):
    """(model, list of inputs) in the layout asked for."""
    if options.layout == "nchw":
        return model, inputs
    nhwc = torch.channels_last
    return model.to(memory_format=nhwc), [x.contiguous(memory_format=nhwc) for x in inputs]


def time_steps(torch, options, model, loss_of, network, after=lambda: None):
    """Steps of SGD with momentum on loss_of(), then after(); prints a JSON object."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    milliseconds, losses = [], []
    for _ in range(options.warm_up + options.steps):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        optimizer.step()
        after()
        losses.append(loss.item())
        milliseconds.append(1e3 * (time.perf_counter() - begin))
    print(json.dumps({"ms": milliseconds[options.warm_up:], "first_loss": losses[0],
                      "last_loss": losses[-1], "threads": torch.get_num_threads(),
                      "parameters": sum(p.numel() for p in model.parameters()),
                      "precision": options.precision, "network": network,
                      "version": f"PyTorch {torch.__version__}"}))
