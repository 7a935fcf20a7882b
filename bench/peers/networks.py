"""The networks that the steps of this folder train in PyTorch.

xresnet34 and res2next50 are written here from their descriptions; of res2next50 (eight groups, base
width 4, scale 4) that is Gao et al. 2019, arXiv:1904.01169, fig. 2, and timm's choices where the
paper leaves them open. Where timm is installed, its own res2next50 is taken. Features are the maximum
and the average of the last map; the order of the two does not change the work.
"""

import torch
from torch import nn

OWN = "the same network"  # what a network that is written here is called in tables


def conv(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def conv_bn(inputs, outputs, kernel, stride=1, relu=True):
    return nn.Sequential(conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs),
                         *([nn.ReLU(inplace=True)] if relu else []))


def concat_pool(x):
    return torch.cat([torch.amax(x, (2, 3)), torch.mean(x, (2, 3))], 1)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut that averages before its 1x1 convolution."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.convpath = nn.Sequential(
            conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs, 3, relu=False))
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
    """fastai's xresnet34, cut and pooled as self_supervised does."""

    def __init__(self):
        super().__init__()
        stem = [conv_bn(3, 32, 3, 2), conv_bn(32, 32, 3), conv_bn(32, 64, 3)]
        stages, width = [], 64
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
        return concat_pool(self.body(x))


class SplitBlock(nn.Module):
    """A bottleneck whose 3x3 convolution is three grouped ones, each on a quarter of the channels.

    A quarter passes its result on to the next, except in a stage's first block, which also has the
    stride and a 1x1 convolution for a shortcut. The last quarter is passed through, or averaged.
    """

    def __init__(self, inputs, planes, stride, first):
        super().__init__()
        width = planes // 2  # 8 groups of planes * 4 / 64
        self.width, self.first = width, first
        self.conv1, self.bn1 = conv(inputs, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.convs = nn.ModuleList([conv(width, width, 3, stride, 8) for _ in range(3)])
        self.bns = nn.ModuleList([nn.BatchNorm2d(width) for _ in range(3)])
        self.conv3, self.bn3 = conv(4 * width, 4 * planes, 1), nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = self.pool = None
        if first:
            self.downsample = nn.Sequential(conv(inputs, 4 * planes, 1, stride),
                                            nn.BatchNorm2d(4 * planes))
            self.pool = nn.AvgPool2d(3, stride, 1)

    def forward(self, x):
        quarters = torch.split(self.relu(self.bn1(self.conv1(x))), self.width, 1)
        done = []
        for i in range(3):
            quarter = quarters[i] if i == 0 or self.first else done[-1] + quarters[i]
            done.append(self.relu(self.bns[i](self.convs[i](quarter))))
        done.append(self.pool(quarters[3]) if self.first else quarters[3])
        out = self.bn3(self.conv3(torch.cat(done, 1)))
        out += self.downsample(x) if self.first else x
        return self.relu(out)


class Res2Next50(nn.Module):
    """timm's res2next50 without its classifier, by timm's names."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, blocks in enumerate([3, 4, 6, 3]):
            planes, made = 64 << stage, []
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                made.append(SplitBlock(inputs, planes, stride, first=block == 0))
                inputs = 4 * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, SplitBlock):
                nn.init.zeros_(module.bn3.weight)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return concat_pool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class FromTimm(nn.Module):
    def __init__(self, timm):
        super().__init__()
        self.net = timm.create_model("res2next50", num_classes=0, global_pool="")

    def forward(self, x):
        return concat_pool(self.net(x))


def make_encoder(arch):
    """(the network, its number of features, whose text it is)."""
    if arch == "xresnet34":
        return XResNet34(), 1024, OWN
    try:
        import timm
    except ImportError:
        return Res2Next50(), 4096, OWN
    return FromTimm(timm), 4096, f"timm {timm.__version__}"
