"""What one class costs by the rule of each method's own authors, counted from settings alone.

A stored number is a float32 unless the rule says otherwise. Counts are exact fractions; only the bits of a choice of
coefficients are a float, within 1e-5 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from rducodec.bitstream.header import CONTEXT_SIZES, MAX_DEPTH
from rducodec.counting.units import Number, exact_text
from rducodec.errors import RddInputError
from rducodec.model import LatentConfig
from rducodec.shape import MAX_SCALES, num_scales_for

FLOAT_BITS = 32
SPARSE_FLOATS = Fraction(3, 2)  # a non-zero with its 16-bit index, in float32
MAX_SETTING = 10**6
MAX_SIDE = 1 << 14  # pixels of a side
MAX_INTEGER = 10**20  # whose digits a message shows
MAX_NAME = 40  # characters of what a message quotes


class SettingError(RddInputError):
    """A setting that is missing, not used by the method, or out of range; `setting` is its name."""

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"{setting}: {reason}")
        self.setting, self.reason = setting, reason


def brief(value: object) -> str:
    """A wrong value for a message; the digits of a huge integer are not written out."""
    return "a huge integer" if isinstance(value, int) and abs(value) > MAX_INTEGER else repr(value)[:MAX_NAME]


@dataclass(frozen=True)
class Setting:
    """An integer that a rule needs, or that `default` stands in for."""

    name: str
    text: str
    low: int = 1
    high: int = MAX_SETTING
    default: int | None = None
    choices: tuple[int, ...] = ()  # of low..high, where not all of them are

    def checked(self, value: Any) -> int:
        """An integer in range. Raises SettingError."""
        if type(value) is not int or not self.low <= value <= self.high:
            raise SettingError(self.name, f"{brief(value)}, expected an integer of {self.low}..{self.high}")
        if self.choices and value not in self.choices:
            raise SettingError(self.name, f"{value}, expected one of {', '.join(map(str, self.choices))}")
        return value


@dataclass(frozen=True)
class Term:
    """One part of what a class stores. `bits` is None where the settings do not say them."""

    name: str
    floats: Fraction  # stored numbers; those of a sparse matrix with their indices
    bits: Number | None


@dataclass(frozen=True)
class Count:
    """What one class costs, and how that comes about: `formula` in symbols, `numbers` for its symbols."""

    method: str
    formula: str
    numbers: Mapping[str, Number]
    terms: tuple[Term, ...]
    missing: str = ""  # why there are no bits

    @property
    def parameters_per_class(self) -> Fraction:
        """Stored numbers of a class, whatever their bits; the literature calls them parameters."""
        return sum((term.floats for term in self.terms), Fraction(0))

    @property
    def bits_per_class(self) -> Number | None:
        """Bits of a class, or None where `missing` says why."""
        bits = [term.bits for term in self.terms if term.bits is not None]
        return sum(bits) if bits and len(bits) == len(self.terms) else None

    def worked(self) -> str:
        """One line: the formula, the numbers put in, the terms and their sum."""
        numbers = ", ".join(f"{symbol} = {exact_text(number)}" for symbol, number in self.numbers.items())
        total = self.bits_per_class
        parts = [(term.floats if total is None else term.bits or 0, term.name) for term in self.terms]
        unit = "parameters" if total is None else "bits"
        whole = exact_text(sum(part for part, _ in parts))
        terms = " + ".join(f"{exact_text(part)} {name}" for part, name in parts)
        result = f"{terms} = {whole} {unit}" if len(parts) > 1 else f"{whole} {unit}"
        return f"{self.formula}; {numbers}: {result}" if numbers else f"{self.formula}: {result}"


Parts = tuple[dict[str, Number], tuple[Term, ...]]  # numbers and terms of a Count
Rule = Callable[..., Parts]


@dataclass(frozen=True)
class Method:
    """A method's rule with its settings; `rule` is None where public sources do not give one."""

    name: str
    title: str
    formula: str = ""
    settings: tuple[Setting, ...] = ()
    rule: Rule | None = None
    missing: str = ""  # why there is no count of bits

    def setting(self, name: str) -> Setting | None:
        """The setting of this name, if the method has it."""
        return next((setting for setting in self.settings if setting.name == name), None)


def floats_term(name: str, floats: Number) -> Term:
    """So many numbers stored as float32."""
    return Term(name, Fraction(floats), FLOAT_BITS * Fraction(floats))


