"""The integer entropy network: contexts in, table rows out (spec, "Entropy network")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from rducodec.entropy import tables
from rducodec.errors import RddFormatError
from rducodec.integer import FLOAT32_BITS, INT32_BITS, accumulator_bound, clamp, floor_clamp, matmul, scaled
from rducodec.model import LatentConfig, QuantizedTensor

LATENT_MIN, LATENT_MAX = -(1 << 15), (1 << 15) - 1
MEAN_BITS = 5  # fractional bits of the predicted mean: 1/32 of a latent unit
LOG_SCALE_BITS = 4  # fractional bits of the predicted log-scale: 1/16 neper
# The network predicts s with b = exp(s - 4), so scale index = 16 * s - 64 + 74.
SCALE_INDEX_OFFSET = tables.SCALE_ORIGIN - 4 * tables.SCALES_PER_NEPER
OUTPUT_MAX = 1 << 22  # beyond every clamp of the outputs, within 32-bit integers
BLOCK_COLUMNS = 1024  # latents that go through the layers together: their activations stay in cache
MEAN_MIN = LATENT_MIN * tables.MEANS_PER_UNIT - tables.MEAN_ORIGIN  # so that the rounded mean is a 16-bit value
MEAN_MAX = LATENT_MAX * tables.MEANS_PER_UNIT + tables.MEAN_ORIGIN - 1


@dataclass(frozen=True)
class Prediction:
    """What the network says of a batch of latents, arrays of one shape."""

    centre: Any  # rounded mean, -32768..32767
    row: Any  # row of the primary table: 32 * scale index + mean index


@dataclass(frozen=True)
class EntropyNetworks:
    """Networks of several slices, stacked: for each layer a matrix (slices, out, in) and an offset (slices, out, 1).

    Both are scaled so that the rounding shift of the layer is a floor. The offset of the output is (slices, 2, grids)
    where each latent grid has its own.
    """

    hidden: tuple[tuple[Any, Any], ...]
    output: tuple[Any, Any]
    act_max: int  # activations and context values are clamped to -act_max..act_max
    act_frac_bits: int

    @property
    def dtype(self) -> Any:
        """Floating-point type that holds every accumulator exactly."""
        return self.output[0].dtype

    def context_values(self, latents: Any) -> Any:
        """Latents as the network sees them: fixed point, clamped, in the dtype of the matrices."""
        xp = array_namespace(latents)
        values = xp.astype(latents, self.dtype) * (1 << self.act_frac_bits)
        return clamp(values, -self.act_max, self.act_max)

    def predict(self, inputs: Any, grids: Any) -> Prediction:
        """Prediction for context values (slices, context, batch); arrays of the result are (slices, batch).

        `grids`: int64 (batch,), the latent grid of each column.
        """
        xp = array_namespace(inputs)
        blocks = []
        for begin in range(0, inputs.shape[2], BLOCK_COLUMNS):
            columns = slice(begin, begin + BLOCK_COLUMNS)
            blocks.append(self._output(inputs[:, :, columns], grids[columns]))
        output = xp.astype(xp.concat(blocks, axis=2), xp.int32)  # (slices, 2, batch)
        mean = clamp(output[:, 0, :], MEAN_MIN, MEAN_MAX) + tables.MEAN_ORIGIN
        scale = clamp(output[:, 1, :] + SCALE_INDEX_OFFSET, 0, tables.NUM_SCALES - 1)
        return Prediction(mean >> MEAN_BITS, (scale << MEAN_BITS) | (mean & (tables.NUM_MEANS - 1)))

    def _output(self, x: Any, grids: Any) -> Any:
        for matrix, offset in self.hidden:
            x = matmul(matrix, x)
            x += offset
            x = floor_clamp(x, 0, self.act_max)
        matrix, offset = self.output
        x = matmul(matrix, x)
        x += offset if offset.shape[2] == 1 else array_namespace(x).take(offset, grids, axis=2)
        return floor_clamp(x, -OUTPUT_MAX, OUTPUT_MAX)


def integer_layers(tensors: Sequence[QuantizedTensor], act_frac_bits: int) -> list[tuple[np.ndarray, np.ndarray, Any]]:
    """(weight, bias, shift) of each layer, the residual folded into the weight of hidden layers, all int64.

    The last bias is (2, grids), one column where all grids have the same. The accumulator has act_frac_bits +
    weight.frac_bits fractional bits. Raises RddFormatError for a bias with more fractional bits than that, or an output
    that the rounding shifts cannot reach.
    """
    layers: list[tuple[np.ndarray, np.ndarray, Any]] = []
    last = len(tensors) // 2 - 1
    for index in range(last + 1):
        weight, bias = tensors[2 * index], tensors[2 * index + 1]
        frac_bits = act_frac_bits + weight.frac_bits
        if bias.frac_bits > frac_bits:
            raise RddFormatError(
                f"entropy network layer {index}: bias has {bias.frac_bits} fractional bits, at most {frac_bits} allowed"
            )
        matrix = weight.values.astype(np.int64)
        offset = bias.values.astype(np.int64) << (frac_bits - bias.frac_bits)
        if index < last:
            matrix = matrix + (np.eye(*matrix.shape, dtype=np.int64) << weight.frac_bits)
            layers.append((matrix, offset, weight.frac_bits))
        else:
            shifts = np.array([frac_bits - MEAN_BITS, frac_bits - LOG_SCALE_BITS])
            layers.append((matrix, offset.reshape(-1, 2).T, shifts))
    return layers


def checked_layers(
    slices: Sequence[Sequence[QuantizedTensor]], config: LatentConfig
) -> tuple[list[list[tuple[np.ndarray, np.ndarray, Any]]], int]:
    """`integer_layers` of the networks of slices, and a bound on the magnitude of every accumulator.

    Raises RddFormatError where an accumulator could leave a signed 32-bit integer.
    """
    act_max = (1 << config.act_bits) - 1
    networks = [integer_layers(tensors, config.act_frac_bits) for tensors in slices]
    bound = 0
    for number, layers in enumerate(networks):
        for index, (weight, bias, shift) in enumerate(layers):
            half = int((np.int64(1) << np.max(shift)) >> 1)
            bound = max(bound, accumulator_bound(weight, bias, act_max) + half)
            if bound >> INT32_BITS:
                raise RddFormatError(
                    f"entropy network {number}, layer {index}: accumulator could reach {bound}, allowed below 2**31"
                )
    return networks, bound


def stack_networks(
    slices: Sequence[Sequence[QuantizedTensor]], config: LatentConfig, *, float64: bool = False
) -> EntropyNetworks:
    """Networks of slices that are coded side by side.

    float32 is used where every accumulator is proved to stay below 2**24, float64 otherwise or where asked for.
    Raises RddFormatError where an accumulator could leave a signed 32-bit integer.
    """
    networks, bound = checked_layers(slices, config)
    exact_in_float32 = bound >> FLOAT32_BITS == 0 and not float64
    dtype = np.float32 if exact_in_float32 else np.float64
    stacked = []
    for index in range(len(networks[0])):
        matrices, offsets = zip(*(scaled(*layers[index]) for layers in networks), strict=True)
        stacked.append((np.stack(matrices).astype(dtype), np.stack(offsets).astype(dtype)))
    return EntropyNetworks(tuple(stacked[:-1]), stacked[-1], (1 << config.act_bits) - 1, config.act_frac_bits)
