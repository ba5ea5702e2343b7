"""Integers and labels to the bytes of a file; every file is decoded and compared before it is returned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import groupby

import numpy as np

from rducodec.bitstream.container import pack_container
from rducodec.bitstream.header import Header, LevelConfig, RawConfig, Texts, ValueSpace, pack_header
from rducodec.bitstream.limits import Limits
from rducodec.bitstream.sharing import first_equal
from rducodec.digest import SLICE_CHECK_BYTES, dataset_digest, slice_digest
from rducodec.entropy.latents import encode_latents
from rducodec.entropy.range_coder import RangeEncoder
from rducodec.errors import RddFormatError, RddInputError
from rducodec.labels import Labels, check_soft_labels, label_digest, pack_labels
from rducodec.model import LatentConfig, LatentSlice, QuantizedTensor
from rducodec.parallel import map_threads
from rducodec.raw import encode_raw
from rducodec.reader import Dataset
from rducodec.synthesis import synthesize
from rducodec.units import key_places, sorted_units
from rducodec.weights import encode_tensors, sorted_bits

MAX_GROUP_SAMPLES = 512  # samples of slices that are coded side by side


def _check_latent_slices(slices: Sequence[LatentSlice], config: LatentConfig) -> None:
    for index, part in enumerate(slices):
        shapes = tuple(tensor.values.shape for tensor in part.tensors())
        if shapes != config.tensor_shapes():
            raise RddInputError(f"slice {index}: network shapes {shapes}, expected {config.tensor_shapes()}")
        expected = tuple((part.num_samples, h, w) for h, w in config.grid_shapes())
        if tuple(grid.shape for grid in part.latents) != expected or part.num_samples == 0:
            raise RddInputError(f"slice {index}: latent shapes do not match {expected}")
        if any(grid.dtype != np.int16 for grid in part.latents):
            raise RddInputError(f"slice {index}: latents must be int16")


def _content(tensors: Iterable[QuantizedTensor]) -> tuple[tuple[int, bytes], ...]:
    """What is equal for networks that compute the same."""
    return tuple((tensor.frac_bits, tensor.values.astype("<i4").tobytes()) for tensor in tensors)


def network_owners(slices: Sequence[LatentSlice]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each slice the first with an equal entropy network, and the first with equal upsampling and synthesis."""
    return (
        first_equal([_content(part.entropy) for part in slices]),
        first_equal([_content((part.upsampling, *part.synthesis)) for part in slices]),
    )


def _unit_keys(slices: Sequence[LatentSlice], config: LatentConfig) -> int:
    """By how many keys the sorted units of these slices cost least, 0 where their order is of no use."""
    return sorted_bits(slices, config)[0]


