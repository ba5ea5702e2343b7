"""What recompression makes of a file: latents and entropy networks before and after, at rising effort.

Part of `benchmarks.fewer_bits`. Beside the bytes stands the Shannon rule of the literature, -log2 of the clamped
Laplace probabilities of the latents under the networks as they were, and the networks (of a checkpoint: with Exp-Golomb
codes, as published; of a file: as stored). Samples are compared by their digest.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import rducodec
from benchmarks.overhead import shannon_bits
from rducodec.effort import EFFORTS
from rducodec.recompress import recompress

PUBLISHED_PARTS = ("latents", "entropy networks")


def part_bytes(rate: rducodec.Rate) -> dict[str, Any]:
    """Bytes of each part, of latents and entropy networks together, of the whole file; and their information."""
    parts: dict[str, Any] = {name: bits / 8 for name, bits in rate.parts.items()}
    information = {name: bits / 8 for name, bits in rate.information_bits.items()}
    both = parts["latents"] + parts["entropy_networks"]
    return parts | {"both": both, "file": rate.file_bits / 8, "information": information}


def rule_of_pool(parts: dict[str, float]) -> float:
    """Bytes of latents and entropy networks of a checkpoint, as its authors count."""
    return sum(parts[name] for name in PUBLISHED_PARTS)


def rule_of_file(data: bytes) -> float:
    """Bytes of the latents by the Shannon rule and of the entropy networks as they are stored."""
    dataset = rducodec.read(data)
    config = dataset.config
    if not isinstance(config, rducodec.LatentConfig):
        raise SystemExit("no latents in the raw profile")
    latents = sum(shannon_bits(part, config) for part in dataset.latent_slices())
    return (latents + rducodec.bpc(dataset).parts["entropy_networks"]) / 8


def smaller(data: bytes, rule: float, effort: int, *, extras: bool = True) -> tuple[dict[str, Any], bytes]:
    """What an effort makes of a file, and that file; without `extras`, contexts and biases as in the first networks."""
    line = EFFORTS[effort] if extras else replace(EFFORTS[effort], extras=())
    begin = time.perf_counter()
    with patch.dict(EFFORTS, {effort: line}):
        result = recompress(data, effort=effort)
    seconds = time.perf_counter() - begin
    if result.configs is None or result.networks is None:
        raise SystemExit("no latents in the raw profile")
    after = part_bytes(result.after)
    row = after | {
        "effort": effort,
        "seconds": seconds,
        "entropy_network": result.configs[1].entropy_name(),
        "entropy_networks_stored": result.networks[1].entropy,
        "both_over_rule": after["both"] / rule,
        "same_digest": rducodec.read(result.data).sample_digest == rducodec.read(data).sample_digest,
    }
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
