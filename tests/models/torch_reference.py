#!/usr/bin/python3
"""The networks of models/ written again in PyTorch, from their description, with its names.

Makes a classifier with random values, or loads one of ours, and says what it computes:

    torch_reference.py make ARCH WIDTH CHANNELS POOL       writes encoder.pth and classifier.pth
    torch_reference.py load ARCH WIDTH CHANNELS POOL FILE  reads a classifier, .safetensors or .pth

Both read x.npz (x: N x H x W x C) and write y.npz: features of the encoder and logits of the
classifier in evaluation, and (make) the encoder's features in training.
"""

import json
import struct
import sys

import numpy
import torch
from torch import nn
from torch.nn import functional as F


def conv(i, o, k, stride=1, groups=1):
    return nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)


class Pool(nn.Module):
    def __init__(self, kind, max_first):
        super().__init__()
        self.kind, self.max_first = kind, max_first

    def forward(self, x):
        largest, mean = x.amax((2, 3)), x.mean((2, 3))
        if self.kind == "concat":
            return torch.cat([largest, mean] if self.max_first else [mean, largest], 1)
        return largest if self.kind == "max" else mean


# fastai's xresnets: a Sequential of convolution layers, max pool, four Sequentials, pool.
def conv_layer(i, o, k, stride=1, act=True):
    return nn.Sequential(conv(i, o, k, stride), nn.BatchNorm2d(o), *([nn.ReLU()] if act else []))


class XBlock(nn.Module):
    def __init__(self, e, i, width, stride):
        super().__init__()
        o = width * e
        if e == 1:
            self.convpath = nn.Sequential(conv_layer(i, width, 3, stride), conv_layer(width, o, 3, 1, False))
        else:
            self.convpath = nn.Sequential(
                conv_layer(i, width, 1), conv_layer(width, width, 3, stride), conv_layer(width, o, 1, 1, False))
        shortcut = [] if stride == 1 else [nn.AvgPool2d(2, ceil_mode=True)]
        shortcut += [] if i == o else [conv_layer(i, o, 1, 1, False)]
        self.idpath = nn.Sequential(*shortcut)

    def forward(self, x):
        return F.relu(self.convpath(x) + self.idpath(x))


def xresnet(blocks, e, width, channels, pool):
    half, i, stages = width // 2, width, []
    for s, count in enumerate(blocks):
        stage = []
        for b in range(count):
            stage.append(XBlock(e, i, width << s, 2 if s > 0 and b == 0 else 1))
            i = (width << s) * e
        stages.append(nn.Sequential(*stage))
    return nn.Sequential(
        conv_layer(channels, half, 3, 2), conv_layer(half, half, 3), conv_layer(half, width, 3),
        nn.MaxPool2d(3, 2, 1), *stages, Pool(pool, max_first=True))


# torchvision's and timm's frame.
class Bottleneck(nn.Module):
    def __init__(self, i, planes, stride, **_):
        super().__init__()
        o = 4 * planes
        self.conv1, self.bn1 = conv(i, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv(planes, o, 1), nn.BatchNorm2d(o)
        self.downsample = None
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class Bottle2neck(nn.Module):
    def __init__(self, i, planes, stride, base_width, groups):
        super().__init__()
        o, w = 4 * planes, planes * base_width // 64 * groups
        self.conv1, self.bn1 = conv(i, 4 * w, 1), nn.BatchNorm2d(4 * w)
        self.convs = nn.ModuleList([conv(w, w, 3, stride, groups) for _ in range(3)])
        self.bns = nn.ModuleList([nn.BatchNorm2d(w) for _ in range(3)])
        self.conv3, self.bn3 = conv(4 * w, o, 1), nn.BatchNorm2d(o)
        self.downsample = None
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))
            self.pool = nn.AvgPool2d(3, stride, 1)

    def forward(self, x):
        u = F.relu(self.bn1(self.conv1(x))).chunk(4, 1)
        y = []
        for k in range(3):
            t = u[k] if k == 0 or self.downsample is not None else y[-1] + u[k]
            y.append(F.relu(self.bns[k](self.convs[k](t))))
        y.append(u[3] if self.downsample is None else self.pool(u[3]))
        y = self.bn3(self.conv3(torch.cat(y, 1)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, block, blocks, width, channels, pool, **options):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        i = width
        for s, count in enumerate(blocks):
            stage = []
            for b in range(count):
                stage.append(block(i, width << s, 2 if s > 0 and b == 0 else 1, **options))
                i = 4 * (width << s)
            setattr(self, f"layer{s + 1}", nn.Sequential(*stage))
        self.pool = Pool(pool, max_first=False)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.pool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


def make_encoder(arch, width, channels, pool):
    standard = [3, 4, 6, 3]
    if arch.startswith("xresnet"):
        blocks, e = {"xresnet18": ([2, 2, 2, 2], 1), "xresnet34": (standard, 1),
                     "xresnet50": (standard, 4), "xresnet101": ([3, 4, 23, 3], 4)}[arch]
        return xresnet(blocks, e, width, channels, pool)
    if arch == "resnet50":
        return ResNet(Bottleneck, standard, width, channels, pool)
    base, groups = {"res2net50": (26, 1), "res2next50": (4, 8)}[arch]
    return ResNet(Bottle2neck, standard, width, channels, pool, base_width=base, groups=groups)


def make_head(features, classes):
    return nn.Sequential(
        nn.BatchNorm1d(features), nn.Dropout(0.25), nn.Linear(features, 512, bias=False), nn.ReLU(),
        nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, classes, bias=False))


def load_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    types = {"F32": numpy.float32, "I64": numpy.int64}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        array = numpy.frombuffer(data[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors


def load_tensors(path):
    if path.endswith(".safetensors"):
        return load_safetensors(path)
    return torch.load(path, map_location="cpu")


def fill(model):
    torch.manual_seed(3)
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):  # as if trained
            m.weight.uniform_(0.5, 1.5)
            m.bias.normal_(0, 0.1)
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
        elif isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight)


def main():
    command, arch, width, channels, pool, *file = sys.argv[1:]
    encoder = make_encoder(arch, int(width), int(channels), pool)
    x = torch.from_numpy(numpy.load("x.npz")["x"]).permute(0, 3, 1, 2)
    results = {}
    with torch.no_grad():
        if command == "load":
            tensors = load_tensors(file[0])
            classes, features = tensors["1.6.weight"].shape[0], tensors["1.0.weight"].shape[0]
            model = nn.Sequential(encoder, make_head(features, classes))
            model.load_state_dict(tensors, strict=True)
        else:
            model = nn.Sequential(encoder, make_head(encoder.eval()(x).shape[1], 4))
            fill(model)
            torch.save(encoder.state_dict(), "encoder.pth")
            torch.save(model.state_dict(), "classifier.pth")
            results["train"] = encoder.train()(x)
            model.load_state_dict(torch.load("classifier.pth"))
        model.eval()
        results["features"], results["logits"] = encoder(x), model(x)
    numpy.savez("y.npz", **{name: y.numpy() for name, y in results.items()})


if __name__ == "__main__":
    main()
