"""A `.rdd` file opened for reading: parsed and checked at once, decoded on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from rducodec.bitstream.container import unpack_container
from rducodec.bitstream.header import Header, RawConfig, unpack_header
from rducodec.bitstream.limits import DEFAULT_LIMITS, Limits
from rducodec.digest import SLICE_CHECK_BYTES, dataset_digest, slice_digest
from rducodec.entropy.latents import SliceDecoder, decode_latents, decoder_class
from rducodec.entropy.plain_coder import Decoder
from rducodec.entropy.range_coder import RangeDecoder
from rducodec.errors import RddDigestError, RddError, RddFormatError, RddIOError
from rducodec.labels import Labels, SoftLabels, SoftSection, unpack_labels
from rducodec.model import UPSAMPLING_SIZE, LatentConfig, LatentSlice, QuantizedTensor
from rducodec.parallel import map_threads
from rducodec.raw import coded_work, decode_raw
from rducodec.synthesis import synthesize
from rducodec.units import Places, key_places
from rducodec.weights import decode_tensors

MAX_GROUP_SAMPLES = 512  # samples of slices that are decoded side by side, one wavefront for all
# A symbol has at most TOTAL - 15 * FLOOR of TOTAL, so it costs more than 15 * 2**-15 bits.
MIN_SYMBOL_COST = 15  # in units of 2**-15 bits
PAYLOAD_SLACK_BITS = 64
BYTES_PER_SAMPLE_VALUE = 4
BYTES_PER_LABEL_VALUE = 4
WORK_PER_LABEL_VALUE = 1 << 14  # multiplications in the time of a number of a soft label, which is decoded bit by bit
NOT_STORED = QuantizedTensor(np.empty(0, np.int32), 0)  # in the place of a tensor that a slice shares

Networks = tuple[QuantizedTensor, ...]  # tensors in stream order
Progress = Callable[[float], object]  # told how many samples are done since the last call, from any thread


def no_progress(_: float) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class SliceEntry:
    """Where a slice lies in the file and which samples it holds."""

    index: int
    label: int
    first_sample: int  # in class-after-class order
    num_samples: int
    offset_bytes: int
    num_bytes: int


def work_estimate(config: LatentConfig) -> int:
    """Multiplications that decoding one sample takes."""
    taps = UPSAMPLING_SIZE * UPSAMPLING_SIZE // 4
    pixel = _num_weights(config.synthesis_shapes()) + 2 * config.num_scales * taps
    return config.num_latents() * _num_weights(config.entropy_shapes()) + config.height * config.width * pixel


def _num_weights(shapes: Iterable[tuple[int, ...]]) -> int:
    """Numbers of the tensors that are no biases."""
    return sum(math.prod(shape) for shape in shapes if len(shape) > 1)


class Dataset:
    """A distilled dataset in a `.rdd` file.

    >>> import rducodec
    >>> ds = rducodec.read("digits.rdd")                # doctest: +SKIP
    >>> ds.samples().shape, ds.labels.shape             # doctest: +SKIP
    ((640, 1, 8, 8), (640,))
    """

    def __init__(self, data: bytes | memoryview, *, limits: Limits = DEFAULT_LIMITS) -> None:
        """Parse and check bytes; nothing is decoded yet.

        Raises RddFormatError, RddVersionError, RddLimitError.
        """
        limits.check("max_file_bytes", len(data))
        self.container = unpack_container(data, limits)
        self.header: Header = unpack_header(self.container.header)
        self._check_limits(limits)
        self.slices: tuple[SliceEntry, ...] = ()
        self._hard_labels, self._soft_section = self._read_labels()
        if self._soft_section is not None:
            self._check_soft_limits(limits)
        self.slices = tuple(self._entries())
        if isinstance(self.config, LatentConfig):
            self._check_payload_sizes(self.config)
        else:
            limits.check("max_work", self._coded_work(self.config))

    @property
    def config(self) -> LatentConfig | RawConfig:
        """Geometry and networks of the latent profile, or the number type of the raw one."""
        return self.header.config

    @property
    def labels(self) -> np.ndarray:
        """int64 class of every sample, in delivered order, shape (samples,)."""
        return self._hard_labels.sequence()

    @property
    def label_set(self) -> Labels:
        """Labels as stored: counts, the order of the source if it is kept, soft labels (which are decoded for it)."""
        return self._hard_labels if self._soft_section is None else replace(self._hard_labels, soft=self._soft[0])

    @property
    def class_counts(self) -> np.ndarray:
        """int64 samples of each class, shape (classes,)."""
        return self._hard_labels.counts

    @property
    def soft_section(self) -> SoftSection | None:
        """Soft labels as stored, not decoded; None where labels are hard."""
        return self._soft_section

    @property
    def keeps_order(self) -> bool:
        """Whether samples are delivered in the order of the source, not class after class."""
        return self._hard_labels.order is not None

    @property
    def soft_labels(self) -> np.ndarray | None:
        """float32 probabilities (samples, classes) in delivered order; None where labels are hard only.

        Each is a count over their total, correctly rounded once. Decoded at the first use. Raises RddFormatError, and
        RddDigestError where they are not those that the file promises.
        """
        return None if self._soft_section is None else self._soft[0].probabilities()

    @property
    def label_counts(self) -> np.ndarray | None:
        """int32 soft labels as the file holds them, shape (samples, classes): each row adds up to `label_total`."""
        return None if self._soft_section is None else self._soft[0].counts

    @property
    def label_total(self) -> int | None:
        """What the counts of a soft label add up to; None without soft labels."""
        return None if self._soft_section is None else self._soft_section.total

    @cached_property
    def _soft(self) -> tuple[SoftLabels, bytes]:
        """Decoded soft labels in delivered order, and their digest."""
        assert self._soft_section is not None
        return self._soft_section.decode(self._hard_labels)

    @property
    def sample_digest(self) -> bytes:
        """The 16-byte digest of all decoded samples and labels that the file promises."""
        return self.container.sample_digest

    def _check_limits(self, limits: Limits) -> None:
        values = int(np.prod((self.header.num_samples, *self.header.shape), dtype=object))
        limits.check("max_sample_pixels", self.header.shape[1] * self.header.shape[2])
        limits.check("max_output_bytes", values * BYTES_PER_SAMPLE_VALUE)
        if isinstance(self.config, LatentConfig):
            limits.check("max_work", self.header.num_samples * work_estimate(self.config))
        declared = self.header.labels_bytes + sum(self.header.slice_bytes)
        if declared != len(self.container.body):
            raise RddFormatError(
                f"sections: {declared} bytes declared, {len(self.container.body)} in the file "
                f"after byte {self.container.body_offset}"
            )

    def _check_soft_limits(self, limits: Limits) -> None:
        """Samples and soft labels together against the limits, before any soft label is decoded."""
        numbers = self.header.num_samples * self.header.num_classes
        values = int(np.prod((self.header.num_samples, *self.header.shape), dtype=object))
        limits.check("max_output_bytes", values * BYTES_PER_SAMPLE_VALUE + numbers * BYTES_PER_LABEL_VALUE)
        limits.check("max_work", self.work())

    def work(self) -> int:
        """What decoding everything takes, in multiplications."""
        config = self.config
        latents = self.header.num_samples * work_estimate(config) if isinstance(config, LatentConfig) else 0
        numbers = 0 if self._soft_section is None else self.header.num_samples * self.header.num_classes
        return latents + numbers * WORK_PER_LABEL_VALUE

    def _read_labels(self) -> tuple[Labels, SoftSection | None]:
        section = self.container.body[: self.header.labels_bytes]
        return unpack_labels(section, self.header.num_classes, self.header.num_samples)

    def _entries(self) -> Iterable[SliceEntry]:
        """Slices in file order; each must lie within one class."""
        ends = np.cumsum(self._hard_labels.counts)
        first, offset = 0, self.container.body_offset + self.header.labels_bytes
        for index, (size, num_bytes) in enumerate(zip(self.header.slice_sizes, self.header.slice_bytes, strict=True)):
            label = int(np.searchsorted(ends, first, side="right"))
            if first + size > ends[label]:
                raise RddFormatError(f"slice {index}: {size} samples cross the end of class {label}")
            if num_bytes <= SLICE_CHECK_BYTES:
                raise RddFormatError(f"slice {index} at byte {offset}: only {num_bytes} bytes")
            yield SliceEntry(index, label, first, size, offset, num_bytes)
            first, offset = first + size, offset + num_bytes

    def _check_payload_sizes(self, config: LatentConfig) -> None:
        sizes = [math.prod(shape) for shape in config.tensor_shapes()]
        parameters: dict[tuple[int, int], int] = {}  # of the tensors from .. to
        for entry in self.slices:
            payload_bits = 8 * (entry.num_bytes - SLICE_CHECK_BYTES) + PAYLOAD_SLACK_BITS
            stored = self.stored_tensors(entry)
            bounds = (stored.start, stored.stop)
            if bounds not in parameters:
                parameters[bounds] = sum(sizes[stored])
            symbols = parameters[bounds] + entry.num_samples * config.num_latents()
            if symbols * MIN_SYMBOL_COST > payload_bits << 15:
                raise RddFormatError(
                    f"slice {entry.index} at byte {entry.offset_bytes}: {entry.num_bytes} bytes cannot hold "
                    f"{symbols} parameters and latents"
                )

    def _coded_work(self, config: RawConfig) -> int:
        parts = ((self.payload(entry), (entry.num_samples, *self.header.shape)) for entry in self.slices)
        return sum(coded_work(data, shape, config) for data, shape in parts)

    def _section(self, entry: SliceEntry) -> tuple[bytes, memoryview]:
        """(sample check, data) of a slice."""
        begin = entry.offset_bytes - self.container.body_offset
        section = self.container.body[begin : begin + entry.num_bytes]
        return bytes(section[:SLICE_CHECK_BYTES]), section[SLICE_CHECK_BYTES:]

    def payload(self, entry: SliceEntry) -> memoryview:
        """Coded bytes of a slice, without its sample check. Raises RddFormatError where there are none."""
        return self._section(entry)[1]

    def stored_tensors(self, entry: SliceEntry) -> slice:
        """Which of `LatentConfig.tensor_shapes` the payload of a slice holds: the others are those of earlier slices.

        Raises TypeError for a file of the raw profile.
        """
        if not isinstance(self.config, LatentConfig):
            raise TypeError("a file of the raw profile has no networks")
        entropy, decoder = self.header.owners(entry.index)
        return self.config.stored_tensors(entropy=entropy == entry.index, decoder=decoder == entry.index)

    def key_places(self, entry: SliceEntry) -> Places:
        """Where the keys of sorted units are among the values of the tensors that a slice stores.

        Raises TypeError for a file of the raw profile.
        """
        stored = self.stored_tensors(entry)
        assert isinstance(self.config, LatentConfig)
        return key_places(self.config, stored, self.header.unit_keys)

    def _selected(self, classes: Iterable[int] | None) -> list[SliceEntry]:
        if classes is None:
            return list(self.slices)
        wanted = set(classes)
        unknown = sorted(label for label in wanted if not 0 <= label < self.header.num_classes)
        if unknown:
            raise ValueError(f"class {unknown[0]} does not exist, the file has 0..{self.header.num_classes - 1}")
        return [entry for entry in self.slices if entry.label in wanted]

    def latent_slices(
        self,
        classes: Iterable[int] | None = None,
        *,
        threads: int | None = None,
        decoder: Callable[[memoryview], Decoder] | None = None,
        progress: Progress = no_progress,
    ) -> list[LatentSlice]:
        """Integer latents and networks of the slices of these classes, in file order.

        Raises TypeError for a file of the raw profile, RddFormatError for data that breaks the specification.
        """
        config = self.config
        if not isinstance(config, LatentConfig):
            raise TypeError("a file of the raw profile has no latents")
        entries = self._selected(classes)
        new_decoder = decoder or decoder_class(config, [entry.num_samples for entry in entries])
        alone = isinstance(new_decoder, type) and issubclass(new_decoder, SliceDecoder)
        groups = [[entry] for entry in entries] if alone else list(_groups(entries))
        shared = self._shared_networks(entries, config)

        def run(group: Sequence[SliceEntry]) -> list[LatentSlice]:
            parts = self._decode_group(group, config, new_decoder, shared)
            progress(sum(entry.num_samples for entry in group))
            return parts

        # The portable loop is many small calls that hold the interpreter: a second thread makes it slower.
        decoded = map_threads(run, groups, threads if alone else 1)
        return [part for group in decoded for part in group]

    def _shared_networks(self, entries: Iterable[SliceEntry], config: LatentConfig) -> dict[int, Networks]:
        """Networks that these slices use and others store, by the number of the slice that stores them.

        They are the first that a payload holds: the rest of it is not decoded for them.
        """
        owners = {owner for entry in entries for owner in self.header.owners(entry.index) if owner != entry.index}
        shared = {}
        for owner in sorted(owners):
            entry = self.slices[owner]
            try:
                decoder = RangeDecoder(self._section(entry)[1])
                shapes = config.tensor_shapes()[self.stored_tensors(entry)]
                stored = decode_tensors(decoder, shapes, self.key_places(entry))
            except RddFormatError as error:
                raise RddFormatError(f"slice {owner} at byte {entry.offset_bytes}: {error}") from error
            shared[owner] = self._split(entry, stored, config)
        return shared

    def _split(self, entry: SliceEntry, stored: Networks, config: LatentConfig) -> Networks:
        """The tensors that a slice stores in the places of all tensors; the others are of no meaning."""
        missing = len(config.tensor_shapes()) - len(stored)
        if not missing:
            return stored
        filling = (NOT_STORED,) * missing
        return stored + filling if self.stored_tensors(entry).start == 0 else filling + stored

    def _complete(
        self, entry: SliceEntry, stored: Networks, config: LatentConfig, shared: dict[int, Networks]
    ) -> Networks:
        """All tensors of a slice, from those that it stores and those that it shares."""
        own, cut = self._split(entry, stored, config), len(config.entropy_shapes())
        entropy, decoder = (
            (own if owner == entry.index else shared[owner]) for owner in self.header.owners(entry.index)
        )
        return entropy[:cut] + decoder[cut:]

    def _decode_group(
        self,
        entries: Sequence[SliceEntry],
        config: LatentConfig,
        new_decoder: Callable[[memoryview], Decoder],
        shared: dict[int, Networks],
    ) -> list[LatentSlice]:
        """Slices side by side; where that fails, one by one, so that the error names the first that is wrong."""
        try:
            return self._decode_side_by_side(entries, config, new_decoder, shared)
        except RddFormatError:
            if len(entries) == 1:
                raise
        return [part for entry in entries for part in self._decode_side_by_side([entry], config, new_decoder, shared)]

    def _decode_side_by_side(
        self,
        entries: Sequence[SliceEntry],
        config: LatentConfig,
        new_decoder: Callable[[memoryview], Decoder],
        shared: dict[int, Networks],
    ) -> list[LatentSlice]:
        decoders, tensors = [], []
        cut, shapes = len(config.entropy_shapes()), config.tensor_shapes()
        first = entries[0]
        try:
            for entry in entries:
                decoders.append(new_decoder(self._section(entry)[1]))
                stored = decode_tensors(decoders[-1], shapes[self.stored_tensors(entry)], self.key_places(entry))
                tensors.append(self._complete(entry, stored, config, shared))
            grids = decode_latents(decoders, [part[:cut] for part in tensors], first.num_samples, config)
            for each in decoders:
                each.finish()
        except RddFormatError as error:
            raise RddFormatError(f"slice {first.index} at byte {first.offset_bytes}: {error}") from error
        return [
            LatentSlice(latents, part[:cut], part[cut], part[cut + 1 :])
            for latents, part in zip(grids, tensors, strict=True)
        ]

    def _decode(
        self,
        classes: Iterable[int] | None,
        threads: int | None,
        xp_array: Callable[[Any], Any],
        convert: Callable[[np.ndarray], np.ndarray],
        dtype: np.dtype,
        progress: Progress,
    ) -> np.ndarray:
        """Samples in delivered order, each slice checked, converted and put in its place as it is decoded."""
        wanted = None if classes is None else sorted(set(classes))
        entries = self._selected(wanted)
        delivered = self._hard_labels.file_positions()
        if wanted is not None:
            delivered = delivered[np.isin(self.labels, wanted)]
        place = np.full(self.header.num_samples, -1, np.int64)  # class-after-class number -> row of the result
        place[delivered] = np.arange(len(delivered))
        decode = self._slice_decoder(wanted, threads, xp_array, progress)
        share = 1.0 if isinstance(self.config, RawConfig) else 0.5  # of the work; the other half are the latents
        result = np.empty((len(delivered), *self.header.shape), dtype)

        def run(item: tuple[int, SliceEntry]) -> bytes:
            number, entry = item
            where = f"slice {entry.index} at byte {entry.offset_bytes}"
            try:
                samples = decode(number, entry)
            except RddFormatError as error:
                raise RddFormatError(f"{where}: {error}") from error
            digest = slice_digest(samples)
            if digest[:SLICE_CHECK_BYTES] != self._section(entry)[0]:
                raise RddDigestError(f"{where}: the decoded samples are not those that the file promises")
            result[place[entry.first_sample : entry.first_sample + entry.num_samples]] = convert(samples)
            progress(share * entry.num_samples)
            return digest

        digests = map_threads(run, list(enumerate(entries)), threads)
        if wanted is None:
            label_digest = b"" if self._soft_section is None else self._soft[1]
            if dataset_digest(digests, self.labels, label_digest) != self.sample_digest:
                raise RddDigestError("the decoded samples and labels are not those that the file promises")
        return result

    def _slice_decoder(
        self,
        classes: Iterable[int] | None,
        threads: int | None,
        xp_array: Callable[[Any], Any],
        progress: Progress,
    ) -> Callable[[int, SliceEntry], np.ndarray]:
        """A function from (number among the selected slices, slice) to the stored samples of the slice."""
        config = self.config
        if isinstance(config, RawConfig):
            shape = self.header.shape
            return lambda _, entry: decode_raw(self._section(entry)[1], (entry.num_samples, *shape), config)
        parts = self.latent_slices(classes, threads=threads, progress=lambda count: progress(count / 2))
        return lambda number, _: synthesize(parts[number], config, xp_array=xp_array)

    def stored_samples(
        self,
        classes: Iterable[int] | None = None,
        *,
        threads: int | None = None,
        xp_array: Callable[[Any], Any] = np.asarray,
        progress: Progress = no_progress,
    ) -> np.ndarray:
        """Samples as the file holds them, (n, channels, height, width), in delivered order.

        int32 in units of 2**-sample_frac_bits (latent profile), unsigned integers or floats (raw profile).
        `classes` selects whole classes; `threads` of None means one a processor; `xp_array` moves arrays to
        another library or device, with the same result; `progress` is told numbers that add up to the number of
        samples, from any thread. Raises RddFormatError, and RddDigestError where the samples are not those that the
        file promises.
        """
        return self._decode(classes, threads, xp_array, lambda samples: samples, _dtype_of(self.config), progress)

    def samples(
        self,
        classes: Iterable[int] | None = None,
        *,
        threads: int | None = None,
        xp_array: Callable[[Any], Any] = np.asarray,
        progress: Progress = no_progress,
    ) -> np.ndarray:
        """Samples as float32, (n, channels, height, width), in the value space that the header states.

        Arguments and errors are those of `stored_samples`. Each value is correctly rounded once.
        """
        return self._decode(classes, threads, xp_array, self._as_float32, np.dtype(np.float32), progress)

    def _as_float32(self, stored: np.ndarray) -> np.ndarray:
        config = self.config
        if isinstance(config, LatentConfig):
            return np.multiply(stored, np.float32(2.0**-config.sample_frac_bits), dtype=np.float32)
        if config.is_float:
            return stored.astype(np.float32)
        return np.divide(stored, np.float32(config.divisor), dtype=np.float32)

    def labels_of(self, classes: Iterable[int]) -> np.ndarray:
        """int64 labels of the samples that `samples(classes)` delivers."""
        return self.labels[self.rows_of(classes)]

    def rows_of(self, classes: Iterable[int]) -> np.ndarray:
        """bool (samples,): which of all samples `samples(classes)` delivers."""
        return np.isin(self.labels, sorted(set(classes)))


def _dtype_of(config: LatentConfig | RawConfig) -> np.dtype:
    if isinstance(config, LatentConfig):
        return np.dtype(np.int32)
    if config.is_float:
        return np.dtype(f"f{config.bits // 8}")
    return np.dtype(np.uint8 if config.bits <= 8 else np.uint16)


def _groups(entries: Sequence[SliceEntry]) -> Iterable[list[SliceEntry]]:
    """Neighbouring slices with the same number of samples, in groups that are decoded side by side."""
    for num_samples, same in groupby(entries, key=lambda entry: entry.num_samples):
        group = list(same)
        step = max(1, MAX_GROUP_SAMPLES // num_samples)
        for begin in range(0, len(group), step):
            yield group[begin : begin + step]


def read(path: str | Path | bytes, *, limits: Limits = DEFAULT_LIMITS) -> Dataset:
    """Open a file (or the bytes of one).

    Raises RddIOError where the system refuses, and what `Dataset` raises, then with the path as a note.
    """
    if isinstance(path, bytes):
        return Dataset(path, limits=limits)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(limits.max_file_bytes + 1)
    except OSError as error:
        raise RddIOError(error.errno, f"{path}: {error.strerror}") from error
    try:
        return Dataset(data, limits=limits)
    except RddError as error:
        error.add_note(str(path))
        raise
