"""Test vectors of coded numbers and of levels (sections 12.1 to 12.5 of the specification)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np

import rducodec
from rducodec import writer
from rducodec.bitstream.header import LevelConfig
from rducodec.entropy.range_coder import RangeEncoder
from rducodec.entropy.symbols import encode_raw_bits
from rducodec.model import QuantizedTensor
from rducodec.pixels import METHOD_FEW, METHOD_WIDE, few_payload, wide_payload
from rducodec.pixels.few import FORM_ORDER, FewSetting, Level, encode_few
from rducodec.pixels.fitting import Fitted, fit_forms, setting_of
from rducodec.pixels.forms import Setting, checked_forms, form_shapes
from rducodec.pixels.wide import encode_wide
from rducodec.weights import encode_tensors
from spec.vector_tools import (
    CORRUPT,
    TOO_LARGE,
    WRONG_SAMPLES,
    Invalid,
    Vector,
    counts,
    put,
    sections_of,
    with_header,
    with_sections,
)

NO_FORMS = Fitted([], [])
CHECK_BYTES = 4


def coded_file(samples: np.ndarray, config: rducodec.RawConfig, payload: bytes) -> bytes:
    """A file of one slice whose method and data, after a table of levels, are these; not read again."""
    parts, shape = [samples], samples.shape[1:]
    return writer._assemble(config, shape, counts(len(samples)), parts, [payload], None, rducodec.Texts())


def smooth(rng: np.random.Generator, shape: Sequence[int], top: int, roughness: float) -> np.ndarray:
    """Numbers 0..top that resemble their neighbours."""
    field = rng.normal(size=shape).cumsum(axis=2).cumsum(axis=3) * roughness
    return np.clip(np.rint(field + rng.normal(size=shape) * roughness + top / 2), 0, top).astype(np.uint16)


def wide(samples: np.ndarray, bits: int, reach: int) -> bytes:
    """Method and payload with fitted forms."""
    setting = setting_of(samples, reach)
    return bytes([METHOD_WIDE]) + wide_payload(samples, bits, setting, fit_forms(samples, setting))


def with_weights(setting: Setting, mean: int, scale: int, channels: int = 1, frac_bits: int = 0) -> Fitted:
    """Forms whose weights are all the same."""
    shapes = form_shapes(channels, setting.reach)
    values = [mean, scale] * channels
    tensors = [
        QuantizedTensor(np.full(shape, value, np.int32), frac_bits) for shape, value in zip(shapes, values, strict=True)
    ]
    return Fitted(tensors, checked_forms(tensors))


def heaviest(setting: Setting, more: int) -> Fitted:
    """A scale of one channel whose weights add up to 2^27 - 1, the most that is allowed, and `more`."""
    mean, scale = (np.zeros(shape, np.int32) for shape in form_shapes(1, setting.reach))
    scale[0, :8] = (1 << 24) - 1
    scale[0, 8] = -(7 + more)
    tensors = [QuantizedTensor(values, 16) for values in (mean, scale)]
    return Fitted(tensors, checked_forms(tensors))


def few(
    samples: np.ndarray, levels: Sequence[Level], *, reach: int | None = None, shifts: tuple[int, int] = (3, 4)
) -> bytes:
    """Method and payload with these contexts."""
    plain = setting_of(samples, reach or 4)
    if reach is None:
        return bytes([METHOD_FEW]) + few_payload(samples, FewSetting(plain.top, plain.origin, tuple(levels)), NO_FORMS)
    setting = FewSetting(plain.top, plain.origin, tuple(levels), plain, *shifts)
    return bytes([METHOD_FEW]) + few_payload(samples, setting, fit_forms(samples, plain))


def valid_pixels() -> Iterator[Vector]:
    """Files with coded numbers."""
    yield from valid_wide()
    yield from valid_few()
    yield from valid_levels()


def valid_wide() -> Iterator[Vector]:
    """Numbers of many values, with scales and means at the ends of their ranges."""
    rng = np.random.default_rng(110)
    shapes = ((1, 1, 1, 1), (3, 1, 1, 9), (3, 2, 9, 1), (4, 3, 6, 7), (2, 4, 5, 3))
    for index, (bits, shape) in enumerate(zip((6, 8, 8, 11, 16), shapes, strict=True)):
        samples = smooth(rng, shape, (1 << bits) - 1, 2.0 ** (bits - 5))
        samples.flat[0] = (1 << bits) - 1
        config = rducodec.RawConfig(False, bits, 255)
        yield (
            f"pixels-wide-{bits}-bits-{'x'.join(map(str, shape))}",
            coded_file(samples, config, wide(samples, bits, (4, 6, 10)[index % 3])),
        )
    eight, sixteen = rducodec.RawConfig(False, 8, 255), rducodec.RawConfig(False, 16, 1)
    noise = rng.integers(0, 256, (2, 2, 5, 6)).astype(np.uint16)
    for name, mean, scale in (
        ("least-scale", 0, -1),
        ("far-means", 9, 1),
        ("negative-means", -9, 3),
        ("no-weights", 0, 0),
    ):
        setting = Setting(255, 7, 250, 4)
        payload = wide_payload(noise, 8, setting, with_weights(setting, mean, scale, 2))
        yield f"pixels-{name}", coded_file(noise, eight, bytes([METHOD_WIDE]) + payload)
    large = rng.integers(0, 65536, (2, 1, 4, 4)).astype(np.uint16)
    setting = Setting(65535, 65535, 65535, 10)
    forms = with_weights(setting, -(1 << 20), 1 << 20)
    yield (
        "pixels-greatest-scale",
        coded_file(large, sixteen, bytes([METHOD_WIDE]) + wide_payload(large, 16, setting, forms)),
    )
    forms = with_weights(setting, 12345, 54321, frac_bits=16)
    yield (
        "pixels-fine-weights",
        coded_file(large, sixteen, bytes([METHOD_WIDE]) + wide_payload(large, 16, setting, forms)),
    )
    six = Setting(65535, 0, 65535, 6)
    payload = wide_payload(large, 16, six, heaviest(six, 0))
    yield "pixels-heaviest-weights", coded_file(large, sixteen, bytes([METHOD_WIDE]) + payload)


def valid_few() -> Iterator[Vector]:
    """Numbers of few values, with contexts of every kind."""
    rng = np.random.default_rng(111)
    for bits in range(1, 6):
        samples = smooth(rng, (5, 3, 6, 5), (1 << bits) - 1, 2.0 ** (bits - 3))
        config = rducodec.RawConfig(False, bits, 1)
        orders = {1: (1, 3, 6, 11), 2: (1, 3, 5), 3: (2, 4), 4: (1, 2, 3), 5: (1, 2)}[bits]
        yield (
            f"pixels-few-{bits}-bits",
            coded_file(samples, config, few(samples, [Level(order, 1) for order in orders])),
        )
        levels = [Level(FORM_ORDER, 5), Level(min(bits, 2), 6)]
        payload = few(samples, levels, reach=(4, 6, 10)[bits % 3], shifts=(bits, 3 + bits))
        yield f"pixels-few-forms-{bits}-bits", coded_file(samples, config, payload)
    samples = smooth(rng, (3, 4, 3, 4), 20, 2.0)
    yield "pixels-few-of-8-bits", coded_file(samples, rducodec.RawConfig(False, 8, 255), few(samples, [], reach=6))
    yield "pixels-few-equal", coded_file(samples, rducodec.RawConfig(False, 8, 255), few(samples, []))
    samples = rng.integers(0, 32, (2, 1, 3, 3)).astype(np.uint16)
    samples[0, 0, 0, 0] = 31
    yield (
        "pixels-few-largest-table",
        coded_file(samples, rducodec.RawConfig(False, 5, 31), few(samples, [Level(3, 2)] * 4)),
    )
    rare = (rng.random((3, 1, 150, 155)) < 0.01).astype(np.uint16)
    yield "pixels-few-halved", coded_file(rare, rducodec.RawConfig(False, 1, 1), few(rare, [Level(2, 0), Level(1, 7)]))


def valid_levels() -> Iterator[Vector]:
    """Floats of few values."""
    rng = np.random.default_rng(112)
    for bits, dtype in ((16, np.float16), (32, np.float32)):
        for index_bits, groups in ((1, 1), (2, 3), (8, 3)):
            config = LevelConfig(True, bits, index_bits=index_bits, groups=groups)
            samples = np.empty((5, 3, 4, 4), dtype)
            for channel in range(3):
                levels = np.sort(rng.normal(size=min(1 << index_bits, 7))).astype(dtype) + channel * (groups > 1)
                if groups == 1:
                    levels = np.array([-1.5, 2.25], dtype)
                samples[:, channel] = rng.choice(levels, (5, 4, 4))
            yield (
                f"levels-{index_bits}-bits-float{bits}-groups-{groups}",
                rducodec.pack_raw(samples, counts(2, 0, 3), config, space=rducodec.ValueSpace("zca", text="eps 0.1")),
            )
    field = smooth(rng, (6, 3, 6, 6), 3, 0.4)
    samples = np.array([0, 0.25, 0.5, 65504], np.float16)[field]
    config = LevelConfig(True, 16, index_bits=2)
    yield "levels-coded", rducodec.pack_raw(samples, counts(6), config)


def _fields(*fields: tuple[int, int]) -> RangeEncoder:
    encoder = RangeEncoder()
    encode_raw_bits(encoder, *(np.array(part, np.int64) for part in zip(*fields, strict=True)))
    return encoder


def _wide_with(samples: np.ndarray, fields: Sequence[int], setting: Setting, forms: Fitted, bits: int = 8) -> bytes:
    """Method and payload that begin with these fields in place of the setting."""
    encoder = _fields(*zip(fields, (bits, bits, bits, 2), strict=True))
    encode_tensors(encoder, forms.tensors)
    encode_wide(encoder, samples, setting, forms.forms)
    return bytes([METHOD_WIDE]) + encoder.finish()


def invalid_pixels(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Faults in coded numbers and levels."""
    yield from invalid_wide()
    yield from invalid_few()
    yield from invalid_levels(good)


