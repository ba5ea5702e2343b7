"""Steps of upsampling and synthesis: few bits, with an error that stays under a limit (paper, post-quantisation)."""

from __future__ import annotations

import numpy as np

from rducodec.errors import RddInputError
from rducodec.model import LatentConfig, QuantizedTensor
from rducodec.quantization.allocation import MAX_FRAC_BITS, bits_of_steps, cheapest_steps
from rducodec.quantization.render import Renderer, render
from rducodec.quantization.rounding import rounded
from rducodec.quantization.slices import FloatSlice

SEARCH_PIXELS = 1 << 12  # of a slice on which a step is tried
CHECKED_PIXELS = 1 << 16  # on which a choice of steps is checked; who asks for one measures its result on all
HOPELESS = 16.0  # times the limit: coarser steps of a tensor are not tried
SMALLEST_SHARE = 1e-2  # of the limit: bounds of a correction
MAX_RAISE = 2.0
VERIFICATIONS = 8  # corrections of the error budget after a check


class PlainSearch:
    """Errors and bits of the steps of one slice, each parameter rounded by itself."""

    def __init__(self, part: FloatSlice, config: LatentConfig) -> None:
        self._part, self._config = part, config
        self._networks = (part.upsampling, *part.synthesis)
        self._check(max(1, CHECKED_PIXELS // (config.height * config.width)))
        self._bits = np.stack([bits_of_steps(tensor) for tensor in self._networks])  # (tensors, steps)

    def _check(self, num_samples: int) -> None:
        """Measure on so many samples from now on."""
        self._checked = self._part.some_latents(num_samples)
        self._reference = render(self._checked, self._networks, self._config)

    def decoder(self, max_mse: float) -> tuple[QuantizedTensor, ...]:
        """Upsampling kernel and synthesis as integers: few bits, and a mean squared error of at most `max_mse`.

        The error is between the samples of these and of the float networks; of large slices, some of them. A limit of
        0 keeps the finest steps. Raises RddInputError where the finest steps are too coarse for a limit above 0.
        """
        steps = np.full(len(self._networks), MAX_FRAC_BITS)
        if max_mse > 0:
            steps = self._within(max_mse)
        return tuple(rounded(tensor, int(step)) for tensor, step in zip(self._networks, steps, strict=True))

    def _added_error(self, steps: np.ndarray) -> float:
        """Mean squared error of the samples that are checked, under quantised networks."""
        networks = [rounded(t, int(f)).dequantize() for t, f in zip(self._networks, steps, strict=True)]
        difference = render(self._checked, networks, self._config) - self._reference
        return float(np.square(difference, dtype=np.float64).mean())

    def _table(self, max_mse: float) -> np.ndarray:
        """Error (tensors, steps) if one tensor alone is quantised, on some samples; infinite where hopeless."""
        pixels = self._config.height * self._config.width
        renderer = Renderer(self._config, self._part.some_latents(max(1, SEARCH_PIXELS // pixels)))
        stages = renderer.stages(self._networks)
        reference = stages[-1]
        assert reference is not None
        errors = np.full(self._bits.shape, np.inf)
        for index, tensor in enumerate(self._networks):
            layer = (index + 1) // 2
            trial = list(self._networks)
            for f in range(MAX_FRAC_BITS, -1, -1):
                trial[index] = rounded(tensor, f).dequantize()
                difference = renderer.finish(layer, stages[layer], trial) - reference
                errors[index, f] = np.square(difference, dtype=np.float64).mean()
                if errors[index, f] > HOPELESS * max_mse:
                    break
        return errors

    def _cost(self, steps: np.ndarray) -> float:
        return float(np.take_along_axis(self._bits, steps[:, None], axis=1).sum())

    def _within(self, max_mse: float) -> np.ndarray:
        """Steps (tensors,) with an error of at most `max_mse`.

        The errors of single tensors add up nearly; their sum is corrected by what is measured on more samples.
        """
        best = np.full(len(self._networks), MAX_FRAC_BITS)
        finest = self._added_error(best)
        if finest > max_mse:
            self._check(self._part.num_samples)  # some may be worse than all
            finest = self._added_error(best)
        if finest > max_mse:
            raise RddInputError(
                f"the finest network steps add a mean squared error of {finest:.3g}, the limit is {max_mse:.3g}"
            )
        errors = self._table(max_mse)
        low, high, budget = 0.0, max_mse / SMALLEST_SHARE, max_mse
        for _ in range(VERIFICATIONS):
            steps = cheapest_steps(errors, self._bits, budget)
            error = self._added_error(steps)
            if error <= max_mse:
                low = budget
                if self._cost(steps) < self._cost(best):
                    best = steps
            else:
                high = budget
            correction = max_mse / max(error, SMALLEST_SHARE * max_mse)
            guess = budget * min(max(correction, SMALLEST_SHARE), MAX_RAISE)
            budget = guess if low < guess < high else float(np.sqrt(max(low, SMALLEST_SHARE * max_mse) * high))
        for index in reversed(range(len(best))):
            steps = best.copy()
            steps[index] = max(0, steps[index] - 1)
            if self._cost(steps) < self._cost(best) and self._added_error(steps) <= max_mse:
                best = steps
        return best