def _latent_payloads(
    slices: Sequence[LatentSlice], config: LatentConfig, stored: Sequence[slice], unit_keys: int
) -> list[bytes]:
    """Range-coded bytes of every slice; neighbours with the same number of samples are coded together.

    `stored`: which of its tensors each slice stores.
    """
    payloads: list[bytes] = []
    pairs = zip(slices, stored, strict=True)
    for num_samples, group in groupby(pairs, key=lambda pair: pair[0].num_samples):
        same = list(group)
        step = max(1, MAX_GROUP_SAMPLES // num_samples)
        for begin in range(0, len(same), step):
            parts = [part for part, _ in same[begin : begin + step]]
            encoders = [RangeEncoder() for _ in parts]
            for encoder, (part, own) in zip(encoders, same[begin : begin + step], strict=True):
                encode_tensors(encoder, part.tensors()[own], key_places(config, own, unit_keys))
            encode_latents(encoders, [part.entropy for part in parts], [part.latents for part in parts], config)
            payloads += [encoder.finish() for encoder in encoders]
    return payloads


def _assemble(
    config: LatentConfig | RawConfig,
    shape: tuple[int, int, int],
    labels: Labels,
    samples: Sequence[np.ndarray],
    payloads: Sequence[bytes],
    space: ValueSpace | None,
    texts: Texts,
    owners: tuple[tuple[int, ...], tuple[int, ...]] = ((), ()),
    unit_keys: int = 0,
) -> bytes:
    digests = [slice_digest(part) for part in samples]
    sections = [digest[:SLICE_CHECK_BYTES] + data for digest, data in zip(digests, payloads, strict=True)]
    labels_section = pack_labels(labels)
    header = Header(
        num_classes=len(labels.counts),
        shape=shape,
        slice_sizes=tuple(len(part) for part in samples),
        labels_bytes=len(labels_section),
        slice_bytes=tuple(len(section) for section in sections),
        config=config,
        space=space,
        texts=texts,
        entropy_owners=owners[0],
        decoder_owners=owners[1],
        unit_keys=unit_keys,
    )
    digest = dataset_digest(digests, labels.sequence(), label_digest(labels))
    return pack_container(pack_header(header), [labels_section, *sections], digest)


def _written(data: bytes) -> Dataset:
    """The file that was just made, read without limits: what its author cannot read must not be published."""
    unlimited = 1 << 80
    try:
        return Dataset(data, limits=Limits(*[unlimited] * len(fields(Limits))))
    except RddFormatError as error:
        raise RddInputError(f"cannot be written: {error}") from error


def _check_soft_labels(dataset: Dataset, labels: Labels) -> None:
    """The soft labels of the file that was just made are those that went into it."""
    decoded = dataset.label_set.soft
    if labels.soft is not None and (decoded is None or not np.array_equal(decoded.counts, labels.soft.counts)):
        raise RuntimeError("the soft labels do not decode to what was encoded")


def pack_latent(
    slices: Sequence[LatentSlice],
    labels: Labels,
    config: LatentConfig,
    *,
    space: ValueSpace | None = None,
    texts: Texts | None = None,
) -> bytes:
    """The file of the latent profile for slices in class order.

    The slices tile the classes: those of class 0 first, each within one class. A network that equals the one of an
    earlier slice is stored once: the entropy network by itself, upsampling and synthesis together. Hidden units of the
    synthesis change places where that saves bytes; the samples do not depend on it. Raises RddInputError for what the
    format cannot hold.
    """
    check_soft_labels(labels)
    _check_latent_slices(slices, config)
    in_order = [sorted_units(part) for part in slices]
    owners = network_owners(in_order)
    unit_keys = _unit_keys([part for index, part in enumerate(in_order) if owners[1][index] == index], config)
    if unit_keys:
        slices = in_order
    else:
        owners = network_owners(slices)
    stored = [
        config.stored_tensors(entropy=entropy == index, decoder=decoder == index)
        for index, (entropy, decoder) in enumerate(zip(*owners, strict=True))
    ]
    try:
        payloads = _latent_payloads(slices, config, stored, unit_keys)
        samples = map_threads(lambda part: synthesize(part, config), slices, None)
    except RddFormatError as error:  # networks that no reader may compute
        raise RddInputError(f"cannot be written: {error}") from error
    shape = (config.channels, config.height, config.width)
    data = _assemble(config, shape, labels, samples, payloads, space, texts or Texts(), owners, unit_keys)
    dataset = _written(data)
    _check_soft_labels(dataset, labels)
    decoded = dataset.latent_slices()
    for index, (part, again) in enumerate(zip(slices, decoded, strict=True)):
        same_latents = all(np.array_equal(a, b) for a, b in zip(part.latents, again.latents, strict=True))
        pairs = zip(part.tensors(), again.tensors(), strict=True)
        if not same_latents or any(a.frac_bits != b.frac_bits or (a.values != b.values).any() for a, b in pairs):
            raise RuntimeError(f"slice {index} does not decode to what was encoded")
    return data


def _checked_raw(samples: np.ndarray, config: RawConfig) -> np.ndarray:
    """Samples in memory as this machine likes them; RddInputError for a type or value that `config` cannot hold."""
    kinds, expected = ("f", f"float{config.bits}") if config.is_float else ("ui", "integers")
    wrong_size = config.is_float and samples.dtype.itemsize * 8 != config.bits
    if samples.ndim != 4 or samples.dtype.kind not in kinds or wrong_size:
        raise RddInputError(
            f"samples of type {samples.dtype} and shape {samples.shape}: {expected} (n, c, h, w) expected"
        )
    if config.is_float:
        wrong, allowed = ~np.isfinite(samples), "only finite values can be stored"
    else:
        wrong, allowed = (
            (samples < 0) | (samples >> config.bits > 0),
            f"{config.bits} bits hold 0..{2**config.bits - 1}",
        )
    if wrong.any():
        where = np.argwhere(wrong)[0].tolist()
        raise RddInputError(f"sample value at {where} is {samples[tuple(where)]}; {allowed}")
    return np.ascontiguousarray(samples, samples.dtype.newbyteorder("=") if config.is_float else None)


def pack_raw(
    samples: np.ndarray,
    labels: Labels,
    config: RawConfig,
    *,
    slice_size: int | None = None,
    space: ValueSpace | None = None,
    texts: Texts | None = None,
) -> bytes:
    """The file of the raw profile for samples (n, channels, height, width), delivered with `labels.sequence()`.

    Unsigned integers below 2**config.bits, or finite floats of config.bits bits; for a LevelConfig, a slice (and a
    channel, where channels have tables of their own) has at most 2**index_bits different ones, and -0 becomes 0.
    Raises RddInputError.
    """
    if len(samples) != labels.num_samples or not len(samples):
        raise RddInputError(f"{len(samples)} samples for {labels.num_samples} labels")
    check_soft_labels(labels)
    samples = _checked_raw(samples, config)
    if isinstance(config, LevelConfig):
        samples = samples + samples.dtype.type(0)  # -0 is not a level
    parts = [samples[rows] for rows in slice_rows(labels, slice_size)]
    data = pack_raw_slices(parts, labels, config, space=space, texts=texts)
    dataset = _written(data)
    _check_soft_labels(dataset, labels)
    if not np.array_equal(dataset.stored_samples(), samples):
        raise RuntimeError("the file does not decode to what was encoded")
    return data


def slice_rows(labels: Labels, slice_size: int | None = None) -> list[np.ndarray]:
    """Which samples, in delivered order, each slice holds; slices of None make one a class."""
    by_file = np.argsort(labels.file_positions())
    bounds = _slices_of_classes(labels.counts, slice_size or int(labels.counts.max()))
    return [by_file[begin : begin + size] for begin, size in bounds]


def pack_raw_slices(
    parts: Sequence[np.ndarray],
    labels: Labels,
    config: RawConfig,
    *,
    space: ValueSpace | None = None,
    texts: Texts | None = None,
) -> bytes:
    """The file of the raw profile for slices of samples (n, channels, height, width) in class order.

    The samples are those that `config` holds; the caller has checked them and compares what is written.
    """
    payloads = map_threads(lambda part: encode_raw(part, config), parts, None)
    channels, height, width = parts[0].shape[1:]
    return _assemble(config, (channels, height, width), labels, parts, payloads, space, texts or Texts())


def _slices_of_classes(counts: np.ndarray, slice_size: int) -> list[tuple[int, int]]:
    """(first sample, samples) of slices of at most `slice_size` samples, each within one class."""
    result, begin = [], 0
    for count in counts.tolist():
        for offset in range(0, count, slice_size):
            result.append((begin + offset, min(slice_size, count - offset)))
        begin += count
    return result
