"""The package and the reference decoder on the same bytes: the same samples, or reports that section 2 allows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import rducodec
from rducodec.reader import work_estimate
from spec.vector_tools import counts, resealed, with_header
from tests import reference_decoder as reference
from tests import strategies

LARGEST_DAMAGED = 1000  # bytes of the vectors that are damaged
VECTORS = Path(__file__).parents[1] / "spec" / "vectors"
VALID = sorted(path for path in (VECTORS / "valid").glob("*.rdd") if path.stat().st_size <= LARGEST_DAMAGED)
LIMITS = rducodec.Limits(max_output_bytes=1 << 14, max_work=1 << 22)  # what damage declares must not take long
REPORTS = {
    reference.Corrupt: rducodec.RddFormatError,
    reference.Unsupported: rducodec.RddVersionError,
    reference.TooLarge: rducodec.RddLimitError,
    reference.WrongSamples: rducodec.RddDigestError,
}


Found = tuple[bytes, list[int], list[list[int]]]


def by_package(data: bytes) -> Found | type[Exception]:
    """Samples, labels and soft labels, or the class of the error."""
    try:
        dataset = rducodec.read(data, limits=LIMITS)
        stored = dataset.stored_samples()
        counts = dataset.label_counts
    except rducodec.RddError as error:
        return next(kind for kind in REPORTS.values() if isinstance(error, kind))
    exact = stored if stored.dtype.kind == "f" else stored.astype("<i4")
    return exact.tobytes(), dataset.labels.tolist(), [] if counts is None else counts.tolist()


def by_reference(data: bytes) -> Found | type[Exception]:
    """The same of the reference decoder, with the package's class of its report."""
    try:
        decoded = reference.decode(data, reference.Limits(**asdict(LIMITS)))
    except tuple(REPORTS) as error:
        return REPORTS[type(error)]
    return decoded.stored, decoded.labels, decoded.soft_labels


def is_about_fields(data: bytes) -> bool:
    """Whether the header is canonical and has no unknown critical key: fields are looked at."""
    try:
        content, _, _ = reference.read_prefix(data, reference.Limits())
        reference.read_map(content)
    except tuple(REPORTS):
        return False
    return True


def assert_agree(data: bytes) -> None:
    ours, theirs = by_package(data), by_reference(data)
    if isinstance(ours, tuple) or isinstance(theirs, tuple):
        assert ours == theirs
    elif {ours, theirs} == {rducodec.RddFormatError, rducodec.RddVersionError}:
        assert is_about_fields(data)  # within one step, either
    elif {ours, theirs} != {rducodec.RddFormatError, rducodec.RddDigestError}:  # labels and slices: either
        assert ours is theirs


@settings(max_examples=25, deadline=None)
@given(st.data(), strategies.latent_configs(), st.integers(1, 2))
def test_latent_files(data: st.DataObject, config: rducodec.LatentConfig, num_samples: int) -> None:
    part = data.draw(strategies.latent_slices(config, num_samples))
    packed = rducodec.pack_latent([part], counts(num_samples), config)
    assert reference.decode(packed).stored == rducodec.read(packed).stored_samples().astype("<i4").tobytes()


@settings(max_examples=50, deadline=None)
@given(strategies.labels(), strategies.raw_configs(), st.data())
def test_raw_files(labels: rducodec.Labels, config: rducodec.RawConfig, data: st.DataObject) -> None:
    samples = data.draw(strategies.raw_samples(labels.num_samples, config))
    wide = samples if config.is_float else samples.astype(np.int64)  # integers of any type can be packed
    packed = rducodec.pack_raw(wide, labels, config, slice_size=data.draw(st.sampled_from([None, 1, 2])))
    decoded = reference.decode(packed)
    assert decoded.stored == samples.astype(f"<f{config.bits // 8}" if config.is_float else "<i4").tobytes()
    assert decoded.labels == labels.sequence().tolist()
    assert decoded.soft_labels == ([] if labels.soft is None else labels.soft.counts.tolist())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_files(data: st.DataObject) -> None:
    """Bytes set to anything, mostly in prefix, header and labels, under digests that fit."""
    damaged = bytearray(data.draw(st.sampled_from(VALID)).read_bytes())
    head = 48 + int.from_bytes(damaged[12:16], "little") + 8
    for _ in range(data.draw(st.integers(1, 3))):
        end = data.draw(st.sampled_from([head, head, len(damaged)]))
        place = data.draw(st.integers(8, min(end, len(damaged)) - 1))
        damaged[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 2, 127, 128, 192, 255])))
    assert_agree(resealed(bytes(damaged), length=data.draw(st.integers(0, 9)) > 0))


SCALARS = st.one_of(
    st.integers(-2, 300),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from([None, True, b"x", 0.5, -0.0, float("nan"), "", "x", "a\0", "A", "a", "x" * 256]),
)
CONTENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.sampled_from(["", "a", "b"]) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=12,
)


def set_inside(fields: Any, place: list[int], value: Any) -> None:
    """Put `value` where these numbers lead, modulo the sizes, within the arrays of a field."""
    while place[1:] and isinstance(fields[place[0]], list) and fields[place[0]]:
        fields = fields[place[0]]
        place = [place[1] % len(fields), *place[2:]]
    fields[place[0]] = value


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changed_headers(data: st.DataObject) -> None:
    """Fields replaced by anything, whole or an element of them, or left out."""
    packed = data.draw(st.sampled_from([path for path in VALID if not path.read_bytes()[10]])).read_bytes()
    keys = st.integers(0, 13) | st.integers(-2, 30) | st.integers(0, (1 << 64) - 1)
    removed = data.draw(st.lists(st.integers(0, 12), max_size=1))
    changes = data.draw(st.lists(st.tuples(keys, st.lists(st.integers(0, 8), max_size=2), CONTENTS), max_size=2))

    def change(fields: dict[int, Any]) -> None:
        for key in removed:
            fields.pop(key, None)
        for key, place, value in changes:
            set_inside(fields, [key, *place] if key in fields else [key], value)

    assert_agree(with_header(packed, change))


def test_work_is_counted_alike() -> None:
    for path in VALID:
        data = path.read_bytes()
        config = rducodec.read(data).config
        if isinstance(config, rducodec.LatentConfig):
            header = reference.decode(data).header
            assert reference.work(header) == work_estimate(config), path.stem