def _image(channels: int, height: int, width: int) -> dict[str, Number]:
    return {"C": channels, "H": height, "W": width, "B": channels * height * width}


def pixel_count(method: str, ipc: Fraction, shape: tuple[int, int, int]) -> Count:
    """The rule of all methods that store images as they are: `ipc` float32 images (channels, height, width)."""
    image = _image(*shape)
    return Count(method, _PIXELS, {"ipc": ipc} | image, (floats_term("pixels", ipc * Fraction(image["B"])),))


def _pixels(channels: int, size: int, ipc: int) -> Parts:
    count = pixel_count("", Fraction(ipc), (channels, size, size))
    return dict(count.numbers), count.terms


def _frepo(classes: int, channels: int, size: int, ipc: int) -> Parts:
    numbers, terms = _pixels(channels, size, ipc)
    return numbers | {"K": classes}, (*terms, floats_term("soft labels", ipc * classes))


def log2_binomial(n: int, k: int) -> float:
    """Bits that say which k of n there are, within 1e-6 bits for n of a million."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def _fred(channels: int, size: int, ipc: int, coefficients: int) -> Parts:
    area = size * size
    if coefficients > area:
        raise SettingError("coefficients", f"{coefficients}, expected 1..{area}, the pixels of a channel")
    samples = ipc * area // coefficients
    numbers: dict[str, Number] = {"ipc": ipc, "C": channels, "H": size, "W": size, "m": coefficients}
    mask = Term("mask", Fraction(0), log2_binomial(area, coefficients))
    return numbers, (floats_term("coefficients", samples * coefficients * channels), mask)


def _haba(classes: int, size: int, ipc: int, styles: int) -> Parts:
    image = _image(3, size, size)
    style = 168 + 6 * (size - 2) ** 2  # two 3 x 3 convolutions of 3 channels, and a scale and a shift of (size - 2)^2
    numbers = {"ipc": ipc, "n": styles, "K": classes} | image | {"S": style}
    return numbers, (
        floats_term("bases", ipc * Fraction(image["B"])),
        floats_term("style networks", Fraction(styles * style, classes)),
    )


def _rtp(classes: int, channels: int, size: int, ipc: int, bases: int, downsampling: int) -> Parts:
    if size % downsampling:
        raise SettingError("downsampling", f"{downsampling} does not divide the size {size}")
    image = _image(channels, size, size)
    basis = channels * (size // downsampling) ** 2
    left = Fraction(ipc * channels * size * size * classes - bases * basis, classes * bases)
    if left < 0:
        raise SettingError("bases", f"{bases} bases alone are more than the budget of {ipc} images a class")
    numbers = {"ipc": ipc, "b": bases, "d": downsampling, "K": classes} | image | {"n": left}
    return numbers, (
        floats_term("bases", Fraction(bases * basis, classes)),
        floats_term("addressing matrices", math.floor(left) * bases),
    )


def _speed(classes: int, spc: int, tokens: int, width: int, depth: int, heads: int, nonzeros: int, patch: int) -> Parts:
    network = depth * (3 * width**2 + 7 * width) + (width + 1) * 3 * patch**2
    numbers: dict[str, Number] = {"N": spc, "K": classes, "T": tokens, "D": width, "depth": depth, "heads": heads}
    numbers |= {"k": nonzeros, "p": patch, "P": network}
    return numbers, (
        floats_term("tokens", Fraction(tokens * width, classes)),
        floats_term("network", Fraction(network, classes)),
        floats_term("sparse codes", spc * heads * nonzeros * SPARSE_FLOATS),
    )


def _ddif(spc: int, width: int, layers: int, inputs: int, outputs: int) -> Parts:
    each = width * (inputs + 1) + (layers - 1) * (width**2 + width) + outputs * (width + 1)
    numbers: dict[str, Number] = {"n": spc, "d": width, "L": layers, "i": inputs, "o": outputs, "p": each}
    return numbers, (floats_term("networks", spc * each),)


def _total(shapes: tuple[tuple[int, ...], ...]) -> int:
    return sum(math.prod(shape) for shape in shapes)


def _widths(*widths: int) -> tuple[int, ...]:
    return tuple(width for width in widths if width)


def _ruo(
    channels: int, size: int, spc: int, slices: int, context: int, depth: int, decoder_width: int, decoder_width2: int
) -> Parts:
    config = LatentConfig(
        channels, size, size, num_scales_for(size, size), context, depth, _widths(decoder_width, decoder_width2)
    )
    numbers: dict[str, Number] = {"n": spc, "s": slices, "H": size, "L": config.num_scales, "Z": config.num_latents()}
    numbers |= {"E": _total(config.entropy_shapes()), "A": _total(config.synthesis_shapes())}
    return numbers, (
        Term("latents", Fraction(spc * config.num_latents()), None),
        Term("networks", Fraction(slices * _total(config.tensor_shapes())), None),
    )


def _ruo_decoder(channels: int, scales: int, decoder_width: int, decoder_width2: int) -> Parts:
    config = LatentConfig(channels, 1, 1, scales, synthesis_widths=_widths(decoder_width, decoder_width2))
    numbers: dict[str, Number] = {"L": scales, "C": channels, "a": decoder_width, "b": decoder_width2}
    return numbers, (Term("decoder", Fraction(_total(config.synthesis_shapes())), None),)


CLASSES = Setting("classes", "classes of the data set", high=65536)
_CHANNELS = Setting("channels", "channels of an image", high=4, default=3)
SIZE = Setting("size", "height and width of an image", low=2, high=MAX_SIDE)
_IPC = Setting("ipc", "images per class: those stored, or the budget")
_SPC = Setting("spc", "synthetic samples per class")
_STYLES = Setting("styles", "style networks, of all classes together")
_COEFFICIENTS = Setting("coefficients", "frequency coefficients kept of a channel", high=MAX_SIDE**2)
_BASES = Setting("bases", "bases, of all classes together")
_DOWNSAMPLING = Setting("downsampling", "by which the bases are smaller than an image", high=MAX_SIDE)
_TOKENS = Setting("tokens", "epitomic tokens, of all classes together")
_WIDTH = Setting("width", "width of the network")
_DEPTH = Setting("depth", "hidden layers, or blocks, of the network")
_HEADS = Setting("heads", "heads of a sparse code")
_NONZEROS = Setting("nonzeros", "non-zeros kept of a head")
_PATCH = Setting("patch", "height and width of a patch")
_LAYERS = Setting("layers", "hidden layers of a neural field")
_INPUTS = Setting("inputs", "coordinates that a neural field takes", default=2)
_OUTPUTS = Setting("outputs", "channels that a neural field gives", default=3)
_SLICES = Setting("slices", "groups of samples of a class with networks of their own", default=1)
_SCALES = Setting("scales", "latent grids of a sample", high=16, default=MAX_SCALES)
# Those of the format: a table of claims comes from strangers, and the work grows with the depth.
_CONTEXT = Setting(
    "context",
    "latents in the context of the entropy network",
    low=min(CONTEXT_SIZES),
    high=max(CONTEXT_SIZES),
    choices=CONTEXT_SIZES,
)
_ENTROPY_DEPTH = replace(_DEPTH, low=0, high=MAX_DEPTH)
_DECODER_WIDTH = Setting("decoder-width", "first hidden width of the decoder")
_DECODER_WIDTH2 = Setting("decoder-width2", "second hidden width of the decoder; 0: none", low=0, default=0)

_PIXELS = "32·ipc·B, B = C·H·W"
_NO_RULE = "its storage cannot be derived from public sources"
_NEEDS_FILE = "the rate of latents and networks is the entropy of their values: a file is needed"


def _stored_pixels(name: str, title: str) -> Method:
    return Method(name, title, _PIXELS, (_CHANNELS, SIZE, _IPC), _pixels)


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        _stored_pixels("pixels", "images stored as float32"),
        _stored_pixels("tm", "trajectory matching"),
        _stored_pixels("mtt", "trajectory matching"),
        _stored_pixels("dm", "distribution matching"),
        _stored_pixels("gm", "gradient matching"),
        _stored_pixels("dc", "gradient matching"),
        _stored_pixels("dsa", "gradient matching with siamese augmentation"),
        _stored_pixels("idc", "IDC, images as stored, before they are cut and upsampled"),
        _stored_pixels("glad", "GLaD, decoded pixels"),
        _stored_pixels("h-glad", "H-GLaD, decoded pixels"),
        _stored_pixels("datm", "DATM, without its soft labels"),
        Method("frepo", "FRePo", "32·ipc·(B + K), B = C·H·W", (CLASSES, _CHANNELS, SIZE, _IPC), _frepo),
        Method(
            "fred",
            "FreD",
            "32·⌊ipc·H·W/m⌋·m·C + log2 binomial(H·W, m)",
            (_CHANNELS, SIZE, _IPC, _COEFFICIENTS),
            _fred,
        ),
        Method(
            "haba",
            "HaBa, 3 channels",
            "32·(ipc·B + n·S/K), B = C·H·W, S = 168 + 6·(H − 2)²",
            (CLASSES, SIZE, _IPC, _STYLES),
            _haba,
        ),
        Method(
            "rtp",
            "RTP, Remember the Past",
            "32·(b·B/(d²·K) + ⌊n⌋·b), B = C·H·W, n = (ipc·B·K − b·B/d²)/(K·b)",
            (CLASSES, _CHANNELS, SIZE, _IPC, _BASES, _DOWNSAMPLING),
            _rtp,
        ),
        Method(
            "speed",
            "SPEED",
            "32·(T·D + P)/K + 48·N·heads·k, P = depth·(3·D² + 7·D) + (D + 1)·3·p²",
            (CLASSES, _SPC, _TOKENS, _WIDTH, _DEPTH, _HEADS, _NONZEROS, _PATCH),
            _speed,
        ),
        Method(
            "ddif",
            "DDiF",
            "32·n·p, p = d·(i + 1) + (L − 1)·(d² + d) + o·(d + 1)",
            (_SPC, _WIDTH, _LAYERS, _INPUTS, _OUTPUTS),
            _ddif,
        ),
        Method(
            "ruo",
            "RUO, joint rate-utility optimization",
            "n·Z + s·(E + 8·8 + A), Z = Σ ⌈H/2^l⌉², l = 0..L − 1, E entropy network, A decoder",
            (_CHANNELS, SIZE, _SPC, _SLICES, _CONTEXT, _ENTROPY_DEPTH, _DECODER_WIDTH, _DECODER_WIDTH2),
            _ruo,
            _NEEDS_FILE,
        ),
        Method(
            "ruo-decoder",
            "a decoder network of RUO, without its upsampling kernel",
            "1×1 layers L → a → b → C, two 3×3 layers C → C, with biases",
            (_CHANNELS, _SCALES, _DECODER_WIDTH, _DECODER_WIDTH2),
            _ruo_decoder,
            _NEEDS_FILE,
        ),
        Method("nsd", "NSD", missing=_NO_RULE),
        Method("hmn", "HMN", missing=_NO_RULE),
    )
}


def find_method(name: str) -> Method:
    """The method of this name. Raises SettingError for the setting `method`."""
    if name not in METHODS:
        raise SettingError("method", f"{name[:MAX_NAME]!r} is not one of {', '.join(METHODS)}")
    return METHODS[name]


def check_settings(method: Method, given: Mapping[str, Any], *, may_miss: tuple[str, ...] = ()) -> dict[str, int]:
    """All settings of the method, defaults put in. Raises SettingError for the first that is wrong.

    Settings in `may_miss` may be left out; they are not in the result then.
    """
    for name in given:
        if method.setting(name) is None:
            used = ", ".join(setting.name for setting in method.settings) or "none"
            raise SettingError(name, f"{method.name} does not use it; its settings: {used}")
    values = {}
    for setting in method.settings:
        value = given.get(setting.name, setting.default)
        if value is None and setting.name in may_miss:
            continue
        if value is None:
            raise SettingError(setting.name, f"missing, {method.name} needs it ({setting.text})")
        values[setting.name] = setting.checked(value)
    return values


def count(method: str, settings: Mapping[str, Any]) -> Count:
    """What one class costs by the rule of `method`, a key of METHODS.

    >>> count("haba", {"classes": 10, "size": 32, "ipc": 1, "styles": 5}).bits_per_class
    Fraction(187392, 1)

    Raises SettingError, an RddInputError, for a method or setting that is unknown, missing or out of range; and
    RddInputError for a method without a public rule.
    """
    found = find_method(method)
    values = check_settings(found, settings)
    if found.rule is None:
        raise RddInputError(f"{method}: {found.missing}")
    numbers, terms = found.rule(**{name.replace("-", "_"): value for name, value in values.items()})
    return Count(method, found.formula, numbers, terms, found.missing)
