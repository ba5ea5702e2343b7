"""A decoder of .rdd files written from `spec/rdd-format.md` alone, to be read beside it.

It is slow and simple: unbounded integers, lists of lists, and the names of the specification; docstrings name its
sections. It shares nothing with the package, so that the two agree only if the text says what both do.
"""

from __future__ import annotations

import hashlib
import math
import struct
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from csv import DictReader
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any, NoReturn

import msgpack
import zstandard

Plane = list[list[int]]

MAGIC = bytes.fromhex("89 52 44 44 0D 0A 1A 0A")
SPEC = Path(__file__).parents[1] / "spec"

NEIGHBOURS = {  # section 11.2: C -> (numbers of the context, R)
    8: ([13, 22, *range(30, 33), *range(37, 40)], 2),
    16: ([13, 14, *range(20, 25), *range(28, 34), *range(37, 40)], 3),
    24: ([4, *range(11, 16), *range(19, 26), *range(28, 35), *range(36, 40)], 4),
    32: ([*range(2, 6), *range(10, 17), *range(19, 40)], 5),
}
COARSER = {0: [], 5: [(0, 0), (-1, 0), (0, -1), (0, 1), (1, 0)]}  # section 11.2: E -> places around (Y, X)


class Corrupt(Exception):
    """The bytes break a rule of the specification."""


class Unsupported(Exception):
    """The bytes use what is reserved for later versions."""


class TooLarge(Exception):
    """The file needs more than a limit; the text is the name of the limit."""


class WrongSamples(Exception):
    """Everything decoded, but the samples do not have the stated digest."""


@dataclass(frozen=True)
class Limits:
    """Section 15."""

    max_file_bytes: int = 1 << 32
    max_header_bytes: int = 1 << 22
    max_sample_pixels: int = 1 << 22
    max_output_bytes: int = 1 << 33
    max_work: int = 1 << 43

    def check(self, name: str, needed: int) -> None:
        if needed > getattr(self, name):
            raise TooLarge(name)


@dataclass
class Header:
    """Section 6."""

    profile: int
    num_classes: int
    shape: tuple[int, int, int]
    slices: list[int]  # samples of each slice
    section_bytes: list[int]
    parameters: list[Any]
    space: list[Any] | None
    name: str | None
    class_names: list[str] | None
    class_ids: list[int] | None
    recipe: dict[str, Any] | None
    licence: str | None
    source: str | None
    entropy_sharing: list[int]  # `back` of each slice
    decoder_sharing: list[int]
    coarser_size: int  # section 6.6
    grid_biases: int
    unit_keys: int  # 0 without the key


@dataclass
class Decoded:
    header: Header
    kind: int  # of the labels section
    labels: list[int]  # in the order of delivery
    shape: tuple[int, int, int, int]
    samples: list[int] | list[float]  # in the order of delivery, flat
    stored: bytes  # the same, as section 13 has them
    sample_digest: bytes
    label_total: int = 0  # of the soft labels; 0 if there are none
    soft_labels: list[list[int]] = field(default_factory=list)  # in the order of delivery


def corrupt(what: str) -> NoReturn:
    raise Corrupt(what)


def require(condition: bool, what: str) -> None:
    if not condition:
        raise Corrupt(what)


def round_shift(a: int, n: int) -> int:
    """Section 3."""
    return (a + ((1 << n) >> 1)) >> n


