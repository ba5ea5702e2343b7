"""Mean and scale of a number as linear forms of its neighbours, in integers (spec, "Forms").

Integers are held in floats. Numbers and errors are below 2**22, so float32 holds them; sums stay below 2**53, since the
weights of a form add up to less than MAX_WEIGHTS, so float64 holds those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rducodec.entropy import tables
from rducodec.errors import RddFormatError
from rducodec.model import QuantizedTensor
from rducodec.pixels.neighbours import NORTH, NORTH_EAST, NORTH_WEST, WEST, gather, num_inputs

UNIT_BITS = 5  # means and errors are in units of 2**-5
SCALE_BITS = 10  # scales are in units of 2**-10
MAX_SCALE = (1 << 31) - 1
NUM_GRADIENTS = 3
MAX_WEIGHTS = 1 << 27  # magnitudes of the weights of a form add up to less
MANTISSA_BITS = 4
# 2048 * ln(1 + (u + 1/2) / 16), rounded: what the four bits after the leading one of a scale add to its index.
LOG_MANTISSA = np.array([63, 184, 297, 405, 508, 605, 698, 787, 873, 955, 1033, 1109, 1182, 1253, 1321, 1387])
LOG_OCTAVE = 1420  # 2048 * ln 2, rounded
LOG_BITS = 7  # an index is 16 ln b
FULL_OCTAVE = 11  # scales of 2**12 units (b = 4) and more are coded with low bits


def _scale_indices() -> np.ndarray:
    octave = np.arange(MAX_SCALE.bit_length())[:, None]
    fine = LOG_OCTAVE * (octave - SCALE_BITS) + LOG_MANTISSA + (1 << (LOG_BITS - 1))
    return np.clip(tables.SCALE_ORIGIN + (fine >> LOG_BITS), 0, tables.NUM_SCALES - 1).astype(np.int64)


SCALE_INDICES = _scale_indices()  # (31, 16)


@dataclass(frozen=True)
class Form:
    """The weights of one channel, float64 integers, and their fractional bits."""

    mean: np.ndarray  # (inputs + 1,)
    mean_bits: int
    scale: np.ndarray  # (inputs + 4,)
    scale_bits: int


@dataclass(frozen=True)
class Setting:
    """What a slice of linear coding begins with, before its weights."""

    top: int  # greatest number
    origin: int  # stands for a number where there is none
    spread: int  # stands for the error of that number
    reach: int  # neighbours in a channel: 4, 6 or 10


def form_shapes(num_channels: int, reach: int) -> list[tuple[int, ...]]:
    """Shapes of the tensors of all channels: mean, scale, mean, scale, ..."""
    shapes: list[tuple[int, ...]] = []
    for channel in range(num_channels):
        inputs = num_inputs(channel, reach)
        shapes += [(1, inputs + 1), (1, inputs + 1 + NUM_GRADIENTS)]
    return shapes


def checked_forms(tensors: Sequence[QuantizedTensor]) -> list[Form]:
    """Forms of all channels. RddFormatError for weights with which a sum could be inexact."""
    for index, tensor in enumerate(tensors):
        total = int(np.abs(tensor.values.astype(np.int64)).sum())
        if total >= MAX_WEIGHTS:
            raise RddFormatError(f"form {index}: weights of {total} in sum, allowed below {MAX_WEIGHTS}")
    rows = [(tensor.values.reshape(-1).astype(np.float64), tensor.frac_bits) for tensor in tensors]
    return [Form(*mean, *scale) for mean, scale in zip(rows[0::2], rows[1::2], strict=True)]


class Canvas:
    """Numbers and errors of a slice as far as they are known, and the forms' inputs from them."""

    def __init__(self, shape: tuple[int, int, int], num_samples: int, setting: Setting) -> None:
        channels, height, width = shape
        self.setting = setting
        self.values = np.zeros((channels, height * width + 1, num_samples), np.float32)
        self.errors = np.zeros_like(self.values)
        self.values[:, -1] = setting.origin
        self.errors[:, -1] = setting.spread << UNIT_BITS

    def mean_inputs(self, channel: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs of the mean (inputs + 1, n), the numbers W (n,), and the gradients (3, n)."""
        inputs = gather(self.values, channel, places, self.setting.reach, spare=1)
        west = inputs[WEST].copy()
        north = inputs[NORTH]
        gradients = np.abs(np.stack([west, north, north]) - inputs[[NORTH_WEST, NORTH_WEST, NORTH_EAST]])
        inputs[:-1] -= west
        inputs[WEST] = west - self.setting.origin
        inputs[-1] = 1
        return inputs, west, gradients

    def scale_inputs(self, channel: int, places: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Inputs of the scale (inputs + 4, n), in units of 2**-5."""
        inputs = gather(self.errors, channel, places, self.setting.reach, spare=1 + NUM_GRADIENTS)
        np.multiply(gradients, 1 << UNIT_BITS, out=inputs[-1 - NUM_GRADIENTS : -1])
        inputs[-1] = 1 << UNIT_BITS
        return inputs

    def mean(self, form: Form, inputs: np.ndarray, west: np.ndarray) -> np.ndarray:
        """Means in units of 2**-5, float64 (n,), within the range of the numbers."""
        change = _round_shift((form.mean @ inputs) * (1 << UNIT_BITS), form.mean_bits)
        return np.clip(west * (1 << UNIT_BITS) + change, 0, self.setting.top << UNIT_BITS)

    def predict(self, channel: int, places: np.ndarray, form: Form) -> tuple[np.ndarray, np.ndarray]:
        """Means in units of 2**-5 and scales in units of 2**-10 of the numbers at places; float64 (n,)."""
        inputs, west, gradients = self.mean_inputs(channel, places)
        mean = self.mean(form, inputs, west)
        magnitudes = self.scale_inputs(channel, places, gradients)
        total = (form.scale @ magnitudes) * (1 << (SCALE_BITS - UNIT_BITS))
        return mean, np.clip(_round_shift(total, form.scale_bits), 1, MAX_SCALE)

    def write(self, channel: int, positions: np.ndarray, numbers: np.ndarray, mean: np.ndarray) -> None:
        """Numbers (n,) at positions, with the means that they were coded under."""
        shape = (len(positions), -1)
        self.values[channel, positions] = numbers.reshape(shape)
        self.errors[channel, positions] = np.abs(numbers * (1 << UNIT_BITS) - mean).reshape(shape)


def _round_shift(values: np.ndarray, bits: int) -> np.ndarray:
    """round_shift of the specification for integers in float64 below 2**53."""
    return np.floor((values + ((1 << bits) >> 1)) * 2.0**-bits)


def scale_parts(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Octave floor(log2 s), and the four bits after the leading one, of scales s >= 1; int64."""
    mantissa, exponent = np.frexp(scale)  # mantissa in [1/2, 1)
    octave = exponent.astype(np.int64) - 1
    return octave, (mantissa * (2 << MANTISSA_BITS)).astype(np.int64) - (1 << MANTISSA_BITS)
