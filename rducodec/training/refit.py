"""New entropy networks for slices whose latents stay: shape, fit, integers and sharing by total bits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rducodec.effort import SCOUT_STEPS, Effort
from rducodec.entropy.known import KnownLatents
from rducodec.errors import RddInputError
from rducodec.model import LatentConfig, LatentSlice
from rducodec.quantization.entropy_steps import quantized_entropy
from rducodec.quantization.refine import refined_entropy
from rducodec.quantization.sharing import (
    MAX_COMPARED,
    Candidates,
    Choice,
    Grids,
    Network,
    existing_choice,
    network_bits,
)
from rducodec.quantization.slices import FloatSlice
from rducodec.training.entropy_fit import (
    LEARNING_RATE,
    OWN_STEP,
    STEP,
    WARM_LEARNING_RATE,
    fit_entropy,
    fitting_threads,
    own_learning_rate,
)

OWN_SHARE = 3  # a network of one slice or group starts from that of all: it takes a third of the steps
REFINED_LATENTS = 1 << 16  # on which moves of integers are tried
TRAINED_FACTOR = 2  # times the steps of the fit to all slices, for the network that a slice has
SWEEP_STEPS = 150  # steps that take about as long as a sweep: for the progress

Fit = tuple[np.ndarray, ...]  # real tensors of a network
Progress = Callable[[float, float], object]  # (share of the work since the last call, bits of the best so far)


def pooled(parts: Sequence[Grids]) -> Grids:
    """The samples of several slices as those of one."""
    return tuple(np.concatenate(grids) for grids in zip(*parts, strict=True))


def _some(latents: Grids, count: int) -> Grids:
    """At least one of the samples, at most `count`."""
    return FloatSlice(latents, (), np.zeros(0), ()).some_latents(max(1, count))


@dataclass(frozen=True)
class _Scout:
    """A short fit, by which configurations are compared."""

    config: LatentConfig
    fit: Fit
    latent_bits: float  # of all slices
    network_bits: float

    def bits(self, networks: int) -> float:
        """Of the latents and of so many networks."""
        return self.latent_bits + networks * self.network_bits


class Refit:
    """The search of one file. `device` is one of torch; `told` hears of work done and of the best so far."""

    def __init__(
        self, slices: Sequence[LatentSlice], config: LatentConfig, effort: Effort, device: str, told: Progress
    ) -> None:
        self._slices, self._config, self._effort, self._device = slices, config, effort, device
        self._parts = [part.latents for part in slices]
        self._all = pooled(self._parts)
        self._best = existing_choice(slices, config)
        self._told, self._work = told, max(1.0, self._planned_steps())

    def _planned_steps(self) -> float:
        effort, count = self._effort, len(self._slices)
        shapes = len(effort.configs(self._config))
        finalists = min(shapes, effort.finalists)
        scouts = shapes if shapes > effort.finalists else 0
        if effort.extras:
            scouts += (effort.finalists + 1) * len(effort.extras)
        each, trained = effort.steps, len(effort.trained(self._config)) if self._single else 0
        if self._single:
            each += count * (effort.steps // OWN_SHARE)
        refined = (finalists + trained) * effort.sweeps * SWEEP_STEPS
        return SCOUT_STEPS * scouts + finalists * each + trained * count * TRAINED_FACTOR * effort.steps + refined

    @property
    def _single(self) -> bool:
        """Whether slices get networks of their own."""
        return self._effort.own and len(self._slices) <= MAX_COMPARED

    def _advance(self, steps: float) -> None:
        self._told(steps / self._work, self._best.bits)

    def run(self) -> Choice:
        """The best choice; never worse than sharing what is there. Deterministic on one machine."""
        threads = 1 if self._device != "cpu" else os.cpu_count() or 1
        trained = self._effort.trained(self._config) if self._single else []
        with fitting_threads(threads) as pool:
            new = self._finalists(pool)
            for config in dict.fromkeys([*new, *trained]):
                choice = self._choice(pool, config, new, is_trained=config in trained)
                if choice is not None and choice.bits < self._best.bits:
                    self._best = choice
                self._advance(0)
        return self._best

    def _choice(
        self,
        pool: ThreadPoolExecutor,
        config: LatentConfig,
        new: Mapping[LatentConfig, Fit | None],
        *,
        is_trained: bool,
    ) -> Choice | None:
        """Of networks of one shape: those of the file, new ones if it is a finalist, trained ones fitted further."""
        candidates = Candidates(self._parts, config)
        if config == self._config:
            candidates.add_existing(self._slices)
        if config in new:
            self._add_new(pool, candidates, new[config])
        if is_trained:
            self._add_trained(pool, candidates)
        if not candidates.networks:
            return None
        if self._effort.sweeps:
            self._refine(pool, candidates)
        return candidates.choice()

    def _fit(
        self,
        latents: Grids,
        config: LatentConfig,
        steps: int,
        start: Fit | None,
        rate: float = LEARNING_RATE,
        step: float = STEP,
    ) -> Fit:
        return fit_entropy(
            latents,
            config,
            steps=steps,
            start=start,
            learning_rate=rate,
            step=step,
            device=self._device,
            told=self._advance,
        )

    def _finalists(self, pool: ThreadPoolExecutor) -> dict[LatentConfig, Fit | None]:
        """Shapes with what they start from: the cheapest after a short fit, with one network or one a slice."""
        effort = self._effort
        configs = effort.configs(self._config)
        if len(configs) <= effort.finalists and not effort.extras:
            return dict.fromkeys(configs)
        scouts = list(pool.map(self._scout, configs))
        variants = {
            variant: _adapted(scout.fit, variant)
            for scout in self._ranked(scouts)[: effort.finalists + 1]
            for variant in effort.variants(scout.config)
        }
        scouts += pool.map(self._scout, variants.keys(), variants.values())
        return {scout.config: scout.fit for scout in self._ranked(scouts)[: effort.finalists]}

    def _ranked(self, scouts: Sequence[_Scout]) -> list[_Scout]:
        """The cheapest first, with one network for all slices, then with one for each, in turn."""
        ranks = [sorted(scouts, key=lambda scout: scout.bits(count)) for count in (1, len(self._slices))]
        # The shape of the file comes second: short fits are unfair to deep networks, and its author chose it.
        own = next(scout for scout in ranks[0] if _shape(scout.config) == _shape(self._config))
        order = [ranks[0][0], own, *(scout for pair in zip(*ranks, strict=True) for scout in pair)]
        found: dict[LatentConfig, _Scout] = {}
        for scout in order:
            found.setdefault(scout.config, scout)
        return list(found.values())

    def _scout(self, config: LatentConfig, start: Fit | None = None) -> _Scout:
        """A short fit to all slices, counted on some of them."""
        fit = self._fit(self._all, config, SCOUT_STEPS, start)
        network = self._quantized(self._all, config, fit)
        if network is None:
            return _Scout(config, fit, np.inf, np.inf)
        some = _some(self._all, REFINED_LATENTS // config.num_latents())
        latents = KnownLatents.of(some, config).information(network) * len(self._all[0]) / len(some[0])
        return _Scout(config, fit, latents, network_bits(network))

    def _quantized(self, latents: Grids, config: LatentConfig, fit: Fit) -> Network | None:
        try:
            return quantized_entropy(FloatSlice(latents, fit, np.zeros((8, 8)), ()), config)
        except RddInputError:  # beyond the sums of a reader
            return None

    def _add_new(self, pool: ThreadPoolExecutor, candidates: Candidates, start: Fit | None) -> None:
        """Networks that know nothing of those of the file: of all slices, of single ones, of the groups that follow."""
        fit = self._fit_in(pool, self._all, candidates.config, self._effort.steps, start)
        shared = self._quantized(self._all, candidates.config, fit)
        if shared is None:
            return
        candidates.add(shared)
        if not self._single or len(self._parts) == 1:
            return
        self._add_groups(pool, candidates, [[index] for index in range(len(self._parts))], fit)
        groups = [group for group in _groups(candidates.assignment()) if len(group) < len(self._parts)]
        self._add_groups(pool, candidates, groups, fit)

    def _fit_in(
        self, pool: ThreadPoolExecutor, latents: Grids, config: LatentConfig, steps: int, start: Fit | None
    ) -> Fit:
        return pool.submit(self._fit, latents, config, steps, start).result()

    def _add_trained(self, pool: ThreadPoolExecutor, candidates: Candidates) -> None:
        """The network of every slice, fitted further: what was trained with the latents is hard to beat from anew."""

        def run(part: LatentSlice) -> Network | None:
            start = _adapted(_fit_of(part), candidates.config)
            steps = TRAINED_FACTOR * self._effort.steps
            fit = self._fit(part.latents, candidates.config, steps, start, own_learning_rate(steps), OWN_STEP)
            return self._quantized(part.latents, candidates.config, fit)

        for network in pool.map(run, self._slices):
            if network is not None:
                candidates.add(network)

    def _add_groups(
        self, pool: ThreadPoolExecutor, candidates: Candidates, groups: Sequence[Sequence[int]], start: Fit
    ) -> None:
        """A network for every group of slices."""

        def run(group: Sequence[int]) -> Network | None:
            latents = pooled([self._parts[index] for index in group])
            fit = self._fit(latents, candidates.config, self._effort.steps // OWN_SHARE, start, WARM_LEARNING_RATE)
            return self._quantized(latents, candidates.config, fit)

        for network in pool.map(run, groups):
            if network is not None:
                candidates.add(network)

    def _refine(self, pool: ThreadPoolExecutor, candidates: Candidates) -> None:
        """The networks in use with single integers moved."""
        assignment = candidates.assignment()

        def run(number: int) -> Network:
            latents = pooled([self._parts[index] for index in np.flatnonzero(assignment == number)])
            some = _some(latents, REFINED_LATENTS // candidates.config.num_latents())
            share = len(latents[0]) / len(some[0])
            network = candidates.networks[number]
            return refined_entropy(network, some, candidates.config, share=share, sweeps=self._effort.sweeps)

        used = np.unique(assignment).tolist()
        for network in pool.map(run, used):
            candidates.add(network)
            self._advance(self._effort.sweeps * SWEEP_STEPS / len(used))


def _adapted(fit: Fit, config: LatentConfig) -> Fit:
    """Tensors of a network of this shape with the extras of `config`: what the new inputs do is left to the fit."""
    shapes = config.entropy_shapes()
    first = np.zeros(shapes[0])
    inputs = min(first.shape[1], fit[0].shape[1])
    first[:, :inputs] = fit[0][:, :inputs]
    biases = fit[-1].reshape(-1, 2)
    if biases.size != shapes[-1][0]:
        biases = np.tile(biases.mean(axis=0), config.num_output_biases())
    return (first, *fit[1:-1], biases.reshape(-1))


def _fit_of(part: LatentSlice) -> Fit:
    """The real tensors of the entropy network that a slice has."""
    return tuple(np.asarray(tensor.dequantize(), np.float64) for tensor in part.entropy)


def _shape(config: LatentConfig) -> tuple[int, int]:
    """Context and depth."""
    return config.context_size, config.entropy_depth


def _groups(assignment: np.ndarray) -> list[list[int]]:
    """Slices that share a network, where there are several."""
    groups = [np.flatnonzero(assignment == number).tolist() for number in np.unique(assignment)]
    return [group for group in groups if len(group) > 1]
