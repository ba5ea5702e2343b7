"""Single integers of an entropy network moved by one step while network and latents together get cheaper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rducodec.entropy.known import KnownLatents
from rducodec.errors import RddFormatError
from rducodec.model import LatentConfig, QuantizedTensor
from rducodec.weights import MAX_VALUE, best_code

MOVES = (1, -1)


def refined_entropy(
    network: Sequence[QuantizedTensor],
    latents: Sequence[np.ndarray],
    config: LatentConfig,
    *,
    share: float = 1.0,
    sweeps: int = 1,
) -> tuple[QuantizedTensor, ...]:
    """A network that costs no more bits with these latents, by the tables that readers use.

    `latents`: arrays (samples, h, w), finest first, that are `share` of... one over `share` of all that the network is
    for. Each of at most `sweeps` sweeps tries every integer once up and once down (coordinate descent on the exact
    count) and ends early where nothing moves.
    """
    search = _Search(network, KnownLatents.of(latents, config), share)
    for _ in range(sweeps):
        if not search.sweep():
            break
    return tuple(search.network)


class _Search:
    """The best network so far, and what its tensors and its latents cost."""

    def __init__(self, network: Sequence[QuantizedTensor], known: KnownLatents, share: float) -> None:
        self.network, self._known, self._share = list(network), known, share
        self._tensor_bits = [best_code(tensor.values)[2] for tensor in network]
        self._latent_bits = known.information(network) * share

    def sweep(self) -> bool:
        """Whether a move helped."""
        moved = False
        for index in range(len(self.network)):
            for place in range(self.network[index].values.size):
                moved |= any(self._try(index, place, move) for move in MOVES)
        return moved

    def _try(self, index: int, place: int, move: int) -> bool:
        values = self.network[index].values.copy()
        values.reshape(-1)[place] += move
        if abs(int(values.reshape(-1)[place])) > MAX_VALUE:
            return False
        tensor = QuantizedTensor(values, self.network[index].frac_bits)
        trial = [*self.network[:index], tensor, *self.network[index + 1 :]]
        bits = best_code(values)[2]
        try:
            latent_bits = self._known.information(trial) * self._share
        except RddFormatError:  # beyond the sums of a reader
            return False
        if bits + latent_bits >= self._tensor_bits[index] + self._latent_bits:
            return False
        self.network, self._latent_bits, self._tensor_bits[index] = trial, latent_bits, bits
        return True
