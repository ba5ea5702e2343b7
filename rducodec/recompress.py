"""A smaller file with the same samples: new entropy networks, shared where that is cheaper, and better codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from rducodec.bitstream.header import RawConfig
from rducodec.bitstream.limits import DEFAULT_LIMITS, Limits
from rducodec.effort import DEFAULT_EFFORT, Effort, effort_of
from rducodec.errors import RddDigestError, RddInputError, RddVersionError
from rducodec.model import LatentConfig, LatentSlice
from rducodec.parallel import map_threads
from rducodec.quantization import FloatSlice, latent_and_decoder_bits, quantize
from rducodec.quantization.moves import LatentMoves
from rducodec.quantization.sharing import Choice, existing_choice
from rducodec.rate import Rate, bpc
from rducodec.reader import Dataset, read
from rducodec.synthesis import synthesize
from rducodec.writer import pack_latent, pack_raw_slices

MARGIN = 0.98  # of the limit, where the rounding of activations took an error over it
MAX_TRIALS = 4

Progress = Callable[[float, int], object]  # (share of the work since the last call, bytes saved so far)


@dataclass(frozen=True)
class Networks:
    """How many networks of each kind the slices of a file store."""

    slices: int
    entropy: int
    decoder: int


@dataclass(frozen=True)
class Recompression:
    """A file that is not larger, and what it was.

    `data` is the old file, byte for byte, where nothing smaller was found (`is_copy`). `mse` is the mean squared error
    between old and new samples: 0 for a file of the same sample digest. Configuration and networks are None for the raw
    profile.
    """

    data: bytes
    before: Rate
    after: Rate
    is_copy: bool
    mse: float
    configs: tuple[LatentConfig, LatentConfig] | None = None
    networks: tuple[Networks, Networks] | None = None

    @property
    def saved_bytes(self) -> int:
        """What the new file is smaller by."""
        return (self.before.file_bits - self.after.file_bits) // 8


def recompress(
    source: str | Path | bytes,
    *,
    effort: int = DEFAULT_EFFORT,
    max_mse: float | None = None,
    device: str = "cpu",
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress = lambda *_: None,
) -> Recompression:
    """The smallest file found with the samples, labels, texts and value space of `source`; never a larger one.

    The latents and decoder networks of the latent profile stay as they are, entropy networks and their sharing are
    chosen anew (`rducodec.effort` has the table); slices of the raw profile are coded by all methods. The new file is
    decoded, and has the sample digest of the old one. With `max_mse`, decoder networks get coarser steps and latents
    move to cheaper neighbours, whichever saves more for its error, and in no slice is the mean squared error between
    old and new samples above it; decoder networks that slices share stay.
    `device` is one of torch. Header keys that this version does not know are left out. Raises RddInputError,
    RddVersionError where torch is missing (from effort 2 on), and what `read` and `Dataset.stored_samples` raise.
    """
    plan = effort_of(effort)
    dataset = read(source, limits=limits)
    config = dataset.config
    if isinstance(config, RawConfig):
        return _raw(dataset, config, max_mse, limits)
    return _latent(dataset, config, plan, max_mse, device, limits, progress)


def _result(dataset: Dataset, before: Rate, new: bytes, mse: float, limits: Limits) -> tuple[Recompression, Dataset]:
    """The smaller of two files, with the proof that the new one has the samples it should have."""
    old = _bytes_of(dataset)
    if len(new) >= len(old):
        return Recompression(old, before, before, is_copy=True, mse=0.0), dataset
    again = read(new, limits=limits)
    again.stored_samples()  # against the digest that the new file states
    if mse == 0 and again.sample_digest != dataset.sample_digest:
        raise RddDigestError("the samples are not those that the file promises")
    return Recompression(new, before, bpc(again), is_copy=False, mse=mse), again


def _bytes_of(dataset: Dataset) -> bytes:
    return bytes(dataset.container.body.obj)  # the view is one of the whole file


def _raw(dataset: Dataset, config: RawConfig, max_mse: float | None, limits: Limits) -> Recompression:
    if max_mse is not None:
        raise RddInputError("max mse has no meaning for a file of the raw profile, which is lossless")
    ordered = np.empty_like(stored := dataset.stored_samples())
    ordered[dataset.label_set.file_positions()] = stored
    parts = [ordered[entry.first_sample : entry.first_sample + entry.num_samples] for entry in dataset.slices]
    header = dataset.header
    data = pack_raw_slices(parts, dataset.label_set, config, space=header.space, texts=header.texts)
    return _result(dataset, bpc(dataset), data, 0.0, limits)[0]


def _latent(
    dataset: Dataset,
    config: LatentConfig,
    plan: Effort,
    max_mse: float | None,
    device: str,
    limits: Limits,
    progress: Progress,
) -> Recompression:
    header, old, before = dataset.header, dataset.latent_slices(), bpc(dataset)
    choice = _choose(old, config, plan, device, _payload_progress(before, progress))
    slices = [replace(part, entropy=network) for part, network in zip(old, choice.networks, strict=True)]
    mse = 0.0
    if max_mse is not None and max_mse != 0:
        slices, mse = _within_limit(old, slices, config, choice.config, max_mse)
    packed = pack_latent(slices, dataset.label_set, choice.config, space=header.space, texts=header.texts)
    result, again = _result(dataset, before, packed, mse, limits)
    if not isinstance(again.config, LatentConfig):
        raise RddInputError("another profile than it was written with")
    return replace(
        result, configs=(config, again.config), networks=(_stored_networks(dataset), _stored_networks(again))
    )


def _choose(
    slices: Sequence[LatentSlice],
    config: LatentConfig,
    plan: Effort,
    device: str,
    told: Callable[[float, float], object],
) -> Choice:
    if not plan.steps:
        return existing_choice(slices, config)
    choice: Choice = _training().Refit(slices, config, plan, device, told).run()
    return choice


def _training() -> Any:
    try:
        return import_module("rducodec.training.refit")
    except ImportError as error:
        raise RddVersionError(
            f"fitting networks needs the extra `train`, effort 1 does not ({error}): pip install 'rducodec[train]'"
        ) from error


def _payload_progress(before: Rate, progress: Progress) -> Callable[[float, float], object]:
    """What is told of bits of latents and entropy networks, as bytes that the file saves."""
    known = before.information_bits["latents"] + before.information_bits["entropy_networks"]
    return lambda share, bits: progress(share, max(0, int(known - bits) // 8))


def _stored_networks(dataset: Dataset) -> Networks:
    entropy, decoder = zip(*(dataset.header.owners(index) for index in range(len(dataset.slices))), strict=True)
    return Networks(len(dataset.slices), len(set(entropy)), len(set(decoder)))


def _within_limit(
    old: Sequence[LatentSlice],
    slices: Sequence[LatentSlice],
    config: LatentConfig,
    new_config: LatentConfig,
    max_mse: float,
) -> tuple[list[LatentSlice], float]:
    """Slices with decoder networks and latents of few bits, and the mean squared error of all samples.

    Networks that slices share are quantised for each of them, and would no longer be equal: they stay, and only latents
    move.
    """
    keys = [tuple(tensor.values.tobytes() for tensor in (part.upsampling, *part.synthesis)) for part in old]

    def run(item: tuple[LatentSlice, LatentSlice, bool]) -> tuple[LatentSlice, float]:
        before, part, is_shared = item
        reference = _samples(before, config)
        trials = [(part, 0.0), _moved(part, new_config, reference, max_mse)]
        if not is_shared:
            trials.append(_coarser(part, new_config, reference, max_mse))
        return min(trials, key=lambda trial: latent_and_decoder_bits(trial[0], new_config))

    shared = [keys.count(key) > 1 for key in keys]
    found = map_threads(run, list(zip(old, slices, shared, strict=True)), None)
    total = sum(error * part.num_samples for part, error in found)
    return [part for part, _ in found], total / sum(part.num_samples for part in slices)


def _moved(part: LatentSlice, config: LatentConfig, reference: np.ndarray, max_mse: float) -> tuple[LatentSlice, float]:
    """The slice with latents that moved, under the same networks, and its mean squared error; the error is measured."""
    networks = [tensor.dequantize() for tensor in (part.upsampling, *part.synthesis)]
    search = LatentMoves(part.latents, part.entropy, networks, config, reference)
    for state in reversed(list(search.path(max_mse))):
        trial = replace(part, latents=state.latents)
        error = _distance(trial, config, reference)
        if error <= max_mse:
            return trial, error
    return part, 0.0


def _coarser(
    part: LatentSlice, config: LatentConfig, reference: np.ndarray, max_mse: float
) -> tuple[LatentSlice, float]:
    """The slice with coarser decoder networks, and latents that moved where that saves more; the error is measured.

    The slice as it is where coarser networks leave its samples too far away.
    """
    real = FloatSlice(
        part.latents,
        tuple(tensor.dequantize() for tensor in part.entropy),
        part.upsampling.dequantize(),
        tuple(tensor.dequantize() for tensor in part.synthesis),
    )
    limit = max_mse
    for _ in range(MAX_TRIALS):
        try:
            (trial,) = quantize([real], config, max_mse=limit, move_latents=True, entropy=[part.entropy], threads=1)
        except RddInputError:  # even the finest steps are too far away
            break
        error = _distance(trial, config, reference)
        if error <= max_mse:
            return trial, error
        limit *= MARGIN * max_mse / error
    return part, 0.0


def _distance(part: LatentSlice, config: LatentConfig, reference: np.ndarray) -> float:
    return float(np.square(_samples(part, config) - reference).mean())


def _samples(part: LatentSlice, config: LatentConfig) -> np.ndarray:
    return np.asarray(synthesize(part, config) * 2.0**-config.sample_frac_bits)
