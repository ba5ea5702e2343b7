"""What recompression saves: latents and entropy networks of a checkpoint or a file, before and after, at rising effort.

    python -m benchmarks.recompress pool.pt [--codec 5845] [--efforts 1,2,3,5] [--file other.rdd ...]

A checkpoint is encoded with a limit of 5e-6 first. Beside the bytes: the Shannon rule of the literature, -log2 of the
clamped Laplace probabilities of the latents under the networks as they were, and the networks (of a checkpoint: with
Exp-Golomb codes, as published; of a file: as stored); and what the published codec wrote of both, as told by --codec
(it is not run here). Samples are compared by their digest.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import rducodec
from benchmarks.checkpoints import estimate_parts, read_pool
from benchmarks.overhead import shannon_bits
from benchmarks.report import write_result
from rducodec.encoder import encode_pool
from rducodec.recompress import recompress

MAX_MSE = 5e-6
PARTS = ("latents", "entropy_networks")
PUBLISHED_PARTS = ("latents", "entropy networks")


def part_bytes(rate: rducodec.Rate) -> dict[str, Any]:
    """Bytes of each part, of latents and entropy networks together, and of the whole file; and their information."""
    parts: dict[str, Any] = {name: bits / 8 for name, bits in rate.parts.items()}
    information = {name: bits / 8 for name, bits in rate.information_bits.items()}
    both = sum(parts[name] for name in PARTS)
    return parts | {"both": both, "file": rate.file_bits / 8, "information": information}


def rule_of_pool(estimate: dict[str, float]) -> float:
    """Bytes of latents and entropy networks of a checkpoint, as its authors count."""
    return sum(estimate[name] for name in PUBLISHED_PARTS)


def rule_of_file(data: bytes) -> float:
    """Bytes of the latents by the Shannon rule and of the entropy networks as they are stored."""
    dataset = rducodec.read(data)
    config = dataset.config
    if not isinstance(config, rducodec.LatentConfig):
        raise SystemExit("no latents in the raw profile")
    latents = sum(shannon_bits(part, config) for part in dataset.latent_slices())
    return (latents + rducodec.bpc(dataset).parts["entropy_networks"]) / 8


def smaller(data: bytes, rule: float, effort: int, *, max_mse: float | None = None) -> tuple[dict[str, Any], bytes]:
    """What an effort makes of a file, and that file; `max_mse` as for `rducodec.recompress.recompress`."""
    begin = time.perf_counter()
    result = recompress(data, effort=effort, max_mse=max_mse)
    seconds = time.perf_counter() - begin
    if result.configs is None or result.networks is None:
        raise SystemExit("no latents in the raw profile")
    after = part_bytes(result.after)
    config, stored = result.configs[1], result.networks[1]
    row = after | {
        "effort": effort,
        "seconds": seconds,
        "entropy_network": f"{config.context_size}x{config.entropy_depth}",
        "entropy_networks_stored": stored.entropy,
        "both_over_rule": after["both"] / rule,
        "same_digest": rducodec.read(result.data).sample_digest == rducodec.read(data).sample_digest,
    }
    print(row, flush=True)
    return row, result.data


def measure(data: bytes, rule: float, efforts: list[int]) -> dict[str, Any]:
    """Before, and after each effort."""
    dataset = rducodec.read(data)
    return {
        "slices": len(dataset.slices),
        "samples": dataset.header.num_samples,
        "rule_bytes": rule,
        "before": part_bytes(rducodec.bpc(data)),
        "after": [smaller(data, rule, effort)[0] for effort in efforts],
    }


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--codec", type=int, help="bytes of latents and entropy networks by the published codec")
    parser.add_argument("--efforts", default="1,2,3,5")
    parser.add_argument("--file", type=Path, action="append", default=[], help="a .rdd to recompress, too")
    arguments = parser.parse_args()
    efforts = [int(effort) for effort in arguments.efforts.split(",")]
    pool = read_pool(arguments.pool)
    data, _ = encode_pool(pool, max_mse=MAX_MSE)
    found = measure(data, rule_of_pool(estimate_parts(pool, MAX_MSE)), efforts)
    if arguments.codec:
        found |= {"codec_bytes": arguments.codec, "both_over_codec": found["after"][-1]["both"] / arguments.codec}
    result: dict[str, Any] = {"max_mse": MAX_MSE, arguments.pool.name: found}
    for path in arguments.file:
        data = path.read_bytes()
        result[path.name] = measure(data, rule_of_file(data), efforts)
    print(write_result("recompress", result))


if __name__ == "__main__":
    main()
