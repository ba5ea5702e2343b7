"""The same loss on plain pixels in as many bytes as a file: what it is worth without a compressing representation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from rducodec.errors import RddInputError
from rducodec.labels import Labels
from rducodec.training.data import DataSplit
from rducodec.training.distillation.configuration import (
    PARAMETERIZATIONS,
    PIXEL_NUMBERS,
    Configuration,
    configuration_of,
)
from rducodec.training.distillation.export import pack_pixels
from rducodec.training.distillation.run import Distillation, Reports
from rducodec.training.randomness import generator_for
from rducodec.training.search import largest

KEY_DIGITS = 6  # of a folder's name, for the changes of its run
LEAST_SHARE = 0.25  # of the bits of a number, that coded values take at least
# Standard deviation of what is added to the values of images for an estimate of sizes, in theirs. Trained ones take as
# much as with 0.2 (CIFAR-10, by four levels) or less than 0.1 (digits).
TRAINING_NOISE = 0.15
ROOM = 1.1  # of the samples that were trained: where so many would fit, they are trained


def check_numbers(numbers: Sequence[str]) -> None:
    """RddInputError unless all are of `PIXEL_NUMBERS`."""
    for number in numbers:
        if number not in PIXEL_NUMBERS:
            raise RddInputError(f"plain pixels as {number!r}: expected some of {', '.join(PIXEL_NUMBERS)}")


@dataclass(frozen=True)
class PlainPixels:
    """Makes files of plain pixels for the configuration of a run, of at most `max_bytes` each, in its folder.

    `changes` are `key.name=value` texts as for `read_configuration`: plain pixels want other learning rates.
    """

    configuration: Configuration
    split: DataSplit
    folder: Path
    max_bytes: int
    changes: Sequence[str] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    reports: Reports = field(default_factory=Reports)

    def made(self, number: str) -> Path | None:
        """The file of as many samples as fit, stored as `number`, one of `PIXEL_NUMBERS`; None where not one fits.

        Sizes are known after a training: where the first number of samples was wrong, another one is trained. What a
        folder holds of an earlier call is not trained again. Raises RddInputError as `Distillation`.
        """
        check_numbers([number])
        best: Path | None = None
        most, too_many, spc = 0, self._available() + 1, self._most_samples(number)
        while spc > most:
            self.reports.say(f"the same loss on plain pixels, {spc} a class, as {number}")
            file = self._distillation(number, spc).run().file
            size = file.stat().st_size
            fitting = spc * self.max_bytes // size
            if size > self.max_bytes:
                too_many = spc
            else:
                most, best = spc, file
                if fitting < ROOM * spc:
                    break
            spc = min(fitting, too_many - 1)
        return best

    def _available(self) -> int:
        """Images of the smallest class."""
        return int(np.bincount(self.split.train.labels).min())

    def _distillation(self, number: str, spc: int) -> Distillation:
        values = {"samples.parameterization": PARAMETERIZATIONS[1], "samples.spc": spc, "samples.slice_size": "none"}
        values |= {"export.target_bpc": "none", "export.number": number}
        for change in self.changes:
            if (key := change.partition("=")[0].strip()) in values:
                raise RddInputError(f"plain pixels: {key} follows from the size of the file, it cannot be {change!r}")
        name = f"pixels-{number.replace(' ', '-')}-{spc}"
        if self.changes:
            name += "-" + hashlib.sha256(repr(sorted(self.changes)).encode()).hexdigest()[:KEY_DIGITS]
        own = [f"{key}={value}" for key, value in values.items()]
        configuration = configuration_of(self.configuration.fields(), [*self.changes, *own])
        return Distillation(configuration, self.split, self.folder / name, device=self.device, reports=self.reports)

    def _most_samples(self, number: str) -> int:
        """Of a class, by the sizes of real images with some noise; 0 where not one fits."""
        train = self.split.train
        bits = LEAST_SHARE * PIXEL_NUMBERS[number] * np.prod(train.shape) * train.num_classes
        most = min(self._available(), int(8 * self.max_bytes / bits))
        if most < 1:
            return 0
        distillation = self._distillation(number, most)
        samples = torch.from_numpy(distillation.source.samples).view(train.num_classes, most, *train.shape)
        noise = torch.randn(samples.shape, generator=generator_for(self.configuration.seed, "sizes of plain pixels"))
        values = (samples + TRAINING_NOISE * samples.std() * noise).numpy()
        space, texts = distillation.source.space, distillation.texts()

        def fits(spc: int) -> bool:
            labels, some = Labels(np.full(train.num_classes, spc)), values[:, :spc].reshape(-1, *train.shape)
            num_bytes = len(pack_pixels(some, labels, number=number, space=space, texts=texts))
            return num_bytes + distillation.soft_label_bits(len(some)) / 8 <= self.max_bytes

        return largest(fits, most)
