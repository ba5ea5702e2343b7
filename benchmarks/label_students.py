"""What coded soft labels are worth: students trained on real images with exact, coded and hard labels.

    python -m benchmarks.label_students LABELS-10.npz --root FOLDER [--cache PATH] [--networks 5]

LABELS is from `benchmarks.label_classifier`, with the classes of the folder: images that the classifier has not seen,
and its probabilities. FOLDER has `test/class/image.jpg`. The images go into a .rdd with their soft labels, at an error
of at most 2^-8; students see the images, and the probabilities of the classifier, those that the file gives back, or
the true classes. Students of the same number start from the same weights and see the images in the same order.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rducodec
from benchmarks.report import write_result
from rducodec.encoder import encode_raw_source
from rducodec.interop.source import make_source
from rducodec.training.data import load_data, pixel_space
from rducodec.training.data.real import RealImages
from rducodec.training.evaluation.evaluate import evaluate
from rducodec.training.evaluation.protocols import named_protocol


def main() -> None:
    """Encode, train, test; print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--protocol", default="quick-convnet")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--width", type=int, default=32, help="of the students")
    parser.add_argument("--networks", type=int, default=5)
    arguments = parser.parse_args()
    with np.load(arguments.labels) as arrays:
        exact, classes, pixels = (arrays[name] for name in ("probabilities", "labels", "pixels"))
        teacher = float(arrays["accuracy"])
    source = make_source(pixels, classes, soft_labels=exact, num_classes=exact.shape[1])
    data = encode_raw_source(source)
    file, rate = rducodec.read(data), rducodec.bpc(data).soft_labels
    coded, samples = file.soft_labels, file.samples()
    if coded is None or rate is None or not np.array_equal(file.labels, classes):
        raise SystemExit(f"{arguments.labels}: labels of the folder's classes, class after class, are expected")

    split = load_data("folder", arguments.root, cache=arguments.cache)
    if split.test is None:
        raise SystemExit(f"{arguments.root}: no test images")
    test = RealImages.of(split.test, pixel_space(samples.shape[1]), torch.device("cpu"))
    values = {"epochs": arguments.epochs, "network.width": arguments.width}
    protocol = named_protocol(arguments.protocol).with_values(values)
    result: dict[str, Any] = {
        "labels": arguments.labels.name,
        "images": len(samples),
        "teacher_accuracy": teacher,
        "bits_per_label": rate.bits_per_label,
        "eq_17_bits": rate.bound_bits,
        "largest_error": float(np.abs(coded - exact).max()),
        "test_images": len(test),
        "protocol": protocol.values(),
        "num_steps": protocol.num_steps(len(samples)),
        "students": {},
    }
    for name, labels in {"exact": exact, "coded": coded, "hard": classes}.items():
        accuracy = evaluate(samples, labels, test, protocol, num_networks=arguments.networks)
        row = {"accuracies": list(accuracy.per_network), "mean": accuracy.mean, "std": accuracy.std}
        result["students"][name] = row
        print(f"{name}: {100 * row['mean']:.2f} ± {100 * row['std']:.2f} %", flush=True)
        write_result("label_students", result)


if __name__ == "__main__":
    main()
