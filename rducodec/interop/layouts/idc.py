"""IDC (Kim et al. 2022): images that each hold factor x factor samples of a smaller size, in one torch file.

`data.pt` is a list [images (n, channels, height, width), targets int64 (n,)] of pixels that are not clamped.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rducodec.errors import RddInputError
from rducodec.interop.layouts.layout import PIXELS, Layout, Request, finish, required, tensor
from rducodec.interop.pickles import StoredTensor, open_torch_file, told
from rducodec.interop.source import SourceSet, check_expanded, naming

_EXACT_BYTES = 8  # of a value while it is computed
_PADDING = 0.5  # of sides that the factor does not divide, as published


def holds(root: Any) -> bool:
    """Whether the object of a torch file is of this layout."""
    return isinstance(root, (list, tuple)) and len(root) == 2 and all(isinstance(part, StoredTensor) for part in root)


def _stretch(values: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Linear interpolation to `size` places along an axis; ends of samples, not centres, lie on each other."""
    length = values.shape[axis]
    place = np.maximum((np.arange(size) + 0.5) * (length / size) - 0.5, 0)
    low = place.astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    weight = np.expand_dims(place - low, tuple(range(1, values.ndim - axis)))
    return np.take(values, low, axis) * (1 - weight) + np.take(values, high, axis) * weight


def decode(images: np.ndarray, factor: int) -> np.ndarray:
    """float32 (factor * factor * n, channels, height, width): crops in raster order, each of all images, in full size.

    Sides that `factor` does not divide are padded at the end with 0.5. Computed in float64.
    """
    count, channels, height, width = images.shape
    rows, columns = -(-height // factor), -(-width // factor)
    margins = ((0, 0), (0, 0), (0, factor * rows - height), (0, factor * columns - width))
    padded = np.pad(images.astype(np.float64), margins, constant_values=_PADDING)
    decoded = np.empty((factor, factor, count, channels, height, width), np.float32)
    for i in range(factor):
        for j in range(factor):
            crop = padded[:, :, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            decoded[i, j] = _stretch(_stretch(crop, 2, height), 3, width)
    return decoded.reshape(-1, channels, height, width)


def read_idc(path: Path, request: Request) -> SourceSet:
    """All samples, class after class; in a class, crop after crop in raster order, each of all images of the class.

    A factor of 1 gives the images as they are stored, in their order.
    """
    with open_torch_file(path) as root:
        if not holds(root):
            raise RddInputError(f"a list of images and targets expected, found {told(root)}")
        factor = required(request.factor, "factor", "an image holds factor x factor samples, 2 or on ImageNet 3")
        images, targets = (tensor(part, "the list").array() for part in root)
    options = request.source_options() | {"space": request.space or PIXELS}
    stored = replace(finish(path, images, targets, options, "pixels"), stored={"images": len(images)})
    if factor == 1:
        return stored
    with naming(path):
        if stored.samples.dtype.kind != "f" or factor > min(stored.samples.shape[2:]):
            size = " x ".join(map(str, stored.samples.shape[2:]))
            raise RddInputError(f"factor: {factor} for images of {size} and type {stored.samples.dtype}")
        check_expanded(stored.samples.size * factor * factor * _EXACT_BYTES)
    labels = np.tile(stored.labels, factor * factor)
    order = np.argsort(labels, kind="stable")
    remark = f"{len(stored.samples)} images of {factor} x {factor} samples, brought to full size"
    samples = decode(stored.samples, factor)[order]
    soft = None if stored.soft_labels is None else np.tile(stored.soft_labels, (factor * factor, 1))[order]
    remarks = (*stored.remarks, remark)
    return replace(stored, samples=samples, labels=labels[order], soft_labels=soft, remarks=remarks)


LAYOUTS = (
    Layout("idc", "data.pt with [images, targets]", read_idc, re.compile(r"data\.pt"), holds, frozenset(("factor",))),
)
