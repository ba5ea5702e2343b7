"""A small convolutional classifier that says what a training set is worth: accuracy on held-out samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

WIDTHS = (16, 32, 32)  # channels after each 3x3 convolution; a 2x2 pooling follows the second and the third
POOLED_SIZE = 2  # side of the feature map that the last layer reads, whatever the size of the samples
LEARNING_RATE = 1e-2  # peak, of Adam under a cosine
MAX_SHIFT = 1  # training samples move by up to one pixel each way
TEST_BATCH = 512

__all__ = ["Accuracy", "train_and_test"]


@dataclass(frozen=True)
class Accuracy:
    """Fractions, in 0..1, of test samples that each network got right."""

    per_network: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the networks."""
        return math.fsum(self.per_network) / len(self.per_network)

    @property
    def std(self) -> float:
        """Standard deviation over the networks (of the sample, n - 1); 0 for one network."""
        n = len(self.per_network)
        return math.sqrt(math.fsum((a - self.mean) ** 2 for a in self.per_network) / (n - 1)) if n > 1 else 0.0


def train_and_test(
    train: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike],
    *,
    num_networks: int = 3,
    num_steps: int = 300,
    batch_size: int = 32,
    seed: int = 0,
) -> Accuracy:
    """Accuracy on `test` of `num_networks` networks trained on `train`, each from its own initial weights and batches.

    Samples are floats (N, C, H, W), height and width at least 8; labels are integers (N,), or for training also
    class probabilities (N, classes). Everything random follows from `seed`; the global generators stay untouched.
    Runs on one thread: more do not help on products this small, and the sums keep their order.
    Raises ValueError where shapes do not fit.
    """
    samples, targets = _as_tensors(*train)
    test_samples, test_targets = _as_tensors(*test)
    num_classes = targets.shape[1] if targets.ndim == 2 else int(max(targets.max(), test_targets.max())) + 1
    if targets.ndim == 1:
        targets = F.one_hot(targets, num_classes)
    mean, std = samples.mean(), samples.std().clamp_min(1e-6)
    with _one_thread():
        rng = torch.Generator().manual_seed(seed)
        networks = _Networks(num_networks, samples.shape[1], num_classes, rng)
        _train(networks, (samples - mean) / std, targets.float(), num_steps, batch_size, rng)
        return _test(networks, (test_samples - mean) / std, test_targets)


class _Networks:
    """Networks of one shape side by side: layer by layer one grouped convolution, one group a network.

    Feature maps are (B, networks * channels, h, w).
    """

    def __init__(self, num_networks: int, channels: int, num_classes: int, rng: torch.Generator) -> None:
        self.num_networks = num_networks
        self.parameters: list[Tensor] = []
        fan_out = (*WIDTHS, num_classes)
        for fan_in, width in zip((channels, *WIDTHS), fan_out, strict=True):
            size = POOLED_SIZE if len(self.parameters) == 2 * len(WIDTHS) else 3
            bound = math.sqrt(6 / (fan_in * size * size))  # He et al. 2015, uniform
            weight = torch.rand(num_networks * width, fan_in, size, size, generator=rng) * (2 * bound) - bound
            self.parameters += [weight.requires_grad_(), torch.zeros(num_networks * width, requires_grad=True)]

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (B, networks, classes) of samples (B, networks * C, H, W)."""
        *hidden, (weight, bias) = zip(self.parameters[::2], self.parameters[1::2], strict=True)
        for depth, (w, b) in enumerate(hidden):
            x = F.relu(F.conv2d(x, w, b, padding=1, groups=self.num_networks))
            if depth > 0:
                x = F.max_pool2d(x, 2)
        x = F.adaptive_avg_pool2d(x, POOLED_SIZE)
        x = F.conv2d(x, weight, bias, groups=self.num_networks)
        return x.view(len(x), self.num_networks, -1)  # (B, networks, classes)


def _train(
    networks: _Networks, samples: Tensor, targets: Tensor, num_steps: int, batch_size: int, rng: torch.Generator
) -> None:
    optimizer = torch.optim.Adam(networks.parameters, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=num_steps, pct_start=0.1)
    height, width = samples.shape[2:]
    padded = F.pad(samples, (MAX_SHIFT,) * 4, mode="replicate")
    for _ in range(num_steps):
        rows = torch.randint(len(samples), (batch_size, networks.num_networks), generator=rng)
        dy, dx = torch.randint(2 * MAX_SHIFT + 1, (2,), generator=rng).tolist()
        batch = padded[rows, :, dy : dy + height, dx : dx + width].flatten(1, 2)  # (B, networks * C, H, W)
        logits = networks(batch)
        # The sum over networks gives each network the gradient that it would have alone.
        loss = F.cross_entropy(logits.flatten(0, 1), targets[rows].flatten(0, 1), reduction="sum") / batch_size
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _test(networks: _Networks, samples: Tensor, labels: Tensor) -> Accuracy:
    correct = torch.zeros(networks.num_networks)
    for start in range(0, len(samples), TEST_BATCH):
        rows = slice(start, start + TEST_BATCH)
        answers = networks(samples[rows].repeat(1, networks.num_networks, 1, 1)).argmax(2)  # (B, networks)
        correct += (answers == labels[rows, None]).sum(0)
    return Accuracy(tuple((correct.double() / len(samples)).tolist()))


def _as_tensors(samples: ArrayLike, labels: ArrayLike) -> tuple[Tensor, Tensor]:
    """Float samples and, as they are, integer labels or class probabilities."""
    x = torch.from_numpy(np.array(samples, dtype=np.float32))
    y = torch.from_numpy(np.array(labels))
    if x.ndim != 4 or len(x) == 0 or len(x) != len(y):
        raise ValueError(f"samples {tuple(x.shape)} and labels {tuple(y.shape)}, expected (N, C, H, W) and N labels")
    return x, y if y.is_floating_point() else y.long()


@contextmanager
def _one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
