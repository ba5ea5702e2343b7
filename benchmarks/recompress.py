"""What recompression saves: latents and entropy networks of a checkpoint or a file, before and after, at rising effort.

    python -m benchmarks.recompress pool.pt [--codec 5845] [--efforts 1,2,3,5] [--file other.rdd ...] [--plain]

A checkpoint is encoded with a limit of 5e-6 first. Beside the bytes: the Shannon rule of the literature, -log2 of the
clamped Laplace probabilities of the latents under the networks as they were, and the networks (of a checkpoint: with
Exp-Golomb codes, as published; of a file: as stored); and what the published codec wrote of both, as told by --codec
(it is not run here). Samples are compared by their digest. With --plain, each effort also without latents of the
coarser grid and biases of grids: what these bring.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import rducodec
from benchmarks.overhead import shannon_bits
from benchmarks.report import write_result
from rducodec.counting.pool import count_pool
from rducodec.effort import EFFORTS
from rducodec.encoder import encode_pool
from rducodec.interop import find_pool
from rducodec.recompress import recompress

MAX_MSE = 5e-6
PARTS = ("latents", "entropy_networks")
PUBLISHED_PARTS = ("latents", "entropy networks")


def part_bytes(rate: rducodec.Rate) -> dict[str, float]:
    """Bytes of latents, of entropy networks, of both, and of the whole file."""
    parts = {name: rate.parts[name] / 8 for name in PARTS}
    return parts | {"both": sum(parts.values()), "file": rate.file_bits / 8}


def published_rule(path: Path) -> float:
    """Bytes of latents and entropy networks of a checkpoint, as its authors count."""
    pool = find_pool(path)
    if pool is None:
        raise SystemExit(f"{path}: no checkpoint")
    count = count_pool(pool, max_mse=MAX_MSE)
    bits = sum(float(term.bits) for term in count.terms if term.name in PUBLISHED_PARTS)
    return bits * len(pool.labels().counts) / 8


def rule_of_file(data: bytes) -> float:
    """Bytes of the latents by the Shannon rule and of the entropy networks as they are stored."""
    dataset = rducodec.read(data)
    config = dataset.config
    if not isinstance(config, rducodec.LatentConfig):
        raise SystemExit("no latents in the raw profile")
    latents = sum(shannon_bits(part, config) for part in dataset.latent_slices())
    return (latents + rducodec.bpc(dataset).parts["entropy_networks"]) / 8


def settings(efforts: list[int], plain: bool) -> list[tuple[int, bool]]:
    """(effort, whether it has its extras); without them only where that makes a difference."""
    return [
        (effort, extras)
        for effort in efforts
        for extras in (False, True)
        if extras or (plain and EFFORTS[effort].extras)
    ]


def measure(data: bytes, rule: float, efforts: list[tuple[int, bool]]) -> dict[str, Any]:
    """Before, and after each effort."""
    dataset = rducodec.read(data)
    rows = []
    for effort, extras in efforts:
        line = EFFORTS[effort] if extras else replace(EFFORTS[effort], extras=())
        begin = time.perf_counter()
        with patch.dict(EFFORTS, {effort: line}):
            result = recompress(data, effort=effort)
        seconds = time.perf_counter() - begin
        if result.configs is None or result.networks is None:
            raise SystemExit("no latents in the raw profile")
        after = part_bytes(result.after)
        config, stored = result.configs[1], result.networks[1]
        row = after | {
            "effort": effort,
            "extras": bool(line.extras),
            "seconds": seconds,
            "entropy_network": config.entropy_name(),
            "entropy_networks_stored": stored.entropy,
            "both_over_rule": after["both"] / rule,
            "same_digest": rducodec.read(result.data).sample_digest == dataset.sample_digest,
        }
        print(row, flush=True)
        rows.append(row)
    return {
        "slices": len(dataset.slices),
        "samples": dataset.header.num_samples,
        "rule_bytes": rule,
        "before": part_bytes(rducodec.bpc(data)),
        "after": rows,
    }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--codec", type=int, help="bytes of latents and entropy networks by the published codec")
    parser.add_argument("--efforts", default="1,2,3,5")
    parser.add_argument("--file", type=Path, action="append", default=[], help="a .rdd to recompress, too")
    parser.add_argument(
        "--plain", action="store_true", help="each effort also without the coarser grid and grid biases"
    )
    arguments = parser.parse_args()
    efforts = settings([int(effort) for effort in arguments.efforts.split(",")], arguments.plain)
    pool = find_pool(arguments.pool)
    if pool is None:
        raise SystemExit(f"{arguments.pool}: no checkpoint")
    data, _ = encode_pool(pool, max_mse=MAX_MSE)
    found = measure(data, published_rule(arguments.pool), efforts)
    if arguments.codec:
        found |= {"codec_bytes": arguments.codec, "both_over_codec": found["after"][-1]["both"] / arguments.codec}
    result: dict[str, Any] = {"max_mse": MAX_MSE, arguments.pool.name: found}
    for path in arguments.file:
        data = path.read_bytes()
        result[path.name] = measure(data, rule_of_file(data), efforts)
    print(write_result("recompress", result))


if __name__ == "__main__":
    main()
