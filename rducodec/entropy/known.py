"""What latents cost under a network when all of them are known: no wavefront, one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rducodec.entropy.context import wavefront_of
from rducodec.entropy.network import stack_networks
from rducodec.entropy.symbols import offset_bits
from rducodec.model import LatentConfig, QuantizedTensor


@dataclass(frozen=True)
class KnownLatents:
    """Latents of one slice with their contexts."""

    config: LatentConfig
    contexts: np.ndarray  # int16 (context, latents * samples)
    values: np.ndarray  # int32 (latents * samples,)
    grids: np.ndarray  # int64 (latents * samples,): which grid each is of

    @classmethod
    def of(cls, latents: Sequence[np.ndarray], config: LatentConfig) -> KnownLatents:
        """Gather the contexts of latents given as arrays (samples, h, w), finest first."""
        plan = wavefront_of(config)
        raster = np.concatenate([grid.reshape(len(grid), -1) for grid in latents], axis=1)
        values = np.zeros((plan.num_latents + 1, len(raster)), np.int16)  # the last row is the outside
        values[:-1] = raster[:, plan.order].T
        gather = np.concatenate(plan.gather, axis=1)
        contexts = np.take(values, gather, axis=0).reshape(len(gather), -1)
        return cls(config, contexts, values[:-1].reshape(-1).astype(np.int32), np.repeat(plan.grids, len(raster)))

    def information(self, network: Sequence[QuantizedTensor]) -> float:
        """Bits of the latents under the frequencies that a reader uses.

        Raises RddFormatError for a network that no reader may compute.
        """
        stacked = stack_networks([network], self.config)
        prediction = stacked.predict(stacked.context_values(self.contexts[None]), self.grids)
        return float(offset_bits(self.values - prediction.centre[0], prediction.row[0]).sum())
