"""A published checkpoint as a file: what each step of the encoder saves, beside the estimate of its authors.

Part of `benchmarks.fewer_bits`. Whole files, header, labels and checks included, after: every parameter rounded by
itself; parameters that make up for each other; hidden units sorted; entropy networks fitted again and shared, with
contexts of one grid only, then also with those of the coarser grid and with biases for each grid; latents that move,
too. Each step has the seconds of its own. Errors are measured on the decoded file against the float networks.

What was tried on this checkpoint (v4-160) and on a file of v4-480, and is not in the format, in bits of the decoder
networks: a scale for each hidden unit costs more than it saves. One for each input, with a mean, saves 0.5 to 1.4 % at
v4-160, 0.3 % at v4-480. A mean other than 0 for outgoing weights saves 0.2 to 1.8 % at v4-160, nothing at v4-480.
Counts of the values so far in place of a Laplace distribution would save 2 to 3 %, one unit after the other. Symmetric
upsampling kernels add an error of 2e-6 to 2e-4, separable ones of 1e-3: the networks use it better. Hidden units that
are scaled by powers of two, so that all are alike, change nothing beyond the noise of the search.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import rducodec
from benchmarks.recompress import part_bytes, rule_of_pool, smaller
from rducodec import writer
from rducodec.counting.pool import count_pool
from rducodec.interop import find_pool
from rducodec.interop.pool import SPACE, Pool
from rducodec.quantization import float_samples, quantize
from spec.vector_tools import changed

LIMITS = (5e-7, 5e-6, 5e-5)  # of the mean squared error, as published


def read_pool(path: Path) -> Pool:
    """A checkpoint, or SystemExit."""
    pool = find_pool(path)
    if pool is None:
        raise SystemExit(f"{path}: no checkpoint")
    return pool


def estimate_parts(pool: Pool, max_mse: float) -> dict[str, float]:
    """Bytes of each part of a checkpoint, as its authors count."""
    classes = len(pool.labels().counts)
    return {term.name: float(term.bits or 0) * classes / 8 for term in count_pool(pool, max_mse=max_mse).terms}


def packed(pool: Pool, **fields: Any) -> bytes:
    """The file of a checkpoint whose networks are quantised with these settings."""
    slices = quantize(pool.slices, pool.config, **fields)
    return rducodec.pack_latent(slices, pool.labels(), pool.config, space=SPACE)


def unsorted(pool: Pool, **fields: Any) -> bytes:
    """The same with hidden units in any order."""
    with changed((writer, "_unit_keys", lambda *_: 0)):
        return packed(pool, **fields)


def errors(pool: Pool, data: bytes) -> dict[str, float]:
    """Mean squared error of all samples, and of the worst slice, against the float networks."""
    decoded, begin, found = rducodec.read(data).stored_samples(), 0, []
    for part in pool.slices:
        end = begin + part.num_samples
        samples = decoded[begin:end] * 2.0**-pool.config.sample_frac_bits
        found.append(float(np.square(samples - float_samples(part, pool.config)).mean()))
        begin = end
    counts = [part.num_samples for part in pool.slices]
    return {"mse": float(np.average(found, weights=counts)), "largest_mse": max(found)}


def measure(pool: Pool, max_mse: float, codec_bytes: int | None, effort: int) -> dict[str, Any]:
    """All steps at one limit."""
    parts = estimate_parts(pool, max_mse)
    estimate, rule = sum(parts.values()), rule_of_pool(parts)
    steps: list[dict[str, Any]] = []

    def step(name: str, run: Callable[[], bytes]) -> bytes:
        begin = time.perf_counter()
        data = run()
        seconds = time.perf_counter() - begin
        row = part_bytes(rducodec.bpc(data)) | errors(pool, data) | {"step": name, "seconds": seconds}
        row |= {"both_over_rule": row["both"] / rule, "file_over_estimate": row["file"] / estimate}
        if codec_bytes is not None:
            row["file_over_codec"] = row["file"] / codec_bytes
        steps.append(row)
        print(f"{max_mse:.0e}  {name:<24} {len(data):>8,} bytes  {seconds:6.1f} s", flush=True)
        return data

    step("plain rounding", lambda: unsorted(pool, max_mse=max_mse, compensate=False))
    step("compensated rounding", lambda: unsorted(pool, max_mse=max_mse))
    still = step("sorted units", lambda: packed(pool, max_mse=max_mse))
    step(f"entropy networks, effort {effort}", lambda: smaller(still, rule, effort, extras=False)[1])
    refitted = step("coarser grid and biases", lambda: smaller(still, rule, effort)[1])

    def with_moves() -> bytes:
        moved = packed(pool, max_mse=max_mse, move_latents=True)
        return refitted if moved == still else min(refitted, smaller(moved, rule, effort)[1], key=len)

    last = step("latents that move", with_moves)
    begin = time.perf_counter()
    rducodec.read(last).samples()
    return {
        "max_mse": max_mse,
        "slices": len(pool.slices),
        "samples": pool.num_samples,
        "estimate_bytes": estimate,
        "estimate_parts": parts,
        "rule_bytes": rule,
        "codec_bytes": codec_bytes,
        "decode_s": time.perf_counter() - begin,
        "steps": steps,
    }
