"""A small data set, small networks, and processes as threads, for the tests of the losses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rducodec.training.data.labelled import LabelledImages
from rducodec.training.data.real import RealImages
from rducodec.training.data.space import pixel_space
from rducodec.training.group import Group
from rducodec.training.utility.protocol import Utility, UtilityContext, UtilityGradient

SHAPE = (3, 8, 8)
REAL_COUNTS = (12, 9, 15)  # images of each class
COUNTS = (2, 3, 1)  # samples of each class
STEP = 1e-6  # of finite differences


def labels_of(counts: Sequence[int]) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def real_images(counts: Sequence[int] = REAL_COUNTS) -> RealImages:
    labels = labels_of(counts).numpy()
    images = np.random.default_rng(5).random((len(labels), *SHAPE), dtype=np.float32)
    data = LabelledImages(images, labels, tuple(f"class {k}" for k in range(len(counts))))
    return RealImages.of(data, pixel_space(SHAPE[0]), torch.device("cpu"))


def context(**changes: Any) -> UtilityContext:
    changes.setdefault("real", real_images())
    changes.setdefault("network_options", {"width": 3})
    return UtilityContext(num_classes=len(REAL_COUNTS), shape=SHAPE, **changes)


def samples_of(counts: Sequence[int] = COUNTS, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(counts), *SHAPE, generator=generator, dtype=dtype)


def logits_of(counts: Sequence[int] = COUNTS, *, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(sum(counts), len(REAL_COUNTS), generator=generator, dtype=dtype)


def check_gradients(
    make: Callable[[], Utility], samples: Tensor, labels: Tensor, logits: Tensor | None = None, *, iteration: int
) -> None:
    """Gradients against central differences of the loss in random directions; `make` makes the loss anew."""

    def loss(x: Tensor, soft: Tensor | None) -> float:
        return make().gradient(x, labels, iteration=iteration, label_logits=soft).loss

    result = make().gradient(samples, labels, iteration=iteration, label_logits=logits)
    for seed in range(3):
        direction = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ends = [loss(samples + sign * STEP * direction, logits) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * STEP)
        np.testing.assert_allclose(float((result.samples * direction).sum()), expected, rtol=1e-5, atol=1e-8)
    assert result.samples.abs().max() > 1e-6
    if logits is not None:
        assert result.label_logits is not None
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        ends = [loss(samples, logits + sign * STEP * direction) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * STEP)
        np.testing.assert_allclose(float((result.label_logits * direction).sum()), expected, rtol=1e-5, atol=1e-8)
        assert result.label_logits.abs().max() > 1e-6


@dataclass
class Meeting:
    """Where threads that stand for processes exchange tensors."""

    size: int
    barrier: threading.Barrier = field(init=False)
    brought: list[list[Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size)
        self.brought = [[] for _ in range(self.size)]


@dataclass(frozen=True)
class ThreadGroup(Group):
    """A process of a group, as a thread."""

    meeting: Meeting = field(default_factory=lambda: Meeting(1))

    def means(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        self.meeting.brought[self.rank] = [t.detach().clone() for t in tensors]
        self.meeting.barrier.wait(timeout=60)
        result = [torch.stack(each).sum(0) / self.size for each in zip(*self.meeting.brought, strict=True)]
        self.meeting.barrier.wait(timeout=60)
        return result


def together(size: int, run: Callable[[Group], UtilityGradient]) -> list[UtilityGradient]:
    """What `size` processes return."""
    meeting = Meeting(size)
    results: list[UtilityGradient | BaseException | None] = [None] * size

    def one(rank: int) -> None:
        try:
            results[rank] = run(ThreadGroup(rank, size, meeting))
        except BaseException as error:
            results[rank] = error
            meeting.barrier.abort()
            raise

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [result for result in results if isinstance(result, UtilityGradient)]
    assert len(done) == size, results
    return done


def assert_same(one: UtilityGradient, other: UtilityGradient) -> None:
    """To the last bit."""
    assert one.loss == other.loss
    assert torch.equal(one.samples, other.samples)
    assert (one.label_logits is None) == (other.label_logits is None)
    if one.label_logits is not None and other.label_logits is not None:
        assert torch.equal(one.label_logits, other.label_logits)


def assert_close(one: UtilityGradient, other: UtilityGradient, *, rtol: float = 1e-9) -> None:
    """But for rounding."""
    np.testing.assert_allclose(one.loss, other.loss, rtol=rtol)
    torch.testing.assert_close(one.samples, other.samples, rtol=rtol, atol=rtol)
