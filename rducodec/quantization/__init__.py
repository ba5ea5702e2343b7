"""Float networks to integers: the steps of every tensor, chosen by what they cost in bits and in samples.

The latents are integers already. They stay as they are, or some move where that saves more than coarser networks.
Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from rducodec.entropy.known import KnownLatents
from rducodec.errors import RddInputError
from rducodec.model import LatentConfig, LatentSlice, QuantizedTensor
from rducodec.parallel import map_threads
from rducodec.quantization.compensation import CompensatedSearch
from rducodec.quantization.decoder_steps import PlainSearch
from rducodec.quantization.entropy_steps import quantized_entropy
from rducodec.quantization.moves import LatentMoves, Moved
from rducodec.quantization.render import render
from rducodec.quantization.slices import FloatSlice
from rducodec.synthesis import synthesize
from rducodec.weights import best_code

__all__ = [
    "DEFAULT_MAX_MSE",
    "FloatSlice",
    "float_samples",
    "latent_and_decoder_bits",
    "quantize",
    "quantized_entropies",
    "squared_error",
]

DEFAULT_MAX_MSE = 5e-6
MARGIN = 0.98  # of the limit, where the rounding of activations took an error over it
MAX_TRIALS = 8
LARGEST_SHARE = 0.9  # of the limit, that moves of latents may take where networks are quantised, too

Network = tuple[QuantizedTensor, ...]
Result = TypeVar("Result")


def float_samples(part: FloatSlice, config: LatentConfig) -> np.ndarray:
    """Float32 samples (n, channels, height, width) of the float networks."""
    return render(part.latents, (part.upsampling, *part.synthesis), config)


def squared_error(part: LatentSlice, reference: FloatSlice, config: LatentConfig) -> float:
    """Mean squared error between the decoded samples of `part` and those of the float networks."""
    return _distance(part, float_samples(reference, config), config)


def _distance(part: LatentSlice, samples: np.ndarray, config: LatentConfig) -> float:
    decoded = synthesize(part, config) * 2.0**-config.sample_frac_bits
    return float(np.square(decoded - samples).mean())


def quantize(
    parts: Sequence[FloatSlice],
    config: LatentConfig,
    *,
    max_mse: float = DEFAULT_MAX_MSE,
    compensate: bool = True,
    move_latents: bool = False,
    entropy: Sequence[Network] | None = None,
    threads: int | None = None,
    progress: Callable[[float], object] = lambda _: None,
) -> list[LatentSlice]:
    """Slices with integer networks, each slice by itself.

    With `move_latents`, single latents become others where that saves more bits than the coarser decoder networks that
    the same error would allow; otherwise they stay as they are. `entropy`: the integer entropy networks, if there are
    any already.

    The mean squared error between decoded samples and those of the float networks is at most `max_mse` in every slice;
    0 keeps the finest steps. `progress` is told 1 for each slice, from any thread. Raises RddInputError.
    """
    if not 0 <= max_mse < np.inf:
        raise RddInputError(f"max_mse: {max_mse}, a number of at least 0 expected")

    def run(index: int, part: FloatSlice) -> LatentSlice:
        own = quantized_entropy(part, config) if entropy is None else tuple(entropy[index])
        result = _quantized(part, own, config, max_mse, compensate)
        if move_latents and max_mse > 0:
            result = _with_moves(part, result, config, max_mse, compensate)
        progress(1)
        return result

    return _of_slices(run, parts, threads)


def quantized_entropies(
    parts: Sequence[FloatSlice], config: LatentConfig, *, threads: int | None = None
) -> list[Network]:
    """The entropy networks of slices alone, as `quantize` makes them; soon done. Raises RddInputError."""
    return _of_slices(lambda _, part: quantized_entropy(part, config), parts, threads)


def _of_slices(
    function: Callable[[int, FloatSlice], Result], parts: Sequence[FloatSlice], threads: int | None
) -> list[Result]:
    """`function` of the place and the slice, for each; errors name the slice."""

    def run(item: tuple[int, FloatSlice]) -> Result:
        index, part = item
        if not all(np.isfinite(tensor).all() for tensor in part.networks()):
            raise RddInputError(f"slice {index}: a network parameter is not finite")
        try:
            with np.errstate(all="ignore"):  # trials of steps that are too coarse may leave every range
                return function(index, part)
        except RddInputError as error:
            raise RddInputError(f"slice {index}: {error}") from error

    return map_threads(run, list(enumerate(parts)), threads)


def _quantized(
    part: FloatSlice,
    entropy: Network,
    config: LatentConfig,
    max_mse: float,
    compensate: bool,
    moved: Moved | None = None,
) -> LatentSlice:
    """Decoder networks as integers, for latents that moved where `moved` says so."""
    reference = float_samples(part, config)
    if not np.isfinite(reference).all():
        raise RddInputError("the samples of the float networks are not finite")
    before, target = 0.0, part
    if moved is not None:
        before, target = moved.error, replace(part, latents=moved.latents)
    plain = PlainSearch(target, config)
    compensated = CompensatedSearch(target, config) if compensate and max_mse > 0 else None
    limit = max_mse - before
    for _ in range(MAX_TRIALS):
        decoder = plain.decoder(limit)
        if compensated is not None:
            decoder = compensated.decoder(limit, decoder)
        kernel, *synthesis = decoder
        result = LatentSlice(target.latents, entropy, kernel, tuple(synthesis))
        error = _distance(result, reference, config)
        if error <= max_mse or max_mse == 0:
            return result
        limit *= MARGIN * (max_mse - before) / (error - before)
    raise RddInputError(f"the decoded samples have a mean squared error of {error:.3g}, the limit is {max_mse:.3g}")


def _with_moves(
    part: FloatSlice, still: LatentSlice, config: LatentConfig, max_mse: float, compensate: bool
) -> LatentSlice:
    """The better of `still`, of which no latent moved, and one in which the error is shared out where it saves most.

    A parameter costs half a bit more when the error of the networks halves: so much is known without quantising them
    for every share.
    """
    networks = (part.upsampling, *part.synthesis)
    search = LatentMoves(part.latents, still.entropy, networks, config, float_samples(part, config))
    parameters = sum(np.count_nonzero(tensor.values) for tensor in (still.upsampling, *still.synthesis))
    price = 2 * np.log(2) * max_mse / max(parameters, 1)  # of a bit of the networks, in mean squared error
    best, least = None, np.inf
    for state in search.path(LARGEST_SHARE * max_mse, price):
        bits = state.bits - parameters / 2 * np.log2(1 - state.error / max_mse)
        if bits > least:
            break
        best, least = state, bits
    if best is None or best.price == 0:
        return still
    try:
        trial = _quantized(part, still.entropy, config, max_mse, compensate, best)
    except RddInputError:  # less error than the networks need
        return still
    return trial if latent_and_decoder_bits(trial, config) < latent_and_decoder_bits(still, config) else still


def latent_and_decoder_bits(part: LatentSlice, config: LatentConfig) -> float:
    """Bits of latents and decoder networks; the entropy network is not counted."""
    latents = KnownLatents.of(part.latents, config).information(part.entropy)
    return latents + sum(best_code(tensor.values)[2] for tensor in (part.upsampling, *part.synthesis))
