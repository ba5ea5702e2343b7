"""How hard a file is recompressed: which entropy networks are tried, and how long each is fitted.

| effort | fitted to | context | depth | extras | steps | integers moved | finalists |
|---|---|---|---|---|---|---|---|
| 1 | nothing: networks of the file are shared | of the file | of the file | of the file | 0 | no | |
| 2 | all slices together | of the file | of the file | of the file | 200 | no | 1 |
| 3 | all together, each slice alone, groups of slices | of the file | of the file | biases, both | 300 | no | 1 |
| 4 | the same | of the file | of the file, one less, one more | biases, both | 400 | 1 sweep | 1 |
| 5 | the same | 8, 16, 24 | 0 to 2, and of the file | biases, both | 600 | 2 sweeps | 2 |
| 6 | the same | 8, 16, 24, 32 | 0 to 3 | biases, both | 800 | 2 sweeps | 2 |
| 7 | the same | all | all | all | 1200 | 3 sweeps | 2 |
| 8 | the same | all | all | all | 2000 | 4 sweeps | 3 |
| 9 | the same | all | all | all | 4000 | 8 sweeps | 4 |

Fits to a slice alone start from what was fitted to all. Besides, from effort 3 on, the network that a slice has is
fitted further, in twice the steps: it was trained together with the latents. It gets biases and the coarser grid, from
effort 5 on also biases alone; short fits of new networks could not tell what becomes of it.

Extras are biases for each grid, latents of the next coarser grid, both or none. Networks are compared after SCOUT_STEPS
on all slices together: that of the file, and every shape with the first of the extras; then, after as many more, the
cheapest shapes with all extras. The cheapest of all are the finalists, which are fitted in full.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from rducodec.bitstream.header import COARSER_SIZES, CONTEXT_SIZES, MAX_DEPTH
from rducodec.errors import RddInputError
from rducodec.model import LatentConfig

DEFAULT_EFFORT = 5
SCOUT_STEPS = 150
_OF_THE_FILE: tuple[int, ...] = ()
_ALL_DEPTHS = tuple(range(MAX_DEPTH + 1))
# Biases of grids take a few bytes and nearly always save more (measured): they come first, and with the coarser grid.
_BEST_EXTRAS = tuple((coarser_size, True) for coarser_size in COARSER_SIZES)
_ALL_EXTRAS = (*_BEST_EXTRAS, *((coarser_size, False) for coarser_size in COARSER_SIZES))


@dataclass(frozen=True)
class Effort:
    """A line of the table above. What is empty is that of the file; depths also of its neighbours."""

    steps: int  # of the fit to all slices together
    own: bool  # fit to single slices and groups, too
    contexts: tuple[int, ...] = _OF_THE_FILE
    depths: tuple[int, ...] = _OF_THE_FILE
    extras: tuple[tuple[int, bool], ...] = ()  # (coarser size, biases of grids)
    neighbours: int = 0  # depths up to so much less or more than that of the file
    sweeps: int = 0
    finalists: int = 1

    def configs(self, config: LatentConfig) -> list[LatentConfig]:
        """Configurations of a file with the entropy networks that are tried for it first; its own before all others."""
        depth = config.entropy_depth
        near = range(max(0, depth - self.neighbours), min(MAX_DEPTH, depth + self.neighbours) + 1)
        own_shape = (config.context_size, depth)
        shapes = [own_shape, *product(self.contexts or own_shape[:1], self.depths or near)]
        tried = [replace(config, context_size=c, entropy_depth=d) for c, d in shapes]
        if self.extras:
            tried = [_with_extras(shape, self.extras[0]) for shape in tried]
        return list(dict.fromkeys([config, *tried]))

    def variants(self, config: LatentConfig) -> list[LatentConfig]:
        """A configuration with every one of the extras."""
        return [_with_extras(config, extras) for extras in self.extras]

    def trained(self, config: LatentConfig) -> list[LatentConfig]:
        """As what the networks of the file are fitted further; at high efforts with each of the best extras."""
        if not self.extras:
            return [config]
        return [_with_extras(config, extras) for extras in _BEST_EXTRAS[0 if self.finalists > 1 else -1 :]]


def _with_extras(config: LatentConfig, extras: tuple[int, bool]) -> LatentConfig:
    return replace(config, coarser_size=extras[0], grid_biases=extras[1])


EFFORTS = {
    1: Effort(0, own=False),
    2: Effort(200, own=False),
    3: Effort(300, own=True, extras=_BEST_EXTRAS),
    4: Effort(400, own=True, extras=_BEST_EXTRAS, neighbours=1, sweeps=1),
    5: Effort(600, True, (8, 16, 24), (0, 1, 2), _BEST_EXTRAS, sweeps=2, finalists=2),
    6: Effort(800, True, CONTEXT_SIZES, (0, 1, 2, 3), _BEST_EXTRAS, sweeps=2, finalists=2),
    7: Effort(1200, True, CONTEXT_SIZES, _ALL_DEPTHS, _ALL_EXTRAS, sweeps=3, finalists=2),
    8: Effort(2000, True, CONTEXT_SIZES, _ALL_DEPTHS, _ALL_EXTRAS, sweeps=4, finalists=3),
    9: Effort(4000, True, CONTEXT_SIZES, _ALL_DEPTHS, _ALL_EXTRAS, sweeps=8, finalists=4),
}


def effort_of(level: int) -> Effort:
    """The line of the table. Raises RddInputError for another number than 1 to 9."""
    if level not in EFFORTS:
        raise RddInputError(f"effort: {level}, expected 1..{max(EFFORTS)}")
    return EFFORTS[level]
