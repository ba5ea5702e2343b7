"""AlexNet for small images, as dataset condensation tests across architectures (Krizhevsky 2012; Zhao 2021)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from rducodec.training.classifiers.base import Classifier, first_padding, halvings

WIDTHS = (128, 192, 256, 192, 192)
KERNELS = (5, 5, 3, 3, 3)
LAST = len(WIDTHS) - 1
POOLED = (0, 1, LAST)  # convolutions with a pooling behind them; small inputs have fewer
LAST_SIDE = 4  # of the last map at most
FULL_SIDE = 32  # side of the first map at most, as far as MAX_STRIDE allows
MAX_STRIDE = 4  # of the network for 224 x 224


class AlexNet(Classifier):
    """Five convolutions of 128 to 256 channels and three poolings; one linear layer, no normalisation.

    At 64 pixels the first convolution has stride 2, from 128 on 4; a last map larger than 4 x 4 is averaged to that.
    """

    def __init__(self, *, channels: int, num_classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        stride = 1
        while stride < MAX_STRIDE and min(size) >= 2 * stride * FULL_SIDE:
            stride *= 2
        pooled = POOLED[: halvings(size)]
        multiple = stride * 2 ** len(pooled)
        padding = first_padding(size, kernel=5, multiple=multiple)
        layers: list[nn.Module] = [nn.Conv2d(channels, WIDTHS[0], 5, stride, padding), nn.ReLU()]
        for i, (before, width) in enumerate(pairwise(WIDTHS)):
            if i in pooled:
                layers.append(nn.MaxPool2d(2))
            kernel = KERNELS[i + 1]
            layers += [nn.Conv2d(before, width, kernel, padding=kernel // 2), nn.ReLU()]
        if LAST in pooled:
            layers.append(nn.MaxPool2d(2))
        sides = [(side + 2 * pad - 4) // multiple for side, pad in zip(size, padding, strict=True)]
        height, width = (min(side, LAST_SIDE) for side in sides)
        self.blocks = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((height, width)))
        self.classifier = nn.Linear(WIDTHS[LAST] * height * width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(x).flatten(1)
