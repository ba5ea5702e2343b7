"""Integer upsampling by 2 with one 8 x 8 kernel, as a product by output phase (spec, "Upsampling")."""

from __future__ import annotations

from typing import Any

import numpy as np

from rducodec.integer import floor_clamp, matmul
from rducodec.model import UPSAMPLING_SIZE

TAPS = UPSAMPLING_SIZE // 2  # inputs per axis that one output sees
# Output 2i + p sees the inputs i - 2 + p .. i + 1 + p; kernel row 7 - p - 2a belongs to input i - 2 + p + a.
REACH = 2  # inputs needed on either side


def phase_matrix(kernel: np.ndarray) -> np.ndarray:
    """int64 (4, 16): for output phase (py, px), the kernel taps in the order of the inputs they meet."""
    kernel = np.asarray(kernel, np.int64)
    taps = [UPSAMPLING_SIZE - 1 - p - 2 * np.arange(TAPS) for p in (0, 1)]
    return np.stack([kernel[np.ix_(taps[py], taps[px])].reshape(-1) for py in (0, 1) for px in (0, 1)])


def upsample(xp: Any, phases: Any, x: Any, value_max: int) -> Any:
    """(channels, n, 2h, 2w) from x (channels, n, h, w): integer-valued float64, rounded and clamped.

    `phases` is (4, 16), scaled so that the rounding shift is floor(product + 1/2).
    """
    return xp.concat([_upsample_channel(xp, phases, x[c : c + 1, ...], value_max) for c in range(x.shape[0])], axis=0)


def _upsample_channel(xp: Any, phases: Any, x: Any, value_max: int) -> Any:
    _, count, h, w = x.shape
    x = xp.concat([*[x[:, :, :1, :]] * REACH, x, *[x[:, :, -1:, :]] * REACH], axis=2)
    x = xp.concat([*[x[:, :, :, :1]] * REACH, x, *[x[:, :, :, -1:]] * REACH], axis=3)
    rows = []
    for py in (0, 1):
        columns = []
        for px in (0, 1):
            patches = [x[:, :, py + a : py + a + h, px + b : px + b + w] for a in range(TAPS) for b in range(TAPS)]
            flat = xp.reshape(xp.stack(patches), (TAPS * TAPS, -1))
            product = matmul(phases[2 * py + px : 2 * py + px + 1, :], flat)
            product += 0.5
            columns.append(xp.reshape(floor_clamp(product, -value_max, value_max), (1, count, h, w)))
        rows.append(xp.reshape(xp.stack(columns, axis=-1), (1, count, h, 2 * w)))
    return xp.reshape(xp.stack(rows, axis=3), (1, count, 2 * h, 2 * w))
