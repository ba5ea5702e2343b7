"""From a source to a file: samples into slices, the header around them, and the training or lossless coding between."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rducodec.bitstream.container import pack_container
from rducodec.bitstream.header import Header, LevelConfig, Texts, ValueSpace, pack_header
from rducodec.digest import SLICE_CHECK_BYTES
from rducodec.errors import RddInputError, RddVersionError
from rducodec.interop.pool import SPACE, Pool
from rducodec.interop.source import SourceSet
from rducodec.labels import LabelPrecision, Labels, SoftLabels, pack_labels, soft_labels_of
from rducodec.levels import quantize_levels
from rducodec.model import LatentConfig, LatentSlice
from rducodec.quantization import DEFAULT_MAX_MSE, quantize, squared_error
from rducodec.reader import Dataset
from rducodec.shape import NETWORKS, LatentShape, num_scales_for
from rducodec.writer import pack_latent, pack_raw, slice_rows

if TYPE_CHECKING:
    from rducodec.training import OverfitSettings
    from rducodec.training import Progress as TrainingProgress

LEVEL_BITS = 16  # of a learned level: a float16 is much finer than the distance between 256 levels
LEAST_SQUARED_ERROR = 1e-20  # an error of 0 has no logarithm
PAYLOAD_END_BITS = 48  # that the end of a payload takes over its information, at most
SLICE_BYTES_GUESS = 1 << 14  # for the size of a header before its slices are known


@dataclass(frozen=True)
class Plan:
    """A source cut into slices, with everything of the file but the payloads."""

    config: LatentConfig
    labels: Labels
    parts: list[np.ndarray] = field(repr=False)  # float32 samples of each slice
    classes: list[int]  # of each slice
    fixed_bits: int  # of prefix, header, labels and checks, within a few bytes
    networks: str = NETWORKS[0]  # as in LatentShape

    def trained_parts(self) -> list[np.ndarray]:
        """Samples of each set of networks: those of a slice, or all of them."""
        return self.parts if self.networks == NETWORKS[0] else [np.concatenate(self.parts)]

    def trained_classes(self) -> list[int]:
        """Of each set of networks; one for all classes where they share theirs."""
        return self.classes if self.networks == NETWORKS[0] else [0]

    def num_parameters(self) -> int:
        """Of all networks that are trained."""
        return sum(math.prod(shape) for shape in self.config.tensor_shapes()) * len(self.trained_classes())

    def trained_slices(self, slices: Sequence[LatentSlice]) -> list[LatentSlice]:
        """Slices of a file of this plan as they are trained: one for each set of networks."""
        if self.networks == NETWORKS[0]:
            return list(slices)
        grids = zip(*(part.latents for part in slices), strict=True)
        return [replace(slices[0], latents=tuple(np.concatenate(scale) for scale in grids))]

    def file_slices(self, trained: Sequence[LatentSlice]) -> list[LatentSlice]:
        """Inverse of `trained_slices`."""
        if self.networks == NETWORKS[0]:
            return list(trained)
        ends = np.cumsum([len(part) for part in self.parts])[:-1]
        scales = [np.split(grid, ends) for grid in trained[0].latents]
        return [replace(trained[0], latents=latents) for latents in zip(*scales, strict=True)]


def labels_of(source: SourceSet, *, keep_order: bool, precision: LabelPrecision | None = None) -> Labels:
    """Labels as they will be stored; an order that is class after class needs no keeping.

    `precision` is that of soft labels, for sources that have them. Raises RddInputError where it cannot be reached.
    """
    counts = np.bincount(source.labels, minlength=source.num_classes)
    ordered = keep_order and bool((np.diff(source.labels) < 0).any())
    hard = Labels(counts, source.labels if ordered else None)
    if source.soft_labels is None:
        return hard
    in_file = np.argsort(source.labels, kind="stable")
    soft = soft_labels_of(source.soft_labels[in_file], counts, precision or LabelPrecision())
    return replace(hard, soft=SoftLabels(soft.total, soft.counts[hard.file_positions()]))


def _with_names(texts: Texts, source: SourceSet) -> Texts:
    return Texts(
        texts.name,
        texts.class_names or source.class_names,
        texts.class_ids,
        texts.recipe,
        texts.licence,
        texts.source,
    )


def encode_raw_source(
    source: SourceSet,
    *,
    slice_size: int | None = None,
    keep_order: bool = False,
    bits: int | None = None,
    texts: Texts | None = None,
    precision: LabelPrecision | None = None,
) -> bytes:
    """The file of the raw profile. `slice_size` of None makes one slice a class.

    Every sample is kept exactly; or, with `bits`, each value becomes the nearest of 2**bits levels, float16, that are
    learned from the samples of its slice. Soft labels are kept with `precision`. Raises RddInputError.
    """
    labels = labels_of(source, keep_order=keep_order, precision=precision)
    samples = source.raw_samples() if bits is None else source.float_samples()
    if labels.order is None:
        samples = samples[np.argsort(source.labels, kind="stable")]
    fields: dict[str, Any] = {"space": source.space, "texts": _with_names(texts or Texts(), source)}
    if bits is None:
        return pack_raw(samples, labels, source.raw_config(), slice_size=slice_size, **fields)
    return pack_levels(samples, labels, bits, slice_size=slice_size, **fields)


def pack_levels(
    samples: np.ndarray, labels: Labels, bits: int, *, slice_size: int | None = None, **fields: Any
) -> bytes:
    """The file of floats (N, C, H, W), class after class, as 2**bits levels; for all channels or each its own.

    The better one is kept: a bit a value divides the squared error by four, so files are compared by
    bits + values * log2(error) / 2. `fields` are those of `pack_raw`. Raises RddInputError.
    """
    best: tuple[float, bytes] = (np.inf, b"")
    for groups in sorted({1, samples.shape[1]}):
        config = LevelConfig(is_float=True, bits=LEVEL_BITS, index_bits=bits, groups=groups)
        rounded = np.empty(samples.shape, np.float16)
        for rows in slice_rows(labels, slice_size):
            rounded[rows] = quantize_levels(samples[rows], config)
        data = pack_raw(rounded, labels, config, slice_size=slice_size, **fields)
        error = max(float(np.square(rounded.astype(np.float64) - samples).mean()), LEAST_SQUARED_ERROR)
        cost = 8 * len(data) + samples.size * np.log2(error) / 2
        if cost < best[0]:
            best = (cost, data)
    return best[1]


def plan_latent(
    source: SourceSet,
    shape: LatentShape,
    *,
    keep_order: bool = False,
    texts: Texts | None = None,
    precision: LabelPrecision | None = None,
) -> Plan:
    """Slices of nearly equal size, at most `slice_size`, each of one class; and what surrounds them.

    Raises RddInputError for what the header cannot hold, before any work is done.
    """
    samples = source.float_samples()
    channels, height, width = samples.shape[1:]
    config = LatentConfig(
        channels,
        height,
        width,
        num_scales=shape.num_scales or num_scales_for(height, width),
        context_size=shape.context_size,
        entropy_depth=shape.entropy_depth,
        synthesis_widths=shape.synthesis_widths,
    )
    if shape.networks not in NETWORKS:
        raise RddInputError(f"networks: {shape.networks!r}, expected one of {', '.join(NETWORKS)}")
    if shape.slice_size < 1:
        raise RddInputError(f"slice size: {shape.slice_size}, expected at least 1")
    labels = labels_of(source, keep_order=keep_order, precision=precision)
    parts, classes = [], []
    for label in range(source.num_classes):
        rows = np.flatnonzero(source.labels == label)
        if not len(rows):
            continue
        for chosen in np.array_split(rows, -(-len(rows) // shape.slice_size)):
            parts.append(samples[chosen])
            classes.append(label)
    labels_section = pack_labels(labels)
    header = Header(
        num_classes=source.num_classes,
        shape=(channels, height, width),
        slice_sizes=tuple(len(part) for part in parts),
        labels_bytes=len(labels_section),
        slice_bytes=(SLICE_BYTES_GUESS,) * len(parts),
        config=config,
        space=source.space,
        texts=_with_names(texts or Texts(), source),
        unit_keys=int(bool(config.synthesis_widths)),  # a field that small networks do without
    )
    fixed = len(pack_container(pack_header(header), [labels_section], bytes(16))) + SLICE_CHECK_BYTES * len(parts)
    further = 0 if shape.networks == NETWORKS[0] else len(parts) - 1  # payloads beside that of the one trained slice
    return Plan(config, labels, parts, classes, 8 * fixed + further * PAYLOAD_END_BITS, shape.networks)


def payload_target(plan: Plan, file_bits_per_class: float) -> float:
    """Bits that the slices of a class may take if the whole file is to have `file_bits_per_class`.

    All slices together count as one class where they share their networks. Raises RddInputError where prefix, header
    and labels alone take that much.
    """
    target = file_bits_per_class * len(plan.labels.counts) - plan.fixed_bits
    if target <= 0:
        per_class = plan.fixed_bits / len(plan.labels.counts)
        raise RddInputError(
            f"target of {file_bits_per_class:.0f} bits per class: header, labels and framing take {per_class:.0f}; "
            "choose a larger size, or shorter names and texts"
        )
    return target / len(set(plan.trained_classes()))


def encode_latent_source(
    source: SourceSet,
    plan: Plan,
    settings: OverfitSettings,
    *,
    texts: Texts | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> bytes:
    """The file of the latent profile for a plan made from `source`: trained, quantised, coded, decoded and compared.

    Raises RddInputError, and RddVersionError where torch is missing.
    """
    slices = _training().overfit(
        plan.trained_parts(),
        plan.config,
        settings,
        classes=plan.trained_classes(),
        checkpoint=checkpoint,
        progress=progress,
    )
    return pack_latent(
        plan.file_slices(slices),
        plan.labels,
        plan.config,
        space=source.space,
        texts=_with_names(texts or Texts(), source),
    )


def encode_pool(
    pool: Pool,
    *,
    max_mse: float = DEFAULT_MAX_MSE,
    move_latents: bool = False,
    num_classes: int | None = None,
    space: ValueSpace | None = None,
    texts: Texts | None = None,
    progress: Callable[[float], object] = lambda _: None,
) -> tuple[bytes, float]:
    """The file of a published checkpoint, and the mean squared error of its samples to those of the float networks.

    The latents are those of the checkpoint, or some of them others with `move_latents`, where that saves more bytes.
    The networks are quantised so that the error of no slice is above `max_mse`; 0 keeps the finest steps. `space` of
    None means pixels, which is what pools hold. `progress` is told numbers that add up to the number of slices, from
    any thread. Raises RddInputError.
    """
    labels = pool.labels(num_classes)
    slices = quantize(pool.slices, pool.config, max_mse=max_mse, move_latents=move_latents, progress=progress)
    data = pack_latent(slices, labels, pool.config, space=space or SPACE, texts=texts)
    pairs = zip(slices, pool.slices, strict=True)
    errors = [part.num_samples * squared_error(part, source, pool.config) for part, source in pairs]
    return data, sum(errors) / labels.num_samples


def reconstruction_error(source: SourceSet, data: bytes) -> float:
    """Mean squared error of the decoded samples of a file made from `source`, in its value space."""
    dataset = Dataset(data)
    samples = source.float_samples().astype(np.float64)
    if not dataset.keeps_order:
        samples = samples[np.argsort(source.labels, kind="stable")]
    return float(np.square(dataset.samples() - samples).mean())


def overfit_settings(**fields: Any) -> OverfitSettings:
    """Settings of the training. Raises RddInputError for a value, RddVersionError where torch is missing."""
    settings: OverfitSettings = _training().OverfitSettings(**fields)
    return settings


def _training() -> Any:
    """The module that needs torch, imported where a training is asked for and nowhere else."""
    try:
        return import_module("rducodec.training")
    except ImportError as error:
        raise RddVersionError(
            f"the latent profile needs the extra `train`, the raw one does not ({error}): pip install 'rducodec[train]'"
        ) from error
