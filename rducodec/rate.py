"""Every bit of a file accounted for (spec, "Counting bits")."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rducodec.bitstream.container import PREFIX_BYTES
from rducodec.bitstream.limits import DEFAULT_LIMITS, Limits
from rducodec.digest import SLICE_CHECK_BYTES
from rducodec.entropy import tables
from rducodec.entropy.plain_coder import Decoder
from rducodec.entropy.range_coder import RangeDecoder
from rducodec.labels import error_bound, published_bound_bits
from rducodec.model import LatentConfig
from rducodec.reader import Dataset, Progress, no_progress, read
from rducodec.weights import decode_codes, information_bits

BITS_PER_KB = 8 * 1024  # the kB of the literature is 1024 bytes
PARTS = ("header", "labels", "entropy_networks", "decoder_networks", "latents", "framing")
MODELLED_PARTS = ("entropy_networks", "decoder_networks", "latents")


@dataclass(frozen=True)
class SoftLabelRate:
    """What the soft labels of a file take, of its labels section, and Eq. 17 of the paper beside it."""

    num_bits: int  # total, check and payload
    bits_per_label: float
    num_classes: int
    total: int  # of the counts of a label
    error: float  # the most by which a probability that was rounded to these counts changed
    bound_bits: float  # (K - 1) log2(1 / error) for one label

    @staticmethod
    def of(dataset: Dataset) -> SoftLabelRate | None:
        """None where labels are hard only."""
        section, header = dataset.soft_section, dataset.header
        if section is None:
            return None
        num_bits = 8 * section.num_bytes
        classes = header.num_classes
        bound = published_bound_bits(section.total, classes)
        error = error_bound(section.total, classes)
        return SoftLabelRate(num_bits, num_bits / header.num_samples, classes, section.total, error, bound)


@dataclass(frozen=True)
class Rate:
    """Bits of a file and where they are.

    `parts` has the six names of `PARTS`, integers that sum to `file_bits`: stored header; labels section; networks;
    latents (raw profile: the samples); prefix and slice checks. A payload is one coded stream of networks and latents:
    the networks get their information rounded up to whole bits, the latents all the rest, so what the coder wastes
    counts as latents. `information_bits` is -log2 of the frequencies of all symbols under the file's own tables
    (empty for the raw profile, which has no model). `soft_labels` says more about that part of the labels.
    """

    file_bits: int
    num_classes: int
    parts: dict[str, int]
    information_bits: dict[str, float]
    soft_labels: SoftLabelRate | None = None

    @property
    def total_bits(self) -> int:
        """Bits of the whole file."""
        return self.file_bits

    @property
    def bpc_bits(self) -> float:
        """Bits per class: the whole file divided by its classes."""
        return self.file_bits / self.num_classes

    @property
    def bpc_kb(self) -> float:
        """Bits per class in kB of 1024 bytes."""
        return self.bpc_bits / BITS_PER_KB

    @property
    def overhead(self) -> dict[str, float]:
        """Coded bits over information bits, minus 1, for networks, latents and both together (`payload`)."""
        if not self.information_bits:
            return {}
        networks = MODELLED_PARTS[:2]
        groups = {"networks": networks, "latents": MODELLED_PARTS[2:], "payload": MODELLED_PARTS}
        return {name: self._excess(members) for name, members in groups.items()}

    def _excess(self, members: tuple[str, ...]) -> float:
        information = sum(self.information_bits[name] for name in members)
        return sum(self.parts[name] for name in members) / information - 1


class _MeteredDecoder(Decoder):
    """A range decoder that adds up the information of what it decodes."""

    def __init__(self, payload: bytes | memoryview) -> None:
        self._decoder = RangeDecoder(payload)
        self.num_bits = 0.0

    def decode(self, rows: np.ndarray) -> np.ndarray:
        symbols = self._decoder.decode(rows)
        taken = np.take_along_axis(rows, symbols[:, None].astype(np.int64), axis=1).astype(np.float64) + 1
        self.num_bits += tables.PRECISION * len(symbols) - float(np.log2(taken).sum())
        return symbols

    def finish(self) -> None:
        self._decoder.finish()


def _information(dataset: Dataset, config: LatentConfig, threads: int | None, progress: Progress) -> dict[str, float]:
    """Bits of `MODELLED_PARTS` under the tables that the file uses."""
    meters: list[_MeteredDecoder] = []

    def metered(payload: memoryview) -> Decoder:
        meters.append(_MeteredDecoder(payload))
        return meters[-1]

    parts = dataset.latent_slices(threads=threads, decoder=metered, progress=progress)
    shapes, cut = config.tensor_shapes(), len(config.entropy_shapes())
    entropy, decoder = [], []
    for entry, part in zip(dataset.slices, parts, strict=True):
        stored = dataset.stored_tensors(entry)  # a network that is shared counts where it is stored
        bits = np.zeros(len(shapes))
        if shapes[stored]:
            keys = dataset.key_places(entry)
            codes = decode_codes(RangeDecoder(dataset.payload(entry)), shapes[stored], keys)
            bits[stored] = information_bits(part.tensors()[stored], codes, keys)
        entropy.append(float(bits[:cut].sum()))
        decoder.append(float(bits[cut:].sum()))
    networks = math.fsum(entropy) + math.fsum(decoder)
    latents = math.fsum(meter.num_bits for meter in meters) - networks
    return dict(zip(MODELLED_PARTS, (math.fsum(entropy), math.fsum(decoder), latents), strict=True))


def _payload_parts(payload_bits: int, information: dict[str, float]) -> dict[str, int]:
    """Whole bits of each part; they sum to `payload_bits`.

    A payload can be shorter than its information, since missing words read as 0: nothing becomes negative.
    """
    left = payload_bits
    parts = {}
    for name in MODELLED_PARTS[:-1]:
        parts[name] = min(math.ceil(information.get(name, 0.0)), left)
        left -= parts[name]
    return {**parts, MODELLED_PARTS[-1]: left}


def bpc(
    source: str | Path | bytes | Dataset,
    *,
    limits: Limits = DEFAULT_LIMITS,
    threads: int | None = None,
    progress: Progress = no_progress,
) -> Rate:
    """The exact size of a file, part by part; the latents are decoded for it, the samples are not.

    >>> rducodec.bpc("digits.rdd").total_bits           # doctest: +SKIP
    262144

    `threads` of None means one a processor; `progress` is told numbers that add up to the number of samples.
    Raises what `read` and `Dataset.latent_slices` raise.
    """
    dataset = source if isinstance(source, Dataset) else read(source, limits=limits)
    container, header = dataset.container, dataset.header
    config = dataset.config
    information = _information(dataset, config, threads, progress) if isinstance(config, LatentConfig) else {}
    check_bytes = SLICE_CHECK_BYTES * len(dataset.slices)
    counted = {
        "header": 8 * (container.body_offset - PREFIX_BYTES),
        "labels": 8 * header.labels_bytes,
        "framing": 8 * (PREFIX_BYTES + check_bytes),
        **_payload_parts(8 * (sum(header.slice_bytes) - check_bytes), information),
    }
    parts = {name: counted[name] for name in PARTS}
    return Rate(8 * container.num_bytes, header.num_classes, parts, information, SoftLabelRate.of(dataset))
