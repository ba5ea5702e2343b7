"""The whole chain on the embedded digits: compress, decode, verify, count, and what it costs in accuracy.

Needs torch for the training of the compression and of the classifiers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rducodec.bitstream.header import Texts, ValueSpace
from rducodec.demo import NUM_CLASSES, split_digits
from rducodec.demo.picture import contact_sheet
from rducodec.encoder import encode_latent_source, encode_raw_source, plan_latent
from rducodec.files import write_file
from rducodec.interop.source import make_source
from rducodec.rate import Rate, bpc
from rducodec.reader import read
from rducodec.shape import LatentShape
from rducodec.training import OverfitSettings
from rducodec.training import Progress as TrainingProgress
from rducodec.training.data import LabelledImages, RealImages, pixel_space
from rducodec.training.evaluation.accuracy import Accuracy
from rducodec.training.evaluation.evaluate import evaluate
from rducodec.training.evaluation.protocols import named_protocol

PER_CLASS = 48  # digits of each class that are compressed and trained on
STEPS = 400
LMBDA = 2e-2  # mean squared error that a bit per pixel is worth
MAX_MSE = 1e-4  # images of 17 grey levels: half a level is 9e-4 in mean square
SHAPE = LatentShape(synthesis_widths=(16,), context_size=8, entropy_depth=1)
NUM_NETWORKS = 3  # for each accuracy
LEVELS = 16  # the largest stored value of a digit's pixel
FLOAT_BITS = 32
TEXTS = Texts(
    name="Optical digits, compressed",
    class_names=tuple(str(digit) for digit in range(NUM_CLASSES)),
    licence="CC-BY-4.0",
    source="UCI Machine Learning Repository, Optical Recognition of Handwritten Digits",
)


@dataclass(frozen=True)
class Row:
    """One way to keep the training digits: its size, and how well classifiers trained on it do."""

    name: str
    bytes_per_class: float
    accuracy: Accuracy


@dataclass(frozen=True)
class Outcome:
    """What the demo made and measured."""

    file: Path
    raw_file: Path
    picture: Path
    rate: Rate
    psnr: float  # dB, of the decoded digits
    rows: tuple[Row, ...]
    num_test_images: int


def run_demo(
    folder: Path,
    *,
    seed: int = 0,
    progress: Callable[[TrainingProgress], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Make `digits.rdd`, `digits-raw.rdd` and `digits.png` in a folder and measure them.

    `progress` follows the training of the compression, `say` gets a line before each part.
    """
    split = split_digits(PER_CLASS, seed)
    samples, labels = split.train_samples, split.train_labels
    say(f"{len(samples)} training digits of 8 x 8, {len(split.test_samples)} held out for testing")

    file, raw_file, picture = (folder / name for name in ("digits.rdd", "digits-raw.rdd", "digits.png"))
    levels = make_source(
        np.rint(samples * LEVELS).astype(np.uint8),
        labels,
        space=ValueSpace(),
        divisor=LEVELS,
        num_classes=NUM_CLASSES,
    )
    write_file(raw_file, encode_raw_source(levels, texts=TEXTS))

    say("compressing: latents and tiny networks are fitted to the digits of each class")
    source = make_source(samples, labels, space=ValueSpace(), num_classes=NUM_CLASSES)
    plan = plan_latent(source, SHAPE, texts=TEXTS)
    settings = OverfitSettings(steps=STEPS, lmbda=LMBDA, max_mse=MAX_MSE, seed=seed)
    write_file(file, encode_latent_source(source, plan, settings, texts=TEXTS, progress=progress))

    say(f"decoding and verifying {file.name}")
    dataset = read(file)
    decoded = dataset.samples()  # raises where the samples are not those that the file promises
    contact_sheet(samples, decoded, picture, labels=labels)

    say("training classifiers on the original and on the decoded digits")
    held_out = LabelledImages(split.test_samples, split.test_labels, TEXTS.class_names)
    test = RealImages.of(held_out, pixel_space(1), torch.device("cpu"))
    protocol = named_protocol("digits")
    original = evaluate(samples, labels, test, protocol, num_networks=NUM_NETWORKS, seed=seed)
    compressed = evaluate(decoded, dataset.labels, test, protocol, num_networks=NUM_NETWORKS, seed=seed)
    rate = bpc(file)
    rows = (
        Row("float32 tensors", samples.size * FLOAT_BITS / 8 / NUM_CLASSES, original),
        Row(f"{raw_file.name} (lossless)", raw_file.stat().st_size / NUM_CLASSES, original),
        Row(file.name, rate.file_bits / 8 / NUM_CLASSES, compressed),
    )
    psnr = -10 * float(np.log10(np.square(decoded - samples).mean()))
    return Outcome(file, raw_file, picture, rate, psnr, rows, len(split.test_samples))
