"""Bits of a soft label: coded, by Eq. 17 of the paper, as float16 with Zstandard, and as float32.

    python -m benchmarks.label_classifier FOLDER net --images 4900 --epochs 9 --widths 48,96,128 --subclasses 1,10,100
    python -m benchmarks.soft_labels --labels net-10.npz net-100.npz net-1000.npz [--without-draws] [--name NAME]

Labels are Dirichlet draws, those of a stand-in for a classifier (logits that are normal around class means of which
some are alike) and, of files from `label_classifier`, those of a real one on images that it has not seen; 100 and 1000
classes are parts of the folder's classes, see there. All are kept with an error of at most 2^-8 in every class. The
float16 probabilities are compressed as a table and as two planes of bytes; the smaller one counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from benchmarks.report import write_result
from rducodec.labels import error_bound, published_bound_bits, quantize_labels, softmax, total_for
from rducodec.labels.coding import decode_soft_labels, encode_soft_labels
from rducodec.labels.precision import label_bits

ERROR = 2.0**-8
SIZES = ((10, 1000), (100, 500), (1000, 100))  # classes, labels
SPREADS = (0.1, 1.0)  # of the Dirichlet draws
FEATURES, LIKENESS, NOISE, MARGIN = 16, 0.45, 1.8, 6.0  # of the stand-in
ZSTD_LEVEL = 19

Set = tuple[str, np.ndarray, np.ndarray]  # name, probabilities, classes


def stand_in(rng: np.random.Generator, num_classes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a classifier that confuses classes with similar features."""
    features = rng.normal(size=(num_classes, FEATURES))
    classes = np.arange(count) * num_classes // count
    logits = LIKENESS * (features @ features.T)[classes] + rng.normal(0, NOISE, (count, num_classes))
    logits[np.arange(count), classes] += MARGIN
    return softmax(logits), classes


def drawn_sets() -> Iterator[Set]:
    """Labels without a classifier."""
    for num_classes, count in SIZES:
        for spread in SPREADS:
            rng = np.random.default_rng([num_classes, int(10 * spread)])
            draws = rng.dirichlet([spread] * num_classes, count)
            yield f"Dirichlet({spread}), {num_classes} classes", draws, draws.argmax(axis=1)
        rng = np.random.default_rng([num_classes, 1])
        yield f"stand-in, {num_classes} classes", *stand_in(rng, num_classes, count)


def file_sets(files: list[Path]) -> Iterator[Set]:
    """Labels of classifiers."""
    for file in files:
        with np.load(file) as arrays:
            yield file.stem, arrays["probabilities"].astype(np.float64), arrays["labels"]


def zstd_bits(array: np.ndarray) -> int:
    """Bits of an array of numbers under Zstandard: as a table or as planes of bytes, whichever is smaller."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    planes = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1).T
    return 8 * min(len(compressor.compress(part.tobytes())) for part in (array, planes))


def measure(probabilities: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
    """Bits and microseconds a label."""
    count, num_classes = probabilities.shape
    ordered = probabilities[np.argsort(classes, kind="stable")]
    sizes = np.bincount(classes, minlength=num_classes)
    total = total_for(ERROR, num_classes)
    soft = quantize_labels(ordered, total)
    begin = time.perf_counter()
    payload = encode_soft_labels(soft, sizes)
    encoded = time.perf_counter()
    decoded = decode_soft_labels(payload, total, sizes)
    seconds = time.perf_counter() - encoded
    error = float(np.abs(decoded.counts / total - ordered / ordered.sum(axis=1, keepdims=True)).max())
    if not np.array_equal(decoded.counts, soft.counts) or error > error_bound(total, num_classes) * (1 + 1e-9):
        raise SystemExit("the labels did not come back as they should")
    bits, bound = label_bits(soft, sizes), published_bound_bits(total, num_classes)
    return {
        "labels": count,
        "classes": num_classes,
        "total": total,
        "largest_error": error,
        "counts_above_0": float((soft.counts > 0).sum(axis=1).mean()),
        "bits": bits,
        "eq_17_bits": bound,
        "eq_17_over_bits": bound / bits,
        "float16_zstd_bits": zstd_bits(ordered.astype(np.float16)) / count,
        "float32_bits": 32 * num_classes,
        "encode_microseconds": 1e6 * (encoded - begin) / count,
        "decode_microseconds": 1e6 * seconds / count,
        "decode_nanoseconds_per_number": 1e9 * seconds / probabilities.size,
    }


def main() -> None:
    """Print and store the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, nargs="*", default=[], help="files from benchmarks.label_classifier")
    parser.add_argument("--data", type=Path, help="train a classifier on this folder of images first, a small one")
    parser.add_argument("--without-draws", action="store_true", help="only those of classifiers")
    parser.add_argument("--name", default="soft_labels", help="of the result file")
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    sets = [*([] if arguments.without_draws else drawn_sets()), *file_sets(arguments.labels)]
    if arguments.data is not None:
        from benchmarks.label_classifier import WIDTHS, classifier_labels  # needs torch

        (found,) = classifier_labels(arguments.data, images_per_class=500, epochs=18, widths=WIDTHS)
        sets.append(("classifier of 500 images a class", found["probabilities"].astype(np.float64), found["labels"]))
    for name, probabilities, classes in sets:
        row = result[name] = measure(probabilities, classes)
        print(
            f"{name}: {row['bits']:.1f} bits a label; Eq. 17 {row['eq_17_bits']:.1f} ({row['eq_17_over_bits']:.2f} x), "
            f"float16 + zstd {row['float16_zstd_bits']:.1f}, float32 {row['float32_bits']}; decoded in "
            f"{row['decode_microseconds']:.0f} us, {row['decode_nanoseconds_per_number']:.0f} ns a number",
            flush=True,
        )
    accuracies = {}
    for file in arguments.labels:
        with np.load(file) as arrays:
            accuracies[file.stem] = {key: arrays[key].tolist() for key in ("accuracy", "images_per_class", "epochs")}
    write_result(arguments.name, {"error": ERROR, "classifiers": accuracies, "sets": result})


if __name__ == "__main__":
    main()
