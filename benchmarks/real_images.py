"""The main job on real images: 10 classes x 64 of CIFAR-10 to one file, and the same samples back, through `rdd`.

    python -m benchmarks.real_images IMAGES [--steps N] [--device cuda]

IMAGES is a folder class/*.jpg. Encodes with v4-480 and 16x4, decodes with numpy and with torch, compares, verifies,
counts; beside it the lossless rivals at the same images: PNG, WebP, and the raw profile.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import rducodec
from benchmarks.overhead import compare
from benchmarks.report import write_result
from rducodec.interop import read_source

SPC = 64


def rdd(*arguments: str) -> tuple[float, Any]:
    """Seconds and JSON output of an `rdd` command."""
    begin = time.perf_counter()
    done = subprocess.run(["rdd", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - begin, json.loads(done.stdout)


def image_bytes(pixels: np.ndarray, kind: str, **options: Any) -> int:
    """Bytes of all images (n, height, width, channels) as files of this kind."""
    total = 0
    for image in pixels:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, kind, **options)
        total += stream.tell()
    return total


def main() -> None:
    """Run the chain, print what it measured, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--steps", default="1500")
    parser.add_argument("--lmbda", default="0.001")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", type=Path, help="Put the file here.")
    parser.add_argument("--checkpoint", type=Path)
    arguments = parser.parse_args()
    command = f"python -m benchmarks.real_images IMAGES --steps {arguments.steps} --lmbda {arguments.lmbda}"
    result: dict[str, Any] = {
        "command": f"{command} --device {arguments.device}",
        "steps": int(arguments.steps),
        "lmbda": float(arguments.lmbda),
    }
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.keep or Path(folder) / "cifar.rdd"
        options = ["--decoder", "v4-480", "--entropy", "16x4", "--spc", str(SPC), "--steps", arguments.steps]
        options += ["--lmbda", arguments.lmbda, "--device", arguments.device]
        options += ["--checkpoint", str(arguments.checkpoint)] if arguments.checkpoint else []
        result["encode_seconds"], _ = rdd("encode", str(arguments.images), str(out), *options)
        result["decode_numpy_seconds"], _ = rdd("decode", str(out), f"{folder}/numpy.npz")
        result["decode_torch_seconds"], _ = rdd("decode", str(out), f"{folder}/torch.npz", "--device", arguments.device)
        result["verify_seconds"], verified = rdd("verify", str(out))
        _, rate = rdd("bpc", str(out))
        with np.load(f"{folder}/numpy.npz") as ours, np.load(f"{folder}/torch.npz") as theirs:
            samples, same = ours["samples"], bool(np.array_equal(ours["samples"], theirs["samples"]))
        result["raw_encode_seconds"], _ = rdd(
            "encode", str(arguments.images), f"{folder}/raw.rdd", "--profile", "raw", "--spc", str(SPC)
        )
        raw_bytes = Path(f"{folder}/raw.rdd").stat().st_size
        stored = rducodec.read(f"{folder}/raw.rdd").stored_samples()
        rows = compare(str(out))
    source = read_source(arguments.images).first_per_class(SPC)
    original = source.float_samples()[np.argsort(source.labels, kind="stable")]
    mse = float(np.square(original.astype(np.float64) - samples).mean())
    pixels = np.ascontiguousarray(stored.transpose(0, 2, 3, 1))
    result |= {
        "psnr_db": -10 * float(np.log10(mse)),
        "numpy_and_torch_identical": same,
        "verified": verified["ok"],
        "rate": {name: rate[name] for name in ("file_bits", "bpc_kb", "parts", "information_bits", "overhead")},
        "latents_stored_over_estimated": sum(r["stored_bits"] for r in rows) / sum(r["estimated_bits"] for r in rows),
        "worst_slice": max(row["ratio"] for row in rows),
        "lossless_kb_per_class": {
            "8-bit pixels": stored.nbytes / 10 / 1024,
            "png": image_bytes(pixels, "png", optimize=True) / 10 / 1024,
            "webp": image_bytes(pixels, "webp", lossless=True, quality=100) / 10 / 1024,
            "raw profile": raw_bytes / 10 / 1024,
        },
    }
    print(json.dumps(result, indent=1))
    write_result("real_images", result)


if __name__ == "__main__":
    main()
