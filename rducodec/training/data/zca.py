"""ZCA whitening of images: its matrices, the text that names it in a header, and the file that keeps it.

What is kept are the exact moments of the pixels (`rducodec.training.data.moments`), not the matrices: these follow from
them, and the digest in a header proves that they are the right ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError
from rducodec.files import replacing, translated_errors
from rducodec.interop.tensors import optional_module
from rducodec.training.data.moments import MAX_ZCA_VALUES, PixelMoments

EPS = 0.1  # added to the eigenvalues: regularisation of trajectory matching (MTT), there of pixels in [0, 1]
METADATA_KEY = "zca"
MAX_COUNT = 1 << 31  # of images and of units, in a file
_TENSORS = ("sums", "products")


@dataclass(frozen=True, eq=False)
class Whitening:
    """ZCA of (pixels - mean) / std, as fitted to `moments`; mean 0 and std 1 leave pixels as they are."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    moments: PixelMoments
    eps: float = EPS

    def space(self) -> ValueSpace:
        """What a header says: constants, and the digest of the moments.

        The same images give the same text on every machine; other images, constants or eps give another one.
        """
        mean, std = (",".join(map(repr, numbers)) for numbers in (self.mean, self.std))
        text = f"mean={mean};std={std};eps={self.eps!r};images={self.moments.count};moments=sha256:"
        return ValueSpace("zca", text=text + self.moments.digest())

    def num_bytes(self) -> int:
        """Of the file of `save_whitening`, about."""
        num_values = len(self.moments.sums)
        return num_values * (num_values + 3) // 2 * np.dtype(np.int64).itemsize

    def matrices(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Centre (D,), whitening W and its inverse (D, D): (x - centre) W for flattened x = (pixels - mean) / std.

        W = U diag(1 / sqrt(S + eps)) U^T of the covariance U diag(S) U^T over n - 1. W does not depend on the signs
        or, among equal S, the choice of the eigenvectors. Source: Kornia's ZCAWhitening, which MTT (Cazenavette et al.,
        2022) fits to pixels in [0, 1].
        """
        _, height, width = self.moments.shape
        mean, std = (np.repeat(numbers, height * width) for numbers in (self.mean, self.std))
        centre = (self.moments.sums / (self.moments.count * self.moments.units) - mean) / std
        covariance = self.moments.covariance()
        covariance /= std[:, None]
        covariance /= std[None, :]
        values, vectors = np.linalg.eigh(covariance)
        roots = np.sqrt(np.maximum(values, 0) + self.eps)  # rounding makes some values of 0 negative
        return centre, (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T


def save_whitening(whitening: Whitening, path: Path) -> None:
    """The constants as a .safetensors file. Raises RddIOError, and RddVersionError without the package safetensors."""
    moments = whitening.moments
    upper = [moments.products[row, row:].astype(np.int64) for row in range(len(moments.sums))]
    fields = {
        "mean": whitening.mean,
        "std": whitening.std,
        "eps": whitening.eps,
        "count": moments.count,
        "units": moments.units,
        "shape": moments.shape,
        "text": whitening.space().text,
    }
    save = optional_module("safetensors.numpy", "writing ZCA constants").save
    tensors = {"sums": moments.sums.astype(np.int64), "products": np.concatenate(upper)}
    with replacing(path) as stream:
        stream.write(save(tensors, metadata={METADATA_KEY: json.dumps(fields)}))


def load_whitening(path: Path) -> Whitening:
    """Inverse of `save_whitening`. RddInputError where the file is not such a one or its digest differs; RddIOError."""
    safetensors = optional_module("safetensors", "reading ZCA constants")
    with translated_errors(path):
        data = path.read_bytes()
    try:
        found = dict(safetensors.deserialize(data))
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        fields = json.loads(header["__metadata__"][METADATA_KEY])
        sums, products = (_integers(found[name]) for name in _TENSORS)
        whitening = _built(fields, sums, products)
        text = fields["text"]
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise RddInputError(f"{path}: not a file of ZCA constants, or damaged: {error}") from error
    if whitening.space().text != text:
        raise RddInputError(f"{path}: damaged: its numbers are not those of its digest")
    return whitening


def _integers(tensor: dict[str, Any]) -> NDArray[np.int64]:
    if tensor["dtype"] != "I64":
        raise ValueError(f"elements of type {tensor['dtype']}")
    return np.frombuffer(bytes(tensor["data"]), "<i8").astype(np.int64, copy=False)


def _built(fields: dict[str, Any], sums: NDArray[np.int64], products: NDArray[np.int64]) -> Whitening:
    """The whitening of a file's content. Raises ValueError, KeyError or TypeError where the parts do not fit."""
    channels, height, width = shape = tuple(int(size) for size in fields["shape"])
    count, units, num_values = int(fields["count"]), int(fields["units"]), channels * height * width
    mean, std = (tuple(float(number) for number in fields[name]) for name in ("mean", "std"))
    eps = float(fields["eps"])
    if (
        not 1 <= num_values <= MAX_ZCA_VALUES
        or min(shape) < 1
        or not 2 <= count < MAX_COUNT
        or not 1 <= units < MAX_COUNT
    ):
        raise ValueError(f"{count} images of shape {shape} in units of 1/{units}")
    if (
        len(mean) != channels
        or len(std) != channels
        or not np.isfinite([*mean, *std, eps]).all()
        or min(std) <= 0
        or eps <= 0
    ):
        raise ValueError("mean, std or eps")
    if len(sums) != num_values or len(products) != num_values * (num_values + 1) // 2:
        raise ValueError(f"{len(sums)} sums and {len(products)} products for images of {num_values} values")
    full, start = np.zeros((num_values, num_values)), 0
    for row in range(num_values):
        end = start + num_values - row
        full[row, row:] = full[row:, row] = products[start:end]
        start = end
    return Whitening(mean, std, PixelMoments(count, (channels, height, width), units, sums.astype(float), full), eps)
