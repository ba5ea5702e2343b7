"""Rounding one parameter after the other, the later ones making up for the errors of the earlier.

With H = L L' (see `sensitivity`), the squared error of moves e is the sum over i of L_ii**2 (e_i + sum over j > i of
L_ji / L_ii e_j)**2. So parameters are rounded from the last to the first, each towards the value that cancels what
those after it did: the nearest-plane method for lattices, known in the quantisation of networks as optimal brain
compression or GPTQ. What remains is an error of L_ii**2 for each, far less than H_ii where parameters can stand in for
each other, so coarser steps will do.

Steps are powers of two, but not their ratios: with the outputs of all hidden units multiplied by a gain, which the next
layer takes back, real networks give the same samples, and incoming weights have steps finer by the gain, outgoing
weights coarser ones. So the search is made for several gains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rducodec.model import LatentConfig, QuantizedTensor
from rducodec.quantization.allocation import MAX_FRAC_BITS, bits_of_steps, cheapest_steps
from rducodec.quantization.render import render
from rducodec.quantization.sensitivity import curvature, jacobian
from rducodec.quantization.slices import FloatSlice
from rducodec.weights import MAX_VALUE, best_code, magnitude_bits

MAX_GROUP = 2048  # parameters that make up for each other; time and memory grow with it, bytes shrink
OUTPUTS_OF_PARAMETER = 6  # sample values looked at for each parameter of a group
MIN_ROWS = 8  # of a sample, so that edges of strips do not matter much
TRIAL_PIXELS = 1 << 14  # on which the error of a trial is measured
DAMPINGS = (3e-2, 1e-2, 3e-3, 1e-3)  # of H in shares of its mean diagonal: what lies beyond the second order
USED_DAMPINGS = 2  # the best for a gain of 1, tried for the others
GAINS = (1.0, 2**0.25, 2**0.5, 2**0.75)  # of hidden units
FINALISTS = 3  # of gains and dampings, for which tensors and prices are searched
BUDGET_TRIALS = 7
BUDGET_RANGE = (1 / 64, 16.0)  # of the limit: predicted errors between which the one is searched that ends at the limit
PRICE_TRIALS = 5  # of a bit in units of error
MAX_PRICE = 4.0  # times what a bit is worth at the steps found
TABLE_MAGNITUDES = 1 << 12  # up to which a price is looked up


@dataclass(frozen=True)
class _Group:
    """Parameters that are rounded together, the last one first."""

    index: np.ndarray  # their places in stream order
    squares: np.ndarray  # L_ii**2
    ratios: np.ndarray  # (n, n): row i has L_ji / L_ii for j > i


@dataclass(frozen=True)
class _Start:
    """Gain of the hidden units, and factors under a damping."""

    gain: int  # its place in GAINS
    groups: Sequence[_Group]


@dataclass(frozen=True)
class _Trial:
    """Integers of all parameters with what they cost."""

    start: _Start
    values: np.ndarray
    steps: np.ndarray  # fractional bits of each tensor
    bits: float
    error: float


class CompensatedSearch:
    """Trials of steps and prices for one slice."""

    def __init__(self, part: FloatSlice, config: LatentConfig) -> None:
        self._networks, self._config = (part.upsampling, *part.synthesis), config
        sizes = [tensor.size for tensor in self._networks]
        self._tensor = np.repeat(np.arange(len(sizes)), sizes)  # of each parameter
        self._real = np.concatenate([np.asarray(t, np.float64).ravel() for t in self._networks])
        hidden = len(config.synthesis_widths)
        self._hidden_weights = range(1, 2 * hidden, 2)  # a bias follows each
        exponents = np.zeros(len(sizes))
        if hidden:
            exponents[[1, *range(2, 2 * hidden + 1, 2)]], exponents[2 * hidden + 1] = -1, 1
        # Of each tensor under each gain, what a step is multiplied with. Weights between hidden layers keep theirs.
        self._units = np.array(GAINS if hidden else GAINS[:1])[:, None] ** exponents
        self._bits = np.stack(
            [
                np.stack([bits_of_steps(tensor / unit) for tensor, unit in zip(self._networks, units, strict=True)])
                for units in self._units
            ]
        )  # (gains, tensors, steps)
        self._starts: list[_Start] | None = None  # that led to few bits
        pixels = config.height * config.width
        self._latents = part.some_latents(max(1, TRIAL_PIXELS // pixels))
        self._reference = render(self._latents, self._networks, config)
        groups = list(_groups(self._networks, config))
        outputs = OUTPUTS_OF_PARAMETER * max(map(len, groups))
        lines = -(-outputs // (config.channels * config.width))  # rows of pixels in all samples together
        latents = part.some_latents(max(1, lines // MIN_ROWS))
        rows = min(config.height, max(MIN_ROWS, -(-lines // len(latents[0]))))
        moves = jacobian(latents, self._networks, config, num_rows=rows)
        self._curvatures = [(index, curvature(moves[index])) for index in groups]

    def decoder(self, max_mse: float, start: tuple[QuantizedTensor, ...]) -> tuple[QuantizedTensor, ...]:
        """Upsampling kernel and synthesis as integers, within an error of `max_mse` on some of the samples.

        The result is `start`, which plain rounding found, where compensation does not cost fewer bits.
        """
        best = self._best(max_mse)
        if best is None or best.bits >= sum(best_code(tensor.values)[2] for tensor in start):
            return start
        parts = (self._of(best.values, index).astype(np.int32) for index in range(len(self._networks)))
        return tuple(QuantizedTensor(part, int(f)) for part, f in zip(parts, best.steps, strict=True))

    def _all_factors(self) -> Iterator[list[_Group]]:
        """Of every damping under which there are any."""
        for damping in DAMPINGS:
            try:
                yield self._factors(damping)
            except np.linalg.LinAlgError:  # parameters without any curvature, or beyond what floats tell apart
                continue

    def _factors(self, damping: float) -> list[_Group]:
        mean = float(np.mean(np.concatenate([np.diag(matrix) for _, matrix in self._curvatures])))
        factors = []
        for index, matrix in self._curvatures:
            order = np.argsort(np.diag(matrix), kind="stable")  # what moves the samples most is rounded first
            damped = matrix[np.ix_(order, order)]
            damped[np.diag_indices_from(damped)] += damping * mean
            lower = np.linalg.cholesky(damped)
            diagonal = np.diag(lower)
            factors.append(_Group(index[order], diagonal**2, np.ascontiguousarray((lower / diagonal).T)))
        return factors

    def _best(self, max_mse: float) -> _Trial | None:
        """The cheapest trial with an error of at most `max_mse`.

        Gains and dampings are chosen once: limits that come later are nearly the same.
        """
        if self._starts is None:
            trials = self._cheapest([_Start(0, groups) for groups in self._all_factors()], max_mse)
            gains = range(1, len(self._units))
            others = [_Start(gain, trial.start.groups) for trial in trials[:USED_DAMPINGS] for gain in gains]
            trials = sorted(trials + self._cheapest(others, max_mse), key=lambda trial: trial.bits)[:FINALISTS]
            self._starts = [trial.start for trial in trials]
        else:
            trials = self._cheapest(self._starts, max_mse)
        finals = [self._by_price(self._by_tensor(trial, max_mse), max_mse) for trial in trials]
        return min(finals, key=lambda trial: trial.bits, default=None)

    def _cheapest(self, starts: Sequence[_Start], max_mse: float) -> list[_Trial]:
        """The cheapest steps within the limit for each of these that has any, the cheapest of all first."""
        trials = [trial for start in starts if (trial := self._by_budget(start, max_mse)) is not None]
        return sorted(trials, key=lambda trial: trial.bits)

    def _predicted(self, start: _Start) -> np.ndarray:
        """Error (tensors, steps) that each step of each tensor leaves, if what is left is spread evenly over a step."""
        weights = np.zeros(len(self._networks))
        for group in start.groups:
            np.add.at(weights, self._tensor[group.index], group.squares)
        weights *= self._units[start.gain] ** 2
        return weights[:, None] * 4.0 ** -np.arange(MAX_FRAC_BITS + 1) / 12

    def _by_budget(self, start: _Start, max_mse: float) -> _Trial | None:
        """The cheapest steps within the limit; predicted errors are corrected by measured ones."""
        errors, bits = self._predicted(start), self._bits[start.gain]
        low, high = np.log2(BUDGET_RANGE)
        found: _Trial | None = None
        middle = 0.0
        for _ in range(BUDGET_TRIALS):
            steps = cheapest_steps(errors, bits, max_mse * 2.0**middle)
            trial = self._trial(start, steps, 0.0)
            if trial.error <= max_mse:
                low = middle
                found = trial if found is None or trial.bits < found.bits else found
            else:
                high = middle
            middle = (low + high) / 2
        return found

    def _by_tensor(self, found: _Trial, max_mse: float) -> _Trial:
        """Single tensors with coarser steps, for as long as that saves bits within the limit."""
        errors, bits, tensors = (
            self._predicted(found.start),
            self._bits[found.start.gain],
            np.arange(len(self._networks)),
        )
        failed = np.zeros(len(tensors), bool)
        while True:
            coarser = np.maximum(found.steps - 1, 0)
            saved = bits[tensors, found.steps] - bits[tensors, coarser]
            added = errors[tensors, coarser] - errors[tensors, found.steps]
            promise = np.where(failed | (saved <= 0), 0.0, saved / np.maximum(added, 1e-30))
            index = int(promise.argmax())
            if promise[index] == 0:
                return found
            steps = found.steps.copy()
            steps[index] = coarser[index]
            trial = self._trial(found.start, steps, 0.0)
            if trial.error <= max_mse and trial.bits < found.bits:
                found = trial
            else:
                failed[index] = True

    def _by_price(self, start: _Trial, max_mse: float) -> _Trial:
        """The same steps, where cheaper integers are taken as far as the limit allows."""
        worth = 2 * np.log(2) * start.error / len(self._real)  # change of the error with a bit of every parameter
        found, low, high = start, 0.0, MAX_PRICE
        for _ in range(PRICE_TRIALS):
            middle = (low + high) / 2
            trial = self._trial(start.start, start.steps, middle * worth, like=found.values)
            if trial.error <= max_mse:
                low = middle
                found = trial if trial.bits < found.bits else found
            else:
                high = middle
        return found

    def _trial(self, start: _Start, steps: np.ndarray, price: float, like: np.ndarray | None = None) -> _Trial:
        """All parameters rounded to `steps`; `price` is the error that a bit is worth, by the codes for `like`."""
        values = np.empty(len(self._real), np.int64)
        table = None if like is None else self._price_table(like)
        units = self._units[start.gain] * 2.0 ** -steps.astype(float)
        for group in start.groups:
            tensors = self._tensor[group.index]
            costs = None if table is None else table[tensors] * price
            values[group.index] = _rounded(self._real[group.index], units[tensors], group, costs)
        integers = [self._of(values, index) for index in range(len(self._networks))]
        self._clear_unused(integers)
        real = [each * unit for each, unit in zip(integers, units.tolist(), strict=True)]
        difference = render(self._latents, real, self._config) - self._reference
        error = float(np.square(difference, dtype=np.float64).mean())
        values = np.concatenate([each.ravel() for each in integers])
        return _Trial(start, values, steps, sum(best_code(each)[2] for each in integers), error)

    def _clear_unused(self, integers: list[np.ndarray]) -> None:
        """Hidden units without outgoing weights get no incoming ones and no bias: no sample depends on them."""
        for index in reversed(self._hidden_weights):
            unused = ~integers[index + 2].any(axis=0)
            integers[index][unused] = integers[index + 1][unused] = 0

    def _price_table(self, values: np.ndarray) -> np.ndarray:
        """(tensors, magnitudes): bits of integers by the codes that suit `values`."""
        rows = []
        magnitudes = np.arange(TABLE_MAGNITUDES)
        for index in range(len(self._networks)):
            scale, raw_bits, _ = best_code(self._of(values, index))
            rows.append(magnitude_bits((magnitudes + (1 << raw_bits >> 1)) >> raw_bits, np.array([scale]))[0])
        return np.stack(rows)

    def _of(self, values: np.ndarray, tensor: int) -> np.ndarray:
        return values[self._tensor == tensor].reshape(self._networks[tensor].shape)


def _rounded(real: np.ndarray, units: np.ndarray, group: _Group, costs: np.ndarray | None) -> np.ndarray:
    """Integers of a group in units of its steps, from the last to the first."""
    moves = np.zeros(len(real))
    values = np.zeros(len(real), np.int64)
    for i in range(len(real) - 1, -1, -1):
        target = (real[i] - group.ratios[i, i + 1 :] @ moves[i + 1 :]) / units[i]
        value = round(target)
        if costs is not None and value:
            other = value - 1 if target < value else value + 1
            worst = costs.shape[1] - 1
            gain = costs[i, min(abs(value), worst)] - costs[i, min(abs(other), worst)]
            loss = group.squares[i] * units[i] ** 2 * ((other - target) ** 2 - (value - target) ** 2)
            value = other if loss < gain else value
        values[i] = max(-MAX_VALUE, min(MAX_VALUE, value))
        moves[i] = values[i] * units[i] - real[i]
    return values


def _groups(networks: Sequence[np.ndarray], config: LatentConfig) -> Iterator[np.ndarray]:
    """Places of parameters that are rounded together: all, or in large networks those of some hidden units."""
    hidden = len(config.synthesis_widths)
    owner = []  # of each parameter: (layer, unit), as one number; 0 for what belongs to no hidden unit
    for index, tensor in enumerate(networks):
        layer = (index + 1) // 2  # 0: upsampling
        units = np.zeros(tensor.shape, np.int64)
        if 1 <= layer <= hidden:
            units += (layer << 32) + np.arange(len(tensor)).reshape(-1, *[1] * (tensor.ndim - 1)) + 1
        elif layer == hidden + 1 and tensor.ndim == 2 and hidden:
            units += (hidden << 32) + np.arange(tensor.shape[1])[None] + 1
        owner.append(units.ravel())
    owners = np.concatenate(owner)
    order = np.argsort(owners, kind="stable")
    _, sizes = np.unique(owners, return_counts=True)
    begin = end = 0
    for size in sizes.tolist():
        if end - begin and end + size - begin > MAX_GROUP:
            yield np.sort(order[begin:end])
            begin = end
        end += size
    yield np.sort(order[begin:end])
