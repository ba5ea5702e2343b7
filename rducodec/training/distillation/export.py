"""From trained floats to a file: quantisation at several thresholds, a size within the budget, the best one kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from rducodec.bitstream.header import RawConfig, Texts, ValueSpace
from rducodec.encoder import Plan, pack_levels
from rducodec.errors import RddInputError
from rducodec.labels import Labels
from rducodec.model import LatentSlice
from rducodec.reader import read
from rducodec.training.distillation.latent import LatentRepresentation
from rducodec.training.distillation.pixels import PixelRepresentation
from rducodec.training.export import THRESHOLD_STEP, coarser, coded_bits, export, quantize_networks
from rducodec.training.objective import Objective
from rducodec.training.parameters import SliceParameters
from rducodec.training.randomness import generator_for
from rducodec.training.trim import trimmed_to
from rducodec.writer import pack_latent, pack_raw

MAX_STEPS = 4  # thresholds between those asked for, where bytes are left
SPARE_SHARE = 0.005  # of the budget, that may be left over
MAX_FILES = 4  # written on the way to a size that uses the budget; more, where none is within it
WORD_BITS = 32  # of the range coder: so much less may be written, or nothing
BITS = " bits"  # end of the names in `PIXEL_NUMBERS` that say how many levels there are


@dataclass(frozen=True)
class Exported:
    """A file and what its quantisation changed."""

    data: bytes
    max_mse: float  # threshold of the networks' quantisation
    mse: float  # of its samples to those of the float representation, in its value space


@dataclass(frozen=True)
class _Candidate:
    """The representation at one threshold, within a number of bits."""

    slices: list[LatentSlice]
    threshold: float
    mse: float
    is_trimmed: bool


@dataclass(frozen=True)
class _Exporter:
    representation: LatentRepresentation
    objective: Objective  # its targets are the samples before quantisation
    reference: Tensor  # the same samples, (N, C, H, W)
    pack: Callable[[Sequence[LatentSlice]], bytes]
    networks: dict[float, tuple[SliceParameters, Tensor] | None] = field(default_factory=dict)  # by threshold

    def bits(self, slices: Sequence[LatentSlice]) -> float:
        return sum(coded_bits(slices, self.representation.config))

    def quantized(self, threshold: float) -> tuple[SliceParameters, Tensor] | None:
        """None if no networks are that fine."""
        if threshold not in self.networks:
            try:
                found = quantize_networks(self.objective, self.representation.parameters, max_mse=threshold)
            except RddInputError:
                found = None
            self.networks[threshold] = found
        return self.networks[threshold]

    def candidate(self, threshold: float, target_bits: float | None) -> _Candidate | None:
        """None if networks of that precision, or integers of so few bits, are not to be had."""
        own, found = self.representation, self.quantized(threshold)
        if found is None:
            return None
        whole, frac_bits = found
        parameters: SliceParameters | None = whole
        if target_bits is not None:
            parameters = trimmed_to(
                self.objective,
                whole,
                frac_bits,
                num_samples=own.num_samples,
                target_bits=target_bits,
                lmbda=0.0,
                generator=generator_for(own.seed, "trimming", device=own.device),
            )
        if parameters is None:
            return None
        slices = export(parameters, frac_bits, config=own.config, num_samples=own.num_samples)
        return _Candidate(slices, threshold, self._mse(parameters), parameters is not whole)

    def finest(self, thresholds: Sequence[float], target_bits: float | None = None) -> _Candidate | None:
        """The first that is to be had."""
        candidates = (self.candidate(threshold, target_bits) for threshold in thresholds)
        return next((each for each in candidates if each is not None), None)

    def _mse(self, parameters: SliceParameters) -> float:
        return float((self.representation.decoded(parameters) - self.reference).square().mean())

    def best(
        self, thresholds: Sequence[float], target_bits: float, progress: Callable[[float], object]
    ) -> _Candidate | None:
        """The nearest to the float samples of all thresholds, and of others where none fits or bits are left."""
        found = []
        for threshold in thresholds:
            found.append(self.candidate(threshold, target_bits))
            progress(1)
        present = [each for each in found if each is not None]
        if not present:
            return self.finest(coarser(max(thresholds)), target_bits)
        best, tried = min(present, key=lambda each: each.mse), list(thresholds)
        for _ in range(MAX_STEPS):
            if best.is_trimmed or self.bits(best.slices) > (1 - SPARE_SHARE) * target_bits:
                break
            finer = max((t for t in tried if t < best.threshold), default=best.threshold / THRESHOLD_STEP**2)
            tried.append(math.sqrt(finer * best.threshold))
            other = self.candidate(tried[-1], target_bits)
            best = min((each for each in (best, other) if each is not None), key=lambda each: each.mse)
        return best

    def fitted(self, candidate: _Candidate, target_bits: float, max_bytes: int) -> tuple[bytes, _Candidate] | None:
        """The file nearest to the budget: what is spare in one, or too much, changes the target of the next."""
        fitting: tuple[bytes, _Candidate] | None = None
        current: _Candidate | None = candidate
        num_files = num_larger = 0
        while current is not None and (num_files < MAX_FILES or fitting is None):
            data = self.pack(current.slices)
            num_files += 1
            spare = max_bytes - len(data)
            if spare >= 0 and (fitting is None or len(data) > len(fitting[0])):
                fitting = data, current
            if spare >= 0 and (spare <= SPARE_SHARE * max_bytes or not current.is_trimmed):
                break
            if spare < 0:  # bits that are saved in several streams may end none of them a word earlier
                target_bits = min(target_bits, self.bits(current.slices))
                target_bits -= max(8 * (1 - spare), WORD_BITS << num_larger)
                num_larger += 1
            else:
                target_bits += 8 * spare
            current = self.candidate(candidate.threshold, target_bits)
        return fitting


def export_latent(
    representation: LatentRepresentation,
    plan: Plan,
    *,
    space: ValueSpace,
    texts: Texts,
    thresholds: Sequence[float],
    max_bytes: int | None = None,
    progress: Callable[[float], object] = lambda _: None,
) -> Exported:
    """The file of the representation, cut into slices and labelled as the plan says.

    thresholds: mean squared errors that the quantisation of networks may add, tried in turn. With `max_bytes`, the
    budget of the whole file, each candidate is trimmed to it, and the one nearest to the float samples is kept: coarser
    networks leave more bits for latents. Coarser thresholds than those are tried where none fits, finer ones where
    bytes are left. Without a budget the first threshold is taken that networks can keep, in the given order. Raises
    RddInputError where nothing fits.
    """

    def pack(slices: Sequence[LatentSlice]) -> bytes:
        return pack_latent(plan.file_slices(slices), plan.labels, plan.config, space=space, texts=texts)

    exporter = _Exporter(representation, representation.with_targets(), representation.decoded(), pack)
    beyond = coarser(max(thresholds))
    plain = exporter.finest([*thresholds, *beyond])
    if max_bytes is None:
        if plain is None:
            raise RddInputError(
                f"export.thresholds: no networks change the samples by less than {beyond[-1]:g}; they "
                "hold numbers that are too large or not finite, try a smaller joint.learning_rate"
            )
        return Exported(pack(plain.slices), plain.threshold, plain.mse)
    framing = 8 * len(pack(plain.slices)) - exporter.bits(plain.slices) if plain is not None else 0.0
    target_bits = 8 * max_bytes - framing
    best = exporter.best(thresholds, target_bits, progress)
    result = None if best is None else exporter.fitted(best, target_bits, max_bytes)
    if result is None:
        raise RddInputError(
            f"export.target_bpc: {max_bytes} bytes are not reached even where networks may add an error of "
            f"{beyond[-1]:g}; allow more, or take a smaller samples.decoder, samples.entropy or "
            "samples.spc"
        )
    data, kept = result
    return Exported(data, kept.threshold, kept.mse)


def export_pixels(
    representation: PixelRepresentation, labels: Labels, *, number: str, space: ValueSpace, texts: Texts
) -> Exported:
    """The raw file of plain pixels, and what their storage changed. Raises RddInputError."""
    values = representation.decoded().cpu().numpy()
    data = pack_pixels(values, labels, number=number, space=space, texts=texts)
    error = float(np.square(read(data).samples().astype(np.float64) - values).mean())
    return Exported(data, 0.0, error)


def pack_pixels(values: np.ndarray, labels: Labels, *, number: str, space: ValueSpace | None, texts: Texts) -> bytes:
    """The raw file of values (N, C, H, W), stored as one of `PIXEL_NUMBERS`: floats, or numbers of learned levels.

    Raises RddInputError.
    """
    if number.endswith(BITS):
        return pack_levels(values, labels, int(number.removesuffix(BITS)), space=space, texts=texts)
    stored = values.astype(number)
    config = RawConfig(is_float=True, bits=stored.dtype.itemsize * 8)
    return pack_raw(stored, labels, config, space=space, texts=texts)
