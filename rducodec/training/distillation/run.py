"""A whole distillation in a folder: real images, initial compression, joint optimisation, the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rducodec.bitstream.header import Texts
from rducodec.encoder import Plan, payload_target, plan_latent
from rducodec.errors import RddInputError
from rducodec.files import check_room, translated_errors, write_file
from rducodec.interop.source import SourceSet, make_source
from rducodec.labels import LabelPrecision, published_bound_bits, soft_labels_of, total_for
from rducodec.rate import BITS_PER_KB
from rducodec.reader import read
from rducodec.training.data import (
    DataSplit,
    RealImages,
    SampleSpace,
    check_enough,
    check_split,
    fit_space,
    save_zca,
)
from rducodec.training.distillation.configuration import PARAMETERIZATIONS, PIXEL_NUMBERS, PLAIN_NUMBER, Configuration
from rducodec.training.distillation.export import Exported, export_latent, export_pixels
from rducodec.training.distillation.folder import (
    DISTILLED,
    INITIAL_CHECKPOINT,
    JOINT_CHECKPOINT,
    LOG_FILE,
    OVERFITTED,
    deciding,
    note_run,
)
from rducodec.training.distillation.labels import SampleLabels
from rducodec.training.distillation.latent import LatentRepresentation
from rducodec.training.distillation.log import RunLog, TensorBoardLog
from rducodec.training.distillation.pixels import PixelRepresentation
from rducodec.training.distillation.trainer import JointProgress, JointTrainer, first_gradient
from rducodec.training.group import ALONE, Group
from rducodec.training.progress import Progress
from rducodec.training.randomness import generator_for
from rducodec.training.settings import OverfitSettings
from rducodec.training.trainer import overfit
from rducodec.training.utility import HasSources, Utility, UtilityContext, make_utility
from rducodec.writer import pack_latent

LATENT = PARAMETERIZATIONS[0]
ZCA_FILE = "zca.safetensors"  # what `rdd eval` needs to whiten test images alike
FINGERPRINT_IMAGES = 4096  # at most, of the data: enough to notice other data, soon read
MIN_PARAMETER_BITS = 2.0  # less would be networks of zeros
USUAL_PARAMETER_BITS = 5  # measured on digits; for the message
SOFT_LABEL_SHARE = 0.4  # of the bound of Eq. 17 that learned labels are expected to take: a classifier's take 0.35
# Of what is learned, in a checkpoint: values and two moments of Adam, of latents and networks a mean as well.
PIXEL_COPIES, LATENT_COPIES = 3, 4
NUM_CHECKPOINTS = 2  # the old file, and the new one that replaces it
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Reports:
    """Where a run tells how it goes; every one may be left out."""

    say: Callable[[str], object] = lambda _: None  # a line before each part
    initial: Callable[[Progress], None] = lambda _: None
    joint: Callable[[JointProgress], object] = lambda _: None
    export: Callable[[float], object] = lambda _: None  # thresholds done


@dataclass(frozen=True)
class Distilled:
    """What a run made."""

    file: Path
    overfitted: Path | None  # the same images only compressed; None for plain pixels
    exported: Exported


@dataclass
class Distillation:
    """A configuration, the data, and a folder in which everything that a run makes is kept.

    `split` has the classes that the configuration chooses, in its order, and no others.

    A run in a folder that holds an unfinished one continues it, bit for bit on the same machine; a folder of another
    configuration or of other data is refused.
    """

    configuration: Configuration
    split: DataSplit
    folder: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: Group = ALONE
    reports: Reports = field(default_factory=Reports)
    tensorboard: bool = False

    def __post_init__(self) -> None:
        configuration = self.configuration
        if not self.group.is_first:
            self.reports = Reports()
        _check_parameterization(configuration)
        check_split(self.split)
        self.train = self.split.train
        asked, there = configuration.data.classes, self.split.classes
        if asked != there:
            raise RddInputError(
                f"data.classes: {list(asked) or 'all'}, but the data has {list(there) or 'all'}: "
                "load_data(..., classes=...) or DataSplit.of_classes chooses them"
            )
        check_enough(self.train, configuration.samples.spc)
        self._check_labels()
        self.space: SampleSpace = fit_space(configuration.data.space, self.train)
        self.utility: Utility = make_utility(configuration.utility.loss, self._context(), configuration.utility.options)
        self.source = self._source()
        self.plan = self._plan(self.texts())
        self.target_bits = self._target_bits()
        self.fingerprint = self._fingerprint()

    def _check_labels(self) -> None:
        """Raises RddInputError for learned labels that could not be, or that no file could hold."""
        samples, num_classes = self.configuration.samples, self.train.num_classes
        if not samples.soft_labels:
            return
        if num_classes == 1:
            raise RddInputError("samples.soft_labels: there is one class, so nothing to learn; leave it out")
        try:
            total_for(samples.label_error, num_classes)
        except ValueError as error:
            raise RddInputError(f"samples.label_error: {error}") from error

    def _context(self) -> UtilityContext:
        settings = self.configuration.utility
        return UtilityContext(
            real=RealImages.of(self.train, self.space, self.device),
            num_classes=self.train.num_classes,
            shape=self.train.shape,
            network=settings.network,
            network_options=settings.network_options,
            augmentation=settings.augmentation,
            seed=self.configuration.seed,
            device=self.device,
            mixed_precision=settings.mixed_precision,
            compiled=settings.compiled,
            group=self.group,
        )

    def _source(self) -> SourceSet:
        """The real images that the samples start from: random ones of each class, in the value space."""
        spc, rows = self.configuration.samples.spc, []
        for label in range(self.train.num_classes):
            own = np.flatnonzero(self.train.labels == label)
            order = torch.randperm(len(own), generator=generator_for(self.configuration.seed, "initial images", label))
            rows.append(own[order[:spc].numpy()])
        chosen = np.concatenate(rows)
        values = self.space.forward(torch.from_numpy(self.train.pixels(chosen))).numpy()
        return make_source(
            values, self.train.labels[chosen], space=self.space.space, class_names=self.train.class_names
        )

    def texts(self) -> Texts:
        """What a user of the file should know; what is learned is as it is now."""
        settings, data = self.configuration.utility, self.configuration.data
        recipe: dict[str, str | int | float] = {"loss": Path(settings.loss).name, "net": settings.network}
        recipe |= {name: value for name, value in settings.network_options.items() if type(value) in (str, int, float)}
        recipe |= {"augment": settings.augmentation, "seed": self.configuration.seed, **self.utility.recipe()}
        return Texts(
            class_names=self.train.class_names,
            class_ids=data.classes,
            recipe=recipe,
            source=f"{self.split.name} train",
        )

    def _plan(self, texts: Texts) -> Plan:
        return plan_latent(self.source, self.configuration.samples.shape(), texts=texts)

    def _fingerprint(self) -> str:
        """Of the configuration, the images that are started from, and the data: all labels, and some of the images."""
        fields = deciding(self.configuration.fields())
        if isinstance(self.utility, HasSources):
            fields["utility"]["options"] = {**fields["utility"]["options"], **self.utility.sources()}
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode())
        step = -(-len(self.train.images) // FINGERPRINT_IMAGES)
        for array in (self.source.samples, self.train.labels, self.train.images[::step]):
            digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def max_bytes(self) -> int | None:
        """Of the file."""
        target = self.configuration.export.target_bpc
        return None if target is None else int(target * BITS_PER_KB * self.train.num_classes) // 8

    def _target_bits(self) -> float | None:
        """Of latents and networks of all slices. Raises RddInputError where these networks cannot be so small."""
        target = self.configuration.export.target_bpc
        if target is None:
            return None
        sets = set(self.plan.trained_classes())
        bits = payload_target(self.plan, target * BITS_PER_KB) * len(sets) - self.soft_label_bits(
            len(self.source.samples)
        )
        networks = self.plan.num_parameters()
        if bits < networks * MIN_PARAMETER_BITS:
            raise RddInputError(
                f"export.target_bpc: {target:g} kB leave {bits / 8:.0f} bytes for networks and latents, but the "
                f"networks have {networks} parameters, which take some {USUAL_PARAMETER_BITS} bits each; allow more, "
                "or choose a smaller samples.decoder or samples.entropy, or a larger samples.slice_size"
            )
        return bits

    def soft_label_bits(self, num_samples: int) -> float:
        """An estimate for the learned labels of so many samples: they are coded at the end."""
        samples = self.configuration.samples
        if not samples.soft_labels:
            return 0.0
        total = total_for(samples.label_error, self.train.num_classes)
        return SOFT_LABEL_SHARE * published_bound_bits(total, self.train.num_classes) * num_samples

    def run(self) -> Distilled:
        """Everything from where the folder is. Raises RddInputError before the first iteration for what cannot be."""
        labels = self._labels()
        first_gradient(self.utility, self._images(), labels)
        self._prepare_folder()
        latent = self.configuration.samples.parameterization == LATENT
        representation = self._latent() if latent else self._pixels()
        trainer = self._trainer(representation, labels)
        self.reports.say("optimising the samples for what is learned from them")
        trainer.run()
        trainer.save()
        exported = self._exported(representation, labels)
        file = self.folder / DISTILLED
        if self.group.is_first:
            write_file(file, exported.data)
        self.group.wait()
        return Distilled(file, self.folder / OVERFITTED if latent else None, exported)

    def _prepare_folder(self) -> None:
        """Refuse a folder of another run, or one without room; note what runs here."""
        if self.group.is_first:
            there = sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))
            check_room(self.folder, num_bytes=self._folder_bytes(), num_bytes_there=there)
            note_run(self.folder, self.fingerprint, self.configuration, data=self.split.name)
            if self.space.space.kind == "zca":
                save_zca(self.space, self.folder / ZCA_FILE)
        self.group.wait()

    def _folder_bytes(self) -> int:
        """Of the large files that are there at a time; the utility's own state is not counted.

        Nor are candidates of the initial compression: they are gone before its first checkpoint, in usual runs.
        """
        samples, count = self.configuration.samples, len(self.source.samples)
        if samples.parameterization == LATENT:
            copies = LATENT_COPIES * (self.plan.config.num_latents() * count + self.plan.num_parameters())
        else:
            copies = PIXEL_COPIES * self.source.samples.size
        if samples.soft_labels:
            copies += PIXEL_COPIES * count * self.train.num_classes
        fit = self.space.fit
        return NUM_CHECKPOINTS * FLOAT_BYTES * copies + (0 if fit is None else fit.num_bytes())

    def _latent(self) -> LatentRepresentation:
        """Overfitted compression of the source, or its file if it was made before."""
        file = self.folder / OVERFITTED
        if self.group.is_first and not file.exists():
            self.reports.say(f"compressing {len(self.source.samples)} real images to start from")
            initial, target = self.configuration.initial, self.target_bits
            settings = OverfitSettings(
                steps=initial.steps,
                lmbda=initial.lmbda,
                candidates=initial.candidates,
                max_mse=self._middle_threshold(),
                may_coarsen=True,
                target_bits_per_class=None if target is None else target / len(set(self.plan.trained_classes())),
                seed=self.configuration.seed,
                device=str(self.device),
            )
            slices = overfit(
                self.plan.trained_parts(),
                self.plan.config,
                settings,
                classes=self.plan.trained_classes(),
                checkpoint=self.folder / INITIAL_CHECKPOINT,
                progress=self.reports.initial,
            )
            texts = Texts(class_names=self.train.class_names)
            stored = self.plan.file_slices(slices)
            data = pack_latent(stored, self.plan.labels, self.plan.config, space=self.source.space, texts=texts)
            write_file(file, data)
        if self.group.is_first:
            with translated_errors(self.folder):
                (self.folder / INITIAL_CHECKPOINT).unlink(missing_ok=True)  # as large as the next one, and done with
        self.group.wait()
        return LatentRepresentation(
            self.plan.trained_slices(read(file).latent_slices()),
            self.plan.config,
            device=self.device,
            max_mse=self._middle_threshold(),
            rounding=self.configuration.joint.rounding,
            seed=self.configuration.seed,
        )

    def _middle_threshold(self) -> float:
        thresholds = sorted(self.configuration.export.thresholds)
        return thresholds[len(thresholds) // 2]

    def _pixels(self) -> PixelRepresentation:
        return PixelRepresentation(self._images(), bits_per_value=PIXEL_NUMBERS[self.configuration.export.number])

    def _images(self) -> torch.Tensor:
        """What the samples start from, (N, C, H, W)."""
        return torch.from_numpy(np.concatenate(self.plan.parts)).to(self.device)

    def _labels(self) -> SampleLabels:
        samples = self.configuration.samples
        classes = torch.from_numpy(np.repeat(self.plan.classes, [len(part) for part in self.plan.parts]))
        rate = samples.label_learning_rate if samples.soft_labels else None
        return SampleLabels(classes.to(self.device), num_classes=self.train.num_classes, learning_rate=rate)

    def _trainer(
        self, representation: LatentRepresentation | PixelRepresentation, labels: SampleLabels
    ) -> JointTrainer:
        trainer = JointTrainer(
            representation,
            self.utility,
            labels,
            self.configuration.joint,
            target_bits=self.target_bits,
            fingerprint=self.fingerprint,
            checkpoint=self.folder / JOINT_CHECKPOINT,
            group=self.group,
        )
        trainer.resume()
        if self.group.is_first:
            trainer.report = self._joint_report(resumed_from=trainer.iteration)
        return trainer

    def _joint_report(self, *, resumed_from: int) -> Callable[[JointProgress], None]:
        logs: list[RunLog | TensorBoardLog] = [RunLog(self.folder / LOG_FILE, resumed_from=resumed_from)]
        if self.tensorboard:
            logs.append(TensorBoardLog(self.folder, resumed_from=resumed_from))

        def report(progress: JointProgress) -> None:
            for log in logs:
                log.add(progress)
            self.reports.joint(progress)

        return report

    def _exported(self, representation: LatentRepresentation | PixelRepresentation, labels: SampleLabels) -> Exported:
        settings = self.configuration.export
        common: dict[str, Any] = {"space": self.source.space, "texts": self.texts()}
        stored, probabilities = self.plan.labels, labels.probabilities()
        if probabilities is not None:
            precision = LabelPrecision(self.configuration.samples.label_error)
            stored = replace(stored, soft=soft_labels_of(probabilities.cpu().numpy(), stored.counts, precision))
        if isinstance(representation, PixelRepresentation):
            return export_pixels(representation, stored, number=settings.number, **common)
        self.reports.say("quantising the networks")
        return export_latent(
            representation,
            replace(self.plan, labels=stored),
            thresholds=settings.thresholds,
            max_bytes=self.max_bytes,
            progress=self.reports.export,
            **common,
        )


def _check_parameterization(configuration: Configuration) -> None:
    """Raises RddInputError for settings without effect, and for what only the export would find."""
    export = configuration.export
    if configuration.samples.parameterization == LATENT:
        if export.number != PLAIN_NUMBER:
            raise RddInputError(
                f"export.number: {export.number!r}, but latents are integers; leave it out, or set "
                f"samples.parameterization = {PARAMETERIZATIONS[1]!r}"
            )
        return
    if export.target_bpc is not None:
        raise RddInputError(
            f"export.target_bpc: {export.target_bpc:g}, but the size of plain pixels is given by their number; leave "
            f"it out, or set samples.parameterization = {LATENT!r}"
        )
