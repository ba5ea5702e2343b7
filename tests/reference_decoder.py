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
from csv import DictReader
from dataclasses import dataclass
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


@dataclass
class Decoded:
    header: Header
    kind: int  # of the labels section
    labels: list[int]  # in the order of delivery
    shape: tuple[int, int, int, int]
    samples: list[int] | list[float]  # in the order of delivery, flat
    stored: bytes  # the same, as section 13 has them
    sample_digest: bytes


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


def check_parameters(profile: int, value: Any) -> list[Any]:
    """Sections 6.1 and 6.2."""
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
    if not {key for key in fields if key % 2 == 0} <= {0, 2, 4, 6, 8, 10, 12, 16, 18}:
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
    return Header(
        profile=profile,
        num_classes=num_classes,
        shape=(channels, height, width),
        slices=[size for size, run in zip(sizes, runs, strict=True) for _ in range(run)],
        section_bytes=section_bytes,
        parameters=check_parameters(profile, fields[10]),
        space=check_space(fields[12], channels) if 12 in fields else None,
        name=text(fields[1]) if 1 in fields else None,
        class_names=check_class_names(array(fields[3], num_classes)) if 3 in fields else None,
        class_ids=[integer(n, 0, (1 << 32) - 1) for n in array(fields[5], num_classes)] if 5 in fields else None,
        recipe=recipe,
        licence=text(fields[9]) if 9 in fields else None,
        source=text(fields[11]) if 11 in fields else None,
        entropy_sharing=read_sharing(fields, 16, len(section_bytes) - 1),
        decoder_sharing=read_sharing(fields, 18, len(section_bytes) - 1),
    )


def read_labels(data: bytes, header: Header) -> tuple[int, list[int], list[int]]:
    """Section 7: the kind, the labels in the order of delivery, and the file numbers in that order."""
    kind = data[0]
    require(kind <= 1, "kind of labels")
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
    if kind == 0:
        require(at == len(data), "end of the labels section")
        return kind, [label for label, count in enumerate(counts) for _ in range(count)], list(range(total))
    size = 1 if header.num_classes <= 256 else 2
    content = read_frame(data[at:], total * size)
    labels = list(content) if size == 1 else list(struct.unpack(f"<{total}H", content))
    require(max(labels) < header.num_classes, "a label of no class")
    following = [end - count for end, count in zip(ends, counts, strict=True)]
    numbers = []
    for label in labels:
        numbers.append(following[label])
        following[label] += 1
    require(following == ends, "labels other than the counts say")
    return kind, labels, numbers


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


@cache
def primary_row(i: int, m: int) -> tuple[int, ...]:
    """Section 9."""

    def cum(n: int) -> int:
        return decay(i)[-n] if n <= 0 else (1 << 31) - decay(i)[n]

    mass = [cum(32 * k - (m - 16) + 16) - cum(32 * k - (m - 16) - 16) for k in OFFSETS]
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
    c = header.shape[0]
    shapes: list[tuple[int, ...]] = [(C, C), (C,)] * entropy_depth + [(2, C), (2,), (8, 8)]
    for d, out in pairwise([S, *widths, c]):
        shapes += [(out, d), (out,)]
    return shapes + [(c, c, 3, 3), (c,)] * 2


