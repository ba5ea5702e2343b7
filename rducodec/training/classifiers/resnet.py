"""ResNet-18 for small images, as dataset condensation tests across architectures (He 2016; Zhao 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rducodec.training.classifiers.base import Classifier, first_padding, normalisation

WIDTHS = (64, 128, 256, 512)
BLOCKS = 2  # of each width
STRIDED_FROM = 64  # pixels: the 7 x 7 first convolution with stride 2 of the network for 224 x 224
POOLED_FROM = 128  # pixels: that network's first pooling as well
MIN_SIDE = 2  # of a map that is normalised: a norm over one pixel would leave nothing of it


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, before: int, width: int, *, stride: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False),
            normalisation(norm, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            normalisation(norm, width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            convolution = nn.Conv2d(before, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, normalisation(norm, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ResNet18(Classifier):
    """A first convolution, eight residual blocks, the mean over the last map, a linear layer."""

    def __init__(self, *, channels: int, num_classes: int, size: tuple[int, int], norm: str = "instance") -> None:
        super().__init__()
        side = min(size)
        kernel, stride = (7, 2) if side >= STRIDED_FROM else (3, 1)
        padding = first_padding(size, kernel=kernel, multiple=stride)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, WIDTHS[0], kernel, stride, padding, bias=False),
            normalisation(norm, WIDTHS[0]),
            nn.ReLU(),
        ]
        side //= stride
        if min(size) >= POOLED_FROM:
            layers.append(nn.MaxPool2d(3, 2, 1))
            side //= 2
        before = WIDTHS[0]
        for width in WIDTHS:
            stride = 2 if width != WIDTHS[0] and side >= 2 * MIN_SIDE else 1
            side //= stride
            layers.append(Block(before, width, stride=stride, norm=norm))
            layers += [Block(width, width, stride=1, norm=norm) for _ in range(1, BLOCKS)]
            before = width
        self.blocks = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(before, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(x).flatten(1)
