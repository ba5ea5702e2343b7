"""Write the printed constants of the specification: the Laplace ratios and their Exp-Golomb orders.

    python spec/make_constants.py          # writes spec/laplace_constants.csv

Row i: the Laplace scale is b = exp((i - 74) / 16); `ratio` is round(2**32 * exp(-1 / (32 b)));
`golomb_order` is floor(log2 b), at least 0. Only the standard library is used, with 60 decimal digits.
"""

from __future__ import annotations

import csv
from decimal import Decimal, getcontext
from pathlib import Path

NUM_SCALES = 155
SCALE_ORIGIN = 74
SCALES_PER_NEPER = 16
MEANS_PER_UNIT = 32


def laplace_scale(index: int) -> Decimal:
    """Laplace scale b of row `index`, in latent units."""
    return (Decimal(index - SCALE_ORIGIN) / SCALES_PER_NEPER).exp()


def ratio(index: int) -> int:
    """Decay of the Laplace density over 1/32 of a latent unit, as a 32-bit fraction."""
    decay = (-1 / (MEANS_PER_UNIT * laplace_scale(index))).exp()
    return int((decay * 2**32).to_integral_value())


def golomb_order(index: int) -> int:
    """Order of the Exp-Golomb code of far tails: floor(log2 b), at least 0."""
    return max(0, int(laplace_scale(index)).bit_length() - 1)


def main() -> None:
    """Write the table beside this script."""
    getcontext().prec = 60
    with (Path(__file__).parent / "laplace_constants.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["scale_index", "ratio", "golomb_order"])
        writer.writerows((i, ratio(i), golomb_order(i)) for i in range(NUM_SCALES))


if __name__ == "__main__":
    main()
