"""Bytes of the latents in a file against the Shannon estimate of the float model, the number that papers print.

    python -m benchmarks.overhead FILE.rdd ...

The estimate: the entropy network of the slice in float64 (no rounding or clamping of activations), an exact Laplace
distribution, -log2 of each probability with probabilities clamped from below at 2**-16. Beside it the bytes on disk:
payload minus what its network parameters take, so that all slack of the coder counts.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import rducodec
from benchmarks.report import write_result
from rducodec.counting.pool import laplace_bits
from rducodec.digest import SLICE_CHECK_BYTES
from rducodec.entropy.known import KnownLatents
from rducodec.entropy.range_coder import RangeDecoder
from rducodec.weights import decode_codes, information_bits

LARGE_SLICE = 50_000  # latents from which the ratio counts; below, the bytes over the estimate do


def shannon_bits(part: rducodec.LatentSlice, config: rducodec.LatentConfig) -> float:
    """Estimate of all latents of a slice, in bits."""
    return laplace_bits(KnownLatents.of(part.latents, config), [tensor.dequantize() for tensor in part.entropy])


def compare(path: str) -> list[dict[str, float]]:
    """Per slice: latents, estimated bits, bits on disk, their ratio and the bytes over the estimate."""
    data = Path(path).read_bytes()
    dataset = rducodec.read(data)
    config = dataset.config
    if not isinstance(config, rducodec.LatentConfig):
        raise SystemExit(f"{path}: no latents in the raw profile")
    rows = []
    for entry, part in zip(dataset.slices, dataset.latent_slices(), strict=True):
        payload = data[entry.offset_bytes + SLICE_CHECK_BYTES : entry.offset_bytes + entry.num_bytes]
        own = dataset.stored_tensors(entry)
        network_bits = 0
        if part.tensors()[own]:
            keys = dataset.key_places(entry)
            codes = decode_codes(RangeDecoder(payload), config.tensor_shapes()[own], keys)
            network_bits = math.floor(information_bits(part.tensors()[own], codes, keys).sum())
        stored = 8 * (entry.num_bytes - SLICE_CHECK_BYTES) - network_bits
        estimate = shannon_bits(part, config)
        rows.append(
            {
                "latents": entry.num_samples * config.num_latents(),
                "estimated_bits": estimate,
                "stored_bits": stored,
                "ratio": stored / estimate,
                "bytes_over": (stored - estimate) / 8,
            }
        )
    return rows


def main() -> None:
    """Print and store the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--name", default="overhead", help="of the result file")
    arguments = parser.parse_args()
    result = {}
    for path in arguments.files:
        rows = compare(path)
        result[path.rpartition("/")[2]] = rows
        total = sum(row["stored_bits"] for row in rows) / sum(row["estimated_bits"] for row in rows)
        worst = max(row["ratio"] for row in rows)
        print(
            f"{path}: {len(rows)} slices of {rows[0]['latents']} latents; stored / estimated {total:.5f}, "
            f"worst slice {worst:.5f}, most bytes over {max(row['bytes_over'] for row in rows):.1f}"
        )
    write_result(arguments.name, {"files": result})


if __name__ == "__main__":
    main()
