"""Arrays from anywhere as samples and labels that a file can hold, or an error that says which value it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rducodec.bitstream.header import MAX_DIVISOR, RawConfig, ValueSpace, check_class_names
from rducodec.bitstream.limits import DEFAULT_LIMITS
from rducodec.errors import RddFormatError, RddInputError
from rducodec.labels import MAX_CLASSES, softmax

PIXEL_DIVISOR = 255  # of 8-bit pixels
MAX_INTEGER = (1 << 16) - 1
BYTE_BITS = 8
SAMPLE_DIMENSIONS = 4
MAX_FLOAT_BYTES = 8
SOFT_DIMENSIONS = 2  # of an array of soft labels
MIN_SOFT_CLASSES = 2  # a single column is no choice between classes
SUM_TOLERANCE = 1e-3  # of probabilities, from 1: what half precision leaves


@dataclass(frozen=True)
class SourceSet:
    """Samples with labels, as they are before encoding; made by `make_source`."""

    samples: np.ndarray  # (n, channels, height, width), n >= 1; uint8, uint16, float16, float32 or float64; finite
    labels: np.ndarray  # int64 (n,), 0 .. num_classes - 1
    num_classes: int
    class_names: tuple[str, ...]  # none, or one for each class
    space: ValueSpace
    divisor: int | None  # an integer v stands for v / divisor; None for floats
    layout: str = ""  # of the files that they come from
    remarks: tuple[str, ...] = ()  # what a user should know about how these were read
    files: tuple[Path, ...] = ()  # that they were read from; none for a folder of images
    stored: Mapping[str, int] = field(default_factory=dict)  # how much of what the files hold in place of samples
    soft_labels: np.ndarray | None = None  # float64 (n, num_classes), >= 0, each row of the sum 1

    def first_per_class(self, count: int) -> SourceSet:
        """The first `count` samples of each class, in the same order; all of a class that has fewer."""
        by_class = np.argsort(self.labels, kind="stable")
        sizes = np.bincount(self.labels, minlength=self.num_classes)
        rank = np.empty(len(self.labels), np.int64)
        rank[by_class] = np.arange(len(by_class)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept = rank < count
        soft = None if self.soft_labels is None else self.soft_labels[kept]
        return replace(self, samples=self.samples[kept], labels=self.labels[kept], soft_labels=soft)

    def float_samples(self) -> np.ndarray:
        """float32 samples in `space`, rounded where they are finer. RddInputError beyond the range of float32."""
        if self.divisor is not None:
            return np.divide(self.samples, np.float32(self.divisor), dtype=np.float32)
        with np.errstate(over="ignore"):
            rounded = self.samples.astype(np.float32)
        _refuse_values(self.samples, ~np.isfinite(rounded), "beyond the range of float32")
        return rounded

    def raw_config(self) -> RawConfig:
        """The smallest number type that keeps the samples exactly."""
        if self.divisor is None:
            return RawConfig(is_float=True, bits=16 if self.samples.dtype == np.float16 else 32)
        if self.samples.dtype == np.uint8 and self.divisor == PIXEL_DIVISOR:
            return RawConfig(is_float=False, bits=BYTE_BITS, divisor=PIXEL_DIVISOR)
        bits = max(1, int(self.samples.max()).bit_length())
        return RawConfig(is_float=False, bits=bits, divisor=self.divisor)

    def raw_samples(self) -> np.ndarray:
        """Samples of the type of `raw_config`. RddInputError for a float64 that is no float32."""
        if self.samples.dtype != np.float64:
            return self.samples
        rounded = self.float_samples()
        _refuse_values(self.samples, rounded != self.samples, "float64 that is no float32; round it first")
        return rounded


def check_expanded(num_bytes: int) -> None:
    """Raises RddInputError where files would expand to more memory than a reader of .rdd allows by default."""
    allowed = DEFAULT_LIMITS.max_output_bytes
    if num_bytes > allowed:
        raise RddInputError(f"it expands to {num_bytes} bytes, at most {allowed} are allowed")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside, an RddInputError gets the name of the file that it is about."""
    try:
        yield
    except RddInputError as error:
        raise RddInputError(f"{path}: {error}") from error


