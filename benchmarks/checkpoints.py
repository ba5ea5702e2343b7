"""Published checkpoints as files, beside the estimate and the codec of their authors.

    python -m benchmarks.checkpoints pool.pt [--codec 12703,11438,10304]

For each limit of the mean squared error: the whole file, header, labels and checks included, and its slices alone;
the published estimate at the same limit, which counts neither header nor steps nor labels; and the bytes that the
published codec wrote, as told by --codec (it is not run here). Time to encode and to decode, and the measured error.
Beside the bytes of the decoders, those that plain rounding takes at the same limit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rducodec
from benchmarks.report import write_result
from rducodec.counting.pool import count_pool
from rducodec.encoder import encode_pool
from rducodec.interop import Pool, find_pool
from rducodec.model import LatentSlice
from rducodec.quantization import quantize
from rducodec.weights import best_code

LIMITS = (5e-7, 5e-6, 5e-5)  # of the mean squared error, as published


def decoder_bytes(slices: Sequence[LatentSlice]) -> float:
    """Bytes of upsampling and synthesis of all slices, under the codes that suit them."""
    tensors = (tensor for part in slices for tensor in part.tensors()[len(part.entropy) :])
    return sum(best_code(tensor.values)[2] for tensor in tensors) / 8


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


def measure(pool: Pool, max_mse: float, codec_bytes: int | None) -> tuple[dict[str, Any], bytes]:
    """One row of the table, and the file that it is about."""
    begin = time.perf_counter()
    data, mse = encode_pool(pool, max_mse=max_mse)
    encoded = time.perf_counter()
    rducodec.read(data).samples()
    decoded = time.perf_counter()
    parts = estimate_parts(pool, max_mse)
    estimate = sum(parts.values())
    slices = rducodec.read(data).latent_slices()
    plain = quantize(pool.slices, pool.config, max_mse=max_mse, compensate=False)
    row: dict[str, Any] = {
        "max_mse": max_mse,
        "mse": mse,
        "file_bytes": len(data),
        "estimate_bytes": estimate,
        "estimate_parts": parts,
        "file_over_estimate": len(data) / estimate,
        "decoder_bytes": decoder_bytes(slices),
        "plain_decoder_bytes": decoder_bytes(plain),
        "decoders_over_plain": decoder_bytes(slices) / decoder_bytes(plain),
        "encode_s": encoded - begin,
        "decode_s": decoded - encoded,
    }
    if codec_bytes is not None:
        row |= {"codec_bytes": codec_bytes, "file_over_codec": len(data) / codec_bytes}
    return row, data


def main() -> None:
    """Print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--codec", help=f"bytes that the published codec wrote at the limits {LIMITS}")
    parser.add_argument("--name", default="checkpoints", help="of the result file")
    arguments = parser.parse_args()
    codec = [int(part) for part in arguments.codec.split(",")] if arguments.codec else [None] * len(LIMITS)
    pool, rows = read_pool(arguments.pool), []
    for max_mse, codec_bytes in zip(LIMITS, codec, strict=True):
        row, _ = measure(pool, max_mse, codec_bytes)
        rows.append(row)
        print(
            f"limit {max_mse:.0e}: {row['file_bytes']:,} bytes, measured {row['mse']:.2e}; "
            f"{row['file_over_estimate']:.3f} of the published estimate"
            + (f", {row['file_over_codec']:.3f} of the published codec" if codec_bytes else "")
            + f"; decoders {row['decoders_over_plain']:.3f} of plain rounding"
            + f"; encode {row['encode_s']:.1f} s, decode {row['decode_s']:.2f} s"
        )
    write_result(arguments.name, {"pool": arguments.pool.name, "rows": rows})


if __name__ == "__main__":
    main()
