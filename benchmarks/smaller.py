"""What each step of the encoder saves on a published checkpoint, at the limits of the mean squared error as published.

    python -m benchmarks.smaller pool.pt [--effort 5] [--targets 10162,9150,8243] [--limits 5e-7,5e-6,5e-5]

Whole files, header, labels and checks included, after: every parameter rounded by itself; parameters that make up for
each other; hidden units sorted; entropy networks fitted again and shared (`rdd recompress`); latents that move, too.
Each line has the seconds of its own step. The error is measured on the decoded file against the float networks.

What was tried on this checkpoint (v4-160) and on a file of v4-480, and is not in the format, in bits of the decoder
networks: a scale for each hidden unit costs more than it saves. One for each input, with a mean, saves 0.5 to 1.4 % at
v4-160, 0.3 % at v4-480. A mean other than 0 for outgoing weights saves 0.2 to 1.8 % at v4-160, nothing at v4-480.
Counts of the values so far in place of a Laplace distribution would save 2 to 3 %, one unit after the other. Symmetric
upsampling kernels add an error of 2e-6 to 2e-4, separable ones of 1e-3: the networks use it better. Hidden units that
are scaled by powers of two, so that all are alike, change nothing beyond the noise of the search.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import rducodec
from benchmarks.checkpoints import LIMITS
from benchmarks.report import write_result
from rducodec import writer
from rducodec.effort import DEFAULT_EFFORT
from rducodec.interop import find_pool
from rducodec.interop.pool import SPACE, Pool
from rducodec.quantization import float_samples, quantize
from rducodec.recompress import recompress
from spec.vector_tools import changed


def packed(pool: Pool, **fields: Any) -> bytes:
    """The file of a checkpoint whose networks are quantised with these settings."""
    slices = quantize(pool.slices, pool.config, **fields)
    return rducodec.pack_latent(slices, pool.labels(), pool.config, space=SPACE)


def unsorted(pool: Pool, **fields: Any) -> bytes:
    """The same with hidden units in any order."""
    with changed((writer, "_unit_keys", lambda *_: 0)):
        return packed(pool, **fields)


def largest_error(pool: Pool, data: bytes) -> float:
    """Mean squared error of the worst slice, against the float networks."""
    decoded, begin, errors = rducodec.read(data).stored_samples(), 0, []
    for part in pool.slices:
        end = begin + part.num_samples
        samples = decoded[begin:end] * 2.0**-pool.config.sample_frac_bits
        errors.append(float(np.square(samples - float_samples(part, pool.config)).mean()))
        begin = end
    return max(errors)


def measure(pool: Pool, max_mse: float, effort: int) -> list[dict[str, Any]]:
    """A row for each step."""
    rows: list[dict[str, Any]] = []

    def step(name: str, run: Callable[[], bytes]) -> bytes:
        begin = time.perf_counter()
        data = run()
        row = {"max_mse": max_mse, "step": name, "file_bytes": len(data), "seconds": time.perf_counter() - begin}
        parts = {f"{part}_bytes": bits / 8 for part, bits in rducodec.bpc(data).parts.items()}
        rows.append(row | {"largest_mse": largest_error(pool, data)} | parts)
        print(
            f"{max_mse:.0e}  {name:<22} {len(data):>7,} bytes  {row['seconds']:6.1f} s  "
            f"error {rows[-1]['largest_mse']:.2e}",
            flush=True,
        )
        return data

    step("plain rounding", lambda: unsorted(pool, max_mse=max_mse, compensate=False))
    step("compensated rounding", lambda: unsorted(pool, max_mse=max_mse))
    still = step("sorted units", lambda: packed(pool, max_mse=max_mse))
    refitted = step(f"recompress, effort {effort}", lambda: recompress(still, effort=effort).data)

    def with_moves() -> bytes:
        moved = packed(pool, max_mse=max_mse, move_latents=True)
        return refitted if moved == still else recompress(moved, effort=effort).data

    step("moved latents, too", with_moves)
    return rows


def main() -> None:
    """Print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--effort", type=int, default=DEFAULT_EFFORT)
    parser.add_argument("--limits", default=",".join(map(str, LIMITS)))
    parser.add_argument("--targets", help="whole files of so many bytes at most, one for each limit")
    arguments = parser.parse_args()
    pool = find_pool(arguments.pool)
    if pool is None:
        raise SystemExit(f"{arguments.pool}: no checkpoint")
    limits = [float(part) for part in arguments.limits.split(",")]
    targets = [int(part) for part in arguments.targets.split(",")] if arguments.targets else [None] * len(limits)
    result, too_large = [], []
    for max_mse, target in zip(limits, targets, strict=True):
        rows = measure(pool, max_mse, arguments.effort)
        result += rows
        size = rows[-1]["file_bytes"]
        if target is not None:
            print(f"{max_mse:.0e}  target of {target:,} bytes: {'met' if size <= target else 'NOT met'}")
            too_large += [max_mse] * (size > target)
    print(write_result("smaller", {"pool": arguments.pool.name, "rows": result}))
    if too_large:
        raise SystemExit(f"too large at {too_large}")


if __name__ == "__main__":
    main()
