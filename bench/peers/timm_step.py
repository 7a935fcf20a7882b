#!/usr/bin/python3
"""A contender of run_peers.py: training steps of timm's res2next50 on the CPU.

The work of train_step_bench --arch res2next50: forward, maximum and average pooling, a linear layer,
cross entropy, backward, SGD with momentum, on one fixed batch of random images.
"""

import argparse
import json
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="timed steps")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nhwc")
    options = parser.parse_args()
    try:
        import torch
        import timm
    except ImportError as problem:
        print(json.dumps({"missing": f"{problem.name} is not installed"}))
        return

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = timm.create_model("res2next50", num_classes=0, global_pool="")
            self.head = torch.nn.Linear(4096, options.classes, bias=False)

        def forward(self, x):
            x = self.encoder(x)
            return self.head(torch.cat([torch.amax(x, (2, 3)), torch.mean(x, (2, 3))], 1))

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = Network().train()
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = torch.arange(options.batch) % options.classes
    if options.layout == "nhwc":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    milliseconds, losses = [], []
    for _ in range(options.warm_up + options.steps):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        milliseconds.append(1e3 * (time.perf_counter() - begin))
    print(json.dumps({"ms": milliseconds[options.warm_up:], "first_loss": losses[0],
                      "last_loss": losses[-1], "threads": torch.get_num_threads(),
                      "parameters": sum(p.numel() for p in model.parameters()),
                      "version": f"PyTorch {torch.__version__}, timm {timm.__version__}"}))


if __name__ == "__main__":
    main()