def invalid_wide() -> Iterator[Invalid]:
    """Settings, weights and payloads that break a rule."""
    samples = np.random.default_rng(113).integers(0, 200, (2, 1, 4, 4)).astype(np.uint16)
    config = rducodec.RawConfig(False, 8, 255)
    setting = Setting(199, 9, 20, 4)
    forms = with_weights(setting, 0, 1, frac_bits=2)
    zeros = np.zeros_like(samples)
    cases = (
        ("top-0", zeros, (0, 0, 0, 0), Setting(0, 0, 0, 4), "greatest number of 0"),
        ("origin-above-top", samples, (199, 200, 20, 0), Setting(199, 200, 20, 4), "origin 200"),
        ("spread-above-top", samples, (199, 9, 200, 0), Setting(199, 9, 200, 4), "spread 200"),
        ("reach-3", samples, (199, 9, 20, 3), setting, "reach 3"),
        ("number-above-top", samples, (150, 9, 20, 0), Setting(150, 9, 20, 4), "allowed 0..150"),
    )
    for name, numbers, fields, used, message in cases:
        yield f"pixels-{name}", coded_file(numbers, config, _wide_with(numbers, fields, used, forms)), CORRUPT, message
    six = Setting(199, 9, 20, 6)
    with patch("rducodec.pixels.forms.MAX_WEIGHTS", 1 << 40):
        heavy = heaviest(six, 1)
    data = _wide_with(samples, (199, 9, 20, 1), six, heavy)
    yield "pixels-heavy-weights", coded_file(samples, config, data), CORRUPT, "weights"
    payload = wide_payload(samples, 8, setting, forms)
    number = bytes([METHOD_WIDE])
    for name, section, message in (
        ("method-34", b"\x22" + payload, "method 34"),
        ("no-payload", number, "no payload"),
        ("half-a-word", number + payload[:-2], "multiple of 4"),
        ("words-left-over", number + payload + bytes(8), "end with its last symbol"),
    ):
        yield f"pixels-{name}", coded_file(samples, config, section), CORRUPT, message
    halves = np.random.default_rng(114).integers(0, 200, (2, 1, 4, 4)).astype(np.uint16)
    data = _wide_with(halves, (199, 9, 20, 0), setting, forms, 16)
    yield (
        "pixels-of-floats",
        coded_file(halves.view(np.float16), rducodec.RawConfig(True, 16), data),
        CORRUPT,
        "method 32",
    )
    large = np.zeros((1, 1, 1000, 1000), np.uint16)
    yield "pixels-too-many", coded_file(large, config, number + bytes(4)), CORRUPT, "cannot hold"
    single = np.zeros(((1 << 20) + 1, 1, 1, 1), np.uint16)
    yield "pixels-large-batch", coded_file(single, config, number + bytes(12)), CORRUPT, "batches of 1048577"
    slow = np.zeros((1, 65535, 1, 64), np.uint8)
    yield "pixels-too-much-work", coded_file(slow, config, number + bytes(60)), TOO_LARGE, "max_work"
    other = samples.copy()
    other[-1, -1, -1, -1] ^= 1
    data = number + wide_payload(other, 8, setting, forms)
    yield "pixels-digest", coded_file(samples, config, data), WRONG_SAMPLES, "slice"


