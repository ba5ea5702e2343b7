"""Sums of pixels and of their products as exact integers: what fitted value spaces are made of.

Pixels are numbers of units, so every sum is an integer. Held in float64 it is exact while it stays below 2^53, whatever
the order of the additions, the threads or the library: the same images give the same sums, and by the same formulas the
same mean, standard deviation and covariance, on every machine. Their digest can therefore name a whitening in a file.
A digest of the whitening matrix itself could not: eigenvectors differ in their last digits from machine to machine, and
of ten million rounded entries some always lie next to the edge between two roundings.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rducodec.errors import RddInputError
from rducodec.training.data.labelled import LabelledImages

BYTE_UNITS = 255  # of an 8-bit pixel in full intensity
FLOAT_UNITS = 16 * BYTE_UNITS  # exact for 8-bit pixels and for 16 grey levels; rounds others by 1/8160 at most
EXACT_BITS = 53  # of a float64
MAX_ZCA_VALUES = 3 * 64 * 64  # of an image: its products take 1.2 GB, and several times that while they are decomposed
BLOCK_BYTES = 1 << 26  # of float64 that are made from images at once
_DOMAIN = b"rducodec pixel moments 1\0"  # begins the digest; another meaning of its input needs another number


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """Mean and standard deviation (of the population) of each channel's pixels, 1 being full intensity."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class PixelMoments:
    """Sums over `count` flattened images (C * H * W values each) of pixels in `units`, and of products of two."""

    count: int
    shape: tuple[int, int, int]  # channels, height, width
    units: int
    sums: NDArray[np.float64]  # (D,), integers below 2**53
    products: NDArray[np.float64]  # (D, D), symmetric, integers below 2**53

    def digest(self) -> str:
        """SHA-256, hexadecimal, of all numbers as little-endian int64: count, units, shape, sums, upper triangle."""
        head = np.array([self.count, self.units, *self.shape], "<i8")
        digest = hashlib.sha256(_DOMAIN + head.tobytes() + self.sums.astype("<i8").tobytes())
        for row in range(len(self.sums)):
            digest.update(self.products[row, row:].astype("<i8").tobytes())
        return digest.hexdigest()

    def covariance(self) -> NDArray[np.float64]:
        """Covariance (D, D) of the pixels over count - 1."""
        scaled = self.products * self.count
        scaled -= np.outer(self.sums, self.sums)
        scaled /= float(self.count * (self.count - 1) * self.units**2)
        return scaled


def channel_statistics(data: LabelledImages) -> ChannelStatistics:
    """Mean and standard deviation of each channel over all images. RddInputError for a channel of one value."""
    channels, height, width = data.shape
    units = _units(data)
    sums, squares = [0] * channels, [0] * channels  # integers of Python: they have no largest one
    for block in _blocks(data):  # exact in float64, as a block is bounded
        for channel in range(channels):
            sums[channel] += int(block[:, channel].sum())
            squares[channel] += int(np.square(block[:, channel]).sum())
    count = len(data.images) * height * width
    spreads = [count * square - total**2 for total, square in zip(sums, squares, strict=True)]
    if 0 in spreads:
        raise RddInputError(
            f"space: channel {spreads.index(0)} of the training images has one value only and cannot be standardised; "
            "take the space pixels, or leave the channel out"
        )
    mean = tuple(total / (count * units) for total in sums)
    return ChannelStatistics(mean, tuple(math.sqrt(spread / (count * units) ** 2) for spread in spreads))


def pixel_moments(data: LabelledImages) -> PixelMoments:
    """Moments of all images, block after block. RddInputError for fewer than two, or too large ones."""
    num_values = int(np.prod(data.shape))
    if len(data.images) < 2:
        raise RddInputError("space: ZCA needs at least two training images")
    if num_values > MAX_ZCA_VALUES:
        raise RddInputError(
            f"space: ZCA of images of {num_values} values would need {8e-9 * num_values**2:.0f} GB for their "
            f"covariance, at most {MAX_ZCA_VALUES} values (64 x 64 in colour) are allowed; take the space standardised"
        )
    units = _units(data)
    _check_exact(len(data.images), units)
    sums, products = np.zeros(num_values), np.zeros((num_values, num_values))
    for block in _blocks(data):
        flat = block.reshape(len(block), num_values)
        sums += flat.sum(axis=0)
        products += flat.T @ flat
    return PixelMoments(len(data.images), data.shape, units, sums, products)


def _units(data: LabelledImages) -> int:
    return BYTE_UNITS if data.images.dtype == np.uint8 else FLOAT_UNITS


def _check_exact(num_terms: int, units: int) -> None:
    # Twice the units: a checked float pixel may lie a little outside of [0, 1].
    if num_terms * (2 * units) ** 2 >> EXACT_BITS:
        raise RddInputError(f"space: {num_terms} images are too many to be summed exactly; fit it to fewer images")


def _blocks(data: LabelledImages) -> Iterator[NDArray[np.float64]]:
    """Images in units, float64 (n, C, H, W), a block at a time."""
    rows = max(1, BLOCK_BYTES // (8 * int(np.prod(data.shape))))
    for start in range(0, len(data.images), rows):
        block = data.images[start : start + rows]
        yield block.astype(np.float64) if block.dtype == np.uint8 else np.rint(block.astype(np.float64) * FLOAT_UNITS)
