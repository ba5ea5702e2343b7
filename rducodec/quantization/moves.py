"""Latents that go to a cheaper neighbour where the samples hardly change.

A move is one step towards the centre that the entropy network predicts. It saves bits of the latent itself and of those
that see it in their context, counted by the tables of readers; it changes the squared error by a gradient, which knows
of all moves made before, and by a square, which is in proportion to how the last 1x1 layer depends on the latent.
Latents that have no context in common move together; the price of a bit grows from sweep to sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rducodec.entropy.context import context_offsets, wavefront_of
from rducodec.entropy.network import LATENT_MAX, LATENT_MIN, stack_networks
from rducodec.entropy.symbols import offset_bits
from rducodec.model import LatentConfig, QuantizedTensor
from rducodec.quantization.adjoint import Adjoint
from rducodec.quantization.render import render

PROBE_SHARE = 0.02  # of the latents of a grid, moved together to measure their squares
FIRST_SHARE = 1 / 64  # of the limit, that the first moves add
ABOVE = 1 + 1e-6  # times a price: the move of this price is made
PRICE_STEP = 2.0
REFRESHES = 4  # of the gradient in a sweep
LAST_TRIALS = 4  # between the last price within the limit and the first beyond

Grids = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Moved:
    """Latents after some moves."""

    latents: Grids
    bits: float  # of the latents under the entropy network
    error: float  # mean squared, of all samples, under the networks that the search was given
    price: float  # mean squared error accepted for a bit


class LatentMoves:
    """The latents of one slice, with an integer entropy network and real decoder networks [kernel, weight, ...].

    `reference`: the samples (n, channels, height, width) that errors are measured against.
    """

    def __init__(
        self,
        latents: Sequence[np.ndarray],
        entropy: Sequence[QuantizedTensor],
        networks: Sequence[np.ndarray],
        config: LatentConfig,
        reference: np.ndarray,
    ) -> None:
        self._config, self._networks, self._reference = config, networks, reference
        self._adjoint = Adjoint(networks, config)
        self._entropy = stack_networks([entropy], config)
        self._plan = wavefront_of(config)
        self._gather = np.concatenate(self._plan.gather, axis=1)  # (context, latents)
        self._grid_of = np.repeat(self._plan.grids, len(reference))  # (latents * samples,)
        self._masks = [mask[self._plan.order] for mask in _masks(config)]
        self._start = self._coded(latents)
        self._squares = self._measured_squares(latents)

    def path(self, max_mse: float, highest_price: float = np.inf) -> Iterator[Moved]:
        """States of ever fewer bits and larger errors, the first without a move; the caller ends it where it likes.

        No state has an error above `max_mse`, and none but the first is there where already the first moves would cost
        more than `highest_price` for a bit. If the caller goes on to the end, the last state comes close to `max_mse`.
        """
        values, bits = self._start, float(self._costs(self._start)[0].sum())
        state = Moved(self._grids(values), bits, self._error(values), 0.0)
        yield state
        price = self._first_price(max_mse)
        while price <= highest_price or state.price > 0:
            trial, moved = self._swept(values, price)
            if trial.error > max_mse:
                yield from self._up_to(values, state, price, max_mse)
                return
            if trial.bits >= state.bits:
                return
            values, state = moved, trial
            yield state
            price *= PRICE_STEP

    def _first_price(self, max_mse: float) -> float:
        """The price at which moves should add FIRST_SHARE of the limit; infinite if no move saves bits."""
        values, size = self._start, self._reference.size
        bits, centre = self._costs(values)
        rises, savings = [], []
        for mask in self._masks:
            trial = np.clip(values + np.sign(centre - values) * mask[:, None], LATENT_MIN, LATENT_MAX)
            saved = self._saved(bits, self._costs(trial)[0])
            chosen = (trial != values) & (saved > 0)
            rises.append(self._squares[chosen] / size)
            savings.append(saved[chosen])
        rise, prices = np.concatenate(rises), np.concatenate(rises) / np.concatenate(savings)
        if not len(rise):
            return np.inf
        order = np.argsort(prices)
        number = int(np.searchsorted(np.cumsum(rise[order]), FIRST_SHARE * max_mse))
        return float(prices[order[min(number, len(order) - 1)]]) * ABOVE

    def _up_to(self, values: np.ndarray, state: Moved, too_high: float, max_mse: float) -> Iterator[Moved]:
        """From the last state within the limit, with prices below one that led beyond it."""
        low, high = state.price, too_high
        for _ in range(LAST_TRIALS):
            middle = (low + high) / 2
            trial, moved = self._swept(values, middle)
            if trial.error > max_mse:
                high = middle
            else:
                low = middle
                if trial.bits < state.bits:
                    values, state = moved, trial
                    yield state

    def _coded(self, grids: Sequence[np.ndarray]) -> np.ndarray:
        """int32 (latents in coding order, samples)."""
        raster = np.concatenate([grid.reshape(len(grid), -1) for grid in grids], axis=1)
        return np.ascontiguousarray(raster[:, self._plan.order].T, np.int32)

    def _grids(self, coded: np.ndarray) -> Grids:
        """The inverse of `_coded`, int16."""
        raster = self._rasters(coded.astype(np.int16))
        cuts = np.cumsum([h * w for h, w in self._config.grid_shapes()])[:-1]
        parts = zip(np.split(raster, cuts, axis=1), self._config.grid_shapes(), strict=True)
        return tuple(part.reshape(-1, *shape) for part, shape in parts)

    def _rasters(self, coded: np.ndarray) -> np.ndarray:
        raster = np.empty(coded.T.shape, coded.dtype)
        raster[:, self._plan.order] = coded.T
        return raster

    def _error(self, values: np.ndarray) -> float:
        difference = render(self._grids(values), self._networks, self._config) - self._reference
        return float(np.square(difference, dtype=np.float64).mean())

    def _costs(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bits and predicted centres of all latents, (latents, samples)."""
        padded = np.zeros((len(values) + 1, values.shape[1]), np.int16)  # the last row is the outside
        padded[:-1] = values
        contexts = np.take(padded, self._gather.reshape(-1), axis=0).reshape(1, len(self._gather), -1)
        prediction = self._entropy.predict(self._entropy.context_values(contexts), self._grid_of)
        centre = prediction.centre[0].reshape(values.shape)
        bits = offset_bits(values - centre, prediction.row[0].reshape(values.shape))
        return bits, centre

    def _saved(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Bits that single moves of a mask save: of each latent and of those that have it in their context."""
        change = before - after
        total = np.zeros((len(change) + 1, change.shape[1]))
        total[:-1] = change
        own, coarser = np.split(self._gather, [self._config.context_size])
        for places in own:  # no two latents have the same one at one place of their contexts
            inside = places < len(change)
            total[places[inside]] += change[inside]
        for places in coarser:  # but up to four have the same one of the coarser grid
            np.add.at(total, places, change)
        return total[:-1]

    def _measured_squares(self, latents: Sequence[np.ndarray]) -> np.ndarray:
        """Rise of the summed squared error when a latent moves by one, (latents, samples)."""
        grids = [square.astype(np.float64) for square in self._adjoint.squares(latents)]
        still = render(latents, self._networks, self._config)
        rng = np.random.default_rng(0)
        for index, square in enumerate(grids):
            chosen = rng.random(square.shape) < max(PROBE_SHARE, 1.5 / square[0].size)
            moves = np.where(rng.random(square.shape) < 0.5, -1, 1) * chosen
            moved = [*latents[:index], latents[index] + moves, *latents[index + 1 :]]
            rise = np.square(render(moved, self._networks, self._config) - still, dtype=np.float64).sum()
            grids[index] = square * (rise / max(float(square[chosen].sum()), 1e-30))
        return self._coded_like(grids)

    def _coded_like(self, grids: Sequence[np.ndarray]) -> np.ndarray:
        raster = np.concatenate([grid.reshape(len(grid), -1) for grid in grids], axis=1)
        return np.ascontiguousarray(raster[:, self._plan.order].T)

    def _swept(self, values: np.ndarray, price: float) -> tuple[Moved, np.ndarray]:
        """The state after all moves that are worth it at a price, and its latents in coding order."""
        total_price = price * self._reference.size  # in summed squared error
        bits, centre = self._costs(values)
        refresh = max(1, -(-len(self._masks) // REFRESHES))
        for number, mask in enumerate(self._masks):
            if number % refresh == 0:
                grids, _ = self._adjoint.gradients(self._grids(values), self._reference)
                gradient = self._coded_like(grids)
            direction = np.sign(centre - values) * mask[:, None]
            trial = np.clip(values + direction, LATENT_MIN, LATENT_MAX)
            saved = self._saved(bits, self._costs(trial)[0])
            rise = 2 * direction * gradient + self._squares
            chosen = (trial != values) & (saved > 0) & (rise < total_price * saved)
            if chosen.any():
                values = np.where(chosen, trial, values)
                bits, centre = self._costs(values)
        return Moved(self._grids(values), float(bits.sum()), self._error(values), price), values


def _masks(config: LatentConfig) -> list[np.ndarray]:
    """Latents of all grids, bool (latents,) in raster order, that no other latent sees two of; each is in one mask.

    Where latents see the next coarser grid, a mask has latents of every second grid.
    """
    offsets = context_offsets(config.context_size)
    rows = 1 + max(-dy for dy, _ in offsets)
    columns = 1 + 2 * max(abs(dx) for _, dx in offsets)
    interval = 2 if config.coarser_size else 1
    masks = []
    for first in range(interval):
        for y in range(rows):
            for x in range(columns):
                parts = [np.zeros(shape, bool) for shape in config.grid_shapes()]
                for part in parts[first::interval]:
                    part[y::rows, x::columns] = True
                mask = np.concatenate([part.reshape(-1) for part in parts])
                if mask.any():
                    masks.append(mask)
    return masks