def invalid_few() -> Iterator[Invalid]:
    """Settings of few values that break a rule."""
    samples = np.random.default_rng(115).integers(0, 4, (2, 3, 4, 4)).astype(np.uint16)
    config = rducodec.RawConfig(False, 2, 3)

    def section(head: Sequence[tuple[int, int]], setting: FewSetting, forms: Fitted = NO_FORMS) -> bytes:
        encoder = _fields(*head)
        if forms.tensors:
            encode_tensors(encoder, forms.tensors)
        encode_few(encoder, samples, setting, forms.forms)
        return bytes([METHOD_FEW]) + encoder.finish()

    used = FewSetting(3, 1, ())
    five = FewSetting(4, 1, ())
    linear = Setting(3, 1, 1, 4)
    forms = with_weights(linear, 0, 1, 3, frac_bits=2)
    many = tuple([Level(11, 1)] * 2)
    for name, data, message in (
        ("top-above-bits", section([(4, 5), (1, 5), (0, 3), (0, 1)], five), "in 2 bits"),
        ("origin-above-top", section([(3, 5), (4, 5), (0, 3), (0, 1)], FewSetting(3, 4, ())), "origin 4"),
        (
            "spread-above-top",
            section(
                [(3, 5), (1, 5), (0, 3), (1, 1), (4, 5), (0, 2), (0, 3), (0, 4)],
                FewSetting(3, 1, (), Setting(3, 1, 4, 4)),
                forms,
            ),
            "spread 4",
        ),
        (
            "reach-3",
            section(
                [(3, 5), (1, 5), (0, 3), (1, 1), (1, 5), (3, 2), (0, 3), (0, 4)], FewSetting(3, 1, (), linear), forms
            ),
            "reach 3",
        ),
        ("order-0", section([(3, 5), (1, 5), (1, 3), (0, 4), (1, 3), (0, 1)], used), "without forms"),
        (
            "table",
            section([(3, 5), (1, 5), (2, 3), (11, 4), (1, 3), (11, 4), (1, 3), (0, 1)], FewSetting(3, 1, many)),
            "counts, allowed",
        ),
    ):
        yield f"pixels-few-{name}", coded_file(samples, config, data), CORRUPT, message


