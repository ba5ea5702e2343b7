"""Coded pixels: 640 real images and the embedded digits without loss, and a float set at 2 bits, beside other formats.

    python -m benchmarks.pixels IMAGES [--spc 64] [--set FLOATS.npz --space SPACE]

IMAGES is a folder class/*.jpg. PNG (optimised) and WebP (lossless, slowest) get every image alone and all images as
one tall strip (WebP in parts of its greatest height), zstd -19 the samples as they are, by channels, and after the
predictors of the raw profile. The float set is given, or the images with their mean and deviation taken out, which
is what distillation methods start from.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

import rducodec
from benchmarks.report import write_result
from rducodec import raw
from rducodec.bitstream import zstd
from rducodec.data import MAX_INK, load_digits
from rducodec.encoder import encode_raw_source
from rducodec.interop import read_source
from rducodec.interop.source import SourceSet, make_source
from rducodec.interop.space import parse_space

SPC = 64
WEBP_HEIGHT = 16_000  # a WebP has at most 16383 lines
THREADS = 2
REPEATS = 5
WEBP = {"lossless": True, "quality": 100, "method": 6}


def image_bytes(pixels: np.ndarray, kind: str, **options: Any) -> int:
    """Bytes of one picture (height, width) or (height, width, 3)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.tell()


def pictures(samples: np.ndarray) -> np.ndarray:
    """(n, height, width, 3), or (n, height, width) for one channel, of uint8 samples."""
    return samples[:, 0] if samples.shape[1] == 1 else np.ascontiguousarray(samples.transpose(0, 2, 3, 1))


def webp_parts(strip: np.ndarray) -> Iterator[np.ndarray]:
    """A strip in parts that WebP can hold, of three channels."""
    for begin in range(0, len(strip), WEBP_HEIGHT):
        part = strip[begin : begin + WEBP_HEIGHT]
        yield part if part.ndim == 3 else np.repeat(part[:, :, None], 3, axis=2)


def residual_bytes(samples: np.ndarray, predictor: int) -> int:
    """zstd -19 of the residuals of a predictor of the raw profile."""
    return len(zstd.compress(raw._residuals(samples, predictor, 8).tobytes()))


def others(samples: np.ndarray) -> dict[str, int]:
    """Bytes of uint8 samples (n, channels, height, width) in other formats."""
    images = pictures(samples)
    strip = images.reshape(-1, *images.shape[2:])
    rgb = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=3)
    return {
        "png, each image": sum(image_bytes(image, "png", optimize=True) for image in images),
        "png, one strip": image_bytes(strip, "png", optimize=True),
        "webp, each image": sum(image_bytes(image, "webp", **WEBP) for image in rgb),
        "webp, one strip": sum(image_bytes(part, "webp", **WEBP) for part in webp_parts(strip)),
        "zstd -19, pixel by pixel": len(zstd.compress(images.tobytes())),
        "zstd -19, channel by channel": len(zstd.compress(samples.transpose(1, 0, 2, 3).tobytes())),
        "zstd -19, left neighbour": residual_bytes(samples, raw.PREDICTOR_LEFT),
        "zstd -19, neighbour above": residual_bytes(samples, raw.PREDICTOR_ABOVE),
    }


def decode_seconds(data: bytes, threads: int) -> float:
    """The best of some decodings."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        rducodec.read(data).stored_samples(threads=threads)
        times.append(time.perf_counter() - begin)
    return min(times)


def lossless(name: str, source: SourceSet) -> dict[str, Any]:
    """Bytes and seconds of the raw profile before and now, and of the others."""
    begin = time.perf_counter()
    data = encode_raw_source(source)
    encode_seconds = time.perf_counter() - begin
    with patch.object(raw, "encode_numbers", lambda _numbers, _bits: []):
        before = encode_raw_source(source)
    samples = rducodec.read(data).stored_samples()
    result: dict[str, Any] = {"samples": len(samples), "values": samples.size, "bytes": others(samples)}
    smallest = min(result["bytes"].values())
    result["bytes"] |= {"raw profile before": len(before), "raw profile": len(data)}
    result["over the smallest of the others"] = len(data) / smallest
    result["encode_ns_per_value"] = encode_seconds / samples.size * 1e9
    for threads in (1, THREADS):
        result[f"decode_ns_per_value_{threads}_threads"] = decode_seconds(data, threads) / samples.size * 1e9
    print(name, json.dumps(result, indent=1), flush=True)
    return result


def standardised(source: SourceSet) -> SourceSet:
    """A float32 set of the images, by channel without mean and in units of the deviation."""
    samples = source.float_samples()
    mean, std = samples.mean(axis=(0, 2, 3), dtype=np.float64), samples.std(axis=(0, 2, 3), dtype=np.float64)
    space = rducodec.ValueSpace("standardised", tuple(mean.tolist()), tuple(std.tolist()))
    floats = ((samples - mean[:, None, None]) / std[:, None, None]).astype(np.float32)
    return make_source(floats, source.labels, space=space, num_classes=source.num_classes)


def float_files(source: SourceSet) -> dict[str, bytes]:
    """A float set as floats and by learned levels: files."""
    samples = source.float_samples()
    half = make_source(samples.astype(np.float16), source.labels, space=source.space, num_classes=source.num_classes)
    files = {"float32": encode_raw_source(source), "float16": encode_raw_source(half)}
    return files | {f"{bits} bits": encode_raw_source(source, bits=bits) for bits in (8, 4, 3, 2, 1)}


def float_set(source: SourceSet) -> dict[str, Any]:
    """Bytes and PSNR (of the range of the set) of a float set in all of its files."""
    samples = source.float_samples()
    ordered = samples[np.argsort(source.labels, kind="stable")].astype(np.float64)
    peak = float(samples.max() - samples.min())
    files = float_files(source)
    result: dict[str, Any] = {"values": samples.size}
    for name, data in files.items():
        mse = float(np.square(rducodec.read(data).samples() - ordered).mean())
        psnr = None if mse == 0 else 10 * float(np.log10(peak**2 / mse))
        result[name] = {"bytes": len(data), "bits_per_value": 8 * len(data) / samples.size, "mse": mse, "psnr_db": psnr}
    result["decode_ns_per_value_2_bits"] = decode_seconds(files["2 bits"], THREADS) / samples.size * 1e9
    print(json.dumps(result, indent=1), flush=True)
    return result


def main() -> None:
    """Run it all, print what was measured, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--spc", type=int, default=SPC)
    parser.add_argument("--set", type=Path, dest="floats")
    parser.add_argument("--space")
    arguments = parser.parse_args()
    images = read_source(arguments.images).first_per_class(arguments.spc)
    digits, labels = load_digits()
    ink = np.rint(digits * MAX_INK).astype(np.uint8)
    numbers = make_source(ink, labels, space=rducodec.ValueSpace(), divisor=MAX_INK, num_classes=10)
    result: dict[str, Any] = {"images": lossless("images", images), "digits": lossless("digits", numbers)}
    result["standardised images"] = float_set(standardised(images))
    if arguments.floats is not None:
        space = None if arguments.space is None else parse_space(arguments.space)
        result["float set"] = float_set(read_source(arguments.floats, space=space))
    write_result("pixels", result)


if __name__ == "__main__":
    main()
