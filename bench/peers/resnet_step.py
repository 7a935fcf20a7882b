#!/usr/bin/python3
"""A contender of run_peers.py: training steps of xresnet34 in PyTorch.

Forward, backward and SGD with momentum on one fixed batch of random images; prints a JSON object
with the milliseconds of each step. Run alone:  resnet_step.py --size 96 --layout nhwc
"""

import argparse
import json
import time

try:
    import torch
    from torch import nn
except ImportError:
    print(json.dumps({"missing": "PyTorch is not installed"}))
    raise SystemExit(0)


def conv_bn(inputs, outputs, kernel, stride=1, relu=True):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut that averages before its 1x1 convolution."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.convpath = nn.Sequential(
            conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs, 3, relu=False)
        )
        shortcut = []
        if stride != 1:
            shortcut.append(nn.AvgPool2d(2, ceil_mode=True))
        if inputs != outputs:
            shortcut.append(conv_bn(inputs, outputs, 1, relu=False))
        self.idpath = nn.Sequential(*shortcut)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.convpath(x) + self.idpath(x))


class XResNet34(nn.Module):
    """fastai's xresnet34, cut and pooled as self_supervised does: features are [max, average]."""

    def __init__(self):
        super().__init__()
        stem = [conv_bn(3, 32, 3, 2), conv_bn(32, 32, 3), conv_bn(32, 64, 3)]
        stages = []
        width = 64
        for stage, blocks in enumerate([3, 4, 6, 3]):
            outputs = 64 << stage
            for block in range(blocks):
                stages.append(Block(width, outputs, 2 if stage > 0 and block == 0 else 1))
                width = outputs
        self.body = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1), *stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, Block):
                nn.init.zeros_(module.convpath[1][1].weight)

    def forward(self, x):
        x = self.body(x)
        return torch.cat([torch.amax(x, (2, 3)), torch.mean(x, (2, 3))], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nhwc")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)  # Debian's PyTorch starts with one
    torch.manual_seed(0)
    model = nn.Sequential(XResNet34(), nn.Linear(1024, options.classes, bias=False)).train()
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = torch.arange(options.batch) % options.classes
    if options.layout == "nhwc":
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    loss_function = nn.CrossEntropyLoss()

    milliseconds, losses = [], []
    for _ in range(options.warm_up + options.steps):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        milliseconds.append(1e3 * (time.perf_counter() - begin))

    print(
        json.dumps(
            {
                "ms": milliseconds[options.warm_up :],
                "first_loss": losses[0],
                "last_loss": losses[-1],
                "parameters": sum(p.numel() for p in model.parameters()),
                "threads": torch.get_num_threads(),
                "version": "PyTorch " + torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
