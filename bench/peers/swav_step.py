#!/usr/bin/python3
"""A contender of run_peers.py: SwAV steps in PyTorch on the CPU.

Encoder, projector, unit vectors, scores, codes by Sinkhorn over the batch, the loss of every code
against the other crops, backward, SGD with momentum, prototypes scaled back to unit length: the step
of swav_step_bench, on random crops made once. Written from the paper's equations (Caron et al. 2020,
arXiv:2006.09882, sec. 3, and the listing in its appendix), as facebook's own program does it.
Prints a JSON object with the milliseconds of each step. res2next50 is timm's.
"""

import argparse
import json
import time


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=["xresnet34", "res2next50"], default="xresnet34")
    parser.add_argument("--crops", default="2x64,4x48")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--prototypes", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=4, help="timed steps")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nhwc")
    return parser.parse_args()


def missing(what):
    print(json.dumps({"missing": what}))
    raise SystemExit(0)


options = parse()
try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    missing("PyTorch is not installed")


def make_encoder():
    """The network, its number of features and what it is of."""
    if options.arch == "xresnet34":
        from resnet_step import XResNet34
        return XResNet34(), 1024, "own xresnet34"
    try:
        import timm
    except ImportError:
        missing("timm is not installed")

    class ConcatPooled(nn.Module):
        """timm's network up to its last map, pooled as ours: maximum and average."""

        def __init__(self):
            super().__init__()
            self.net = timm.create_model("res2next50", num_classes=0, global_pool="")

        def forward(self, x):
            x = self.net(x)
            return torch.cat([torch.amax(x, (2, 3)), torch.mean(x, (2, 3))], 1)

    return ConcatPooled(), 4096, f"timm {timm.__version__}"


def codes_of(scores, epsilon=0.05, iterations=3):
    """Sinkhorn-Knopp on exp(scores / epsilon): equal shares for the prototypes, one a sample."""
    plan = torch.exp((scores - scores.max()) / epsilon).t()
    plan = plan / plan.sum()
    prototypes, samples = plan.shape
    for _ in range(iterations):
        plan = plan / plan.sum(1, keepdim=True) / prototypes
        plan = plan / plan.sum(0, keepdim=True) / samples
    return (plan * samples).t()


class Swav(nn.Module):
    def __init__(self, encoder, features, prototypes):
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(nn.Linear(features, 2048), nn.BatchNorm1d(2048),
                                       nn.ReLU(inplace=True), nn.Linear(2048, 128))
        self.prototypes = nn.Linear(128, prototypes, bias=False)
        self.normalize_prototypes()

    def normalize_prototypes(self):
        with torch.no_grad():
            self.prototypes.weight.copy_(functional.normalize(self.prototypes.weight))

    def loss(self, groups, batch):
        """Mean over the two code crops of the mean over all other crops."""
        features = torch.cat([self.encoder(crops) for crops in groups])
        scores = self.prototypes(functional.normalize(self.projector(features)))
        views = scores.shape[0] // batch
        logs = functional.log_softmax(scores / 0.1, 1)
        loss = 0
        for crop in (0, 1):
            with torch.no_grad():
                code = codes_of(scores[crop * batch:(crop + 1) * batch])
            for view in range(views):
                if view != crop:
                    part = (code * logs[view * batch:(view + 1) * batch]).sum(1).mean()
                    loss = loss - part / (2 * (views - 1))
        return loss


def main():
    torch.set_num_threads(options.threads)  # Debian's PyTorch starts with one
    torch.manual_seed(0)
    encoder, features, origin = make_encoder()
    model = Swav(encoder, features, options.prototypes).train()
    groups = []
    for group in options.crops.split(","):
        count, side = map(int, group.split("x"))
        groups.append(torch.randn(count * options.batch, 3, side, side))
    if options.layout == "nhwc":
        model = model.to(memory_format=torch.channels_last)
        groups = [crops.contiguous(memory_format=torch.channels_last) for crops in groups]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    milliseconds, losses = [], []
    for _ in range(options.warm_up + options.steps):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = model.loss(groups, options.batch)
        loss.backward()
        optimizer.step()
        model.normalize_prototypes()
        losses.append(loss.item())
        milliseconds.append(1e3 * (time.perf_counter() - begin))
    print(json.dumps({"ms": milliseconds[options.warm_up:], "first_loss": losses[0],
                      "last_loss": losses[-1], "threads": torch.get_num_threads(),
                      "parameters": sum(p.numel() for p in model.parameters()),
                      "version": f"PyTorch {torch.__version__}, {origin}"}))


if __name__ == "__main__":
    main()