def clamp(a: int, low: int, high: int) -> int:
    """Section 3."""
    return low if a < low else min(a, high)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Section 3.1: the value and where it ends."""
    value = 0
    for count in range(9):
        require(at + count < len(data), "varint: cut off")
        byte = data[at + count]
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            require(byte > 0 or count == 0, "varint: longer than needed")
            return value, at + count + 1
    corrupt("varint: more than 9 bytes")


def read_frame(data: bytes, n: int) -> bytes:
    """Section 3.2."""
    require(data[:4] == bytes.fromhex("28 B5 2F FD"), "not a Zstandard frame")
    try:
        frame = zstandard.get_frame_parameters(data)
        require(frame.content_size == n and frame.dict_id == 0, "Zstandard: other content size, or a dictionary")
        content = zstandard.ZstdDecompressor().decompress(data, max_output_size=n, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt("Zstandard") from error
    require(len(content) == n, "Zstandard: other content size")
    return content


def read_prefix(data: bytes, limits: Limits) -> tuple[bytes, int, bytes]:
    """Section 5: the content of the header, where the sections begin, and the sample digest."""
    require(data[:8] == MAGIC and len(data) >= 10, "magic")
    if data[8:10] != b"\x00\x01":
        raise Unsupported("version")
    require(len(data) >= 48, "length")
    flags, reserved, header_bytes, file_bytes, sample_digest, file_check = struct.unpack("<BBIQ16s8s", data[10:48])
    require(file_bytes == len(data), "length")
    require(hashlib.sha256(data[:40] + data[48:]).digest()[:8] == file_check, "file check")
    if flags > 1 or reserved:
        raise Unsupported("flags")
    require(1 <= header_bytes <= file_bytes - 48, "header_bytes")
    header = data[48 : 48 + header_bytes]
    if flags == 1:
        require(len(header) >= 4, "header_bytes")
        n = int.from_bytes(header[:4], "little")
        limits.check("max_header_bytes", n)
        header = read_frame(header[4:], n)
    limits.check("max_header_bytes", len(header))
    return header, 48 + header_bytes, sample_digest


def check_content(value: Any, depth: int = 1) -> None:
    """Section 6: what a header may hold anywhere; `depth` is that of `value` if it is an array or a map."""
    require(type(value) in (dict, list, int, str, float), "a type of the header")
    require(type(value) is not float or math.isfinite(value), "a float that is not finite")
    if isinstance(value, dict | list):
        require(depth <= 16, "nested too deep")
    if isinstance(value, dict):
        keys = list(value)
        require({type(key) for key in keys} in (set(), {int}, {str}), "keys of a map")
        require(all(a < b for a, b in pairwise(keys)), "keys that do not increase")
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            check_content(inner, depth + 1)


def integer(value: Any, low: int, high: int) -> int:
    """Section 6: an integer in a range."""
    if type(value) is not int or not low <= value <= high:
        corrupt("an integer of the header")
    return value


def text(value: Any) -> str:
    """Section 6."""
    if not isinstance(value, str) or not value or "\0" in value:
        corrupt("a text of the header")
    return value


def real(value: Any) -> float:
    """Section 6: a float."""
    if not isinstance(value, float) or not math.isfinite(value):
        corrupt("a float of the header")
    return value


def array(value: Any, length: int | None = None) -> list[Any]:
    """Section 6: an array, of a length if one is given."""
    if not isinstance(value, list) or length not in (None, len(value)):
        corrupt("an array of the header")
    return value


def check_parameters(profile: int, value: Any, channels: int) -> list[Any]:
    """Sections 6.1 and 6.2."""
    if profile == 1 and len(array(value)) == 4 and value[0] == 2:
        _, bits, index_bits, groups = value
        require(type(value[0]) is int and integer(bits, 16, 32) in (16, 32), "bits of levels")
        integer(index_bits, 1, 8)
        require(integer(groups, 1, channels) in (1, channels), "groups")
        return list(value)
    if profile == 1:
        is_float, bits, divisor = array(value, 3)
        if integer(is_float, 0, 1):
            require(integer(bits, 16, 32) in (16, 32), "bits")
        else:
            integer(bits, 1, 16)
        integer(divisor, 1, 1 if is_float else 1 << 24)
        return [is_float, bits, divisor]
    num_scales, context_size, entropy_depth, widths, act_frac_bits, act_bits, sample_frac_bits = array(value, 7)
    integer(num_scales, 1, 8)
    if integer(context_size, 1, 255) not in NEIGHBOURS:
        raise Unsupported("context size")
    integer(entropy_depth, 0, 4)
    require(len(array(widths)) <= 8, "widths")
    for width in widths:
        integer(width, 1, 65535)
    integer(act_frac_bits, 6, 12)
    integer(act_bits, 6, 20)
    integer(sample_frac_bits, 0, 16)
    return [num_scales, context_size, entropy_depth, widths, act_frac_bits, act_bits, sample_frac_bits]


def check_space(value: Any, channels: int) -> list[Any]:
    """Section 6.3."""
    require(len(array(value)) > 0, "space")
    kind = integer(value[0], 0, 127)
    if kind >= 4:
        raise Unsupported("space")
    array(value, (1, 3, 2, 2)[kind])
    if kind == 1:
        for number in array(value[1], channels) + array(value[2], channels):
            real(number)
        require(all(number > 0 for number in value[2]), "std")
    elif kind >= 2:
        text(value[1])
    return list(value)


def check_class_names(names: list[str]) -> list[str]:
    """Section 6.4."""
    for name in map(text, names):
        require(len(name.encode()) <= 255, "class name: too long")
        require(all(unicodedata.category(c) != "Cc" and c not in '/\\:*?"<>|' for c in name), "class name")
        require(name[0] not in "-. " and name[-1] not in ". ", "class name: begin or end")
    lower = str.maketrans(ascii_uppercase, ascii_lowercase)
    require(len({name.translate(lower) for name in names}) == len(names), "equal class names")
    return names


def read_sharing(fields: dict[int, Any], key: int, slices: int) -> list[int]:
    """Section 6.5: `back` of each slice."""
    if key not in fields:
        return [0] * slices
    require(fields[0] == 0, "sharing in the raw profile")
    flat = array(fields[key])
    require(len(flat) % 2 == 0, "sharing: pairs")
    backs = [integer(n, 0, (1 << 24) - 1) for n in flat[0::2]]
    runs = [integer(n, 1, (1 << 24) - 1) for n in flat[1::2]]
    require(all(a != b for a, b in pairwise(backs)), "sharing: neighbouring runs of one number")
    require(sum(runs) == slices and any(backs), "sharing: number of slices, or nothing shared")
    sharing = [back for back, run in zip(backs, runs, strict=True) for _ in range(run)]
    m = 0
    for back in sharing:
        require(back <= m, "sharing: a network that no earlier slice stores")
        m += back == 0
    return sharing


def read_inputs(fields: dict[int, Any]) -> tuple[int, int]:
    """Section 6.6: coarser_size and grid_biases."""
    if 24 not in fields:
        return 0, 0
    require(fields[0] == 0, "inputs of the entropy network in the raw profile")
    coarser_size, grid_biases = array(fields[24], 2)
    if integer(coarser_size, 0, 255) not in COARSER:
        raise Unsupported("coarser size")
    require(coarser_size + integer(grid_biases, 0, 1) > 0, "inputs of the entropy network: none")
    return coarser_size, grid_biases


def read_unit_keys(fields: dict[int, Any]) -> int:
    """Section 6: the header key 22."""
    if 22 not in fields:
        return 0
    require(fields[0] == 0 and len(fields[10][3]) > 0, "unit_keys without hidden layers")
    return integer(fields[22], 1, 8)


def read_map(data: bytes) -> dict[int, Any]:
    """Section 6: the canonical form, then the critical keys."""
    try:
        fields = msgpack.unpackb(data, strict_map_key=False)
        canonical = msgpack.packb(fields)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise Corrupt("MessagePack") from error
    require(isinstance(fields, dict) and canonical == data, "MessagePack: not a map, or not canonical")
    check_content(fields)
    require(all(type(key) is int and key >= 0 for key in fields), "keys of the header")
    if not {key for key in fields if key % 2 == 0} <= {0, 2, 4, 6, 8, 10, 12, 16, 18, 22, 24}:
        raise Unsupported("critical key")
    return fields


def read_header(fields: dict[int, Any]) -> Header:
    """Section 6: the fields."""
    require({0, 2, 4, 6, 8, 10} <= set(fields), "missing key")
    profile = integer(fields[0], 0, 127)
    if profile >= 2:
        raise Unsupported("profile")
    num_classes = integer(fields[2], 1, 65535)
    channels, height, width = (integer(n, 1, 65535) for n in array(fields[4], 3))
    section_bytes = [integer(n, 1, (1 << 63) - 1) for n in array(fields[8])]
    require(2 <= len(section_bytes) <= 1 << 24, "section_bytes")
    flat = [integer(n, 1, (1 << 31) - 1) for n in array(fields[6])]
    require(len(flat) % 2 == 0, "slice_sizes")
    sizes, runs = flat[0::2], flat[1::2]
    require(all(a != b for a, b in pairwise(sizes)), "neighbouring runs of equal slices")
    require(sum(runs) == len(section_bytes) - 1, "runs of slices")
    recipe = fields.get(7)
    if 7 in fields:
        if not isinstance(recipe, dict):
            corrupt("recipe")
        for key, value in recipe.items():
            text(key)
            if type(value) is not int:
                text(value) if isinstance(value, str) else real(value)
    coarser_size, grid_biases = read_inputs(fields)
    return Header(
        profile=profile,
        num_classes=num_classes,
        shape=(channels, height, width),
        slices=[size for size, run in zip(sizes, runs, strict=True) for _ in range(run)],
        section_bytes=section_bytes,
        parameters=check_parameters(profile, fields[10], channels),
        space=check_space(fields[12], channels) if 12 in fields else None,
        name=text(fields[1]) if 1 in fields else None,
        class_names=check_class_names(array(fields[3], num_classes)) if 3 in fields else None,
        class_ids=[integer(n, 0, (1 << 32) - 1) for n in array(fields[5], num_classes)] if 5 in fields else None,
        recipe=recipe,
        licence=text(fields[9]) if 9 in fields else None,
        source=text(fields[11]) if 11 in fields else None,
        entropy_sharing=read_sharing(fields, 16, len(section_bytes) - 1),
        decoder_sharing=read_sharing(fields, 18, len(section_bytes) - 1),
        coarser_size=coarser_size,
        grid_biases=grid_biases,
        unit_keys=read_unit_keys(fields),
    )


@dataclass
class LabelsSection:
    """Section 7."""

    kind: int
    counts: list[int]
    labels: list[int]  # in the order of delivery
    numbers: list[int]  # the file numbers, in that order
    label_total: int = 0
    label_check: bytes = b""
    payload: bytes = b""


def read_labels(data: bytes, header: Header) -> LabelsSection:
    """Section 7, without decoding the soft labels."""
    kind = data[0]
    require(kind <= 3, "kind of labels")
    counts: list[int] = []
    at, last = 1, -1
    while len(counts) < header.num_classes:
        count, at = read_varint(data, at)
        run, at = read_varint(data, at)
        require(1 <= run <= header.num_classes - len(counts) and count != last, "runs of classes")
        counts += [count] * run
        last = count
    total = sum(header.slices)
    require(sum(counts) == total, "counts")
    ends = list(accumulate(counts))
    require(set(ends) <= {0, *accumulate(header.slices)}, "a slice of two classes")
    labels, numbers = [label for label, count in enumerate(counts) for _ in range(count)], list(range(total))
    if kind & 1:
        order_bytes = len(data) - at
        if kind == 3:
            order_bytes, at = read_varint(data, at)
            require(at + order_bytes <= len(data), "order_bytes")
        labels, numbers = read_order(data[at : at + order_bytes], counts)
        at += order_bytes
    section = LabelsSection(kind, counts, labels, numbers)
    if kind & 2:  # section 7.1
        require(header.num_classes >= 2, "soft labels of one class")
        section.label_total, at = read_varint(data, at)
        require(1 <= section.label_total <= 1 << 24, "label_total")
        require(at + 4 < len(data), "soft labels without a payload")
        section.label_check, section.payload = data[at : at + 4], data[at + 4 :]
        at = len(data)
    require(at == len(data), "end of the labels section")
    return section


def read_order(frame: bytes, counts: list[int]) -> tuple[list[int], list[int]]:
    """Section 7: labels and file numbers in the order of the source."""
    size, total, ends = 1 if len(counts) <= 256 else 2, sum(counts), list(accumulate(counts))
    content = read_frame(frame, total * size)
    labels = list(content) if size == 1 else list(struct.unpack(f"<{total}H", content))
    require(max(labels) < len(counts), "a label of no class")
    following = [end - count for end, count in zip(ends, counts, strict=True)]
    numbers = []
    for label in labels:
        numbers.append(following[label])
        following[label] += 1
    require(following == ends, "labels other than the counts say")
    return labels, numbers


class RangeDecoder:
    """Section 8."""

    def __init__(self, payload: bytes) -> None:
        require(len(payload) >= 1 and len(payload) % 4 == 0, "length of a payload")
        self.words = struct.unpack(f"<{len(payload) // 4}I", payload)
        self.read = 0
        self.lower, self.range = 0, (1 << 64) - 1
        self.point = self.next_word() << 32
        self.point += self.next_word()

    def next_word(self) -> int:
        self.read += 1
        return self.words[self.read - 1] if self.read <= len(self.words) else 0

    def symbol(self, row: tuple[int, ...]) -> int:
        """A symbol whose row has these frequencies, summed from the front."""
        scale = self.range >> 24
        quantile = ((self.point - self.lower) % (1 << 64)) // scale
        require(quantile < 1 << 24, "payload: quantile")
        s = bisect_right(row, quantile) - 1
        self.lower = (self.lower + scale * row[s]) % (1 << 64)
        self.range = scale * (row[s + 1] - row[s])
        if self.range < 1 << 32:
            self.lower = (self.lower << 32) % (1 << 64)
            self.range <<= 32
            self.point = ((self.point << 32) % (1 << 64)) + self.next_word()
        return s

    def bits(self, count: int) -> int:
        """Symbols of the bit row, the most significant first."""
        number = 0
        for _ in range(count):
            number = 2 * number + self.symbol(BIT_ROW)
        return number

    def batch(self, r: list[int]) -> list[int]:
        """Section 10: one integer for each row number."""
        symbols = [self.symbol(primary_row(row >> 5, row & 31)) for row in r]
        orders = [constants()[row >> 5][1] for row, s in zip(r, symbols, strict=True) if s == 15]
        tails = [self.symbol(tail_row(row >> 5)) for row, s in zip(r, symbols, strict=True) if s == 15]
        exponents = iter([self.symbol(EXPONENT_ROW) for t in tails if t == 15])
        escaped = []
        for t, golomb_order in zip(tails, orders, strict=True):
            sign = self.bits(1)
            magnitude = 8 + t
            if t == 15:
                w = next(exponents) + golomb_order
                magnitude += self.bits(w) + (1 << w) - (1 << golomb_order)
            escaped.append(-magnitude if sign else magnitude)
        values = iter(escaped)
        return [next(values) if s == 15 else OFFSETS[s] for s in symbols]

    def end(self) -> None:
        require(self.read >= len(self.words), "payload: words left")
        require((self.point - self.lower) % (1 << 64) < (1 << 33) - 1, "payload: end")


def log(x: int) -> int:
    """Section 7.1."""
    k = x.bit_length() - 1
    return 8 * (k - 1) + ((8 * x) >> k)


def level(y: int) -> int:
    """Section 7.1."""
    return clamp((y >> 2) + 32, 0, 63)


class NumberDecoder:
    """Section 7.1: contexts and numbers."""

    def __init__(self, payload: bytes) -> None:
        self.coder = RangeDecoder(payload)
        self.size: dict[tuple[int, int, int], tuple[int, int]] = {}
        for q in range(64):
            for i in range(25):
                g = (5 + 2 * (q & 1)) << (q >> 1)
                h = 0 if i == 0 else 1 << (17 + i)
                b = 1 + 126 * (g + h) // (g + (1 << (18 + i)))
                for s in range(4):
                    self.size[s, q, i] = (128 - b, b)
        self.digit = {(s, e, v): (64, 64) for s in range(4) for e in range(2, 26) for v in range(1, 4)}

    def decision(self, contexts: dict[tuple[int, int, int], tuple[int, int]], key: tuple[int, int, int]) -> int:
        a, b = contexts[key]
        symbol = self.coder.symbol((0, (a << 24) // (a + b), 1 << 24))
        a, b = (a + 32, b) if symbol == 0 else (a, b + 32)
        if a + b > 1 << 16:
            a, b = (a + 1) >> 1, (b + 1) >> 1
        contexts[key] = a, b
        return symbol

    def number(self, s: int, q: int, V: int) -> int:
        e = 0
        while e < V.bit_length() and self.decision(self.size, (s, q, e)):
            e += 1
        if e == 0:
            return 0
        v = 1
        for i in range(e - 2, -1, -1):
            d = 0
            if ((2 * v + 1) << i) <= V:
                d = self.decision(self.digit, (s, e, v)) if v < 4 else self.coder.symbol(BIT_ROW)
            v = 2 * v + d
        return v


def read_soft_labels(section: LabelsSection) -> list[list[int]]:
    """Section 7.1: the soft labels by file number."""
    decoder, K, T = NumberDecoder(section.payload), len(section.counts), section.label_total
    result = []
    for c, count in enumerate(section.counts):
        S, t, A = [0] * K, 0, 0
        for _ in range(count):
            n = [0] * K
            d = R = decoder.number(0, level(log(4 * A + T) - log(4 * t + 4)), T)
            n[c] = T - R
            W = sum(K * S[j] + T for j in range(K) if j != c)
            left = [j for j in range(K) if j != c]  # m of them
            for j in sorted((j for j in left if S[j] > 0), key=lambda j: (-S[j], j)):
                if R == 0 or len(left) == 1:
                    break
                w = K * S[j] + T
                n[j] = decoder.number(1, level(log(R) + log(w) - log(W)), R)
                R -= n[j]
                W -= w
                left.remove(j)
            while R > 0:
                m = len(left)
                if m > 1:
                    left = left[decoder.number(2, level(log(m) - log(R)), m - 1) :]
                    m = len(left)
                j = left.pop(0)
                n[j] = R if m == 1 else 1 + decoder.number(3, level(log(R) - log(m)), R - 1)
                R -= n[j]
            if t < 1024:
                S = [S[j] + n[j] if j != c else 0 for j in range(K)]
                A += d
                t += 1
            result.append(n)
    decoder.coder.end()
    return result


def label_digest(section: LabelsSection, soft: list[list[int]]) -> bytes:
    """Section 13."""
    numbers = b"".join(struct.pack(f"<{len(n)}I", *n) for n in soft)
    return hashlib.sha256(section.label_total.to_bytes(4, "little") + numbers).digest()


OFFSETS = [0, *(sign * k for k in range(1, 8) for sign in (1, -1))]  # section 9: of the symbols 0..14
EXPONENT_ROW = tuple(accumulate([1 << (23 - s) for s in range(15)] + [1 << 9], initial=0))
BIT_ROW = (0, 1 << 23, 1 << 24)


@cache
def constants() -> list[tuple[int, int]]:
    """Section 9: `ratio` and `golomb_order` of each Laplace scale."""
    with (SPEC / "laplace_constants.csv").open(encoding="ascii") as file:
        return [(int(line["ratio"]), int(line["golomb_order"])) for line in DictReader(file)]


@cache
def decay(i: int) -> list[int]:
    """Section 9."""
    values = [1 << 30]
    for _ in range(480):
        values.append((values[-1] * constants()[i][0] + (1 << 31)) >> 32)
    return values


def frequencies(mass: list[int], B: int) -> tuple[int, ...]:
    """Section 9: the frequencies summed from the front, from 0 to 2^24."""
    f = [512 + ((m * ((1 << 24) - 16 * 512)) >> B) for m in mass]
    f[0] += (1 << 24) - sum(f)
    return tuple(accumulate(f, initial=0))


def cum(i: int, n: int) -> int:
    """Section 9."""
    return decay(i)[-n] if n <= 0 else (1 << 31) - decay(i)[n]


@cache
def primary_row(i: int, m: int) -> tuple[int, ...]:
    """Section 9."""
    mass = [cum(i, 32 * k - (m - 16) + 16) - cum(i, 32 * k - (m - 16) - 16) for k in OFFSETS]
    return frequencies([*mass, (1 << 31) - sum(mass)], 31)


@cache
def tail_row(i: int) -> tuple[int, ...]:
    """Section 9."""
    return frequencies([decay(i)[32 * s] - decay(i)[32 * (s + 1)] for s in range(15)] + [decay(i)[480]], 30)


@dataclass
class Tensor:
    """Section 11.1: q with frac_bits fractional bits, flat in C order."""

    shape: tuple[int, ...]
    frac_bits: int
    q: list[int]

    def row(self, o: int) -> list[int]:
        """What belongs to output o, flat."""
        size = len(self.q) // self.shape[0]
        return self.q[o * size : (o + 1) * size]


def tensor_shapes(header: Header) -> list[tuple[int, ...]]:
    """Section 11.1."""
    S, C, entropy_depth, widths, *_ = header.parameters
    c, E = header.shape[0], header.coarser_size
    B = S if header.grid_biases == 1 else 1
    shapes: list[tuple[int, ...]] = []
    for number in range(entropy_depth + 1):
        d = C + E if number == 0 else C
        shapes += [(C, d), (C,)] if number < entropy_depth else [(2, d), (2 * B,)]
    shapes.append((8, 8))
    for d, out in pairwise([S, *widths, c]):
        shapes += [(out, d), (out,)]
    return shapes + [(c, c, 3, 3), (c,)] * 2


def read_tensors(
    coder: RangeDecoder, shapes: list[tuple[int, ...]], hidden: Sequence[int] = (), K: int = 0
) -> list[Tensor]:
    """Section 11.1: the tensors that a slice stores; `hidden` are the weights of layers that are sorted by K keys."""
    T = len(shapes)

    def undo_differences(differences: list[int], first: int, high: int) -> list[int]:
        previous = {True: first, False: first}
        values = []
        for shape, difference in zip(shapes, differences, strict=True):
            is_bias = len(shape) == 1
            previous[is_bias] += difference
            require(0 <= previous[is_bias] <= high, "tensor")
            values.append(previous[is_bias])
        return values

    frac_bits = undo_differences(coder.batch([32 * 74 + 16] * T), 8, 16)
    scale_index = undo_differences(coder.batch([32 * 114 + 16] * T), 74, 154)
    raw_bits = coder.batch([32 * 62 + 16] * T)
    require(all(0 <= bits <= 15 for bits in raw_bits), "raw_bits")
    sizes = [math.prod(shape) for shape in shapes]
    rows = [[32 * i + 16] * size for i, size in zip(scale_index, sizes, strict=True)]
    high: list[list[int | None]] = [[None] * size for size in sizes]
    keys = places_of_keys(shapes, hidden, K)
    steps = read_keys(coder, keys, rows, high)
    is_key = {place for layer in keys for places in layer for place in places}
    others = [(t, n) for t in range(T) for n in range(sizes[t]) if (t, n) not in is_key]
    for (t, n), value in zip(others, coder.batch([rows[t][n] for t, n in others]), strict=True):
        high[t][n] = value
    tensors = []
    for shape, e, bits, numbers in zip(shapes, frac_bits, raw_bits, high, strict=True):
        q = [0 if h is None else (h << bits) + coder.bits(bits) - ((1 << bits) >> 1) for h in numbers]
        tensors.append(Tensor(shape, e, q))
    for layer in keys:
        for places in layer:
            for (t, n), (before, m) in zip(places[1:], places, strict=False):
                if (t, n) in steps:
                    tensors[t].q[n] = tensors[before].q[m] + steps[t, n]
    require(all(abs(value) < 1 << 24 for tensor in tensors for value in tensor.q), "parameter")
    return tensors


def places_of_keys(shapes: list[tuple[int, ...]], hidden: Sequence[int], K: int) -> list[list[list[tuple[int, int]]]]:
    """Section 11.1: for each sorted layer and key, the (tensor, value) of each unit."""
    result = []
    for t in hidden:
        A, d = shapes[t]
        keys = [[(t + 1, o) for o in range(A)]] + [[(t, o * d + j) for o in range(A)] for j in range(d)]
        result.append(keys[:K])
    return result


def read_keys(
    coder: RangeDecoder,
    keys: list[list[list[tuple[int, int]]]],
    rows: list[list[int]],
    high: list[list[int | None]],
) -> dict[tuple[int, int], int]:
    """Section 11.1, sorted units: `high` of keys that are not tied; d for those that are, by their places."""
    gap_index, gap_indices = 74, []
    for difference in coder.batch([32 * 114 + 16] * sum(len(layer) for layer in keys)):
        gap_index += difference
        require(0 <= gap_index <= 154, "gap_index")
        gap_indices.append(gap_index)
    following, steps = iter(gap_indices), {}
    for layer in keys:
        tied = [o > 0 for o in range(len(layer[0]))]
        for places in layer:
            i = next(following)
            r = [32 * i + 16 if is_tied else rows[t][n] for is_tied, (t, n) in zip(tied, places, strict=True)]
            for o, (v, (t, n)) in enumerate(zip(coder.batch(r), places, strict=True)):
                if not tied[o]:
                    high[t][n] = v
                    continue
                steps[t, n] = 2 * v - 1 if v > 0 else -2 * v
                tied[o] = steps[t, n] == 0
    return steps


def grid_sizes(header: Header) -> list[tuple[int, int]]:
    """Section 11.2: height and width of each grid."""
    _, height, width = header.shape
    return [(-(-height >> k), -(-width >> k)) for k in range(header.parameters[0])]


def work(header: Header) -> int:
    """Section 15: multiplications for one sample."""
    S, _, D, *_ = header.parameters
    _, height, width = header.shape
    L = sum(h * w for h, w in grid_sizes(header))
    shapes = tensor_shapes(header)
    cut = 2 * (D + 1)
    entropy, synthesis = (
        sum(math.prod(shape) for shape in part if len(shape) > 1) for part in (shapes[:cut], shapes[cut + 1 :])
    )
    return L * entropy + height * width * (synthesis + 32 * S)


class EntropyNetwork:
    """Section 11.3; its tensors are pairs of weight and bias."""

    def __init__(self, tensors: list[Tensor], header: Header) -> None:
        self.A = header.parameters[4]
        self.M = (1 << header.parameters[5]) - 1
        self.grid_biases = header.grid_biases
        self.layers = list(zip(tensors[0::2], tensors[1::2], strict=True))
        for layer in self.layers:
            self.check(*layer, last=layer is self.layers[-1])

    def check(self, weight: Tensor, bias: Tensor, last: bool) -> None:
        e, h = weight.frac_bits, bias.frac_bits
        require(h <= self.A + e, "entropy network: bias with too many fractional bits")
        s = max(self.A + e - 5, self.A + e - 4) if last else e
        for number, g in enumerate(bias.q):
            o = number % weight.shape[0]  # number 2 k + o of the bias of the last layer is g[o] of grid k
            w = weight.row(o)
            if not last:
                w[o] += 1 << e
            bound = self.M * sum(map(abs, w)) + abs(g << (self.A + e - h)) + ((1 << s) >> 1)
            require(bound < 1 << 31, "entropy network: accumulator")

    def __call__(self, context: list[int], k: int) -> tuple[int, int, int]:
        """i, m and centre of a latent of grid k with this context."""
        A, M = self.A, self.M
        x = [clamp(z << A, -M, M) for z in context]
        for weight, bias in self.layers:
            e, h = weight.frac_bits, bias.frac_bits
            last = weight is self.layers[-1][0]
            chosen = bias.q[2 * k : 2 * k + 2] if last and self.grid_biases == 1 else bias.q
            acc = [
                sum(q * value for q, value in zip(weight.row(o), x, strict=True)) + (g << (A + e - h))
                for o, g in enumerate(chosen)
            ]
            if not last:
                x = [clamp(round_shift(acc[o] + (x[o] << e), e), 0, M) for o in range(len(acc))]
        mean = clamp(round_shift(acc[0], A + e - 5), -32768 * 32 - 16, 32767 * 32 + 15)
        i = clamp(round_shift(acc[1], A + e - 4) + 10, 0, 154)
        return i, (mean + 16) & 31, (mean + 16) >> 5


def read_latents(coder: RangeDecoder, network: EntropyNetwork, header: Header, n: int) -> list[list[Plane]]:
    """Section 11.2: the grids of each sample."""
    numbers, R = NEIGHBOURS[header.parameters[1]]
    context = [(p // 9 - 4, p % 9 - 4) for p in numbers]
    E, S = header.coarser_size, header.parameters[0]
    D = R + 1 if E else 0
    sizes = grid_sizes(header)
    latents = [[[[0] * w for _ in range(h)] for h, w in sizes] for _ in range(n)]

    def value(grids: list[Plane], k: int, y: int, x: int) -> int:
        """0 outside of a grid, and where there is no grid k."""
        inside = k < S and 0 <= y < sizes[k][0] and 0 <= x < sizes[k][1]
        return grids[k][y][x] if inside else 0

    for step in range(max(w - 1 + R * (h - 1) + (S - 1 - k) * D for k, (h, w) in enumerate(sizes)) + 1):
        batch = [
            (latents[sample], k, y, step - R * y - (S - 1 - k) * D)
            for k, (h, w) in enumerate(sizes)
            for y in range(h)
            if 0 <= step - R * y - (S - 1 - k) * D < w
            for sample in range(n)
        ]
        seen = []
        for grids, k, y, x in batch:
            inputs = [value(grids, k, y + dy, x + dx) for dy, dx in context]
            inputs += [value(grids, k + 1, (y >> 1) + dy, (x >> 1) + dx) for dy, dx in COARSER[E]]
            seen.append(network(inputs, k))
        values = coder.batch([32 * i + m for i, m, _ in seen])
        for (grids, k, y, x), (_, _, centre), v in zip(batch, seen, values, strict=True):
            require(-32768 <= centre + v <= 32767, "latent")
            grids[k][y][x] = centre + v
    return latents


V = (1 << 27) - 1  # section 11.5


def check_kernel(kernel: Tensor) -> None:
    """Section 11.5."""
    for p in (0, 1):
        for q in (0, 1):
            taps = sum(abs(kernel.q[8 * (7 - p - 2 * a) + 7 - q - 2 * b]) for a in range(4) for b in range(4))
            require(V * taps + (1 << kernel.frac_bits) < 1 << 53, "upsampling: accumulator")


def upsample(x: Plane, kernel: Tensor, size: tuple[int, int]) -> Plane:
    """Section 11.5: the first rows and columns of the plane of double size."""
    h, w, e = len(x), len(x[0]), kernel.frac_bits
    y = [[0] * size[1] for _ in range(size[0])]
    for r in range(size[0]):
        for s in range(size[1]):
            i, p, j, q = r >> 1, r & 1, s >> 1, s & 1
            acc = sum(
                kernel.q[8 * (7 - p - 2 * a) + 7 - q - 2 * b]
                * x[clamp(i - 2 + p + a, 0, h - 1)][clamp(j - 2 + q + b, 0, w - 1)]
                for a in range(4)
                for b in range(4)
            )
            y[r][s] = clamp(round_shift(acc, e), -V, V)
    return y


def layer(x: list[Plane], weight: Tensor, bias: Tensor, low: int) -> list[Plane]:
    """Section 11.6: a layer of 1×1 or 3×3."""
    e = weight.frac_bits
    three = len(weight.shape) == 4
    taps = [(a - 1, b - 1) for a in range(3) for b in range(3)] if three else [(0, 0)]
    h, w = len(x[0]), len(x[0][0])
    y = []
    for o, g in enumerate(bias.q):
        G = g << (16 + e - bias.frac_bits)
        q = weight.row(o)
        if three:
            q[9 * o + 4] += 1 << e
        require(V * sum(map(abs, q)) + abs(G) + (1 << e) < 1 << 53, "synthesis: accumulator")
        terms = [(x[j // len(taps)], *taps[j % len(taps)], factor) for j, factor in enumerate(q) if factor]
        acc = [
            [
                G + sum(f * plane[clamp(r + a, 0, h - 1)][clamp(t + b, 0, w - 1)] for plane, a, b, f in terms)
                for t in range(w)
            ]
            for r in range(h)
        ]
        y.append([[clamp(round_shift(value, e), low, V) for value in line] for line in acc])
    return y


def synthesise(grids: list[Plane], tensors: list[Tensor], sample_frac_bits: int) -> list[int]:
    """Sections 11.5 and 11.6: a sample from its latents; the tensors begin with the upsampling kernel."""
    entered = [[[clamp(z << 16, -V, V) for z in line] for line in grid] for grid in grids]
    planes = [entered[-1]]
    for plane in reversed(entered[:-1]):
        planes = [plane, *(upsample(x, tensors[0], (len(plane), len(plane[0]))) for x in planes)]
    layers = list(zip(tensors[1::2], tensors[2::2], strict=True))
    for number, (weight, bias) in enumerate(layers):
        # Clamped at 0: all 1×1 layers but the last, then the first of the two 3×3 layers.
        planes = layer(planes, weight, bias, -V if number in (len(layers) - 3, len(layers) - 1) else 0)
    return [round_shift(y, 16 - sample_frac_bits) for plane in planes for line in plane for y in line]


@dataclass
class Networks:
    """Section 6.5: what the slices before the present one store, in order."""

    entropy: list[list[Tensor]]
    decoder: list[list[Tensor]]  # each begins with the upsampling kernel


def decode_latent_slice(data: bytes, header: Header, number: int, stored: Networks) -> bytes:
    """Section 11: the samples of a slice as section 13 has them; its own networks are added to `stored`."""
    n, P = header.slices[number], len(data) - 4
    entropy_back, decoder_back = header.entropy_sharing[number], header.decoder_sharing[number]
    cut = 2 * (header.parameters[2] + 1)
    entropy_shapes = [] if entropy_back else tensor_shapes(header)[:cut]
    decoder_shapes = [] if decoder_back else tensor_shapes(header)[cut:]
    Q = sum(math.prod(shape) for shape in entropy_shapes + decoder_shapes)
    L = sum(h * w for h, w in grid_sizes(header))
    require(15 * (Q + n * L) <= (8 * P + 64) << 15, "more parameters and latents than the payload can hold")
    coder = RangeDecoder(data[4:])
    hidden: list[int] = []
    if decoder_shapes and header.unit_keys:
        hidden = [len(entropy_shapes) + 1 + 2 * layer for layer in range(len(header.parameters[3]))]
    tensors = read_tensors(coder, entropy_shapes + decoder_shapes, hidden, header.unit_keys)
    if entropy_back == 0:
        stored.entropy.append(tensors[:cut])
    if decoder_back == 0:
        stored.decoder.append(tensors[len(entropy_shapes) :])
    entropy, decoder = stored.entropy[-max(entropy_back, 1)], stored.decoder[-max(decoder_back, 1)]
    check_kernel(decoder[0])
    latents = read_latents(coder, EntropyNetwork(entropy, header), header, n)
    coder.end()
    samples = [synthesise(grids, decoder, header.parameters[6]) for grids in latents]
    return b"".join(struct.pack(f"<{len(sample)}i", *sample) for sample in samples)


def decode_raw_slice(data: bytes, header: Header, n: int) -> bytes:
    """Section 12: the samples of a slice as section 13 has them."""
    kind, bits, *rest = header.parameters
    channels, height, width = header.shape
    count = n * channels * height * width
    at, tables = 4, []
    if kind == 2:
        B, groups = rest
        for _ in range(groups):
            levels, at = read_levels(data, at, bits // 8, B)
            tables.append(levels)
    else:
        B = bits
    require(len(data) > at, "slice without a method")
    method, content = data[at], data[at + 1 :]
    if method in (32, 33) and kind != 1:
        numbers = read_coded(content, method, B, header.shape, n)
    else:
        numbers = read_plain(content, method, B, count, height, width)
    if kind == 0:
        return struct.pack(f"<{count}i", *numbers)
    if kind == 2:
        stored = []
        for k, number in enumerate(numbers):
            levels = tables[k // (height * width) % channels if len(tables) > 1 else 0]
            require(number < len(levels), "a number without a level")
            stored.append(levels[number])
        return b"".join(stored)
    infinity = 0x7C00 if bits == 16 else 0x7F800000
    require(all(number & infinity != infinity for number in numbers), "a float that is not finite")
    return struct.pack(f"<{count}{'H' if bits == 16 else 'I'}", *numbers)


def is_coded(section: bytes, header: Header) -> bool:
    """Section 15: whether a slice has coded numbers."""
    kind, bits, *rest = header.parameters
    at = 4
    for _ in range(rest[1] if kind == 2 else 0):
        at += 1 + (section[at] + 1) * (bits // 8) if at < len(section) else 0
    return kind != 1 and at < len(section) and section[at] in (32, 33)


def read_levels(data: bytes, at: int, size: int, index_bits: int) -> tuple[list[bytes], int]:
    """Section 12.1: the levels of a group as they are stored, and where they end."""
    require(len(data) > at and data[at] < 1 << index_bits, "last level")
    end = at + 1 + (data[at] + 1) * size
    require(len(data) >= end, "levels")
    stored = [data[k : k + size] for k in range(at + 1, end, size)]
    values = [struct.unpack("<e" if size == 2 else "<f", level)[0] for level in stored]
    require(all(math.isfinite(value) for value in values), "a level that is not finite")
    require(all(a < b for a, b in pairwise(values)), "levels that do not increase")
    require(all(value != 0 or math.copysign(1, value) > 0 for value in values), "a level of -0")
    return stored, end


def read_plain(content: bytes, method: int, B: int, count: int, height: int, width: int) -> list[int]:
    """Section 12: numbers by predictor, layout and coding."""
    predictor, layout, coding = method & 3, method >> 2 & 1, method >> 3
    require(predictor <= 2 and coding <= 1, "method")
    size = 1 if B <= 8 else 2 if B <= 16 else 4
    needed = -(-count * B // 8) if layout else count * size
    content = read_frame(content, needed) if coding else content
    require(len(content) == needed, "length of the samples")
    if layout:
        whole = int.from_bytes(content, "big")
        spare = 8 * needed - count * B
        require(whole & ((1 << spare) - 1) == 0, "bits left over")
        digits = f"{whole >> spare:0{count * B}b}"
        numbers = [int(digits[k : k + B], 2) for k in range(0, count * B, B)]
    else:
        numbers = [sum(content[b * count + k] << (8 * b) for b in range(size)) for k in range(count)]
        require(max(numbers) < 1 << B, "bits above the number")
    for k in range(count):
        if predictor == 1 and k % width:
            numbers[k] = (numbers[k] + numbers[k - 1]) % (1 << B)
        if predictor == 2 and k // width % height:
            numbers[k] = (numbers[k] + numbers[k - width]) % (1 << B)
    return numbers


AROUND = [(0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, -1), (-2, 1), (-1, 2), (-1, -2)]  # section 12.3
LOG16 = [63, 184, 297, 405, 508, 605, 698, 787, 873, 955, 1033, 1109, 1182, 1253, 1321, 1387]  # section 12.4


@dataclass
class Coded:
    """Section 12.2: the setting of a slice, and what is known of its numbers."""

    top: int
    origin: int
    levels: list[tuple[int, int]]  # order, weight_bits
    has_forms: bool
    spread: int
    K: int
    mean_shift: int
    scale_shift: int
    shape: tuple[int, int, int]
    numbers: list[list[list[Plane]]]  # (2, n, channels, height, width): numbers and errors
    forms: list[Tensor]

    def around(self, what: int, sample: int, c: int, y: int, x: int, number: int) -> int:
        """Section 12.3: the number (0) or error (1) of a neighbour; `number` 0 is the position itself."""
        plane = self.numbers[what][sample][c]
        if number == 0:
            return plane[y][x]
        dy, dx = AROUND[number - 1]
        if y + dy < 0 or not 0 <= x + dx < self.shape[2]:
            instead = [(-1, 0), (0, -1)] if dy else [(0, -1), (-1, 0)]
            inside = [(dy, dx) for dy, dx in instead if y + dy >= 0 and x + dx >= 0]
            if not inside:
                return 32 * self.spread if what else self.origin
            dy, dx = inside[0]
        return plane[y + dy][x + dx]

    def predict(self, sample: int, c: int, y: int, x: int) -> tuple[int, int]:
        """Section 12.4: mean and s."""
        places = [(c, k) for k in range(1, self.K + 1)]
        places += [(b, k) for b in (c - 1, c - 2) if b >= 0 for k in range(self.K + 1)]
        seen = [self.around(0, sample, b, y, x, k) for b, k in places]
        mean, scale = self.forms[2 * c], self.forms[2 * c + 1]
        W, N, NW, NE = seen[:4]
        z = [W - self.origin, *(value - W for value in seen[1:]), 1]
        total = sum(q * value for q, value in zip(mean.q, z, strict=True))
        d = [self.around(1, sample, b, y, x, k) for b, k in places]
        d += [32 * abs(W - NW), 32 * abs(N - NW), 32 * abs(N - NE), 32]
        s = round_shift(32 * sum(r * value for r, value in zip(scale.q, d, strict=True)), scale.frac_bits)
        return clamp(32 * W + round_shift(32 * total, mean.frac_bits), 0, 32 * self.top), clamp(s, 1, (1 << 31) - 1)

    def digits(self, sample: int, c: int, y: int, x: int, order: int) -> list[int]:
        """Section 12.5: what makes a context."""
        places = [(b, 0) for b in (c - 1, c - 2) if b >= 0] + [(c, 1), (c, 2)]
        places += [(c - 1, 1), (c - 1, 2)] if c else []
        places += [(c, 4), (c, 3), (c, 5), (c, 6)]
        return [self.around(0, sample, b, y, x, k) for b, k in places[:order]]

    def form_context(self, mean: int, i: int) -> int:
        """Section 12.5, order 0."""
        high = (mean + ((1 << self.mean_shift) >> 1)) >> self.mean_shift
        return high * ((154 >> self.scale_shift) + 1) + (i >> self.scale_shift)

    def contexts(self, c: int, order: int) -> int:
        """Section 12.5: the number of contexts of a level."""
        if order == 0:
            return self.form_context(32 * self.top, 154) + 1
        return (self.top + 1) ** min(order, 6 + (0, 3, 4)[min(c, 2)])


def index_of(s: int, k: int) -> int:
    """Section 12.4."""
    l = s.bit_length() - 1  # noqa: E741 (the name of the specification)
    return clamp(74 + ((1420 * (l - k - 10) + LOG16[((16 * s) >> l) - 16] + 64) >> 7), 0, 154)


def read_coded(payload: bytes, method: int, B: int, shape: tuple[int, int, int], n: int) -> list[int]:
    """Section 12.2."""
    channels, height, width = shape
    count = n * channels * height * width
    require(count < 1 << 28 and count <= (8 * len(payload) + 64) << 13, "more numbers than the payload can hold")
    require(n * min(height, -(-width // 3)) <= 1 << 20, "batches too large")
    coder = RangeDecoder(payload)
    few = method == 33
    w = 5 if few else B
    top, origin = coder.bits(w), coder.bits(w)
    require(1 <= top < 1 << B and origin <= top, "top or origin")
    levels = [(coder.bits(4), coder.bits(3)) for _ in range(coder.bits(3))] if few else []
    has_forms = not few or coder.bits(1) == 1
    spread = reach = mean_shift = scale_shift = 0
    if has_forms:
        spread, reach = coder.bits(w), coder.bits(2)
        require(spread <= top and reach <= 2, "spread or reach")
        mean_shift, scale_shift = (coder.bits(3), coder.bits(4)) if few else (0, 0)
    require(has_forms or all(order for order, _ in levels), "contexts of forms without forms")
    numbers = [[[[[0] * width for _ in range(height)] for _ in range(channels)] for _ in range(n)] for _ in (0, 1)]
    K = (4, 6, 10)[reach]
    slice_ = Coded(top, origin, levels, has_forms, spread, K, mean_shift, scale_shift, shape, numbers, [])
    table = sum(slice_.contexts(c, order) for c in range(channels) for order, _ in levels)
    require((top + 1) * table <= 1 << 22, "too many contexts")
    if has_forms:
        inputs = [K + min(c, 2) * (K + 1) for c in range(channels)]
        slice_.forms = read_tensors(coder, [size for J in inputs for size in ((1, J + 1), (1, J + 4))])
        require(all(sum(map(abs, form.q)) < 1 << 27 for form in slice_.forms), "weights of a form")
    counts: list[list[dict[int, list[int]]]] = [[{} for _ in levels] for _ in range(channels)]
    for step in range(width - 1 + 3 * (height - 1) + 1):
        for c in range(channels):
            rows = [y for y in range(height) if 0 <= step - 3 * y < width]
            batch = [(sample, c, y, step - 3 * y) for y in rows for sample in range(n)]
            if few:
                values = read_few(coder, slice_, batch, counts[c])
            else:
                values = read_wide(coder, slice_, batch)
            for (sample, _, y, x), value in zip(batch, values, strict=True):
                numbers[0][sample][c][y][x] = value
    coder.end()
    return [value for sample in numbers[0] for plane in sample for line in plane for value in line]


def read_wide(coder: RangeDecoder, slice_: Coded, batch: list[tuple[int, int, int, int]]) -> list[int]:
    """Section 12.4: the numbers of a batch; their errors are noted."""
    seen, rows = [], []
    for place in batch:
        mean, s = slice_.predict(*place)
        k = max(s.bit_length() - 1 - 11, 0)
        high_mean = round_shift(mean - 16 * ((1 << k) - 1), k)
        seen.append((mean, k, (high_mean + 16) >> 5))
        rows.append(32 * index_of(s, k) + ((high_mean + 16) & 31))
    offsets = coder.batch(rows)
    values = []
    for (mean, k, centre), v, (sample, c, y, x) in zip(seen, offsets, batch, strict=True):
        value = ((centre + v) << k) + coder.bits(k)
        values.append(value)
        slice_.numbers[1][sample][c][y][x] = abs(32 * value - mean)
    require(all(0 <= value <= slice_.top for value in values), "a number above top")
    return values


def read_few(
    coder: RangeDecoder,
    slice_: Coded,
    batch: list[tuple[int, int, int, int]],
    counts: list[dict[int, list[int]]],
) -> list[int]:
    """Section 12.5: the numbers of a batch; their errors are noted, and they are counted."""
    A = slice_.top + 1
    values, used = [], []
    for sample, c, y, x in batch:
        mean, i = 0, 0
        a = [(1 << 24) // A] * A
        if slice_.has_forms:
            mean, s = slice_.predict(sample, c, y, x)
            i = index_of(s, 0)
            C = [0, *(cum(i, clamp(32 * v - 16 - mean, -480, 480)) >> 7 for v in range(1, A)), 1 << 24]
            a = [C[v + 1] - C[v] for v in range(A)]
        contexts = []
        for (order, weight_bits), seen in zip(slice_.levels, counts, strict=True):
            b = slice_.form_context(mean, i)
            if order:
                b = 0
                for digit in slice_.digits(sample, c, y, x, order):
                    b = b * A + digit
            contexts.append(b)
            n = seen.get(b, [0] * A)
            a = [((a[v] << weight_bits) + (n[v] << 24)) // ((1 << weight_bits) + sum(n)) for v in range(A)]
        F = [2048 + ((value * ((1 << 24) - 2048 * A)) >> 24) for value in a]
        F[0] += (1 << 24) - sum(F)
        value = coder.symbol(tuple(accumulate(F, initial=0)))
        slice_.numbers[1][sample][c][y][x] = abs(32 * value - mean)
        values.append(value)
        used.append(contexts)
    for value, contexts in zip(values, used, strict=True):
        for b, seen in zip(contexts, counts, strict=True):
            seen.setdefault(b, [0] * A)[value] += 1
    for level, seen in enumerate(counts):
        for b in {contexts[level] for contexts in used}:
            if sum(seen[b]) >= 1 << 16:
                seen[b] = [number >> 1 for number in seen[b]]
    return values


def decode(data: bytes, limits: Limits = Limits()) -> Decoded:
    """Section 2: the samples of a file in the order of delivery, or a report."""
    limits.check("max_file_bytes", len(data))
    content, at, sample_digest = read_prefix(data, limits)
    header = read_header(read_map(content))
    channels, height, width = header.shape
    N = sum(header.slices)
    limits.check("max_sample_pixels", height * width)
    limits.check("max_output_bytes", N * channels * height * width * 4)
    if header.profile == 0:
        limits.check("max_work", N * work(header))
    require(sum(header.section_bytes) == len(data) - at, "sections")
    bounds = list(accumulate(header.section_bytes, initial=at))
    labels_section, *sections = (data[begin:end] for begin, end in pairwise(bounds))
    section = read_labels(labels_section, header)
    labels, numbers = section.labels, section.numbers
    if section.kind & 2:
        limits.check("max_output_bytes", N * channels * height * width * 4 + 4 * N * header.num_classes)
        limits.check("max_work", (work(header) if header.profile == 0 else 0) * N + N * header.num_classes * 2**14)
    if header.profile == 1:
        coded = [n for section, n in zip(sections, header.slices, strict=True) if is_coded(section, header)]
        batches = channels * (width + 3 * (height - 1))
        limits.check("max_work", sum((n * channels * height * width + (batches << 9)) << 12 for n in coded))
    stored = Networks([], [])
    slices = [
        decode_raw_slice(part, header, header.slices[number])
        if header.profile == 1
        else decode_latent_slice(part, header, number, stored)
        for number, part in enumerate(sections)
    ]
    digests = [hashlib.sha256(samples).digest() for samples in slices]  # section 13
    if any(section[:4] != digest[:4] for section, digest in zip(sections, digests, strict=True)):
        raise WrongSamples("slice")
    soft = read_soft_labels(section) if section.kind & 2 else []
    end = label_digest(section, soft) if section.kind & 2 else b""
    if end[:4] != section.label_check:
        raise WrongSamples("soft labels")
    if hashlib.sha256(b"".join(digests) + struct.pack(f"<{N}H", *labels) + end).digest()[:16] != sample_digest:
        raise WrongSamples("file")
    file = b"".join(slices)
    one = len(file) // N
    delivered = b"".join(file[number * one : (number + 1) * one] for number in numbers)
    code = "i"
    if header.profile == 1 and header.parameters[0] > 0:
        code = "e" if header.parameters[1] == 16 else "f"
    samples = list(struct.unpack(f"<{N * channels * height * width}{code}", delivered))
    shape = (N, channels, height, width)
    soft_labels = [soft[number] for number in numbers] if soft else []
    total = section.label_total
    return Decoded(header, section.kind, labels, shape, samples, delivered, sample_digest, total, soft_labels)
