"""Forms fitted to the numbers of a slice: what an encoder does, and no decoder needs.

The mean is fitted by iteratively reweighted least squares to the least sum of |error| / scale, which is what a Laplace
distribution costs; the scale by least squares of |error| relative to itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rducodec.model import QuantizedTensor
from rducodec.pixels.forms import UNIT_BITS, Canvas, Form, Setting, checked_forms
from rducodec.pixels.neighbours import Geometry, geometry, places_of
from rducodec.pixels.wide import by_position

MAX_FITTED = 1 << 17  # numbers of a channel that forms are fitted to
ROUNDS = 2  # mean, scale, mean for these scales, scale
MEAN_PASSES, SCALE_PASSES = 6, 4
LEAST_ERROR = 0.25  # errors below count as this, or their weights would be infinite
LEAST_SCALE_SHARE = 0.08  # of the mean |error|: no weight is based on a smaller scale
RIDGE = 1e-3
MAX_WEIGHT = 1 << 20  # of a quantised weight: 36 of them are far from what a form may have in sum
MEAN_BITS, SCALE_BITS = 8, 6  # fractional bits of weights
LEAST_MEAN_BITS, LEAST_SCALE_BITS = 5, 4
BITS_FROM = 1 << 11  # numbers of a channel from which on the weights get all of these; fewer for four times fewer


@dataclass(frozen=True)
class Fitted:
    """Weights as they are stored, and the forms that they make."""

    tensors: list[QuantizedTensor]
    forms: list[Form]


def setting_of(numbers: np.ndarray, reach: int) -> Setting:
    """Top, and the value and spread of the first number of the first channel."""
    first = numbers[:, 0, 0, 0].astype(np.float64)
    origin = int(np.median(first))
    top = max(int(numbers.max()), 1)
    return Setting(top, origin, min(top, round(float(np.abs(first - origin).mean()))), reach)


def _solve(inputs: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weighted = inputs * weights
    gram = weighted @ inputs.T
    gram[np.diag_indices_from(gram)] += RIDGE * (1 + np.trace(gram) / len(gram) * 1e-6)
    return np.linalg.solve(gram, weighted @ target)


def _fit_mean(inputs: np.ndarray, target: np.ndarray, scale: np.ndarray) -> np.ndarray:
    weights = _solve(inputs, target, 1 / np.square(scale))
    for _ in range(MEAN_PASSES):
        errors = np.maximum(np.abs(target - weights @ inputs), LEAST_ERROR)
        weights = _solve(inputs, target, 1 / (scale * errors))
    return weights


def _fit_scale(inputs: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and the scales that they give."""
    least = max(LEAST_SCALE_SHARE * float(errors.mean()), 1e-3)
    scale = np.full(len(errors), max(float(errors.mean()), least))
    weights = np.zeros(len(inputs))
    for _ in range(SCALE_PASSES):
        weights = _solve(inputs, errors, 1 / np.square(scale))
        scale = np.maximum(weights @ inputs, least)
    return weights, scale


def _quantized(weights: np.ndarray, bits: int) -> QuantizedTensor:
    units = np.clip(np.rint(np.nan_to_num(weights) * (1 << bits)), -MAX_WEIGHT, MAX_WEIGHT)
    return QuantizedTensor(units.astype(np.int32)[None], bits)


def _weight_bits(numbers_of_channel: int) -> tuple[int, int]:
    fewer, size = 0, numbers_of_channel
    while size < BITS_FROM:
        fewer, size = fewer + 1, 4 * size
    return max(MEAN_BITS - fewer, LEAST_MEAN_BITS), max(SCALE_BITS - fewer, LEAST_SCALE_BITS)


def fit_forms(numbers: np.ndarray, setting: Setting) -> Fitted:
    """Forms for numbers (n, channels, height, width)."""
    num_samples, channels, height, width = numbers.shape
    plan = geometry(height, width)
    canvas = Canvas((channels, height, width), num_samples, setting)
    known = by_position(numbers)
    canvas.values[:, :-1] = known
    chosen = np.arange(0, height * width, -(-height * width * num_samples // MAX_FITTED))
    tensors: list[QuantizedTensor] = []
    for channel in range(channels):
        tensors += _fit_channel(canvas, plan, channel, known[channel], chosen)
    return Fitted(tensors, checked_forms(tensors))


def _fit_channel(
    canvas: Canvas, plan: Geometry, channel: int, known: np.ndarray, chosen: np.ndarray
) -> list[QuantizedTensor]:
    """Mean and scale weights of one channel; its errors are put on the canvas."""
    mean_bits, scale_bits = _weight_bits(known.size)
    places = places_of(plan, chosen)
    inputs, west, gradients = canvas.mean_inputs(channel, places)
    target = known[chosen].reshape(-1) - west
    scale = np.ones(len(target))
    for _ in range(ROUNDS):
        mean = _quantized(_fit_mean(inputs, target, scale), mean_bits)
        form = Form(mean.values[0].astype(np.float64), mean_bits, np.zeros(0), 0)
        _write_errors(canvas, plan, channel, known, form)
        magnitudes = canvas.scale_inputs(channel, places, gradients) / (1 << UNIT_BITS)
        weights, scale = _fit_scale(magnitudes, canvas.errors[channel, chosen].reshape(-1) / (1 << UNIT_BITS))
    return [mean, _quantized(weights, scale_bits)]


def _write_errors(canvas: Canvas, plan: Geometry, channel: int, known: np.ndarray, form: Form) -> None:
    """The errors of all numbers of a channel under a form of the mean, a part at a time."""
    num_samples = known.shape[1]
    parts = max(1, plan.num_positions * num_samples // MAX_FITTED)
    for positions in np.array_split(np.arange(plan.num_positions), min(parts, plan.num_positions)):
        inputs, west, _ = canvas.mean_inputs(channel, places_of(plan, positions))
        mean = canvas.mean(form, inputs, west)
        canvas.write(channel, positions, known[positions].reshape(-1), mean)
