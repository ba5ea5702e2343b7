"""The largest number that fits."""

from __future__ import annotations

from collections.abc import Callable


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, 0 if none does: doubled, then halved.

    `fits` was asked about the result itself. Sizes of files grow with the number of images but for a few bytes.

    >>> largest(lambda n: n * n <= 50, 100), largest(lambda n: n * n <= 50, 5), largest(lambda n: False, 5)
    (7, 5, 0)
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
