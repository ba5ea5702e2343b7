"""The reference decoder against the vectors, and what the specification prints against what it defines."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import struct
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext
from itertools import pairwise

import pytest

from tests.reference_decoder import (
    BIT_ROW,
    EXPONENT_ROW,
    SPEC,
    Corrupt,
    RangeDecoder,
    TooLarge,
    Unsupported,
    WrongSamples,
    decode,
    primary_row,
    tail_row,
)

VECTORS = SPEC / "vectors"
VALID = sorted(path.stem for path in (VECTORS / "valid").glob("*.rdd"))
INVALID = sorted(path.stem for path in (VECTORS / "invalid").glob("*.rdd"))
TEXT = (SPEC / "rdd-format.md").read_text("utf-8")
SPACES = {"pixels": 0, "standardised": 1, "zca": 2, "other": 3}
REPORTS = {
    "RddFormatError": Corrupt,
    "RddTruncatedError": Corrupt,
    "RddChecksumError": Corrupt,
    "RddVersionError": Unsupported,
    "RddLimitError": TooLarge,
    "RddDigestError": WrongSamples,
}


def vector(kind: str, name: str) -> tuple[bytes, dict]:
    folder = VECTORS / kind
    return (folder / f"{name}.rdd").read_bytes(), json.loads((folder / f"{name}.json").read_text("utf-8"))


def printed(marker: str, end: str) -> str:
    """What the specification has between two comments."""
    return TEXT.split(f"<!-- {marker} -->")[1].split(f"<!-- {end} -->")[0]


@pytest.mark.parametrize("name", VALID)
def test_valid_vector(name: str) -> None:
    data, expected = vector("valid", name)
    decoded = decode(data)
    assert decoded.labels == expected["labels"]
    assert list(decoded.shape) == expected["shape"]
    assert len(decoded.samples) == math.prod(decoded.shape)
    assert decoded.samples[:8] == expected["first_samples"]
    assert hashlib.sha256(decoded.stored).hexdigest() == expected["samples_sha256"]
    assert decoded.sample_digest.hex() == expected["sample_digest"]
    assert decoded.label_total == expected.get("label_total", 0)
    if decoded.soft_labels:
        numbers = b"".join(struct.pack(f"<{len(n)}I", *n) for n in decoded.soft_labels)
        assert hashlib.sha256(numbers).hexdigest() == expected["soft_labels_sha256"]
        first = {str(j): n for j, n in enumerate(decoded.soft_labels[0]) if n}
        assert first == expected["first_soft_label"]


@pytest.mark.parametrize("name", VALID)
def test_header_of_valid_vector(name: str) -> None:
    data, expected = vector("valid", name)
    header = decode(data).header
    assert header.num_classes == expected["num_classes"]
    config = expected["config"]
    if "index_bits" in config:
        assert header.parameters == [2, config["bits"], config["index_bits"], config["groups"]]
    elif header.profile == 1:
        assert header.parameters == [config["is_float"], config["bits"], config["divisor"]]
    else:
        names = ["num_scales", "context_size", "entropy_depth", "synthesis_widths", "act_frac_bits", "act_bits"]
        assert header.parameters == [config[key] for key in [*names, "sample_frac_bits"]]
        assert header.shape == (config["channels"], config["height"], config["width"])
        inputs = (config.get("coarser_size", 0), config.get("grid_biases", False))
        assert (header.coarser_size, header.grid_biases) == inputs
    space = expected["space"]
    if space is None:
        assert header.space is None
    else:
        kind = SPACES[space["kind"]]
        assert header.space == [kind, *([], [space["mean"], space["std"]], [space["text"]], [space["text"]])[kind]]
    texts = expected["texts"]
    assert (header.class_names or []) == texts["class_names"]
    assert (header.class_ids or []) == texts["class_ids"]
    assert (header.recipe or {}) == texts["recipe"]
    assert [header.name or "", header.licence or "", header.source or ""] == [
        texts[key] for key in ("name", "licence", "source")
    ]


@pytest.mark.parametrize("name", INVALID)
def test_invalid_vector(name: str) -> None:
    data, expected = vector("invalid", name)
    report = REPORTS[expected["error"]]
    with pytest.raises((Corrupt, Unsupported, TooLarge, WrongSamples)) as caught:
        decode(data)
    assert caught.type is report
    if report is TooLarge:
        assert str(caught.value) == expected["message"]  # section 2: the report names the limit


def rows_of_16() -> list[tuple[int, ...]]:
    return [
        *(primary_row(i, m) for i in range(155) for m in range(32)),
        *(tail_row(i) for i in range(155)),
        EXPONENT_ROW,
    ]


def test_digest_of_the_tables() -> None:
    frequencies = [b - a for row in rows_of_16() for a, b in pairwise(row)]
    digest = hashlib.sha256(struct.pack(f"<{len(frequencies)}I", *frequencies)).hexdigest()
    assert digest == printed("TABLES_SHA256", "end TABLES_SHA256").strip()


def test_every_row_has_an_inverse() -> None:
    coder = RangeDecoder(bytes(4))
    for row in [*rows_of_16(), BIT_ROW]:
        assert len(row) == (3 if row is BIT_ROW else 17)
        assert (row[0], row[-1]) == (0, 1 << 24)
        for s, (first, end) in enumerate(pairwise(row)):
            assert end - first >= (1 << 9)  # at least 1 by section 8, and 2^-15 by the note of section 9
            for quantile in (first, end - 1):
                coder.lower, coder.range, coder.point = 0, (1 << 64) - 1, quantile * ((1 << 40) - 1)
                assert coder.symbol(row) == s


def csv_constants() -> list[tuple[int, int, int]]:
    with (SPEC / "laplace_constants.csv").open(encoding="ascii", newline="") as file:
        return [(int(row["scale_index"]), int(row["ratio"]), int(row["golomb_order"])) for row in csv.DictReader(file)]


def test_annex_a_is_the_csv_file() -> None:
    found = re.findall(r"(\d+): *(\d+) (\d+)", printed("ANNEX_A", "end ANNEX_A"))
    assert [(int(i), int(ratio), int(order)) for i, ratio, order in found] == csv_constants()


def test_constants_follow_from_their_definition() -> None:
    with localcontext() as context:
        context.prec = 60
        expected = []
        for i in range(155):
            b = (Decimal(i - 74) / 16).exp()
            ratio = ((1 << 32) * (-1 / (32 * b)).exp()).to_integral_value(ROUND_HALF_EVEN)
            golomb_order = (b.ln() / Decimal(2).ln() + Decimal("1e-50")).to_integral_value(ROUND_FLOOR)
            expected.append((i, int(ratio), max(0, int(golomb_order))))
    assert csv_constants() == expected


def test_worked_example_is_its_vector() -> None:
    data, _ = vector("valid", "worked-example")
    lines = re.findall(r"^ *(\d+)  ((?:[0-9a-f]{2} ?)+)(?: |$)", printed("WORKED_EXAMPLE", "end WORKED_EXAMPLE"), re.M)
    shown = b""
    for offset, digits in lines:
        assert int(offset) == len(shown)
        shown += bytes.fromhex(digits)
    assert shown == data


def test_worked_example_decodes_to_the_printed_samples() -> None:
    data, _ = vector("valid", "worked-example")
    lists = re.findall(r"\[([-\d, ]+)\]", printed("WORKED_EXAMPLE", "end WORKED_EXAMPLE").rpartition("The samples")[2])
    assert decode(data).samples == [int(number) for numbers in lists for number in numbers.split(",")]
