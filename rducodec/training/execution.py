"""How a step is cut into pieces for a device: pieces of samples, blocks of columns, one thread a core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch

CPU_PIECE_PIXELS = 163_840  # pixels of all slices in a piece (measured: a flat optimum); bounds memory to some 200 MB
MIN_PIECE_PIXELS = 8192  # less is not worth a second worker
CPU_BLOCK_ELEMENTS = 655_360  # of one hidden activation of all slices (measured: a flat optimum)
GPU_PIECE_PIXELS = 2**21  # a GPU wants few large products; bounds its memory to a few GB
GPU_BLOCK_ELEMENTS = 2**28


T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """Samples of some slices that are computed together."""

    slices: slice
    samples: slice


@dataclass(frozen=True)
class Execution:
    """Cutting rules for a device. Results depend on them in the last digits only."""

    device: torch.device
    workers: int
    piece_pixels: int
    block_elements: int

    @classmethod
    def for_device(cls, device: torch.device) -> Execution:
        """Blocks for caches and a worker a core on a CPU; large products on an accelerator."""
        if device.type == "cpu":
            return cls(device, torch.get_num_threads(), CPU_PIECE_PIXELS, CPU_BLOCK_ELEMENTS)
        return cls(device, 1, GPU_PIECE_PIXELS, GPU_BLOCK_ELEMENTS)

    def pieces(self, num_slices: int, num_samples: int, *, pixels: int) -> list[Piece]:
        """A cover of all samples of all slices by pieces of about `piece_pixels`, enough for all workers.

        All slices stay together as long as a piece has room for one sample of each.
        """
        workers = min(self.workers, max(1, num_slices * num_samples * pixels // MIN_PIECE_PIXELS))
        columns = max(1, self.piece_pixels // pixels)
        group = min(num_slices, columns)
        batch = min(num_samples, max(1, columns // group))
        batch = min(batch, -(-num_samples // workers))
        if -(-num_samples // batch) * -(-num_slices // group) < workers:
            group = -(-num_slices // workers)
        return [
            Piece(slice(s, min(s + group, num_slices)), slice(n, min(n + batch, num_samples)))
            for s in range(0, num_slices, group)
            for n in range(0, num_samples, batch)
        ]

    def map(self, function: Callable[[int, Sequence[Piece]], T], pieces: Sequence[Piece]) -> list[T]:
        """`function(worker, its pieces)` for every worker, side by side; the results in the order of workers.

        A single piece goes to a worker too: threads of torch inside small products only wait for each other.
        """
        if self.workers == 1:
            return [function(0, pieces)]
        pool = _pool(self.workers)
        shares = [pieces[worker :: self.workers] for worker in range(self.workers)]
        futures = [pool.submit(function, worker, share) for worker, share in enumerate(shares) if share]
        return [future.result() for future in futures]


@lru_cache(maxsize=1)
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads in which torch itself runs single-threaded.

    Splitting each small product over cores waits for the slowest core thousands of times a step; splitting the
    samples waits once.
    """
    threads = torch.get_num_threads()
    started = threading.Barrier(workers + 1)

    def initialise() -> None:
        torch.get_num_threads()  # torch sets a new thread up on first use, with the global count: do it before
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="rducodec", initializer=initialise)
    for _ in range(workers):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(threads)
    return pool
