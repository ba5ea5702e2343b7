"""What an evaluation found, as JSON: everything that a number in a paper should be traced back to.

The document, schema version 1 (keys are only ever added within a version):

    schema             "rdd-eval"
    schema_version     1
    data               name; fingerprint: SHA-256 of shapes, pixels, labels and class names of training and test images;
                       shape: channels, height, width; num_classes; num_train; num_test
    rows               one for each training set and protocol, in the order in which they were made:
      name             file as given, or how the real images are kept
      kind             "file" | "real images" (a rival in as many bytes) | "all real images"
      file             null but for files: num_bytes; sha256 of the file; sample_digest: of the decoded samples and
                       labels, as the file carries it, checked
      bytes_per_class  of the whole file, or of the pictures; null for all real images
      num_samples, num_classes
      space            value space of the samples: kind, and its constants or text
      input            what a network sees of these values, in words
      remarks          sentences
      compared         rivals only: [{name, accuracy}] of one network each on held-out training images, by which this
                       one was chosen; [] where more images are better: see real_image_stores
      header_bytes_per_class  rivals only: what the same files take for flat grey images
      protocol         name and all values
      num_steps        of the optimiser
      seed             network i of `accuracies` follows from (seed, i) alone
      accuracies       fraction of the test images, each network
      mean, std        of accuracies; std is that of the sample (n - 1), 0 for one network
    real_image_stores  one for each size that real images were compared at: bytes_per_class; stores: of every way to
                       keep them name, num_per_class (images of each class that fit, 0 where none does) and
                       bytes_per_class, most images first. Of the lossless ones, the first is a row; so are PNG
                       and 8-bit pixels
    device             as torch names it; num_threads: of torch on the CPU. The same bits come from the same machine,
    num_threads        versions, device, number of threads and precision
    mixed_precision    whether products were in bfloat16
    versions           of python, rducodec, torch, numpy, pillow
    platform           operating system and processor
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import numpy as np
import torch

from rducodec.bitstream.header import ValueSpace
from rducodec.interop.space import space_fields
from rducodec.training.data.labelled import DataSplit, LabelledImages
from rducodec.training.evaluation.accuracy import Accuracy
from rducodec.training.evaluation.baselines import Capacity
from rducodec.training.evaluation.evaluate import input_of
from rducodec.training.evaluation.protocols import Protocol

SCHEMA, SCHEMA_VERSION = "rdd-eval", 1
FILE, REAL_IMAGES, ALL_REAL_IMAGES = "file", "real images", "all real images"  # kinds of rows
PACKAGES = ("rducodec", "torch", "numpy", "pillow")
DIGEST_ROWS = 4096  # images digested at a time


@dataclass(frozen=True)
class Row:
    """Classifiers trained on one training set by one protocol."""

    name: str
    kind: str  # FILE, REAL_IMAGES or ALL_REAL_IMAGES
    num_samples: int
    num_classes: int
    bytes_per_class: float | None
    space: ValueSpace
    protocol: Protocol
    seed: int
    accuracy: Accuracy
    remarks: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)  # "file", "compared", "header_bytes_per_class"

    def fields(self) -> dict[str, Any]:
        """For JSON, see the module."""
        return {
            "name": self.name,
            "kind": self.kind,
            "file": None,
            "bytes_per_class": self.bytes_per_class,
            "num_samples": self.num_samples,
            "num_classes": self.num_classes,
            "space": space_fields(self.space),
            "input": input_of(self.space.kind),
            "remarks": list(self.remarks),
            **self.details,
            "protocol": self.protocol.values(),
            "num_steps": self.protocol.num_steps(self.num_samples),
            "seed": self.seed,
            "accuracies": list(self.accuracy.per_network),
            "mean": self.accuracy.mean,
            "std": self.accuracy.std,
        }


def result_document(
    rows: Sequence[Row],
    data: Mapping[str, Any],
    *,
    device: torch.device,
    mixed_precision: bool,
    capacities: Mapping[float, Sequence[Capacity]] | None = None,
) -> dict[str, Any]:
    """The whole document, see the module.

    `data` is what `data_fields` says, `capacities` of real images by bytes per class what
    `rducodec.training.evaluation.evaluator.Comparison` has.
    """
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "data": dict(data),
        "rows": [row.fields() for row in rows],
        "real_image_stores": [
            {"bytes_per_class": size, "stores": [capacity.fields() for capacity in found]}
            for size, found in (capacities or {}).items()
        ],
        "device": _device_name(device),
        "num_threads": torch.get_num_threads(),
        "mixed_precision": mixed_precision,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
    }


def document_bytes(document: dict[str, Any]) -> bytes:
    """The document as a file: UTF-8, one key a line."""
    return (json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode()


def data_fields(data: DataSplit) -> dict[str, Any]:
    """The data set, with a fingerprint of what was trained and tested on."""
    return {
        "name": data.name,
        "fingerprint": fingerprint(data),
        "shape": list(data.train.shape),
        "num_classes": data.train.num_classes,
        "num_train": len(data.train.images),
        "num_test": len(data.test.images) if data.test else 0,
    }


def fingerprint(data: DataSplit) -> str:
    """SHA-256, in hex, of everything that an evaluation can depend on; the name is not among it."""
    digest = hashlib.sha256()
    for part in (data.train, data.test):
        digest.update(b"-" if part is None else _part_digest(part))
    return digest.hexdigest()


def _part_digest(part: LabelledImages) -> bytes:
    digest = hashlib.sha256(json.dumps([part.images.dtype.name, part.images.shape, part.class_names]).encode())
    for start in range(0, len(part.images), DIGEST_ROWS):
        block = part.images[start : start + DIGEST_ROWS]
        digest.update(np.ascontiguousarray(block, block.dtype.newbyteorder("<")).data)
    digest.update(np.ascontiguousarray(part.labels, "<i8").data)
    return digest.digest()


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"
