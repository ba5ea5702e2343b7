"""The header: one map from small integers to fields (spec, "Header").

Even keys are critical, odd keys may be ignored.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import numpy as np

from rducodec.bitstream.canonical import pack_map, unpack_map
from rducodec.bitstream.sharing import pack_owners, unpack_owners
from rducodec.errors import RddFormatError, RddInputError, RddVersionError
from rducodec.labels import MAX_CLASSES, run_lengths
from rducodec.model import LatentConfig
from rducodec.units import MAX_UNIT_KEYS

PROFILE, NUM_CLASSES, SHAPE, SLICE_SIZES, SECTION_BYTES, PARAMETERS, SPACE = range(0, 14, 2)
ENTROPY_SHARING, DECODER_SHARING = 16, 18
UNIT_KEYS, ENTROPY_INPUTS = 22, 24
CRITICAL = frozenset((*range(PROFILE, SPACE + 2, 2), ENTROPY_SHARING, DECODER_SHARING, UNIT_KEYS, ENTROPY_INPUTS))
NAME, CLASS_NAMES, CLASS_IDS, RECIPE, LICENCE, SOURCE = range(1, 13, 2)
PROFILE_LATENT, PROFILE_RAW = 0, 1
MAX_SIDE = (1 << 16) - 1  # channels, height, width
MAX_SLICE_SAMPLES = (1 << 31) - 1
MAX_SLICES = 1 << 24
MAX_SECTION_BYTES = (1 << 63) - 1
MAX_SCALES = 8
CONTEXT_SIZES = (8, 16, 24, 32)
COARSER_SIZES = (0, 5)
MAX_CONTEXT_SIZE = 255  # other sizes up to this are for later versions
MAX_DEPTH = 4
MAX_WIDTHS = 8
MAX_WIDTH = (1 << 16) - 1
ACT_FRAC_BITS = (6, 12)
ACT_BITS = (6, 20)
SAMPLE_FRAC_BITS = (0, 16)
MAX_DIVISOR = 1 << 24
NUMBERS_LEVELS = 2  # instead of `is_float`: numbers of levels
MAX_INDEX_BITS = 8
MAX_CLASS_NAME_BYTES = 255
NOT_IN_NAMES = '/\\:*?"<>|'
# Devices on Windows, whatever follows a dot; names of classes become folders.
RESERVED_NAMES = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)))
)
ASCII_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
MAX_CLASS_ID = (1 << 32) - 1
SPACE_PIXELS, SPACE_STANDARDISED, SPACE_ZCA, SPACE_OTHER = range(4)
SPACE_NAMES = ("pixels", "standardised", "zca", "other")


@dataclass(frozen=True)
class ValueSpace:
    """Where the samples live: what a user must know before training on them.

    `pixels`: [0, 1]. `standardised`: (pixel - mean) / std for each channel. `zca`: whitened, `text` says how.
    `other`: whatever `text` says.
    """

    kind: str = "pixels"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class RawConfig:
    """Samples kept as unsigned integers of `bits` bits: numbers / divisor, or the bit patterns of IEEE floats."""

    is_float: bool
    bits: int  # 1..16; 16 or 32 for floats
    divisor: int = 1  # a stored integer v stands for v / divisor


@dataclass(frozen=True)
class LevelConfig(RawConfig):
    """Floats of few values: a table of levels in each slice, and for each sample value a number of `index_bits` bits.

    `is_float` is true, `bits` (16 or 32) those of a level and of the decoded samples, `divisor` is 1. `groups` is 1 for
    a table for all channels, or the number of channels for a table for each.
    """

    index_bits: int = 8  # 1..8
    groups: int = 1


@dataclass(frozen=True)
class Texts:
    """What an author may add: all optional, all counted."""

    name: str = ""
    class_names: tuple[str, ...] = ()
    class_ids: tuple[int, ...] = ()
    recipe: dict[str, str | int | float] = field(default_factory=dict)
    licence: str = ""
    source: str = ""


@dataclass(frozen=True)
class Header:
    """Everything about a file but its labels and its slices."""

    num_classes: int
    shape: tuple[int, int, int]  # channels, height, width
    slice_sizes: tuple[int, ...]  # samples of each slice
    labels_bytes: int
    slice_bytes: tuple[int, ...]  # bytes of each slice section
    config: LatentConfig | RawConfig
    space: ValueSpace | None = None
    texts: Texts = field(default_factory=Texts)
    # For each slice the one whose network it uses, itself or an earlier one that uses its own; empty: each its own.
    entropy_owners: tuple[int, ...] = ()
    decoder_owners: tuple[int, ...] = ()
    unit_keys: int = 0  # by which the units of hidden layers are sorted; 0: their order is not used

    def owners(self, index: int) -> tuple[int, int]:
        """Slices that store the entropy network and the decoder networks of slice `index`."""
        return (
            self.entropy_owners[index] if self.entropy_owners else index,
            self.decoder_owners[index] if self.decoder_owners else index,
        )

    @property
    def num_samples(self) -> int:
        """Samples of all slices."""
        return sum(self.slice_sizes)


def _pack_space(space: ValueSpace) -> list[Any]:
    kind = SPACE_NAMES.index(space.kind)
    if kind == SPACE_STANDARDISED:
        return [kind, [float(v) for v in space.mean], [float(v) for v in space.std]]
    return [kind] if kind == SPACE_PIXELS else [kind, space.text]


def _pack_parameters(config: LatentConfig | RawConfig) -> list[Any]:
    if isinstance(config, LevelConfig):
        return [NUMBERS_LEVELS, config.bits, config.index_bits, config.groups]
    if isinstance(config, RawConfig):
        return [int(config.is_float), config.bits, config.divisor]
    return [
        config.num_scales,
        config.context_size,
        config.entropy_depth,
        list(config.synthesis_widths),
        config.act_frac_bits,
        config.act_bits,
        config.sample_frac_bits,
    ]


def pack_header(header: Header) -> bytes:
    """Canonical bytes of a header. Raises RddInputError for what a reader would refuse."""
    runs = [number for pair in run_lengths(np.array(header.slice_sizes)) for number in pair]
    fields: dict[int, Any] = {
        PROFILE: PROFILE_RAW if isinstance(header.config, RawConfig) else PROFILE_LATENT,
        NUM_CLASSES: header.num_classes,
        SHAPE: list(header.shape),
        SLICE_SIZES: runs,
        SECTION_BYTES: [header.labels_bytes, *header.slice_bytes],
        PARAMETERS: _pack_parameters(header.config),
    }
    if header.space is not None:
        fields[SPACE] = _pack_space(header.space)
    for key, owners in ((ENTROPY_SHARING, header.entropy_owners), (DECODER_SHARING, header.decoder_owners)):
        if owners and owners != tuple(range(len(owners))):
            fields[key] = pack_owners(owners)
    if header.unit_keys:
        fields[UNIT_KEYS] = header.unit_keys
    if isinstance(header.config, LatentConfig) and (header.config.coarser_size or header.config.grid_biases):
        fields[ENTROPY_INPUTS] = [header.config.coarser_size, int(header.config.grid_biases)]
    texts = header.texts
    optional = {
        NAME: texts.name,
        CLASS_NAMES: list(texts.class_names),
        CLASS_IDS: list(texts.class_ids),
        RECIPE: dict(sorted(texts.recipe.items())),
        LICENCE: texts.licence,
        SOURCE: texts.source,
    }
    fields |= {key: value for key, value in optional.items() if value}
    check_new_class_names(texts.class_names)
    packed = pack_map(dict(sorted(fields.items())))
    try:
        unpack_header(packed)
    except (RddFormatError, RddVersionError) as error:
        raise RddInputError(f"cannot be written: {error}") from error
    return packed


class _Fields:
    """Typed access to the fields; every refusal names the key."""

    def __init__(self, fields: dict[int, Any]) -> None:
        self._fields = fields

    def value(self, key: int) -> Any:
        if key not in self._fields:
            raise RddFormatError(f"header: key {key} is missing")
        return self._fields[key]

    def optional(self, key: int, read: Callable[[int], Any], default: Any) -> Any:
        return read(key) if key in self._fields else default

    def integer(self, key: int, low: int, high: int) -> int:
        return check_integer(f"key {key}", self.value(key), low, high)

    def integers(self, key: int, low: int, high: int) -> list[int]:
        return [check_integer(f"key {key}[{i}]", v, low, high) for i, v in enumerate(self.array(key))]

    def array(self, key: int) -> list[Any]:
        return check_type(f"key {key}", self.value(key), list)

    def text(self, key: int) -> str:
        return check_text(f"key {key}", self.value(key))


def check_type(where: str, value: Any, kind: type) -> Any:
    """`value` if it is exactly of this type (a bool is no int), else RddFormatError."""
    if type(value) is not kind:
        raise RddFormatError(f"header: {where} is {type(value).__name__}, expected {kind.__name__}")
    return value


def check_integer(where: str, value: Any, low: int, high: int) -> int:
    """`value` if it is an integer in low..high, else RddFormatError."""
    number: int = check_type(where, value, int)
    if not low <= number <= high:
        raise RddFormatError(f"header: {where} is {number}, expected {low}..{high}")
    return number


def check_text(where: str, value: Any) -> str:
    """`value` if it is text that is not empty, else RddFormatError."""
    text: str = check_type(where, value, str)
    if not text or "\0" in text:
        raise RddFormatError(f"header: {where} is empty or contains NUL")
    return text


def check_class_names(names: list[Any], num_classes: int) -> tuple[str, ...]:
    """Names that can be folders: one for each class, no separators, no controls, no two equal but for ASCII case."""
    if len(names) != num_classes:
        raise RddFormatError(f"header: {len(names)} class names for {num_classes} classes")
    seen: set[str] = set()
    for index, value in enumerate(names):
        name = check_text(f"class name {index}", value)
        if (
            any(unicodedata.category(c) == "Cc" or c in NOT_IN_NAMES for c in name)
            or name.startswith(("-", ".", " "))
            or name.endswith((".", " "))
            or len(name.encode()) > MAX_CLASS_NAME_BYTES
        ):
            raise RddFormatError(f"header: class name {index} {name[:40]!r} cannot be a folder name")
        folded = name.translate(ASCII_LOWER)
        if folded in seen:
            raise RddFormatError(f"header: class name {index} {name[:40]!r} repeats another one")
        seen.add(folded)
    return tuple(names)


def check_new_class_names(names: tuple[str, ...]) -> None:
    """What an encoder refuses beyond `check_class_names`: names that a file system reserves or takes for the same."""
    folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
    for index, name in enumerate(folded):
        if name in folded[:index]:
            raise RddInputError(f"class name {index} {names[index][:40]!r} equals another one but for case")
        if name.split(".")[0].rstrip() in RESERVED_NAMES:
            raise RddInputError(f"class name {index} {names[index][:40]!r} is reserved by Windows")


def _slice_sizes(fields: _Fields) -> tuple[int, ...]:
    runs = fields.integers(SLICE_SIZES, 1, MAX_SLICE_SAMPLES)
    if len(runs) % 2 or not runs:
        raise RddFormatError(f"header: key {SLICE_SIZES} has {len(runs)} numbers, pairs expected")
    sizes, repeats = runs[::2], runs[1::2]
    if any(a == b for a, b in pairwise(sizes)):
        raise RddFormatError(f"header: key {SLICE_SIZES} has neighbouring runs of equal size")
    num_slices = len(fields.array(SECTION_BYTES)) - 1
    if sum(repeats) != num_slices:
        raise RddFormatError(f"header: {sum(repeats)} slices, {num_slices} slice sections")
    return tuple(size for size, run in zip(sizes, repeats, strict=True) for _ in range(run))


def _entropy_inputs(fields: _Fields, profile: int) -> tuple[int, bool]:
    """Latents of the coarser grid that the entropy network sees, and whether grids have biases of their own."""
    if profile == PROFILE_RAW:
        raise RddFormatError(f"header: key {ENTROPY_INPUTS} in a file of the raw profile")
    values = fields.integers(ENTROPY_INPUTS, 0, MAX_CONTEXT_SIZE)
    if len(values) != 2:
        raise RddFormatError(f"header: key {ENTROPY_INPUTS} has {len(values)} elements, expected 2")
    if values[0] not in COARSER_SIZES:
        raise RddVersionError(f"header: context of {values[0]} coarser latents, this reader knows {COARSER_SIZES}")
    grid_biases = bool(check_integer(f"key {ENTROPY_INPUTS}[1]", values[1], 0, 1))
    if not values[0] and not grid_biases:
        raise RddFormatError(f"header: key {ENTROPY_INPUTS} adds nothing and should be absent")
    return values[0], grid_biases


def _latent_config(values: list[Any], shape: tuple[int, int, int], inputs: tuple[int, bool]) -> LatentConfig:
    if len(values) != 7:
        raise RddFormatError(f"header: key {PARAMETERS} has {len(values)} elements, expected 7")
    widths = check_type(f"key {PARAMETERS}[3]", values[3], list)
    check_integer(f"number of key {PARAMETERS}[3]", len(widths), 0, MAX_WIDTHS)
    context_size = check_integer(f"key {PARAMETERS}[1]", values[1], 1, MAX_CONTEXT_SIZE)
    if context_size not in CONTEXT_SIZES:
        raise RddVersionError(f"header: context of {context_size} latents, this reader knows {CONTEXT_SIZES}")
    return LatentConfig(
        *shape,
        num_scales=check_integer(f"key {PARAMETERS}[0]", values[0], 1, MAX_SCALES),
        context_size=context_size,
        entropy_depth=check_integer(f"key {PARAMETERS}[2]", values[2], 0, MAX_DEPTH),
        synthesis_widths=tuple(check_integer(f"key {PARAMETERS}[3][]", v, 1, MAX_WIDTH) for v in widths),
        act_frac_bits=check_integer(f"key {PARAMETERS}[4]", values[4], *ACT_FRAC_BITS),
        act_bits=check_integer(f"key {PARAMETERS}[5]", values[5], *ACT_BITS),
        sample_frac_bits=check_integer(f"key {PARAMETERS}[6]", values[6], *SAMPLE_FRAC_BITS),
        coarser_size=inputs[0],
        grid_biases=inputs[1],
    )


def _level_config(values: list[Any], channels: int) -> LevelConfig:
    bits = check_integer(f"key {PARAMETERS}[1]", values[1], 16, 32)
    index_bits = check_integer(f"key {PARAMETERS}[2]", values[2], 1, MAX_INDEX_BITS)
    groups = check_integer(f"key {PARAMETERS}[3]", values[3], 1, channels)
    if bits not in (16, 32) or groups not in (1, channels):
        raise RddFormatError(f"header: key {PARAMETERS} has levels of {bits} bits for {groups} of {channels} channels")
    return LevelConfig(is_float=True, bits=bits, index_bits=index_bits, groups=groups)


def _raw_config(values: list[Any], channels: int) -> RawConfig:
    if len(values) == 4 and values[0] == NUMBERS_LEVELS:
        check_integer(f"key {PARAMETERS}[0]", values[0], 0, NUMBERS_LEVELS)
        return _level_config(values, channels)
    if len(values) != 3:
        raise RddFormatError(f"header: key {PARAMETERS} has {len(values)} elements, expected 3")
    is_float = bool(check_integer(f"key {PARAMETERS}[0]", values[0], 0, 1))
    bits = check_integer(f"key {PARAMETERS}[1]", values[1], 1, 32)
    divisor = check_integer(f"key {PARAMETERS}[2]", values[2], 1, 1 if is_float else MAX_DIVISOR)
    if (bits not in (16, 32)) if is_float else bits > 16:
        raise RddFormatError(f"header: key {PARAMETERS}[1] is {bits}, expected 16 or 32 for floats, else 1..16")
    return RawConfig(is_float, bits, divisor)


def _constants(where: str, values: Any, channels: int) -> tuple[float, ...]:
    check_type(where, values, list)
    if len(values) != channels or not all(type(v) is float and math.isfinite(v) for v in values):
        raise RddFormatError(f"header: {where} must be {channels} finite floats")
    return tuple(values)


def _space(fields: _Fields, channels: int) -> ValueSpace:
    values = fields.array(SPACE)
    kind = check_integer(f"key {SPACE}[0]", values[0] if values else None, 0, 127)
    if kind > SPACE_OTHER:
        raise RddVersionError(f"header: value space {kind}, this reader knows 0..{SPACE_OTHER}")
    expected = {SPACE_PIXELS: 1, SPACE_STANDARDISED: 3}.get(kind, 2)
    if len(values) != expected:
        raise RddFormatError(f"header: key {SPACE} has {len(values)} elements, expected {expected}")
    if kind == SPACE_STANDARDISED:
        mean = _constants(f"key {SPACE}[1]", values[1], channels)
        std = _constants(f"key {SPACE}[2]", values[2], channels)
        if min(std) <= 0:
            raise RddFormatError(f"header: key {SPACE}[2] has a standard deviation of {min(std)}")
        return ValueSpace(SPACE_NAMES[kind], mean, std)
    return ValueSpace(SPACE_NAMES[kind], text=check_text(f"key {SPACE}[1]", values[1]) if expected > 1 else "")


def _recipe(value: Any) -> dict[str, str | int | float]:
    check_type(f"key {RECIPE}", value, dict)
    for key, item in value.items():
        check_text("recipe key", key)
        if type(item) is str:
            check_text(f"recipe {key!r}", item)
        elif type(item) not in (int, float):
            raise RddFormatError(f"header: recipe {key!r} must be text, an integer or a finite float")
    recipe: dict[str, str | int | float] = value
    return recipe


def _texts(fields: _Fields, num_classes: int) -> Texts:
    ids = fields.optional(CLASS_IDS, lambda key: fields.integers(key, 0, MAX_CLASS_ID), None)
    if ids is not None and len(ids) != num_classes:
        raise RddFormatError(f"header: {len(ids)} class ids for {num_classes} classes")
    return Texts(
        name=fields.optional(NAME, fields.text, ""),
        class_names=fields.optional(CLASS_NAMES, lambda key: check_class_names(fields.array(key), num_classes), ()),
        class_ids=tuple(ids or ()),
        recipe=fields.optional(RECIPE, lambda key: _recipe(fields.value(key)), {}),
        licence=fields.optional(LICENCE, fields.text, ""),
        source=fields.optional(SOURCE, fields.text, ""),
    )


def _owners(fields: _Fields, profile: int, key: int, num_slices: int) -> tuple[int, ...]:
    if profile == PROFILE_RAW:
        raise RddFormatError(f"header: key {key} in a file of the raw profile")
    return unpack_owners(f"key {key}", fields.integers(key, 0, MAX_SLICES - 1), num_slices)


def _unit_keys(fields: _Fields, config: LatentConfig | RawConfig) -> int:
    if not isinstance(config, LatentConfig) or not config.synthesis_widths:
        raise RddFormatError(f"header: key {UNIT_KEYS} in a file without hidden layers of a synthesis")
    return fields.integer(UNIT_KEYS, 1, MAX_UNIT_KEYS)


def unpack_header(data: bytes) -> Header:
    """The header of these bytes. Raises RddFormatError, RddVersionError for what this reader does not know."""
    raw = unpack_map(data)
    if any(key < 0 for key in raw):
        raise RddFormatError("header: negative key")
    unknown = sorted(key for key in raw if key % 2 == 0 and key not in CRITICAL)
    if unknown:
        raise RddVersionError(f"header: critical key {unknown[0]} is unknown to this reader")
    fields = _Fields(raw)
    profile = fields.integer(PROFILE, 0, 127)
    if profile not in (PROFILE_LATENT, PROFILE_RAW):
        raise RddVersionError(f"header: profile {profile}, this reader knows 0 and 1")
    num_classes = fields.integer(NUM_CLASSES, 1, MAX_CLASSES)
    sides = fields.integers(SHAPE, 1, MAX_SIDE)
    if len(sides) != 3:
        raise RddFormatError(f"header: key {SHAPE} has {len(sides)} elements, expected 3")
    shape = (sides[0], sides[1], sides[2])
    section_bytes = fields.integers(SECTION_BYTES, 1, MAX_SECTION_BYTES)
    if not 2 <= len(section_bytes) <= MAX_SLICES:
        raise RddFormatError(f"header: key {SECTION_BYTES} has {len(section_bytes)} elements")
    parameters = fields.array(PARAMETERS)
    entropy_owners, decoder_owners = (
        fields.optional(key, lambda key: _owners(fields, profile, key, len(section_bytes) - 1), ())
        for key in (ENTROPY_SHARING, DECODER_SHARING)
    )
    inputs = fields.optional(ENTROPY_INPUTS, lambda _: _entropy_inputs(fields, profile), (0, False))
    is_raw = profile == PROFILE_RAW
    config = _raw_config(parameters, shape[0]) if is_raw else _latent_config(parameters, shape, inputs)
    return Header(
        num_classes=num_classes,
        shape=shape,
        slice_sizes=_slice_sizes(fields),
        labels_bytes=section_bytes[0],
        slice_bytes=tuple(section_bytes[1:]),
        config=config,
        space=_space(fields, shape[0]) if SPACE in raw else None,
        texts=_texts(fields, num_classes),
        entropy_owners=entropy_owners,
        decoder_owners=decoder_owners,
        unit_keys=fields.optional(UNIT_KEYS, lambda _: _unit_keys(fields, config), 0),
    )
