"""How hard a file is recompressed: which entropy networks are tried, and how long each is fitted.

| effort | fitted to | context | depth | steps | integers moved | finalists |
|---|---|---|---|---|---|---|
| 1 | nothing: networks of the file are shared where that is cheaper | of the file | of the file | 0 | no | |
| 2 | all slices together | of the file | of the file | 200 | no | 1 |
| 3 | all together, each slice alone, groups of slices | of the file | of the file | 300 | no | 1 |
| 4 | the same | of the file | of the file, one less, one more | 400 | 1 sweep | 1 |
| 5 | the same | 8, 16, 24 | 0 to 2, and of the file | 600 | 2 sweeps | 2 |
| 6 | the same | 8, 16, 24, 32 | 0 to 3 | 800 | 2 sweeps | 2 |
| 7 | the same | all | all | 1200 | 3 sweeps | 2 |
| 8 | the same | all | all | 2000 | 4 sweeps | 3 |
| 9 | the same | all | all | 4000 | 8 sweeps | 4 |

Shapes are compared after SCOUT_STEPS on all slices together; the cheapest are the finalists, which are fitted in full.
"""

from __future__ import annotations

from dataclasses import dataclass

from rducodec.bitstream.header import CONTEXT_SIZES, MAX_DEPTH
from rducodec.errors import RddInputError

DEFAULT_EFFORT = 5
SCOUT_STEPS = 150
_OF_THE_FILE: tuple[int, ...] = ()
_ALL_DEPTHS = tuple(range(MAX_DEPTH + 1))


@dataclass(frozen=True)
class Effort:
    """A line of the table above. Contexts and depths that are empty are those of the file and its neighbours."""

    steps: int  # of the fit to all slices together
    own: bool  # fit to single slices and groups, too
    contexts: tuple[int, ...] = _OF_THE_FILE
    depths: tuple[int, ...] = _OF_THE_FILE
    neighbours: int = 0  # depths up to so much less or more than that of the file
    sweeps: int = 0
    finalists: int = 1

    def shapes(self, context_size: int, depth: int) -> list[tuple[int, int]]:
        """(context, depth) of the entropy networks that are tried for a file with these; its own first."""
        contexts = self.contexts or (context_size,)
        near = range(max(0, depth - self.neighbours), min(MAX_DEPTH, depth + self.neighbours) + 1)
        shapes = [(c, d) for c in contexts for d in self.depths or near]
        return [(context_size, depth), *(shape for shape in shapes if shape != (context_size, depth))]


EFFORTS = {
    1: Effort(0, own=False),
    2: Effort(200, own=False),
    3: Effort(300, own=True),
    4: Effort(400, own=True, neighbours=1, sweeps=1),
    5: Effort(600, own=True, contexts=(8, 16, 24), depths=(0, 1, 2), sweeps=2, finalists=2),
    6: Effort(800, own=True, contexts=CONTEXT_SIZES, depths=(0, 1, 2, 3), sweeps=2, finalists=2),
    7: Effort(1200, own=True, contexts=CONTEXT_SIZES, depths=_ALL_DEPTHS, sweeps=3, finalists=2),
    8: Effort(2000, own=True, contexts=CONTEXT_SIZES, depths=_ALL_DEPTHS, sweeps=4, finalists=3),
    9: Effort(4000, own=True, contexts=CONTEXT_SIZES, depths=_ALL_DEPTHS, sweeps=8, finalists=4),
}


def effort_of(level: int) -> Effort:
    """The line of the table. Raises RddInputError for another number than 1 to 9."""
    if level not in EFFORTS:
        raise RddInputError(f"effort: {level}, expected 1..{max(EFFORTS)}")
    return EFFORTS[level]
