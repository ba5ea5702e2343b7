"""The whole chain on the embedded digits: distil to a budget, decode, verify, count, and compare what bytes are worth.

Needs torch for the training of the samples and of the classifiers.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from rducodec.demo.picture import contact_sheet
from rducodec.demo.plot import rate_utility_plot
from rducodec.encoder import encode_raw_source
from rducodec.files import write_file
from rducodec.interop.source import make_source
from rducodec.rate import Rate, bpc
from rducodec.reader import read
from rducodec.training.data import DataSplit, load_data
from rducodec.training.distillation import Distillation, Reports, read_configuration
from rducodec.training.distillation.plain import PlainPixels
from rducodec.training.evaluation.evaluator import Evaluator
from rducodec.training.evaluation.files import open_file, prepare
from rducodec.training.evaluation.protocols import named_protocol
from rducodec.training.evaluation.result import Row

CONFIGURATION = "digits"
BUDGETS = {0.15: 8, 0.3: 16}  # kB per class, and the samples of a class that go with them
PROTOCOL = named_protocol("digits")
NUM_NETWORKS = 3  # for each accuracy
LEVELS = 16  # the largest stored value of a digit's pixel
SHEET_RANGE = (-1.0, 2.0)  # of standardised values, from black to white
FILE = "digits.rdd"  # the distilled file of the first budget, for a user to look at
PIXELS = "2 bits"  # that values of plain pixels are stored as: of all ways the best one here
RUNS = "runs"  # folder of everything that a training leaves


@dataclass(frozen=True)
class Outcome:
    """What the demo made and measured."""

    file: Path  # `FILE`
    samples: Path  # picture of samples
    plot: Path
    rate: Rate  # of `file`
    rows: tuple[Row, ...]
    lossless_bytes_per_class: float  # all training digits as one file
    num_test_images: int


def _files(split: DataSplit, budget: float, folder: Path, *, seed: int, reports: Reports) -> dict[str, Path]:
    """Of a budget: distilled, the one that it started from, and the same loss on plain pixels."""
    changes = [f"export.target_bpc={budget}", f"samples.spc={BUDGETS[budget]}", f"seed={seed}"]
    configuration = read_configuration(CONFIGURATION, changes)
    result = Distillation(configuration, split, folder, reports=reports).run()
    assert result.overfitted is not None
    pixels = PlainPixels(configuration, split, folder, len(result.exported.data), reports=reports).made(PIXELS)
    rivals = {} if pixels is None else {"pixels": pixels}
    return {"distilled": result.file, "overfitted": result.overfitted, **rivals}


def _lossless(split: DataSplit, file: Path) -> float:
    """Bytes per class of all training digits in one file."""
    levels = (split.train.images * LEVELS).round().astype("uint8")
    source = make_source(levels, split.train.labels, divisor=LEVELS, class_names=split.train.class_names, space=None)
    write_file(file, encode_raw_source(source))
    return file.stat().st_size / split.train.num_classes


def run_demo(folder: Path, *, seed: int = 0, reports: Reports | None = None) -> Outcome:
    """Make distilled files for all budgets and two pictures in a folder, and measure the files."""
    reports = reports or Reports()
    split = load_data("digits")
    assert split.test is not None
    num_test = len(split.test.images)
    reports.say(f"{len(split.train.images)} training digits of 8 x 8, {num_test} held out for testing")
    sets = []
    for budget in BUDGETS:
        reports.say(f"distilling to {budget} kB per class: samples that train a classifier well, in so many bytes")
        made = _files(split, budget, folder / RUNS / f"{budget}kB-seed{seed}", seed=seed, reports=reports)
        sets.append([Path(shutil.copyfile(file, folder / f"{name}-{budget}kB.rdd")) for name, file in made.items()])

    reports.say("decoding and verifying")
    distilled, overfitted, *_ = sets[0]
    file = Path(shutil.copyfile(distilled, folder / FILE))
    dataset = read(file)
    contact_sheet(
        read(overfitted).samples(),  # raises where the samples are not those that the file promises
        dataset.samples(),
        folder / "samples.png",
        labels=dataset.labels,
        titles=("overfitted compression", "distilled, same bytes"),
        bounds=SHEET_RANGE,
    )

    reports.say(f"training classifiers, {NUM_NETWORKS} on each set")
    evaluator = Evaluator(split, torch.device("cpu"), num_networks=NUM_NETWORKS, seed=seed)
    rows: list[Row] = []
    for files in sets:
        prepared = [prepare(open_file(each), split.train) for each in files]
        rows += [evaluator.of_file(each, PROTOCOL) for each in prepared]
        size, space = prepared[0].file.bytes_per_class, prepared[0].space
        rows += [
            evaluator.of_rival(rival, PROTOCOL, space=space) for rival in evaluator.rivals(size, PROTOCOL, space=space)
        ]
    rows.append(evaluator.of_all_real_images(PROTOCOL, space=space))
    lossless = _lossless(split, folder / "digits-lossless.rdd")
    plot = folder / "rate-utility.png"
    rate_utility_plot(rows, plot, lossless_bytes_per_class=lossless)
    return Outcome(file, folder / "samples.png", plot, bpc(file), tuple(rows), lossless, num_test)
