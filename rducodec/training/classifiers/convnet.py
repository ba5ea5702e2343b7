"""ConvNet of dataset distillation (Gidaris 2018; Zhao 2021): blocks of convolution, norm, ReLU, pooling."""

from __future__ import annotations

import math

from torch import Tensor, nn

from rducodec.training.classifiers.base import Classifier, check_choice, check_count, first_padding, normalisation

LAST_MAP = 2  # binary logarithm of the side of the last map: 4 x 4 at the sizes of the papers
TOLERANCE = 4  # a side of 28 counts as 32
MIN_DEPTH = 2


def default_depth(size: tuple[int, int]) -> int:
    """Blocks that the papers take at a size: 3 at 28 and 32, 4 at 64, 5 at 128, 6 at 256; 2 for all smaller ones.

    >>> [default_depth((side, side)) for side in (8, 16, 28, 32, 64, 128, 256)]
    [2, 2, 3, 3, 4, 5, 6]
    """
    return max(MIN_DEPTH, math.floor(math.log2(min(size) + TOLERANCE)) - LAST_MAP)


class ConvNet(Classifier):
    """`depth` blocks of 3 x 3 convolution, norm, ReLU and 2 x 2 pooling, then a linear layer."""

    def __init__(
        self,
        *,
        channels: int,
        num_classes: int,
        size: tuple[int, int],
        width: int = 128,
        depth: int | None = None,
        norm: str = "instance",
        pooling: str = "average",
    ) -> None:
        super().__init__()
        depth = default_depth(size) if depth is None else depth
        check_count("width", width)
        check_count("depth", depth)
        check_choice("pooling", pooling, ("average", "max"))
        pool = nn.AvgPool2d if pooling == "average" else nn.MaxPool2d
        padding = first_padding(size, kernel=3, multiple=2**depth)
        layers: list[nn.Module] = []
        for block in range(depth):
            layers += [
                nn.Conv2d(width if block else channels, width, 3, padding=1 if block else padding),
                normalisation(norm, width),
                nn.ReLU(),
                pool(2),
            ]
        self.blocks = nn.Sequential(*layers)
        height, breadth = ((side + 2 * pad - 2) >> depth for side, pad in zip(size, padding, strict=True))
        self.classifier = nn.Linear(width * height * breadth, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(x).flatten(1)
