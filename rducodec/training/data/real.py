"""Real images on the device that trains, in the value space of the synthetic samples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rducodec.training.data.labelled import LabelledImages
from rducodec.training.data.space import SampleSpace

FULL = 255.0


@dataclass(frozen=True)
class RealImages:
    """Images kept as they were read (8 bits each where possible); batches come in `space`."""

    images: Tensor  # uint8 or float32, (N, C, H, W), on the device
    labels: Tensor  # int64 (N,), on the device
    by_class: tuple[Tensor, ...]  # indices of the images of each class, int64, on the CPU
    space: SampleSpace

    @classmethod
    def of(cls, data: LabelledImages, space: SampleSpace, device: torch.device) -> RealImages:
        """Copies of the images on `device`."""
        by_class = tuple(torch.from_numpy(np.flatnonzero(data.labels == k)) for k in range(data.num_classes))
        images = torch.from_numpy(np.ascontiguousarray(data.images)).to(device)
        return cls(images, torch.from_numpy(data.labels).to(device), by_class, space)

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """SHA-256 of images and labels, in hexadecimal digits."""
        result = hashlib.sha256(self.images.cpu().numpy().tobytes())
        result.update(self.labels.cpu().numpy().tobytes())
        return result.hexdigest()

    def batch(self, indices: Tensor) -> Tensor:
        """float32 (n, C, H, W) in `space` of the images `indices`."""
        chosen = self.images[indices.to(self.images.device)]
        pixels = chosen.float() / FULL if chosen.dtype == torch.uint8 else chosen
        return self.space.forward(pixels)

    def draw(self, label: int, count: int, generator: torch.Generator) -> Tensor:
        """Indices of `count` random images of a class, different ones as long as there are enough."""
        rows = self.by_class[label]
        rounds = -(-count // len(rows))
        order = torch.cat([torch.randperm(len(rows), generator=generator) for _ in range(rounds)])
        return rows[order[:count]]