def read_tensors(coder: RangeDecoder, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """Section 11.1: the tensors that a slice stores."""
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
    high = iter(coder.batch([32 * i + 16 for i, size in zip(scale_index, sizes, strict=True) for _ in range(size)]))
    tensors = []
    for shape, e, bits, size in zip(shapes, frac_bits, raw_bits, sizes, strict=True):
        q = [(next(high) << bits) + coder.bits(bits) - ((1 << bits) >> 1) for _ in range(size)]
        require(all(abs(value) < 1 << 24 for value in q), "parameter")
        tensors.append(Tensor(shape, e, q))
    return tensors


def grid_sizes(header: Header) -> list[tuple[int, int]]:
    """Section 11.2: height and width of each grid."""
    _, height, width = header.shape
    return [(-(-height >> k), -(-width >> k)) for k in range(header.parameters[0])]


def work(header: Header) -> int:
    """Section 15: multiplications for one sample."""
    S, C, D, *_ = header.parameters
    _, height, width = header.shape
    L = sum(h * w for h, w in grid_sizes(header))
    synthesis = tensor_shapes(header)[2 * (D + 1) + 1 :]
    weights = sum(math.prod(shape) for shape in synthesis if len(shape) > 1)
    return L * (D * C * C + 2 * C) + height * width * (weights + 32 * S)


class EntropyNetwork:
    """Section 11.3; its tensors are pairs of weight and bias."""

    def __init__(self, tensors: list[Tensor], header: Header) -> None:
        self.A = header.parameters[4]
        self.M = (1 << header.parameters[5]) - 1
        self.layers = list(zip(tensors[0::2], tensors[1::2], strict=True))
        for layer in self.layers:
            self.check(*layer, last=layer is self.layers[-1])

    def check(self, weight: Tensor, bias: Tensor, last: bool) -> None:
        e, h = weight.frac_bits, bias.frac_bits
        require(h <= self.A + e, "entropy network: bias with too many fractional bits")
        s = max(self.A + e - 5, self.A + e - 4) if last else e
        for o, g in enumerate(bias.q):
            w = weight.row(o)
            if not last:
                w[o] += 1 << e
            bound = self.M * sum(map(abs, w)) + abs(g << (self.A + e - h)) + ((1 << s) >> 1)
            require(bound < 1 << 31, "entropy network: accumulator")

    def __call__(self, context: list[int]) -> tuple[int, int, int]:
        """i, m and centre of a latent with this context."""
        A, M = self.A, self.M
        x = [clamp(z << A, -M, M) for z in context]
        for weight, bias in self.layers:
            e, h = weight.frac_bits, bias.frac_bits
            acc = [
                sum(q * value for q, value in zip(weight.row(o), x, strict=True)) + (g << (A + e - h))
                for o, g in enumerate(bias.q)
            ]
            if weight is not self.layers[-1][0]:
                x = [clamp(round_shift(a + (value << e), e), 0, M) for a, value in zip(acc, x, strict=True)]
        mean = clamp(round_shift(acc[0], A + e - 5), -32768 * 32 - 16, 32767 * 32 + 15)
        i = clamp(round_shift(acc[1], A + e - 4) + 10, 0, 154)
        return i, (mean + 16) & 31, (mean + 16) >> 5


def read_latents(coder: RangeDecoder, network: EntropyNetwork, header: Header, n: int) -> list[list[Plane]]:
    """Section 11.2: the grids of each sample."""
    numbers, R = NEIGHBOURS[header.parameters[1]]
    context = [(p // 9 - 4, p % 9 - 4) for p in numbers]
    sizes = grid_sizes(header)
    latents = [[[[0] * w for _ in range(h)] for h, w in sizes] for _ in range(n)]
    for step in range(max(w - 1 + R * (h - 1) for h, w in sizes) + 1):
        batch = [
            (latents[sample][k], y, step - R * y)
            for k, (h, w) in enumerate(sizes)
            for y in range(h)
            if 0 <= step - R * y < w
            for sample in range(n)
        ]
        seen = []
        for grid, y, x in batch:
            h, w = len(grid), len(grid[0])
            places = [(y + dy, x + dx) for dy, dx in context]
            seen.append(network([grid[v][u] if 0 <= v < h and 0 <= u < w else 0 for v, u in places]))
        values = coder.batch([32 * i + m for i, m, _ in seen])
        for (grid, y, x), (_, _, centre), v in zip(batch, seen, values, strict=True):
            require(-32768 <= centre + v <= 32767, "latent")
            grid[y][x] = centre + v
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
    tensors = read_tensors(coder, entropy_shapes + decoder_shapes)
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
    is_float, bits, _ = header.parameters
    require(len(data) >= 5, "slice without a method")
    predictor, layout, coding = data[4] & 3, data[4] >> 2 & 1, data[4] >> 3
    require(predictor <= 2 and coding <= 1, "method")
    channels, height, width = header.shape
    count = n * channels * height * width
    size = 1 if bits <= 8 else 2 if bits <= 16 else 4
    needed = -(-count * bits // 8) if layout else count * size
    content = read_frame(data[5:], needed) if coding else data[5:]
    require(len(content) == needed, "length of the samples")
    if layout:
        whole = int.from_bytes(content, "big")
        spare = 8 * needed - count * bits
        require(whole & ((1 << spare) - 1) == 0, "bits left over")
        digits = f"{whole >> spare:0{count * bits}b}"
        numbers = [int(digits[k : k + bits], 2) for k in range(0, count * bits, bits)]
    else:
        numbers = [sum(content[b * count + k] << (8 * b) for b in range(size)) for k in range(count)]
        require(max(numbers) < 1 << bits, "bits above the number")
    for k in range(count):
        if predictor == 1 and k % width:
            numbers[k] = (numbers[k] + numbers[k - 1]) % (1 << bits)
        if predictor == 2 and k // width % height:
            numbers[k] = (numbers[k] + numbers[k - width]) % (1 << bits)
    if not is_float:
        return struct.pack(f"<{count}i", *numbers)
    infinity = 0x7C00 if bits == 16 else 0x7F800000
    require(all(number & infinity != infinity for number in numbers), "a float that is not finite")
    return struct.pack(f"<{count}{'H' if bits == 16 else 'I'}", *numbers)


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
    kind, labels, numbers = read_labels(labels_section, header)
    stored = Networks([], [])
    slices = [
        decode_raw_slice(section, header, header.slices[number])
        if header.profile == 1
        else decode_latent_slice(section, header, number, stored)
        for number, section in enumerate(sections)
    ]
    digests = [hashlib.sha256(samples).digest() for samples in slices]  # section 13
    if any(section[:4] != digest[:4] for section, digest in zip(sections, digests, strict=True)):
        raise WrongSamples("slice")
    if hashlib.sha256(b"".join(digests) + struct.pack(f"<{N}H", *labels)).digest()[:16] != sample_digest:
        raise WrongSamples("file")
    file = b"".join(slices)
    one = len(file) // N
    delivered = b"".join(file[number * one : (number + 1) * one] for number in numbers)
    code = "i"
    if header.profile == 1 and header.parameters[0]:
        code = "e" if header.parameters[1] == 16 else "f"
    samples = list(struct.unpack(f"<{N * channels * height * width}{code}", delivered))
    return Decoded(header, kind, labels, (N, channels, height, width), samples, delivered, sample_digest)
