"""A torch Dataset over a `.rdd` file. Needs torch; the samples are decoded once, when it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from rducodec.bitstream.limits import DEFAULT_LIMITS, Limits
from rducodec.errors import RddInputError
from rducodec.reader import read


def on_device(device: str | torch.device) -> _Mover:
    """A function that moves numpy arrays to a torch device: `xp_array` of `Dataset.samples`."""
    return _Mover(torch.device(device))


class _Mover:
    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


class RddDataset(TorchDataset[tuple[torch.Tensor, int | torch.Tensor]]):
    """(sample, label) pairs of a file: float32 tensors (channels, height, width), and int labels or soft ones.

    >>> from rducodec.torch import RddDataset           # doctest: +SKIP
    >>> image, label = RddDataset("digits.rdd")[0]      # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path | bytes,
        *,
        device: str | torch.device = "cpu",
        labels: Literal["hard", "soft"] = "hard",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Decode a file on a device; the tensors stay there: `samples`, `labels` and `soft_labels` (None if hard only).

        `labels` says which of them an item has: the class, or float32 probabilities (classes,). Raises what
        `rducodec.read` and `samples` raise, and RddInputError where a file has no soft labels.
        """
        source = read(path, limits=limits)
        mover = on_device(device)
        self.header = source.header
        self.samples = mover(source.samples(xp_array=mover))
        self.labels = mover(source.labels)
        soft = source.soft_labels
        if labels == "soft" and soft is None:
            raise RddInputError("the file has no soft labels")
        self.soft_labels = None if soft is None else mover(soft)
        self._items = self.soft_labels if labels == "soft" else None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int | torch.Tensor]:
        """Sample and label at a place of the delivered order."""
        return self.samples[index], int(self.labels[index]) if self._items is None else self._items[index]
