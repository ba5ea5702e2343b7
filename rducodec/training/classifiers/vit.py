"""A small vision transformer (Dosovitskiy 2021), of the size that FreD (Shin 2023) tests across architectures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rducodec.errors import RddInputError
from rducodec.training.classifiers.base import Classifier, OwnStart, check_count
from rducodec.training.classifiers.dropout import Dropout

PATCHES_PER_SIDE = 8  # about; patches of 4 x 4 pixels at 32 x 32


def default_patch(size: tuple[int, int]) -> int:
    """Side of a patch, a power of two that gives about 8 patches on the shorter side.

    >>> [default_patch((side, side)) for side in (8, 28, 32, 64, 128, 224)]
    [1, 4, 4, 8, 16, 32]
    """
    return 1 << max(0, round(math.log2(min(size) / PATCHES_PER_SIDE)))


class Attention(nn.Module):
    """Self-attention among tokens (N, T, D), normalised first.

    Written out: torch's fused attention has no second derivative everywhere, which gradient matching needs.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.weight_dropout = Dropout(dropout)
        self.output = nn.Sequential(nn.Linear(dim, dim), Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.to_qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.transpose(1, 3).unbind(2)  # (N, heads, T, D / heads)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
        mixed = self.weight_dropout(weights) @ v
        return self.output(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention, then two linear layers with GELU, each beside a shortcut."""

    def __init__(self, *, dim: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, mlp), nn.GELU(), Dropout(dropout), nn.Linear(mlp, dim), Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


class VisionTransformer(Classifier, OwnStart):
    """Patches as tokens, a class token, learned positions; features are the class token after the last layer."""

    def __init__(
        self,
        *,
        channels: int,
        num_classes: int,
        size: tuple[int, int],
        patch: int | None = None,
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        patch = default_patch(size) if patch is None else patch
        for name, value in {"patch": patch, "dim": dim, "depth": depth, "heads": heads, "mlp": mlp}.items():
            check_count(name, value)
        if dim % heads:
            raise RddInputError(f"network option dim: {dim}, expected a multiple of heads ({heads})")
        height, width = size
        self.margin = (0, -width % patch, 0, -height % patch)  # of zeros: left, right, above, below
        num_patches = -(-height // patch) * -(-width // patch)
        self.embed = nn.Conv2d(channels, dim, patch, patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, num_patches + 1, dim))
        layers = [Layer(dim=dim, heads=heads, mlp=mlp, dropout=dropout) for _ in range(depth)]
        self.layers = nn.Sequential(Dropout(dropout), *layers, nn.LayerNorm(dim))
        self.classifier = nn.Linear(dim, num_classes)

    def start(self, generator: torch.Generator) -> None:
        """The class token and the positions start from a normal distribution."""
        self.class_token.normal_(generator=generator)
        self.positions.normal_(generator=generator)

    def features(self, x: Tensor) -> Tensor:
        patches = self.embed(F.pad(x, self.margin)).flatten(2).transpose(1, 2)  # (N, T, D)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1)
        encoded: Tensor = self.layers(tokens + self.positions)
        return encoded[:, 0]
