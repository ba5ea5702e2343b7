"""One classifier of an evaluation: trained by a protocol, then tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol as Interface

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rducodec.errors import RddInputError
from rducodec.training.classifiers import build_classifier
from rducodec.training.classifiers.determinism import deterministic_convolutions
from rducodec.training.evaluation.protocols import Protocol
from rducodec.training.randomness import generator_for
from rducodec.training.utility.augmentation import Augmentation

TEST_BATCH = 512
REPORT_STEPS = 20  # between reports of a training
CHECK_STEPS = 500  # between looks at the loss, each of which waits for the device
MIN_STD = 1e-6  # of a channel; a constant one is not divided by 0


class Examples(Interface):
    """Labelled samples or images on a device; `RealImages` are such."""

    @property
    def labels(self) -> Tensor:
        """int64 (N,), or probabilities float32 (N, K)."""

    def __len__(self) -> int:
        """N."""

    def batch(self, indices: Tensor) -> Tensor:
        """float32 (n, C, H, W) of the examples `indices`."""


@dataclass(frozen=True)
class Samples:
    """Examples that lie in memory as floats."""

    values: Tensor  # float32 (N, C, H, W)
    labels: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, indices: Tensor) -> Tensor:
        """float32 (n, C, H, W) of the samples `indices`."""
        return self.values[indices.to(self.values.device)]


@dataclass(frozen=True)
class Standardised:
    """Examples as a network sees them: (value - mean) / std of each channel."""

    examples: Examples
    mean: Tensor  # (C, 1, 1)
    std: Tensor  # (C, 1, 1)

    @property
    def labels(self) -> Tensor:
        """Those of the examples."""
        return self.examples.labels

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, indices: Tensor) -> Tensor:
        """float32 (n, C, H, W) of the examples `indices`."""
        return (self.examples.batch(indices) - self.mean) / self.std


def mean_and_std(examples: Examples) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all examples, float32 (C, 1, 1), computed in float64."""
    mean = _channel_mean(examples, lambda values: values)
    variance = _channel_mean(examples, lambda values: (values - mean).square())
    return mean.float(), variance.sqrt().clamp_min(MIN_STD).float()


def _channel_mean(examples: Examples, function: Callable[[Tensor], Tensor]) -> Tensor:
    """float64 (C, 1, 1), in bounded memory."""
    sums: list[Tensor] = []
    for rows in torch.split(torch.arange(len(examples)), TEST_BATCH):
        values = function(examples.batch(rows).double())
        sums.append(values.mean((2, 3), keepdim=True).sum(0))
    return torch.stack(sums).sum(0) / len(examples)


class DivergedError(RddInputError):
    """A classifier whose outputs are not finite any more."""


@dataclass(frozen=True)
class Task:
    """What every network of an evaluation shares."""

    train: Examples
    test: Examples
    shape: tuple[int, int, int]  # channels, height, width
    num_classes: int
    protocol: Protocol
    seed: int
    device: torch.device
    mixed_precision: bool = False  # products of the networks in bfloat16

    def accuracy(self, number: int, report: Callable[[int], object]) -> float:
        """Fraction of the test images that network `number` gets right; `report` is told steps done now and then.

        Everything random follows from the seed and the number: the first of five networks is the only one of one.
        Raises DivergedError for a network that diverges, whose accuracy would be that of chance.
        """
        with deterministic_convolutions(), _threads(self.protocol.num_threads):
            weights = generator_for(self.seed, "evaluation weights", number)
            network = _network(self.protocol, self.shape, self.num_classes, weights).to(self.device)
            self._train(network, number, report)
            return self._test(network, number)

    def _train(self, network: nn.Module, number: int, report: Callable[[int], object]) -> None:
        protocol, num_steps = self.protocol, self.protocol.num_steps(len(self.train))
        augmentation = Augmentation.of(protocol.augmentation)
        draws = generator_for(self.seed, "evaluation augmentation", number)
        optimiser = _optimiser(network, protocol)
        network.train()
        for step, rows in enumerate(self._batches(number, num_steps)):
            for group in optimiser.param_groups:
                group["lr"] = protocol.rate_at(step, num_steps)
            x = self.train.batch(rows)
            x = augmentation.apply(x, augmentation.draw(len(x), draws, siamese=False))
            loss = F.cross_entropy(self._logits(network, x), self._targets(rows))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if (step + 1) % CHECK_STEPS == 0:  # what is lost later is seen in the test
                self._check(loss, number, f"by step {step + 1} of {num_steps}")
            if (step + 1) % REPORT_STEPS == 0:
                report(step + 1)

    def _batches(self, number: int, num_steps: int) -> Iterator[Tensor]:
        """Indices of each step: every example once a pass, in an order of its own."""
        order = generator_for(self.seed, "evaluation order", number)
        step = 0
        while True:
            for rows in torch.split(torch.randperm(len(self.train), generator=order), self.protocol.batch_size):
                if step == num_steps:
                    return
                yield rows
                step += 1

    def _logits(self, network: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            logits: Tensor = network(x)
        return logits.float()

    def _targets(self, rows: Tensor) -> Tensor:
        """Probabilities (n, K), so that a hard label and a soft one that is as sure train the same bits."""
        labels = self.train.labels[rows.to(self.device)]
        return labels if labels.is_floating_point() else F.one_hot(labels, self.num_classes).float()

    def _check(self, values: Tensor, number: int, when: str) -> None:
        if not values.isfinite().all():
            protocol = self.protocol
            raise DivergedError(
                f"protocol {protocol.name}: network {number} diverged {when}, its outputs are not finite; choose a "
                f"smaller learning rate (--set learning_rate=...; it is {protocol.learning_rate:g})"
            )

    @torch.no_grad()
    def _test(self, network: nn.Module, number: int) -> float:
        network.eval()
        correct = 0
        for rows in torch.split(torch.arange(len(self.test)), TEST_BATCH):
            logits = self._logits(network, self.test.batch(rows))
            self._check(logits, number, f"within {self.protocol.num_steps(len(self.train))} steps")
            correct += int((logits.argmax(1) == self.test.labels[rows.to(self.device)]).sum())
        return correct / len(self.test)


def check_trainable(protocol: Protocol, shape: tuple[int, int, int], num_classes: int) -> None:
    """Raises RddInputError now for a network, an option or an augmentation that would be refused hours later."""
    Augmentation.of(protocol.augmentation)
    _network(protocol, shape, num_classes, torch.Generator())


def _network(
    protocol: Protocol, shape: tuple[int, int, int], num_classes: int, generator: torch.Generator
) -> nn.Module:
    """On the CPU; shape: channels, height, width."""
    return build_classifier(
        protocol.network,
        channels=shape[0],
        num_classes=num_classes,
        size=shape[1:],
        generator=generator,
        **protocol.network_options,
    )


def _optimiser(network: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    parameters, rate, decay = network.parameters(), protocol.learning_rate, protocol.weight_decay
    if protocol.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=protocol.momentum, weight_decay=decay)
    return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Threads of torch on the CPU; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
