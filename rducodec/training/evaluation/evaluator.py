"""A table of evaluations: files, rivals of the same size, and all real images, on one data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.interop.space import space_fields
from rducodec.reader import no_progress
from rducodec.training.data.labelled import DataSplit, LabelledImages
from rducodec.training.data.real import RealImages
from rducodec.training.data.space import SampleSpace
from rducodec.training.evaluation.accuracy import Accuracy
from rducodec.training.evaluation.baselines import (
    OWN_ROWS,
    Baseline,
    Capacity,
    Rival,
    choose_rivals,
    count_choices,
    held_out_split,
    real_image_sets,
)
from rducodec.training.evaluation.classify import DivergedError
from rducodec.training.evaluation.evaluate import (
    EvaluationCallback,
    EvaluationProgress,
    evaluate,
    evaluate_real_images,
)
from rducodec.training.evaluation.files import PreparedFile, open_file, prepare
from rducodec.training.evaluation.protocols import Protocol
from rducodec.training.evaluation.result import ALL_REAL_IMAGES, FILE, REAL_IMAGES, Row


@dataclass(frozen=True)
class Comparison:
    """Real images in at most so many bytes."""

    rivals: list[Rival]  # those to evaluate
    capacities: tuple[Capacity, ...]  # of all ways to keep them, those too that lose, most images first


@dataclass(frozen=True)
class Evaluator:
    """What all rows of a table have in common. Raises RddInputError for data without test images."""

    data: DataSplit
    device: torch.device
    num_networks: int = 5
    seed: int = 0
    mixed_precision: bool = False
    # Of rivals that were evaluated, by what decides about them, with the name that they had.
    _known: dict[bytes, tuple[str, Accuracy]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._test_images()

    def of_file(self, prepared: PreparedFile, protocol: Protocol, *, progress: EvaluationCallback | None = None) -> Row:
        """The decoded samples of a file. Raises RddInputError."""
        test = self._real(self._test_images(), prepared.space)
        accuracy = self._accuracy(
            prepared.samples, prepared.labels, test, protocol, num_networks=self.num_networks, progress=progress
        )
        file, dataset = prepared.file, prepared.file.dataset
        return Row(
            name=file.path,
            kind=FILE,
            num_samples=len(prepared.samples),
            num_classes=dataset.header.num_classes,
            bytes_per_class=file.bytes_per_class,
            space=prepared.space.space,
            protocol=protocol,
            seed=self.seed,
            accuracy=accuracy,
            remarks=prepared.remarks,
            details={
                "file": {
                    "num_bytes": dataset.container.num_bytes,
                    "sha256": file.sha256,
                    "sample_digest": dataset.sample_digest.hex(),
                }
            },
        )

    def rivals(
        self,
        target_bytes_per_class: float,
        protocol: Protocol,
        *,
        space: SampleSpace,
        progress: Callable[[float], object] = no_progress,
    ) -> list[Rival]:
        """As `compare`, the best of each family and no more."""
        return self.compare(target_bytes_per_class, protocol, space=space, own_rows=(), progress=progress).rivals

    def compare(
        self,
        target_bytes_per_class: float,
        protocol: Protocol,
        *,
        space: SampleSpace,
        own_rows: Sequence[str] = OWN_ROWS,
        progress: Callable[[float], object] = no_progress,
    ) -> Comparison:
        """Real images kept in at most so many bytes, the best of each family; chosen with one network each.

        The lossless codecs in `own_rows` are rivals too, whether or not they are the best. `progress` is told numbers
        that add up to 1.
        """
        rest, held_out = held_out_split(self.data.train, self.seed)
        test = self._real(held_out, space)
        found = real_image_sets(rest, target_bytes_per_class, seed=self.seed)
        total = count_choices(found.by_family)

        def validate(baseline: Baseline) -> float:
            samples = space.forward(torch.from_numpy(baseline.samples))
            try:
                accuracy = self._accuracy(samples, baseline.labels, test, protocol, num_networks=1).mean
            except DivergedError:  # of many candidates one that teaches nothing is no reason to stop
                accuracy = 0.0
            progress(1 / total)
            return accuracy

        return Comparison(choose_rivals(found.by_family, validate, own_rows=own_rows), found.capacities)

    def of_rival(
        self, rival: Rival, protocol: Protocol, *, space: SampleSpace, progress: EvaluationCallback | None = None
    ) -> Row:
        """A rival on the test images; images that another rival has too are evaluated once, and a remark says so."""
        baseline, compared = rival
        name = f"real images, {baseline.name}"
        remarks = []
        if baseline.header_bytes:
            remarks.append(f"{baseline.header_bytes / baseline.num_bytes:.0%} of the bytes are headers and tables")
        key = _key(baseline, protocol, space)
        if key in self._known:
            other, accuracy = self._known[key]
            if other != name:
                remarks.append(f"the same images as {other}: evaluated once")
            if progress is not None:
                steps = protocol.num_steps(len(baseline.samples)) * self.num_networks
                progress(EvaluationProgress(steps, steps, accuracy.per_network))
        else:
            samples = space.forward(torch.from_numpy(baseline.samples))
            test = self._real(self._test_images(), space)
            accuracy = self._accuracy(
                samples, baseline.labels, test, protocol, num_networks=self.num_networks, progress=progress
            )
            self._known[key] = (name, accuracy)
        return Row(
            name=name,
            kind=REAL_IMAGES,
            num_samples=len(baseline.samples),
            num_classes=baseline.num_classes,
            bytes_per_class=baseline.bytes_per_class,
            space=space.space,
            protocol=protocol,
            seed=self.seed,
            accuracy=accuracy,
            remarks=tuple(remarks),
            details={
                "compared": [{"name": name, "accuracy": accuracy} for name, accuracy in compared],
                "header_bytes_per_class": baseline.header_bytes / baseline.num_classes,
            },
        )

    def of_all_real_images(
        self, protocol: Protocol, *, space: SampleSpace, progress: EvaluationCallback | None = None
    ) -> Row:
        """The same classifier trained on all training images, `protocol.full_epochs` times."""
        full = protocol.for_real_images()
        train = self._real(self.data.train, space)
        accuracy = evaluate_real_images(
            train,
            self._real(self._test_images(), space),
            full,
            num_networks=self.num_networks,
            seed=self.seed,
            mixed_precision=self.mixed_precision,
            progress=progress,
        )
        return Row(
            name="all training images",
            kind=ALL_REAL_IMAGES,
            num_samples=len(train),
            num_classes=self.data.train.num_classes,
            bytes_per_class=None,
            space=space.space,
            protocol=full,
            seed=self.seed,
            accuracy=accuracy,
        )

    def _accuracy(
        self,
        samples: ArrayLike | Tensor,
        labels: ArrayLike,
        test: RealImages,
        protocol: Protocol,
        *,
        num_networks: int,
        progress: EvaluationCallback | None = None,
    ) -> Accuracy:
        return evaluate(
            samples,
            labels,
            test,
            protocol,
            num_networks=num_networks,
            seed=self.seed,
            mixed_precision=self.mixed_precision,
            progress=progress,
        )

    def _test_images(self) -> LabelledImages:
        if self.data.test is None:
            raise RddInputError(f"data {self.data.name}: it has no test images")
        return self.data.test

    def _real(self, images: LabelledImages, space: SampleSpace) -> RealImages:
        return RealImages.of(images, space, self.device)


def _key(baseline: Baseline, protocol: Protocol, space: SampleSpace) -> bytes:
    """SHA-256 of all that the accuracy of a rival follows from, beside what an evaluator holds."""
    digest = hashlib.sha256(json.dumps([protocol.values(), space_fields(space.space)], sort_keys=True).encode())
    digest.update(repr(baseline.samples.shape).encode())
    digest.update(np.ascontiguousarray(baseline.samples).data)
    digest.update(np.ascontiguousarray(baseline.labels).data)
    return digest.digest()


def evaluate_files(
    paths: Iterable[str | Path], evaluator: Evaluator, protocols: Sequence[Protocol], *, space: str | None = None
) -> list[Row]:
    """Rows of .rdd files, protocol after protocol: for comparisons of files that were made elsewhere.

    Overfitted compression without distillation, distilled pixels without a codec: whatever made a file, it is tested
    alike. `space` as for `space_of`. Raises RddInputError and what `rducodec.read` raises.
    """
    prepared = [prepare(open_file(path), evaluator.data.train, spec=space) for path in paths]
    return [evaluator.of_file(file, protocol) for protocol in protocols for file in prepared]
