"""What "accuracy" means: which classifier is trained on the samples, how, and for how long."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rducodec.errors import RddInputError

DSA = "color_crop_cutout_flip_scale_rotate"  # all operations of differentiable siamese augmentation (Zhao & Bilen 2021)
NO_AUGMENTATION = "none"
OPTIMISERS = ("sgd", "adam")
SCHEDULES = ("constant", "drop-at-half", "cosine", "one-cycle")
DROP = 0.1  # of the rate, at half of the steps
WARM_UP = 0.1  # of the steps of one-cycle, in which the rate rises linearly
CROSS_LEARNING_RATE = 1e-3  # fixed, of Adam; the paper fixes a rate too (Appendix), its number is not printed
EPOCHS, FULL_EPOCHS = "epochs", "full_epochs"
_OPTIONAL = ("min_steps", "max_steps", "num_threads")
NETWORK_PREFIX = "network."  # of an option of the network among the values of a protocol


@dataclass(frozen=True)
class Protocol:
    """One way to train a classifier; results can be compared only within one protocol.

    A protocol with values of one's own says so in its name: see `with_values`. Raises RddInputError for a value that
    makes no sense.
    """

    name: str
    network: str = "convnet"  # for rducodec.training.classifiers.build_classifier
    network_options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 1000  # passes over the samples
    batch_size: int = 256
    optimiser: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9  # of SGD
    weight_decay: float = 5e-4
    schedule: str = "drop-at-half"
    augmentation: str = DSA  # operations joined by "_", or "none"
    min_steps: int | None = None  # of a small set, which would get too few of them
    max_steps: int | None = None
    num_threads: int | None = None  # of torch on a CPU; None: as many as it has
    full_epochs: int = 100  # passes over all real images, where these are trained on instead of samples

    def __post_init__(self) -> None:
        positive = {EPOCHS: self.epochs, "batch_size": self.batch_size, FULL_EPOCHS: self.full_epochs}
        positive |= {name: value for name in _OPTIONAL if (value := getattr(self, name)) is not None}
        for name, count in positive.items():
            self._require(name, count, count >= 1, "at least 1")
        rate = self.learning_rate
        self._require("learning_rate", rate, math.isfinite(rate) and rate > 0, "a positive number")
        self._require("momentum", self.momentum, 0 <= self.momentum < 1, "at least 0 and below 1")
        decay = self.weight_decay
        self._require("weight_decay", decay, math.isfinite(decay) and decay >= 0, "at least 0")
        self._require("optimiser", self.optimiser, self.optimiser in OPTIMISERS, " or ".join(OPTIMISERS))
        self._require("schedule", self.schedule, self.schedule in SCHEDULES, ", ".join(SCHEDULES))
        limits = (self.min_steps, self.max_steps)
        ordered = limits[0] is None or limits[1] is None or limits[0] <= limits[1]
        self._require("min_steps", self.min_steps, ordered, f"at most max_steps ({self.max_steps})")

    def _require(self, name: str, value: object, holds: bool, expected: str) -> None:
        if not holds:
            raise RddInputError(f"protocol {self.name}: {name} is {value!r}, expected {expected}")

    def num_steps(self, num_samples: int) -> int:
        """Steps of the optimiser on a set of this size.

        >>> named_protocol("mtt-convnet").num_steps(640)
        3000
        """
        steps = self.epochs * math.ceil(num_samples / self.batch_size)
        return min(max(steps, self.min_steps or 1), self.max_steps or steps)

    def rate_at(self, step: int, num_steps: int) -> float:
        """Learning rate of step 0 .. num_steps - 1."""
        if self.schedule == "constant":
            factor = 1.0
        elif self.schedule == "drop-at-half":
            factor = 1.0 if step < num_steps / 2 else DROP
        elif self.schedule == "cosine":
            factor = _cosine(step / num_steps)
        else:
            rise = math.ceil(WARM_UP * num_steps)
            factor = min(1.0, (step + 1) / rise) * _cosine(max(0, step + 1 - rise) / (num_steps + 1 - rise))
        return self.learning_rate * factor

    def with_values(self, values: Mapping[str, Any]) -> Protocol:
        """This protocol with other values; what differs is added to its name.

        `network.KEY` is an option of the network. Numbers may be given as text. Epochs that are given count as they
        are: the protocol's own limits of steps no longer hold. Raises RddInputError for a name or a value that does not
        fit.

        >>> named_protocol("mtt-convnet").with_values({"epochs": "100", "network.width": 64}).name
        'mtt-convnet, epochs=100, network.width=64'
        """
        changed: dict[str, Any] = {}
        options = dict(self.network_options)
        said = []
        limited = (self.min_steps, self.max_steps) != (None, None)
        if EPOCHS in values:
            changed |= {"min_steps": None, "max_steps": None}
        for name, value in values.items():
            if name.startswith(NETWORK_PREFIX):
                key = name.removeprefix(NETWORK_PREFIX)
                differs = key not in options or options[key] != value
                options[key] = value
            else:
                changed[name] = self._converted(name, value)
                differs = changed[name] != getattr(self, name) or (name == EPOCHS and limited)
            if differs and name != FULL_EPOCHS:  # which `for_real_images` tells
                said.append(f"{name}={value}")
        return replace(self, name=", ".join([self.name, *said]), network_options=options, **changed)

    def _converted(self, name: str, value: Any) -> Any:
        """A value as the type of its field."""
        kind = _KINDS.get(name)
        if kind is None:
            raise RddInputError(f"protocol {self.name}: no value {name!r}, expected one of {', '.join(_KINDS)}")
        try:
            converted = kind(value)
            if kind is int and converted != float(value):
                raise ValueError
        except (TypeError, ValueError) as error:
            expected = "an integer" if kind is int else "a number"
            raise RddInputError(f"protocol {self.name}: {name} is {value!r}, expected {expected}") from error
        return converted

    def with_network(self, network: str) -> Protocol:
        """The same training of another architecture, by Adam at a fixed rate (paper, Appendix); itself for its own.

        The rate of SGD that suits a ConvNet does not train a transformer.
        """
        if network == self.network:
            return self
        return replace(
            self,
            name=f"{self.name}, network={network}, Adam at {CROSS_LEARNING_RATE:g}",
            network=network,
            network_options={},
            optimiser="adam",
            learning_rate=CROSS_LEARNING_RATE,
            weight_decay=0.0,
            schedule="constant",
        )

    def for_real_images(self) -> Protocol:
        """The same classifier on all real images: `full_epochs` passes, however many steps these are.

        A set that is a hundred times as large needs fewer passes; too few would flatter the samples.
        """
        name = f"{self.name}, {FULL_EPOCHS}={self.full_epochs}"
        return replace(self, name=name, epochs=self.full_epochs, min_steps=None, max_steps=None)

    def values(self) -> dict[str, Any]:
        """All values, for JSON."""
        return dataclasses.asdict(self)


_KINDS: dict[str, type] = {
    "network": str,
    EPOCHS: int,
    "batch_size": int,
    "optimiser": str,
    "learning_rate": float,
    "momentum": float,
    "weight_decay": float,
    "schedule": str,
    "augmentation": str,
    "min_steps": int,
    "max_steps": int,
    "num_threads": int,
    FULL_EPOCHS: int,
}


def _cosine(position: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * position)) / 2


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # Zhao & Bilen 2021, Cazenavette et al. 2022, and the paper: the protocol of printed accuracies.
        Protocol("mtt-convnet"),
        # Minutes on a laptop. A quarter of the channels, few epochs, but steps enough for a set of one batch.
        Protocol(
            "quick-convnet",
            network_options={"width": 32},
            epochs=100,
            batch_size=128,
            optimiser="adam",
            learning_rate=3e-3,
            weight_decay=0.0,
            schedule="one-cycle",
            min_steps=500,
            max_steps=3000,
            full_epochs=10,
        ),
        # Seconds on a CPU, for images of 8 x 8, which no operation of DSA helps.
        Protocol(
            "digits",
            network_options={"width": 32, "depth": 2},
            epochs=1,
            batch_size=32,
            optimiser="adam",
            learning_rate=1e-2,
            weight_decay=0.0,
            schedule="one-cycle",
            augmentation=NO_AUGMENTATION,
            min_steps=300,
            max_steps=300,
            num_threads=1,  # more do not help networks this small, and sums keep their order
            full_epochs=20,
        ),
    )
}


def named_protocol(name: str) -> Protocol:
    """The protocol of this name. Raises RddInputError, with the names that there are."""
    if name not in PROTOCOLS:
        raise RddInputError(f"protocol {name!r}: expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
