"""How often the networks of an evaluation were right."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Accuracy:
    """Fractions, in 0..1, of test images that each network got right; at least one network.

    >>> f"{Accuracy((0.5, 0.7)).mean:.2f} ± {Accuracy((0.5, 0.7)).std:.2f}"
    '0.60 ± 0.14'
    """

    per_network: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the networks."""
        return statistics.mean(self.per_network)

    @property
    def std(self) -> float:
        """Standard deviation over the networks (of the sample, n - 1); 0 for one network."""
        return statistics.stdev(self.per_network) if len(self.per_network) > 1 else 0.0
