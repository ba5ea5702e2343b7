"""How samples change with latents: gradients of an error, and how much each latent matters; float32.

The layers are those of `render`, gone through backwards. Upsampling and 3 x 3 layers repeat edges, so what flows back
into a repeated edge belongs to the pixel that was repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rducodec.model import NUM_SPATIAL_LAYERS, SPATIAL_SIZE, LatentConfig
from rducodec.quantization.render import CHUNK_VALUES, Renderer, residual
from rducodec.synthesis.upsampling import REACH, TAPS, phase_matrix


class Adjoint:
    """Networks [kernel, weight, bias, ...] of a slice, as a function of its latents and its derivatives."""

    def __init__(self, networks: Sequence[np.ndarray], config: LatentConfig) -> None:
        self._networks, self._config = [np.asarray(tensor, np.float32) for tensor in networks], config
        widest = max(config.num_scales, *config.synthesis_widths, 1)
        self._chunk = max(1, CHUNK_VALUES // (config.height * config.width * widest))  # samples

    def gradients(self, latents: Sequence[np.ndarray], reference: np.ndarray) -> tuple[tuple[np.ndarray, ...], float]:
        """Half the gradient of the summed squared error to `reference`, one array a grid, and the error itself.

        `reference`: samples (n, channels, height, width).
        """
        parts, total = [], 0.0
        for begin in range(0, len(reference), self._chunk):
            chosen = slice(begin, begin + self._chunk)
            stages, renderer = self._stages([grid[chosen] for grid in latents])
            expected = np.moveaxis(reference[chosen], 1, 0).reshape(self._config.channels, -1)
            difference = stages[-1] - expected.astype(np.float32)
            total += float(np.square(difference, dtype=np.float64).sum())
            back = self._through_spatial(difference, stages, renderer)
            parts.append(self._to_grids(self._through_pointwise(back, stages), renderer))
        return tuple(np.concatenate(grids) for grids in zip(*parts, strict=True)), total

    def squares(self, latents: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """One array a grid, in proportion to how much a move of each latent changes its sample, squared.

        The change of the last 1x1 layer with a feature, averaged over the pixels of a latent; the factor of a grid,
        and what the 3x3 layers do, are left to be measured.
        """
        parts = []
        for begin in range(0, len(latents[0]), self._chunk):
            stages, _ = self._stages([grid[begin : begin + self._chunk] for grid in latents])
            total = np.zeros_like(stages[1])
            for channel in range(self._config.channels):
                unit = np.zeros((self._config.channels, total.shape[1]), np.float32)
                unit[channel] = 1
                total += np.square(self._through_pointwise(unit, stages))
            planes = total.reshape(len(total), -1, self._config.height, self._config.width)
            parts.append([_box_means(plane, grid.shape[1:]) for plane, grid in zip(planes, latents, strict=True)])
        return tuple(np.concatenate(grids) for grids in zip(*parts, strict=True))

    def _stages(self, latents: Sequence[np.ndarray]) -> tuple[list[np.ndarray], Renderer]:
        """The input of every layer (the first is of no use), the output of the last."""
        renderer = Renderer(self._config, tuple(latents))
        stages = renderer.stages(self._networks)
        return [np.zeros(0, np.float32) if stage is None else stage for stage in stages], renderer

    def _through_spatial(self, back: np.ndarray, stages: Sequence[np.ndarray], renderer: Renderer) -> np.ndarray:
        first = renderer.num_layers - NUM_SPATIAL_LAYERS
        size = (len(renderer.latents[0]), self._config.height, self._config.width)
        for layer in range(renderer.num_layers - 1, first - 1, -1):
            if layer < renderer.num_layers - 1:
                back = back * (stages[layer + 1] > 0)
            weight = residual(self._networks[2 * layer - 1])
            patches = weight.reshape(len(weight), -1).T @ back
            taps = patches.reshape(-1, SPATIAL_SIZE, SPATIAL_SIZE, *size)
            back = _folded(taps, SPATIAL_SIZE // 2, SPATIAL_SIZE // 2).reshape(back.shape)
        return back

    def _through_pointwise(self, back: np.ndarray, stages: Sequence[np.ndarray]) -> np.ndarray:
        """(scales, pixels) from (channels, pixels) at the output of the last 1x1 layer."""
        last = len(self._config.synthesis_widths) + 1
        for layer in range(last, 0, -1):
            if layer < last:
                back = back * (stages[layer + 1] > 0)
            back = self._networks[2 * layer - 1].T @ back
        return back

    def _to_grids(self, back: np.ndarray, renderer: Renderer) -> tuple[np.ndarray, ...]:
        """What flows back to the latents, one array (n, h, w) a grid, from (scales, pixels)."""
        phases = phase_matrix(self._networks[0])
        shapes = self._config.grid_shapes()
        planes = back.reshape(len(back), len(renderer.latents[0]), *shapes[0])
        result = [planes[0]]
        for shape in shapes[1:]:
            planes = _downwards(planes[1:], phases, shape)
            result.append(planes[0])
        return tuple(result)


def _box_means(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n, *shape) means over boxes of the pixels of a plane (n, height, width)."""
    result = plane
    for axis, size in ((1, shape[0]), (2, shape[1])):
        begins = np.arange(size) * plane.shape[axis] // size
        sums = np.add.reduceat(result, begins, axis=axis)
        counts = np.diff(np.append(begins, plane.shape[axis])).astype(np.float32)
        result = sums / np.expand_dims(counts, tuple(a for a in range(3) if a != axis))
    return result


def _folded(taps: np.ndarray, before: int, after: int) -> np.ndarray:
    """(channels, n, h, w) from (channels, rows, columns, n, h, w).

    Tap (r, s) of position (y, x) belongs to (y + r - before, x + s - before), or to the edge where that is outside, by
    `after` at most beyond the last row and column.
    """
    channels, rows, columns, count, h, w = taps.shape
    padded = np.zeros((channels, count, h + before + after, w + before + after), np.float32)
    for r in range(rows):
        for s in range(columns):
            padded[:, :, r : r + h, s : s + w] += taps[:, r, s]
    return _unpadded(_unpadded(padded, 2, before, after), 3, before, after)


def _unpadded(padded: np.ndarray, axis: int, before: int, after: int) -> np.ndarray:
    """Without the margins of an axis, which are added to its edges."""
    moved = np.moveaxis(padded, axis, 0)
    inner = moved[before : len(moved) - after].copy()
    inner[0] += moved[:before].sum(axis=0)
    inner[-1] += moved[len(moved) - after :].sum(axis=0)
    return np.moveaxis(inner, 0, axis)


def _downwards(planes: np.ndarray, phases: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The transpose of one upsampling: (planes, n, *shape) from (planes, n, h, w) at twice the size, or one less."""
    number, count, h, w = planes.shape
    full = np.zeros((number, count, 2 * shape[0], 2 * shape[1]), np.float32)
    full[:, :, :h, :w] = planes
    result = np.zeros((number, count, *shape), np.float32)
    kernels = phases.reshape(2, 2, TAPS, TAPS)
    for p in (0, 1):
        for q in (0, 1):
            # Output 2 i + p sees the inputs i - 2 + p + a, a = 0..3: a frame of 5 taps, of which p leaves out one.
            frame = np.zeros((TAPS + 1, TAPS + 1), np.float32)
            frame[p : p + TAPS, q : q + TAPS] = kernels[p, q]
            part = full[:, :, p::2, q::2]
            taps = frame[None, :, :, None, None, None] * part[:, None, None]
            result += _folded(taps, REACH, REACH)
    return result
