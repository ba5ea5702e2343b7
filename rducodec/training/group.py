"""The processes that train together: `torchrun ... rdd train` on torch.distributed, or one process alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

_STARTED_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=7)  # with processes that wait: the first one compresses images for hours before all go on


@dataclass(frozen=True)
class Group:
    """`size` processes of which this is number `rank`; all of them do the same steps in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, values: Tensor) -> Tensor:
        """This process's part of values that all have: equal parts along the first axis, in the order of ranks."""
        return values.tensor_split(self.size)[self.rank]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, the same bits in each; `values` itself for one process. Not differentiable."""
        return self.means([values])[0]

    def means(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """`mean` of several tensors of one type, in one message."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([t.detach().reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [t.numel() for t in tensors])
        return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Group()


@contextmanager
def joined_group(device: torch.device) -> Iterator[Group]:
    """The group that torchrun started this process in (NCCL for CUDA, gloo else), or `ALONE`.

    device: where it is a GPU without a number, each process of a machine takes its own.
    """
    if not all(name in os.environ for name in _STARTED_BY_TORCHRUN) or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    if device.type == "cuda":
        own = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
        torch.cuda.set_device(own)  # also where NCCL puts its own messages
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
