"""The order of hidden units, which changes no sample and is used to code them (spec, "Sorted units").

A unit of a hidden 1x1 layer may change places with another one if the columns of the next weight do, too. So units are
sorted by their keys, the bias and the first incoming weights, and of a key only the differences are coded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rducodec.model import LatentConfig, LatentSlice, QuantizedTensor

Places = Sequence[np.ndarray]  # for each layer int64 (keys, units): places among all values of the stored tensors
NO_KEYS: Places = ()
MAX_UNIT_KEYS = 8


def key_places(config: LatentConfig, stored: slice, count: int) -> Places:
    """Where the first `count` keys of the units of every hidden layer are, for a slice that stores these tensors.

    `stored` is that of `LatentConfig.stored_tensors`. Empty where `count` is 0 or the decoder networks are shared.
    """
    first = len(config.entropy_shapes()) + 1  # the upsampling kernel comes before the synthesis
    if not count or stored.stop <= first or stored.start == stored.stop:
        return NO_KEYS
    shapes = config.tensor_shapes()
    begins = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes[stored])])
    places = []
    for layer in range(len(config.synthesis_widths)):
        weight = first + 2 * layer
        units, fan_in = shapes[weight]
        begin_weight, begin_bias = begins[weight - stored.start : weight - stored.start + 2]
        unit = np.arange(units)
        columns = begin_weight + fan_in * unit + np.arange(fan_in)[:, None]  # (fan_in, units)
        places.append(np.concatenate([begin_bias + unit[None], columns])[:count])
    return places


def tied(steps: np.ndarray) -> np.ndarray:
    """Which units equal the one before in all earlier keys, bool (keys, units); `steps`: differences to that unit."""
    result = np.ones(steps.shape, bool)
    result[1:] = np.logical_and.accumulate(steps == 0, axis=0)[:-1]
    result[:, 0] = False
    return result


def sorted_units(part: LatentSlice) -> LatentSlice:
    """The same samples, with the units of every hidden layer in ascending order of bias and incoming weights.

    Units that are equal in these are ordered by their outgoing weights: networks that differ in the order of their
    units alone become equal.
    """
    tensors = list(part.synthesis)
    for weight in range(0, len(tensors) - 6, 2):  # the last 1x1 layer and the two 3x3 layers have outputs, not units
        incoming, bias, outgoing = (tensors[weight + step] for step in (0, 1, 2))
        keys = np.concatenate([bias.values[None], incoming.values.T, outgoing.values])
        order = np.lexsort(keys[::-1])
        tensors[weight] = _with_values(incoming, incoming.values[order])
        tensors[weight + 1] = _with_values(bias, bias.values[order])
        tensors[weight + 2] = _with_values(outgoing, np.ascontiguousarray(outgoing.values[:, order]))
    return replace(part, synthesis=tuple(tensors))


def _with_values(tensor: QuantizedTensor, values: np.ndarray) -> QuantizedTensor:
    return QuantizedTensor(values, tensor.frac_bits)
