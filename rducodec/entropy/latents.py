"""Latents of slices to symbols and back, in wavefront order (spec, "Latents").

The integer loop of the decoder: slices of one shape advance side by side, one wavefront step at a time.
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from rducodec.entropy.context import Wavefront, num_steps, wavefront_of
from rducodec.entropy.network import LATENT_MAX, LATENT_MIN, EntropyNetworks, stack_networks
from rducodec.entropy.plain_coder import Decoder, Encoder
from rducodec.entropy.range_coder import RangeDecoder
from rducodec.entropy.symbols import decode_offsets_each, encode_offsets
from rducodec.errors import RddFormatError
from rducodec.model import LatentConfig, QuantizedTensor

COMPILED_VARIABLE = "RDUCODEC_COMPILED"  # environment; 0: no compiled loops, 1: always, otherwise where they pay
COMPILED_MODULE = "rducodec.entropy.compiled"
# One core, context 16: the compiled loops save 0.15 microseconds a latent and 45 a step of a slice, and numba takes
# 0.6 seconds to load (once on each machine 5 more, to compile). Ten slices of 64 samples of 32 x 32 save 0.2 seconds.
SAVED_PER_LATENT = 0.15e-6
SAVED_PER_STEP = 45e-6
LOAD_SECONDS = 0.6


class SliceDecoder(Decoder):
    """A range decoder that reads all latents of a slice by itself."""

    @abstractmethod
    def decode_slice(self, network: Sequence[QuantizedTensor], config: LatentConfig, coded: np.ndarray) -> None:
        """Fill `coded`, int32 (latents in coding order, samples). Raises as `decode` and `checked_layers`."""


def decoder_class(config: LatentConfig, slice_sizes: Sequence[int]) -> type[Decoder]:
    """The range decoder for slices of these numbers of samples: compiled loops where numba is there and they pay."""
    saved = SAVED_PER_LATENT * config.num_latents() * sum(slice_sizes)
    saved += SAVED_PER_STEP * num_steps(config) * len(slice_sizes)
    wish = os.environ.get(COMPILED_VARIABLE)
    if wish != "0" and (wish == "1" or COMPILED_MODULE in sys.modules or saved > LOAD_SECONDS):
        try:
            from rducodec.entropy.compiled import CompiledDecoder

            return CompiledDecoder
        except ImportError:  # no numba
            pass
    return RangeDecoder


class _Canvas:
    """Context values of slices coded side by side, in coding order, with a row of zeros at the end."""

    def __init__(self, plan: Wavefront, networks: EntropyNetworks, num_slices: int, num_samples: int) -> None:
        self.plan, self._networks = plan, networks
        self._values = np.zeros((num_slices, plan.num_latents + 1, num_samples), networks.dtype)

    def write(self, step: int, latents: np.ndarray) -> None:
        """Set the latents of a step: (slices, latents of the step, samples)."""
        begin, end = self.plan.bounds[step : step + 2]
        self._values[:, begin:end] = self._networks.context_values(latents)

    def predict(self, step: int) -> Any:
        """Prediction for the latents of a step, arrays (slices, latents of the step * samples)."""
        gather = self.plan.gather[step]  # (context, latents)
        inputs = np.take(self._values, gather.reshape(-1), axis=1)
        num_slices, _, num_samples = inputs.shape
        begin, end = self.plan.bounds[step : step + 2]
        grids = np.repeat(self.plan.grids[begin:end], num_samples)
        return self._networks.predict(inputs.reshape(num_slices, len(gather), gather.shape[1] * num_samples), grids)


def _coding_order(plan: Wavefront, latents: Sequence[np.ndarray]) -> np.ndarray:
    """(latents, samples) in coding order, from one (samples, h, w) array for each scale."""
    raster = np.concatenate([grid.reshape(len(grid), -1) for grid in latents], axis=1)
    return np.ascontiguousarray(raster[:, plan.order].T)


def _grids(plan: Wavefront, config: LatentConfig, coded: np.ndarray) -> tuple[np.ndarray, ...]:
    """Inverse of `_coding_order`; int16."""
    raster = np.empty((coded.shape[1], plan.num_latents), np.int16)
    raster[:, plan.order] = coded.T
    shapes = config.grid_shapes()
    cuts = np.cumsum([h * w for h, w in shapes])[:-1]
    parts = np.split(raster, cuts, axis=1)
    return tuple(part.reshape(-1, h, w) for part, (h, w) in zip(parts, shapes, strict=True))


def encode_latents(
    encoders: Sequence[Encoder],
    networks: Sequence[Sequence[QuantizedTensor]],
    latents: Sequence[Sequence[np.ndarray]],
    config: LatentConfig,
) -> None:
    """Write the latents of slices that have the same number of samples, each into its own encoder.

    `latents` holds, for each slice, one int16 array (samples, h, w) a scale, finest first.
    """
    plan = wavefront_of(config)
    coded = np.stack([_coding_order(plan, grids) for grids in latents]).astype(np.int32)
    canvas = _Canvas(plan, stack_networks(networks, config), len(coded), coded.shape[2])
    for step in range(len(plan.gather)):
        begin, end = plan.bounds[step : step + 2]
        prediction = canvas.predict(step)
        values = coded[:, begin:end]
        offsets = values.reshape(len(coded), -1) - prediction.centre
        for index, encoder in enumerate(encoders):
            encode_offsets(encoder, offsets[index], prediction.row[index])
        canvas.write(step, values)


def _decode_side_by_side(decoders: Sequence[Decoder], canvas: _Canvas, coded: np.ndarray) -> None:
    """Fill `coded`, int32 (slices, latents in coding order, samples), all slices one wavefront step at a time."""
    plan = canvas.plan
    for step in range(len(plan.gather)):
        begin, end = plan.bounds[step : step + 2]
        prediction = canvas.predict(step)
        values = prediction.centre + decode_offsets_each(decoders, prediction.row)
        coded[:, begin:end] = values.reshape(len(decoders), end - begin, -1)
        canvas.write(step, coded[:, begin:end])


def decode_latents(
    decoders: Sequence[Decoder],
    networks: Sequence[Sequence[QuantizedTensor]],
    num_samples: int,
    config: LatentConfig,
) -> list[tuple[np.ndarray, ...]]:
    """Read what `encode_latents` wrote, `num_samples` in each slice.

    Raises RddFormatError for a latent outside of 16 bits, and what the decoders and networks raise.
    """
    plan = wavefront_of(config)
    coded = np.empty((len(decoders), plan.num_latents, num_samples), np.int32)
    alone = [decoder for decoder in decoders if isinstance(decoder, SliceDecoder)]
    if len(alone) == len(decoders):
        for decoder, network, part in zip(alone, networks, coded, strict=True):
            decoder.decode_slice(network, config, part)
    else:
        canvas = _Canvas(plan, stack_networks(networks, config), len(decoders), num_samples)
        _decode_side_by_side(decoders, canvas, coded)
    if coded.size and (coded.min() < LATENT_MIN or coded.max() > LATENT_MAX):
        raise RddFormatError(f"latents: values {coded.min()}..{coded.max()}, allowed {LATENT_MIN}..{LATENT_MAX}")
    return [_grids(plan, config, part) for part in coded]
