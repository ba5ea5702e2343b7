"""Write the test vectors and the generated parts of the specification.

    python -m spec.make_vectors            # spec/vectors/valid, spec/vectors/invalid, parts of rdd-format.md

Every vector is a small file `NAME.rdd` with `NAME.json` beside it: the expected fields, or the expected error.
Published vectors never change; a new format version adds a folder.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

import rducodec
from rducodec.entropy import tables
from rducodec.pixels.forms import LOG_MANTISSA
from spec.vector_tools import counts, latent_file, random_slice, resealed, tiny_config
from spec.vectors_inputs import invalid_inputs, valid_inputs
from spec.vectors_invalid import invalid
from spec.vectors_labels import invalid_soft_labels, valid_soft_labels
from spec.vectors_pixels import invalid_pixels, valid_pixels
from spec.vectors_sharing import invalid_sharing, valid_sharing
from spec.vectors_units import invalid_units, valid_units
from spec.vectors_valid import CONSTANT, valid, worked_example

__all__ = ["counts", "latent_file", "random_slice", "resealed", "tiny_config"]  # what tests and benchmarks use

HERE = Path(__file__).parent
MAX_VECTOR_BYTES = 20_000
MIN_VARIETY = 4  # different values among the samples of a valid vector, where there can be so many


def expectation(data: bytes) -> dict[str, Any]:
    """What a decoder must deliver for a file."""
    dataset = rducodec.read(data)
    stored = dataset.stored_samples()
    exact = stored.astype("<i4") if stored.dtype.kind != "f" else stored
    header = dataset.header
    soft = dataset.label_set.soft
    labels: dict[str, Any] = {}
    if soft is not None:
        digest = hashlib.sha256(soft.counts.astype("<u4").tobytes()).hexdigest()
        labels = {"label_total": soft.total, "soft_labels_sha256": digest}
        labels["first_soft_label"] = {str(j): int(soft.counts[0, j]) for j in np.flatnonzero(soft.counts[0])}
    return labels | {
        "shape": list(stored.shape),
        "num_classes": header.num_classes,
        "labels": dataset.labels.tolist(),
        "samples_sha256": hashlib.sha256(exact.tobytes()).hexdigest(),
        "first_samples": exact.reshape(-1)[:8].tolist(),
        "sample_digest": dataset.sample_digest.hex(),
        "config": config_fields(dataset.config),
        "space": None if header.space is None else dataclasses.asdict(header.space),
        "texts": dataclasses.asdict(header.texts),
    }


def config_fields(config: rducodec.LatentConfig | rducodec.RawConfig) -> dict[str, Any]:
    """The fields of a configuration; those that came later only where they are used: older vectors lack them."""
    later = ("coarser_size", "grid_biases")
    return {key: value for key, value in dataclasses.asdict(config).items() if value or key not in later}


def tables_sha256() -> str:
    """Digest of all frequencies, as section 9 defines it."""
    rows = (tables.primary_table(), tables.tail_table(), tables.exponent_row())
    return hashlib.sha256(b"".join((row.astype(np.int64) + 1).astype("<u4").tobytes() for row in rows)).hexdigest()


def annotated_example() -> str:
    """The worked example in hex, field by field."""
    data = worked_example()
    dataset = rducodec.read(data)
    header_end = dataset.container.body_offset
    labels_end = header_end + dataset.header.labels_bytes
    fields = [
        (0, 8, "magic"),
        (8, 10, "major 0, minor 1"),
        (10, 12, "flags 0, reserved"),
        (12, 16, "header_bytes"),
        (16, 24, "file_bytes"),
        (24, 40, "sample_digest"),
        (40, 48, "file_check"),
        (48, 49, "header: map of 7 fields"),
    ]
    place = 49
    names = {
        0: "profile: latent",
        2: "num_classes: 1",
        4: "shape: 1 channel, 2 x 2",
        6: "slice_sizes: one slice of 2 samples",
        8: "section_bytes: labels, slice 0",
        10: "parameters: 1 scale, context 8, depth 0, no widths, 6 and 12 activation bits, 16 fractional bits",
        12: "space: pixels",
    }
    content = msgpack.unpackb(data[48:header_end], strict_map_key=False)
    for key, value in content.items():
        size = len(msgpack.packb(key)) + len(msgpack.packb(value))
        fields.append((place, place + size, f"key {key}, {names[key]}"))
        place += size
    fields += [
        (header_end, header_end + 1, "labels section: kind 0, no order"),
        (header_end + 1, labels_end, "2 samples in each of 1 class"),
        (labels_end, labels_end + 4, "slice 0: sample_check"),
        (labels_end + 4, len(data), "slice 0: payload, words of 4 bytes"),
    ]
    lines = ["```"]
    for begin, end, meaning in fields:
        for row in range(begin, end, 8):
            text = data[row : min(row + 8, end)].hex(" ")
            lines.append(f"{row:5}  {text:<24} {meaning if row == begin else ''}".rstrip())
    lines.append("```")
    samples = dataset.stored_samples().reshape(2, 4).tolist()
    latents = dataset.latent_slices()[0].latents[0].reshape(2, 4).tolist()
    lines += [
        "",
        f"The latents are {latents[0]} and {latents[1]}, row by row. The network has only zeros but for the",
        "bias 4 of its second output, so every latent has mean 0 and scale index 74 (b = 1). The synthesis has the one",
        "weight 1/4 and the bias 1/2; its 3 x 3 layers keep what they get, but the first of them is a ReLU.",
        f"The samples, in units of 2^-16, are {samples[0]} and {samples[1]}.",
    ]
    return "\n".join(lines)


def annex() -> str:
    """All constants, in lines of four rows."""
    with (HERE / "laplace_constants.csv").open() as stream:
        rows = [f"{r['scale_index']:>3}: {r['ratio']:>10} {r['golomb_order']}" for r in csv.DictReader(stream)]
    return "\n".join(["```", *("   ".join(rows[i : i + 5]) for i in range(0, len(rows), 5)), "```"])


def fill_in(text: str) -> str:
    """The specification with its generated parts."""
    log16 = " ".join(map(str, LOG_MANTISSA.tolist()))
    parts = {
        "TABLES_SHA256": tables_sha256(),
        "WORKED_EXAMPLE": annotated_example(),
        "ANNEX_A": annex(),
        "LOG16": log16,
    }
    for name, content in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        tail = rest.partition(end)[2]
        newline = "" if "\n" not in content else "\n"
        text = head + begin + newline + content + newline + end + tail
    return text


def check_variety(name: str, data: bytes) -> None:
    """The samples of a valid vector must differ, or a decoder could get them right by accident."""
    dataset = rducodec.read(data)
    stored = dataset.stored_samples()
    config = dataset.config
    possible = stored.size
    if isinstance(config, rducodec.RawConfig):
        possible = 1 << (config.index_bits if isinstance(config, rducodec.LevelConfig) else config.bits)
    if name not in CONSTANT:
        assert len(np.unique(stored)) >= min(MIN_VARIETY, possible, stored.size), name


def write_vectors(kind: str, vectors: Iterable[tuple[str, bytes, dict[str, Any]]], *, indent: int | None) -> None:
    """All vectors of a kind in place of the old ones."""
    folder = HERE / "vectors" / kind
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data, expected in vectors:
        file = folder / f"{name}.rdd"
        assert len(data) <= MAX_VECTOR_BYTES, f"{name}: {len(data)} bytes"
        assert not file.exists(), f"two vectors are called {name}"
        file.write_bytes(data)
        file.with_suffix(".json").write_text(json.dumps(expected, indent=indent, sort_keys=True) + "\n")


def main() -> None:
    """Write everything."""
    makers = (valid, valid_soft_labels, valid_pixels, valid_sharing, valid_units, valid_inputs)
    good = dict(chain.from_iterable(make() for make in makers))
    for name, data in good.items():
        check_variety(name, data)
    write_vectors("valid", ((name, data, expectation(data)) for name, data in good.items()), indent=1)
    groups = (invalid, invalid_soft_labels, invalid_pixels, invalid_sharing, invalid_units, invalid_inputs)
    refused = chain.from_iterable(group(good) for group in groups)
    bad = ((name, data, {"error": error, "message": message}) for name, data, error, message in refused)
    write_vectors("invalid", bad, indent=None)
    document = HERE / "rdd-format.md"
    document.write_text(fill_in(document.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