def make_source(
    samples: Any,
    labels: Any,
    *,
    space: ValueSpace | None = None,
    divisor: int | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    hard_labels: bool | None = False,
    soft_labels: Any = None,
    temperature: float | None = None,
) -> SourceSet:
    """Samples (n, channels, height, width) and integer labels (n,), of numpy, torch or anything that numpy takes.

    The result does not depend on byte order, strides, gradients or device. Integers are 0..65535. `space` is needed
    but for uint8, which are pixels; `divisor` for integers but 8-bit pixels. Labels (n, classes) are soft ones: of
    probabilities, or of logits if a `temperature` is stated, by which they are divided before the softmax; the class
    of a sample is then the first of its largest entries, or what integer labels beside `soft_labels` say. With
    `hard_labels`, only the largest entry of each row is kept; None does so where they are no probabilities. Raises
    RddInputError.
    """
    values = _checked_samples(native_array(samples, "samples"))
    names = tuple(class_names)
    numbers = native_array(labels, "labels")
    entries = numbers if numbers.ndim == SOFT_DIMENSIONS else None
    if soft_labels is not None:
        if entries is not None:
            raise RddInputError(f"labels: shape {numbers.shape} beside soft labels, one integer a sample expected")
        entries = native_array(soft_labels, "soft labels")
    request = _SoftRequest(num_classes, hard_labels, temperature, beside=soft_labels is not None)
    soft, remarks = _soft_labels(entries, numbers.shape, request)
    if entries is not None:
        num_classes = entries.shape[1]
        numbers = numbers if soft_labels is not None else entries.argmax(axis=1)
    classes = _checked_labels(numbers, len(values), num_classes, len(names))
    if names:
        try:
            check_class_names(list(names), classes[1])
        except RddFormatError as error:
            raise RddInputError(str(error)) from error
    space, divisor = _meaning(values.dtype, space, divisor)
    channels = values.shape[1]
    if space.kind == "standardised" and not len(space.mean) == len(space.std) == channels:
        counts = f"{len(space.mean)} means and {len(space.std)} standard deviations"
        raise RddInputError(f"space: {counts} for samples of {channels} channels")
    if soft is not None and len(soft) != len(values):
        raise RddInputError(f"soft labels: {len(soft)} for {len(values)} samples")
    return SourceSet(values, classes[0], classes[1], names, space, divisor, remarks=remarks, soft_labels=soft)


def native_array(values: Any, name: str) -> np.ndarray:
    """A contiguous numeric array in the byte order of this machine; bfloat16 of torch becomes float32."""
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
        if values.is_sparse:
            raise RddInputError(f"{name}: a sparse tensor; make it dense")
        values = values.numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise RddInputError(f"{name}: not an array of one size: {error}") from error
    if array.dtype.kind not in "uif" or array.dtype.itemsize > MAX_FLOAT_BYTES:
        raise RddInputError(f"{name}: elements of type {array.dtype}, numbers expected")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _refuse_values(array: np.ndarray, wrong: np.ndarray, reason: str, name: str = "samples") -> None:
    if wrong.any():
        where = tuple(np.argwhere(wrong)[0].tolist())
        raise RddInputError(f"{name}: the value at {list(where)} is {array[where]}: {reason}")


def _checked_samples(array: np.ndarray) -> np.ndarray:
    if array.ndim != SAMPLE_DIMENSIONS:
        raise RddInputError(f"samples: shape {array.shape}, expected (samples, channels, height, width)")
    if not array.size:
        raise RddInputError(f"samples: shape {array.shape} holds nothing")
    if array.dtype.kind == "f":
        _refuse_values(array, ~np.isfinite(array), "only finite values can be stored")
        return array
    _refuse_values(array, (array < 0) | (array > MAX_INTEGER), f"integers must be 0..{MAX_INTEGER}")
    return array if array.dtype == np.uint8 else array.astype(np.uint16)


@dataclass(frozen=True)
class _SoftRequest:
    """What is known about soft labels: arguments of `make_source`, and whether integer labels stand beside them."""

    num_classes: int | None
    hard_labels: bool | None
    temperature: float | None
    beside: bool


