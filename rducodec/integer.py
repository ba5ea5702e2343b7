"""Exact integer layers on floating-point hardware (spec, "Integer arithmetic").

A product of integer matrices held in floats is exact while every partial sum stays below 2**53 (float64) or
2**24 (float32), whatever the order of the sums, the threads or the device. The functions here work on any
array namespace of array-api-compat; numpy arrays are updated in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

FLOAT64_BITS = 53  # integers below 2**53 are exact in float64
FLOAT32_BITS = 24
INT32_BITS = 31  # magnitude bits of a signed 32-bit accumulator


def accumulator_bound(weight: np.ndarray, bias: np.ndarray, input_bound: int) -> int:
    """Largest magnitude that any partial sum of weight @ x + bias can reach for |x| <= input_bound.

    `weight` is (out, in) and `bias` (out,), or (out, n) where there are n of them to choose from; both integers;
    computed in Python integers, so it cannot overflow.
    """
    biases = np.abs(bias).reshape(len(bias), -1).max(axis=1)
    rows = zip(np.abs(weight.astype(np.int64)).sum(axis=1).tolist(), biases.tolist(), strict=True)
    return max(total * input_bound + int(b) for total, b in rows)


def scaled(weight: np.ndarray, bias: np.ndarray, shift: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Float64 (matrix, offset) such that floor(matrix @ x + offset) == (weight @ x + bias + half) >> shift.

    `weight` is (out, in), `bias` (out,) becomes an offset (out, 1), or is (out, n) where there are n to choose from;
    `half` is 2**(shift - 1), or 0 where shift is 0. A power of two scales a float exactly, so the rounding shift
    becomes a floor.
    """
    shift = np.broadcast_to(np.asarray(shift, np.int64), len(bias))[:, None]
    half = (np.int64(1) << shift) >> 1
    unit = 2.0**-shift
    return weight * unit, (bias.reshape(len(bias), -1) + half) * unit


def clamp(x: Any, low: float, high: float) -> Any:
    """x limited to low..high; a numpy array is overwritten (the namespace's clip makes several passes over it)."""
    if isinstance(x, np.ndarray):
        return np.clip(x, low, high, out=x)
    return array_namespace(x).clip(x, low, high)


def floor_clamp(x: Any, low: float, high: float) -> Any:
    """floor(x) limited to low..high; a numpy array is overwritten."""
    if isinstance(x, np.ndarray):
        return clamp(np.floor(x, out=x), low, high)
    return clamp(array_namespace(x).floor(x), low, high)


def matmul(matrix: Any, x: Any) -> Any:
    """matrix @ x for stacks of matrices, on the device of its arguments."""
    return array_namespace(x).matmul(matrix, x)
