"""Which slices use which entropy network: the fewest bits of networks and latents together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rducodec.entropy.known import KnownLatents
from rducodec.errors import RddFormatError
from rducodec.model import LatentConfig, LatentSlice, QuantizedTensor
from rducodec.weights import best_codes, information_bits

MAX_COMPARED = 64  # networks that are each tried on all slices: time and memory grow with the square

Network = tuple[QuantizedTensor, ...]
Grids = tuple[np.ndarray, ...]


def cheapest_assignment(bits: np.ndarray, network_bits: np.ndarray) -> np.ndarray:
    """The network of each slice, int64 (slices,), so that all together cost few bits.

    `bits` (networks, slices): what each slice costs under each network, infinite where that is unknown, with a network
    for every slice at least; `network_bits` (networks,): what each network costs once if any slice uses it. The problem
    is that of facility location; greedy from the best single network and from each slice's cheapest, then networks are
    opened, closed and exchanged while that helps.
    """
    totals = bits.sum(axis=1) + network_bits
    starts = [{int(network) for network in (bits + network_bits[:, None]).argmin(axis=0)}]
    if np.isfinite(totals).any():
        starts.append({int(totals.argmin())})
    best = min((_descend(start, bits, network_bits) for start in starts), key=lambda s: _cost(s, bits, network_bits))
    chosen = sorted(best)
    return np.array(chosen)[bits[chosen].argmin(axis=0)]


def _cost(chosen: set[int], bits: np.ndarray, network_bits: np.ndarray) -> float:
    if not chosen:
        return np.inf
    places = sorted(chosen)
    return float(bits[places].min(axis=0).sum() + network_bits[places].sum())


def _descend(chosen: set[int], bits: np.ndarray, network_bits: np.ndarray) -> set[int]:
    """Change one network at a time, or exchange two, to the cheapest neighbour until none is cheaper."""
    cost = _cost(chosen, bits, network_bits)
    everything = range(len(bits))
    while True:
        neighbours = [chosen ^ {network} for network in everything]
        neighbours += [chosen - {old} | {new} for old in chosen for new in everything if new not in chosen]
        costs = [_cost(neighbour, bits, network_bits) for neighbour in neighbours]
        if min(costs) >= cost:
            return chosen
        cost = min(costs)
        chosen = neighbours[costs.index(cost)]


@dataclass(frozen=True)
class Choice:
    """Entropy networks for slices: of one shape, equal where slices share one."""

    config: LatentConfig
    networks: tuple[Network, ...]  # of each slice
    bits: float  # of latents and networks, each network counted once


def network_bits(network: Network) -> float:
    """Bits of the tensors of a network, stored alone."""
    return float(information_bits(network, best_codes(network)).sum())


class Candidates:
    """Networks of one shape, and what each slice costs under each."""

    def __init__(self, parts: Sequence[Grids], config: LatentConfig) -> None:
        self.config, self.parts = config, parts
        self._known = [KnownLatents.of(latents, config) for latents in parts]
        self.networks: list[Network] = []
        self._bits: list[list[float]] = []
        self._network_bits: list[float] = []

    def add(self, network: Network, members: Sequence[int] | None = None) -> None:
        """A network that readers may compute, for all slices or for some."""
        slices = range(len(self.parts)) if members is None else members
        bits = [np.inf] * len(self.parts)
        try:
            for index in slices:
                bits[index] = self._known[index].information(network)
        except RddFormatError:
            return
        self.networks.append(network)
        self._bits.append(bits)
        self._network_bits.append(network_bits(network))

    def add_existing(self, slices: Sequence[LatentSlice]) -> None:
        """The networks that slices have; where there are very many, each for the slices that have it alone."""
        members: dict[_Key, list[int]] = {}
        for index, part in enumerate(slices):
            members.setdefault(_Key(part.entropy), []).append(index)
        for key, users in members.items():
            self.add(key.network, None if len(members) <= MAX_COMPARED else users)

    def assignment(self) -> np.ndarray:
        """The network of each slice."""
        return cheapest_assignment(np.array(self._bits), np.array(self._network_bits))

    def choice(self) -> Choice:
        """The best sharing of the networks that were added."""
        chosen = self.assignment().tolist()
        bits = sum(self._bits[network][index] for index, network in enumerate(chosen))
        bits += sum(self._network_bits[network] for network in set(chosen))
        return Choice(self.config, tuple(self.networks[network] for network in chosen), bits)


class _Key:
    """A network that equals others of the same integers."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._content = tuple((tensor.frac_bits, tensor.values.tobytes()) for tensor in network)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)


def existing_choice(slices: Sequence[LatentSlice], config: LatentConfig) -> Choice:
    """The networks that slices have, shared where that is cheaper."""
    candidates = Candidates([part.latents for part in slices], config)
    candidates.add_existing(slices)
    return candidates.choice()
