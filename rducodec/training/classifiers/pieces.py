"""Embeddings of many images without gradients, in pieces that suit the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rducodec.training.classifiers.base import Classifier

CPU_PIECE_PIXELS = 2**16  # 64 images of 32 x 32: activations of a ConvNet stay near the caches (measured optimum)
GPU_PIECE_PIXELS = 2**22  # a GPU wants few large products; bounds a ConvNet's memory to some 10 GB


Features = Callable[[Classifier, Tensor], Tensor]


def plain_features(network: Classifier, x: Tensor) -> Tensor:
    """`network.features(x)`."""
    return network.features(x)


def chunked_features(
    network: Classifier, x: Tensor, *, mixed_precision: bool, features: Features = plain_features
) -> Tensor:
    """`network.features(x)`, float32, without gradients; x (N, C, H, W). `features` computes them, perhaps compiled.

    With `mixed_precision`, products are computed in bfloat16. A network whose batch norm is in training mode sees all
    images at once, because its statistics depend on what it sees together.
    """
    limit = CPU_PIECE_PIXELS if x.device.type == "cpu" else GPU_PIECE_PIXELS
    size = len(x) if sees_batches(network) else max(1, limit // (x.shape[-2] * x.shape[-1]))
    with torch.no_grad(), torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=mixed_precision):
        return torch.cat([features(network, piece).float() for piece in torch.split(x, max(1, size))])


def sees_batches(network: nn.Module) -> bool:
    """Whether what the network says of an image depends now on the others beside it."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in network.modules())
