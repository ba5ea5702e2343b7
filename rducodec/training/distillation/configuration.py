"""Configurations of a distillation: TOML files on top of each other, checked, with values overridden one by one."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from rducodec.errors import RddInputError
from rducodec.files import translated_errors
from rducodec.labels import DEFAULT_ERROR
from rducodec.shape import NETWORKS, LatentShape, parse_decoder, parse_entropy
from rducodec.training.distillation.tables import build
from rducodec.training.settings import MIN_STEPS

ROUNDINGS = ("soft", "straight-through")
PARAMETERIZATIONS = ("latent", "pixels")
PIXEL_NUMBERS = {"float32": 32, "float16": 16, "8 bits": 8, "4 bits": 4, "2 bits": 2}  # with the bits of a value
PLAIN_NUMBER = "float32"
BASE = "base"  # key of the configuration that a file starts from
_RECIPES = "rducodec.training.recipes"
_OPTIONS_OF = {"loss": "options", "network": "network_options"}  # that mean nothing to another one
_MAX_TOML_BYTES = 1 << 20
_MAX_BASES = 8  # files on top of each other; more are a circle
_NUM_STAGES = 2  # values of lmbda (paper, A2)

_T = TypeVar("_T")


def _require(key: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise RddInputError(f"{key}: {value!r}, expected {expected}")


def _require_positive(table: str, **values: float | None) -> None:
    """Of finite numbers; None is left out."""
    for name, value in values.items():
        if value is not None:
            _require(f"{table}.{name}", value, math.isfinite(value) and value > 0, "a positive number")


def _require_one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(key, value, value in allowed, f"one of {', '.join(allowed)}")


@dataclass(frozen=True)
class DataSettings:
    """What is distilled."""

    name: str  # for rducodec.training.data.load_data
    size: int | None = None  # side of the images; None leaves them as they are
    classes: tuple[int, ...] = ()  # only these, in this order; none for all
    space: str = "standardised"  # for rducodec.training.data.fit_space

    def __post_init__(self) -> None:
        _require_positive("data", size=self.size)
        different = len(set(self.classes)) == len(self.classes) and all(label >= 0 for label in self.classes)
        _require("data.classes", list(self.classes), different, "different numbers from 0")


@dataclass(frozen=True)
class SamplesSettings:
    """How many samples there are, and what they are made of."""

    spc: int  # samples of each class
    parameterization: str = "latent"  # or "pixels"
    slice_size: int | None = None  # most samples that share networks; None: all of a class
    networks: str = NETWORKS[0]  # whether a slice has networks of its own; "file": all classes share theirs
    decoder: str = "v4-160"  # a name of the paper, or widths such as "480" or "240,40"
    entropy: str = "16x2"  # context x depth of the entropy network
    soft_labels: bool = False  # labels are learned beside the samples
    label_learning_rate: float = 0.1
    label_error: float = DEFAULT_ERROR  # by which a probability of a learned label may change when it is stored

    def __post_init__(self) -> None:
        _require_positive("samples", slice_size=self.slice_size, label_learning_rate=self.label_learning_rate)
        _require("samples.label_error", self.label_error, 0 < self.label_error < 1, "a number between 0 and 1")
        _require("samples.spc", self.spc, self.spc >= 1, "at least 1")
        _require_one_of("samples.parameterization", self.parameterization, PARAMETERIZATIONS)
        self.shape()

    def shape(self) -> LatentShape:
        """The networks, and how many samples share them. Raises RddInputError."""
        context_size, depth = _parsed_text("samples.entropy", parse_entropy, self.entropy)
        widths = _parsed_text("samples.decoder", parse_decoder, self.decoder)
        slice_size = self.slice_size or self.spc
        return LatentShape(widths, context_size, depth, slice_size, networks=self.networks)


def _parsed_text(key: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except RddInputError as error:
        raise RddInputError(f"{key}: {error}") from error


@dataclass(frozen=True)
class InitialSettings:
    """Overfitted compression of real images (Eq. 22), from which the joint optimisation starts."""

    steps: int = 1500
    lmbda: float = 1e-3  # squared error, in the value space, that a bit per pixel is worth; with a size, a start
    candidates: int = 1

    def __post_init__(self) -> None:
        _require_positive("initial", lmbda=self.lmbda, candidates=self.candidates)
        _require("initial.steps", self.steps, self.steps >= MIN_STEPS, f"at least {MIN_STEPS}")


@dataclass(frozen=True)
class UtilitySettings:
    """The loss and its network."""

    loss: str  # dm, gm, tm, module:Class or file.py:Class
    options: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments of the loss
    network: str = "convnet"
    network_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str = "color_crop_cutout_flip_scale_rotate"
    mixed_precision: bool = False  # products of the networks in bfloat16
    compiled: bool = False  # networks go through torch.compile: minutes at the start, then up to twice as fast


@dataclass(frozen=True)
class OptimisationSettings:
    """The optimisation of bits + lambda * pixels * utility loss (Eq. 20).

    `lmbda` are the weights of the utility against bits per pixel in the first and in the second half, as published
    (facts: trajectory matching {1e3, 6.6e1}, gradient matching {2.8e-2, 1.2e-2}). With a target size a controller finds
    and moves the weight; `lmbda` may then be left out, or its first number be the one to start from.
    """

    iterations: int
    learning_rate: float = 1e-3
    final_learning_rate_share: float = 1.0  # of the learning rate, reached along a cosine; 1: the rate is fixed
    lmbda: tuple[float, ...] = ()
    rounding: str = ROUNDINGS[0]  # or straight-through
    checkpoint_interval: int = 100  # iterations
    report_interval: int = 10

    def __post_init__(self) -> None:
        _require_positive("joint", **{f"lmbda[{i}]": value for i, value in enumerate(self.lmbda)})
        names = ("iterations", "learning_rate", "final_learning_rate_share", "checkpoint_interval", "report_interval")
        _require_positive("joint", **{name: getattr(self, name) for name in names})
        _require("joint.lmbda", list(self.lmbda), len(self.lmbda) <= _NUM_STAGES, "at most two weights")
        _require_one_of("joint.rounding", self.rounding, ROUNDINGS)


@dataclass(frozen=True)
class ExportSettings:
    """What is written."""

    target_bpc: float | None = None  # kB of 1024 bytes that a class of the file may take
    thresholds: tuple[float, ...] = (5e-7, 5e-6, 5e-5)  # mean squared errors of the networks' quantisation
    number: str = PLAIN_NUMBER  # that a value of plain pixels is stored as

    def __post_init__(self) -> None:
        _require_positive("export", target_bpc=self.target_bpc)
        _require("export.thresholds", list(self.thresholds), bool(self.thresholds), "at least one number")
        _require_positive("export", **{f"thresholds[{i}]": value for i, value in enumerate(self.thresholds)})
        _require_one_of("export.number", self.number, tuple(PIXEL_NUMBERS))


@dataclass(frozen=True)
class EvaluationSettings:
    """How `rdd eval` tests the file unless told otherwise."""

    protocol: str = "mtt-convnet"
    networks: int = 5

    def __post_init__(self) -> None:
        _require("evaluation.networks", self.networks, self.networks >= 1, "at least 1")


@dataclass(frozen=True)
class ExpertTraining:
    """How `rdd experts` trains what trajectory matching follows; None: as `ExpertSettings` has it, as published."""

    num_experts: int | None = None
    epochs: int | None = None
    batched: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None

    def given(self) -> dict[str, Any]:
        """Those that are not None."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Configuration:
    """Everything that a training follows from, but the data itself."""

    data: DataSettings
    samples: SamplesSettings
    utility: UtilitySettings
    joint: OptimisationSettings
    initial: InitialSettings = field(default_factory=InitialSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    experts: ExpertTraining = field(default_factory=ExpertTraining)
    description: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        _require("seed", self.seed, 0 <= self.seed < 2**31, f"0..{2**31 - 1}")
        open_size = self.samples.parameterization == "latent" and self.export.target_bpc is None
        if open_size and len(self.joint.lmbda) != _NUM_STAGES:
            raise RddInputError(
                f"joint.lmbda: {list(self.joint.lmbda)}, expected two weights, or a size in export.target_bpc"
            )

    def fields(self) -> dict[str, Any]:
        """Nested dictionaries of plain values, as they stand in a TOML file."""
        return dataclasses.asdict(self)


def configuration_names() -> list[str]:
    """Names of the configurations that come with the package; numbers in them in the order of their values."""
    files = resources.files(_RECIPES).iterdir()
    names = [file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")]
    return sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )


def read_configuration(source: str | Path, overrides: Iterable[str] = ()) -> Configuration:
    """The configuration of this name (`configuration_names`) or of a TOML file, changed by `key.name=value` texts.

    A file may start from another one: `base = "digits"`, or a path beside it. Values of overrides are written as in
    TOML; text needs no quotes; without a value the default holds again. Options of a loss or of a network fall with it.
    "none" takes back what may be None. Raises RddInputError naming the key.
    """
    return configuration_of(_fields_of(source, depth=0), overrides)


def configuration_of(fields: Mapping[str, Any], overrides: Iterable[str] = ()) -> Configuration:
    """Inverse of `Configuration.fields`, overrides as for `read_configuration`. Raises RddInputError naming the key."""
    for override in overrides:
        fields = _overridden(fields, override)
    result: Configuration = build(Configuration, fields)
    return result


def _fields_of(source: str | Path, *, depth: int) -> dict[str, Any]:
    """The tables of a configuration on top of those of its base."""
    fields = _parsed(_text_of(source), str(source))
    base = fields.pop(BASE, None)
    if base is None:
        return fields
    _require(f"configuration {source}: {BASE}", base, isinstance(base, str), "a name or a path")
    if depth == _MAX_BASES:
        raise RddInputError(f"configuration {source}: more than {_MAX_BASES} bases on top of each other")
    beside = base if base in configuration_names() else Path(source).parent / base
    return _merged(_fields_of(beside, depth=depth + 1), fields)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables key by key; any other value is replaced."""
    merged = dict(below)
    for name, options in _OPTIONS_OF.items():
        if name in above and above[name] != merged.get(name):
            merged.pop(options, None)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _text_of(source: str | Path) -> str:
    if isinstance(source, str) and source in configuration_names():
        return resources.files(_RECIPES).joinpath(f"{source}.toml").read_text("utf-8")
    path = Path(source)
    if path.suffix != ".toml":
        close = difflib.get_close_matches(path.name, configuration_names(), n=3)
        hint = f", perhaps {' or '.join(close)}" if close else ""
        raise RddInputError(f"configuration {str(source)!r}: no such name{hint}; `rdd train --list` shows all")
    with translated_errors(path), path.open("rb") as file:
        data = file.read(_MAX_TOML_BYTES + 1)
    if len(data) > _MAX_TOML_BYTES:
        raise RddInputError(f"configuration {path}: larger than {_MAX_TOML_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RddInputError(f"configuration {path}: not UTF-8: {error}") from error


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # syntax, or a number of too many digits
        raise RddInputError(f"configuration {name}: {error}") from error


def _overridden(fields: Mapping[str, Any], override: str) -> dict[str, Any]:
    key, separator, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not separator or not all(path):
        raise RddInputError(f"override {override!r}: expected key.name=value, e.g. joint.iterations=200")
    if not text.strip():
        return _without(fields, path)
    above: Any = _value_of(text.strip(), is_text=_hint_of(path) is str)
    for name in reversed(path):
        above = {name: above}
    return _merged(fields, above)


def _without(fields: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    name, *inside = path
    kept = {key: value for key, value in fields.items() if key != name}
    if inside and isinstance(fields.get(name), Mapping):
        kept[name] = _without(fields[name], inside)
    return kept


def _value_of(text: str, *, is_text: bool) -> Any:
    """A TOML value; text that is none, or that stands where text belongs (the decoder 480), is itself."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
    return text if is_text and not isinstance(value, str) else value


def _hint_of(path: Iterable[str]) -> Any:
    """Type of the field at this place; None where there is none, or no dataclass says it."""
    kind: Any = Configuration
    for name in path:
        kind = typing.get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
    return kind