def invalid_levels(good: dict[str, bytes]) -> Iterator[Invalid]:
    """Parameters and tables that break a rule."""
    half = good["levels-2-bits-float16-groups-3"]
    for name, parameters in (
        ("index-bits-0", [2, 16, 0, 3]),
        ("index-bits-9", [2, 16, 9, 3]),
        ("of-24-bits", [2, 24, 2, 3]),
        ("groups-2", [2, 16, 2, 2]),
        ("groups-0", [2, 16, 2, 0]),
        ("without-groups", [2, 16, 2]),
        ("five-parameters", [2, 16, 2, 3, 0]),
    ):
        yield f"levels-{name}", with_header(half, put(10, parameters)), CORRUPT, "key 10"
    samples = np.array([[[[0.0, 1.0], [2.0, 2.0]]]], np.float16)
    config = LevelConfig(True, 16, index_bits=2)
    stored = bytes([0, 0, 1, 2, 2])  # method 0 and the numbers

    def table(*levels: float, last: int = 0) -> bytes:
        return bytes([len(levels) - 1 + last]) + np.array(levels, "<f2").tobytes()

    cases: tuple[tuple[str, Any, str], ...] = (
        ("nan", table(0, 1, 2, np.nan) + stored, "not finite"),
        ("infinite", table(0, 1, 2, np.inf) + stored, "not finite"),
        ("decreasing", table(0, 1, 2, 1.5) + stored, "do not increase"),
        ("equal", table(0, 1, 2, 2) + stored, "do not increase"),
        ("both-zeros", table(-0.0, 0, 1, 2) + bytes([0, 1, 2, 3, 3]), "do not increase"),
        ("negative-zero", table(-0.0, 1, 2) + stored, "-0"),
        ("too-many", table(0, 1, 2, 3, 4) + stored, "5 of them"),
        ("cut", table(0, 1, 2, 3)[:-1], "4 of them"),
        ("none", b"\x00", "1 of them"),
        ("number-without-level", table(0, 1) + stored, "number 2"),
        ("without-method", table(0, 1, 2), "method -1"),
        ("value-too-large", table(0, 1, 2) + bytes([0, 0, 1, 2, 6]), "allowed"),
    )
    for name, section, message in cases:
        yield f"levels-{name}", coded_file(samples, config, section), CORRUPT, message
    valid = coded_file(samples, config, table(0, 1, 2) + stored)
    labels, (section,) = sections_of(valid)
    other = section[:CHECK_BYTES] + section[CHECK_BYTES:].replace(table(0, 1, 2), table(0, 1, 3))
    yield "levels-digest", with_sections(valid, labels, [other]), WRONG_SAMPLES, "slice"
