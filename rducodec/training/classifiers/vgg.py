"""VGG-11 for small images, as dataset condensation tests across architectures (Simonyan 2015; Zhao 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from rducodec.training.classifiers.base import Classifier, first_padding, halvings, normalisation

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # widths; a pooling ends each stage


class VGG11(Classifier):
    """Eight 3 x 3 convolutions with norm and ReLU in five pooled stages, the mean over the last map, a linear layer.

    Inputs under 32 pixels are pooled less often: a norm over one pixel would leave nothing of it.
    """

    def __init__(self, *, channels: int, num_classes: int, size: tuple[int, int], norm: str = "instance") -> None:
        super().__init__()
        poolings = min(len(STAGES), halvings(size))
        pooled = {*range(poolings - 1), len(STAGES) - 1} if poolings else set()
        padding = first_padding(size, kernel=3, multiple=2**poolings)
        layers: list[nn.Module] = []
        before = channels
        for stage, widths in enumerate(STAGES):
            for width in widths:
                convolution = nn.Conv2d(before, width, 3, padding=1 if layers else padding)
                layers += [convolution, normalisation(norm, width), nn.ReLU()]
                before = width
            if stage in pooled:
                layers.append(nn.MaxPool2d(2))
        self.blocks = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(before, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(x).flatten(1)