def _soft_labels(
    entries: np.ndarray | None, shape: tuple[int, ...], request: _SoftRequest
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """float64 probabilities of soft labels, if there are any and they are kept; and remarks on what is done."""
    temperature = request.temperature
    if entries is None:
        for option, value in (("hard-labels", request.hard_labels or None), ("temperature", temperature)):
            if value is not None:
                raise RddInputError(f"labels: shape {shape}, no soft labels; --{option} has nothing to do")
        return None, ()
    _check_entries(entries, request.num_classes)
    kept = f"soft labels of {entries.shape[1]} numbers each"
    if request.hard_labels:
        return None, (f"{kept}: only the {_hard_choice(entries, request)} kept",)
    if temperature is not None:
        if not temperature > 0:
            raise RddInputError(f"temperature: {temperature}, expected a number above 0")
        with np.errstate(all="ignore"):  # what overflows is refused as not finite
            soft = softmax(entries, temperature)
        if not np.isfinite(soft).all():
            raise RddInputError(f"temperature: {temperature:g} is too small for these logits")
        return soft, (f"{kept}: the softmax of logits over {temperature:g}",)
    problem = _no_probabilities(entries)
    if problem is None:
        exact = entries.astype(np.float64)
        return exact / exact.sum(axis=1, keepdims=True), ()
    if request.hard_labels is None:
        return None, (f"{kept}, no probabilities: only the {_hard_choice(entries, request)} kept",)
    raise RddInputError(
        f"{problem}; of logits, say what they are divided by before the softmax (--temperature, e.g. 1); of other "
        "numbers, --hard-labels keeps the largest of each label and drops the rest"
    )


def _check_entries(entries: np.ndarray, num_classes: int | None) -> None:
    """Raises RddInputError for soft labels of a wrong shape, or with what is no number."""
    classes = entries.shape[1] if entries.ndim == SOFT_DIMENSIONS else 0
    if classes < MIN_SOFT_CLASSES or classes != (num_classes or classes) or not len(entries):
        expected = f"{num_classes}" if num_classes else f"at least {MIN_SOFT_CLASSES}"
        raise RddInputError(f"labels: shape {entries.shape}, {classes} entries a row, {expected} expected")
    _refuse_values(entries, ~np.isfinite(entries), "it has no place in an order", "labels")


def _hard_choice(entries: np.ndarray, request: _SoftRequest) -> str:
    """What is kept of soft labels that are not; a class that is one of several must not be chosen silently."""
    if request.beside:
        return "class beside them is"
    largest = entries.max(axis=1, keepdims=True)
    tied = (entries == largest).sum(axis=1) > 1
    if tied.any():
        index = int(np.argmax(tied))
        raise RddInputError(f"labels: the largest entry of label {index}, {largest[index, 0]}, occurs more than once")
    return "largest one is"


def _no_probabilities(entries: np.ndarray) -> str | None:
    """Why these rows are no probabilities of classes; None where they are."""
    negative = entries < 0
    if negative.any():
        place = tuple(np.argwhere(negative)[0].tolist())
        return f"labels: the value at {list(place)} is {entries[place]:.6g}, no probability"
    sums = entries.sum(axis=1, dtype=np.float64)
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    if wrong.any():
        index = int(np.argmax(wrong))
        return f"labels: label {index} adds up to {sums[index]:.6g}, probabilities to 1"
    return None


def _checked_labels(
    labels: np.ndarray, num_samples: int, num_classes: int | None, num_names: int
) -> tuple[np.ndarray, int]:
    """int64 labels, and how many classes there are."""
    if labels.ndim != 1:
        raise RddInputError(f"labels: shape {labels.shape}, one integer a sample expected")
    if labels.dtype.kind == "f":
        raise RddInputError(f"labels: elements of type {labels.dtype}, integers expected")
    if len(labels) != num_samples:
        raise RddInputError(f"labels: {len(labels)} for {num_samples} samples")
    if num_classes is not None and num_names and num_names != num_classes:
        raise RddInputError(f"class names: {num_names} for {num_classes} classes")
    count = num_classes or num_names or min(int(labels.max()), MAX_CLASSES - 1) + 1
    wrong = (labels < 0) | (labels >= count)
    if wrong.any() or count > MAX_CLASSES:
        index = int(np.argmax(wrong))
        raise RddInputError(f"labels: label {index} is {labels[index]}, expected 0..{min(count, MAX_CLASSES) - 1}")
    return labels.astype(np.int64), count


def _meaning(dtype: np.dtype, space: ValueSpace | None, divisor: int | None) -> tuple[ValueSpace, int | None]:
    """Space and divisor, completed for 8-bit pixels and for nothing else."""
    if dtype.kind == "f":
        if divisor is not None:
            raise RddInputError(f"divisor: {divisor} for samples of type {dtype}; only integers have one")
        if space is None:
            raise RddInputError(
                "space: the value space of float samples is not known; state it (--space), e.g. pixels, "
                "standardised:cifar10, zca:TEXT or other:TEXT"
            )
        return space, None
    if space is None and dtype == np.uint8:
        space = ValueSpace()
    if space is None:
        raise RddInputError("space: the value space of integers wider than 8 bits is not known; state it (--space)")
    if divisor is None and dtype == np.uint8 and space.kind == "pixels":
        divisor = PIXEL_DIVISOR
    if divisor is None:
        raise RddInputError("divisor: what these integers are divided by is not known; state it (--divisor)")
    if not 1 <= divisor <= MAX_DIVISOR:
        raise RddInputError(f"divisor: {divisor}, expected 1..{MAX_DIVISOR}")
    return space, divisor
