"""Convolutions of an accelerator that give the same bits each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic_convolutions() -> Iterator[None]:
    """Inside, cuDNN takes no algorithm that sums in an order of chance, and none chosen by its speed today."""
    backend = torch.backends.cudnn
    before = (backend.deterministic, backend.benchmark)
    backend.deterministic, backend.benchmark = True, False
    try:
        yield
    finally:
        backend.deterministic, backend.benchmark = before
