"""What test vectors are made of: random slices, small files, and files with one thing changed or one check off."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgpack
import numpy as np

import rducodec
from rducodec import raw, writer
from rducodec.bitstream import container, zstd
from rducodec.bitstream.header import pack_header
from rducodec.entropy.latents import encode_latents
from rducodec.entropy.plain_coder import STATE_BITS, Encoder, PlainEncoder
from rducodec.entropy.range_coder import RangeEncoder
from rducodec.labels import pack_labels
from rducodec.synthesis import synthesize
from rducodec.weights import encode_tensors

Vector = tuple[str, bytes]
Invalid = tuple[str, bytes, str, str]  # name, file, error class, part of the message
CORRUPT, UNSUPPORTED, TOO_LARGE, WRONG_SAMPLES = "RddFormatError", "RddVersionError", "RddLimitError", "RddDigestError"
Change = Callable[[dict[int, Any]], Any]  # of header fields
Edit = Callable[[rducodec.LatentSlice], rducodec.LatentSlice]
Tensors = Sequence[rducodec.QuantizedTensor]
LIFT = 0.5  # added to the biases of the synthesis, or most random networks end at a ReLU


def random_slice(
    config: rducodec.LatentConfig, num_samples: int, rng: np.random.Generator, *, spread: float = 1.0
) -> rducodec.LatentSlice:
    """A slice of plausible random integers; `spread` is the scale of the latents."""
    latents = tuple(
        np.clip(np.rint(rng.laplace(scale=spread, size=(num_samples, h, w))), -32768, 32767).astype(np.int16)
        for h, w in config.grid_shapes()
    )

    def tensor(shape: tuple[int, ...], size: float, frac_bits: int, mean: float = 0.0) -> rducodec.QuantizedTensor:
        values = np.rint(rng.normal(mean, size, shape) * 2**frac_bits).astype(np.int32)
        return rducodec.QuantizedTensor(values, frac_bits)

    entropy = tuple(tensor(shape, 0.15, 7) for shape in config.entropy_shapes())
    scale_bias = np.array([0, round((4 + np.log(max(spread, 0.1))) * 128)] * config.num_output_biases(), np.int32)
    entropy = (*entropy[:-1], rducodec.QuantizedTensor(scale_bias, 7))
    bits, means = {1: 12, 2: 10, 4: 11}, {1: LIFT, 2: 0.0, 4: 0.0}
    synthesis = tuple(
        tensor(shape, 0.5 / np.sqrt(np.prod(shape[1:])), bits[len(shape)], means[len(shape)])
        for shape in config.synthesis_shapes()
    )
    return rducodec.LatentSlice(latents, entropy, tensor((8, 8), 0.2, 9), synthesis)


def latent_file(
    config: rducodec.LatentConfig,
    slice_sizes: list[int],
    labels: rducodec.Labels,
    seed: int,
    *,
    spread: float = 1.0,
    edit: Edit = lambda part: part,
    **fields: Any,
) -> bytes:
    """A file of the latent profile with random slices of these sizes."""
    rng = np.random.default_rng(seed)
    slices = [edit(random_slice(config, size, rng, spread=spread)) for size in slice_sizes]
    return rducodec.pack_latent(slices, labels, config, **fields)


def counts(*values: int) -> rducodec.Labels:
    """Labels without an order."""
    return rducodec.Labels(np.array(values))


def tiny_config(**changes: Any) -> rducodec.LatentConfig:
    """The smallest useful geometry, with some fields changed."""
    base = {"channels": 1, "height": 4, "width": 4, "num_scales": 2, "context_size": 8, "entropy_depth": 1}
    return rducodec.LatentConfig(**(base | {"synthesis_widths": (3,)} | changes))


def tensor_of(values: Any, frac_bits: int) -> rducodec.QuantizedTensor:
    """A tensor of these integers."""
    return rducodec.QuantizedTensor(np.asarray(values, np.int32), frac_bits)


def _with_tensor(network: str, index: int, tensor: rducodec.QuantizedTensor) -> Edit:
    def edit(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        tensors = list(getattr(part, network))
        tensors[index] = tensor
        changed: dict[str, Any] = {network: tuple(tensors)}
        return dataclasses.replace(part, **changed)

    return edit


# Edits that replace one tensor (index, tensor) of a network.
with_entropy = partial(_with_tensor, "entropy")
with_synthesis = partial(_with_tensor, "synthesis")


def with_upsampling(tensor: rducodec.QuantizedTensor) -> Edit:
    """An edit that replaces the upsampling kernel."""
    return lambda part: dataclasses.replace(part, upsampling=tensor)


def entropy_bound_edit(bias: int, biases: int = 1, *, grid: int = -1) -> Edit:
    """A last layer of a network without hidden ones, for 12 bits of activations, that reaches 2^31 - 126 + `bias`.

    4095 * 524416 + 2 + `bias`: weight, rounding of the scale, bias. Of several biases only that of `grid` is not 0.
    """

    def edit(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        weight = np.zeros((2, 8), np.int32)
        weight[1, 7] = 524416
        offsets = np.zeros((biases, 2), np.int32)
        offsets[grid, 1] = bias
        tensors = (tensor_of(weight, 0), tensor_of(offsets.reshape(-1), 6))
        return dataclasses.replace(part, entropy=tensors)

    return edit


def residual_bound_edit(weight: int) -> Edit:
    """A first layer, hidden, for 12 bits of activations, in which output 3 weighs input 3 by `weight` / 16.

    With the residual, the bound is 4095 * |weight + 16| + 8 + 119: weight, rounding, bias; 2^31 - 1 for 524416.
    """

    def edit(part: rducodec.LatentSlice) -> rducodec.LatentSlice:
        matrix = np.zeros(part.entropy[0].values.shape, np.int32)
        matrix[3, 3] = weight
        bias = with_entropy(1, tensor_of([0, 0, 0, 119, 0, 0, 0, 0], 10))
        return with_entropy(0, tensor_of(matrix, 4))(bias(part))

    return edit


def upsampling_bound_edit(more: int) -> Edit:
    """A kernel of which every phase has taps of 2^26 in sum, the most that is allowed, the first one `more`."""
    signs = np.where(np.random.default_rng(95).random((8, 8)) < 0.5, -1, 1)
    kernel = signs * (1 << 22)
    kernel[7, 7] += signs[7, 7] * more
    return with_upsampling(tensor_of(kernel, 16))


def synthesis_bound_edit(more: int) -> Edit:
    """A last 3x3 layer of one channel with weights of 2^26 in sum, the most that is allowed, and `more`.

    The weight of the centre is -1 and takes away what is added there.
    """
    signs = np.array([1, -1, 1, -1, 0, 1, -1, 1, -1])
    weight = signs * (1 << 23)
    weight[4] = -(1 << 16) - more
    layer = with_synthesis(-2, tensor_of(weight.reshape(1, 1, 3, 3), 16))
    bias = with_synthesis(-1, tensor_of([-5], 16))
    return lambda part: bias(layer(part))


@contextmanager
def changed(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Attributes (owner, name, value) replaced for a while: checks of the encoder switched off."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for change in changes:
        setattr(*change)
    try:
        yield
    finally:
        for change in before:
            setattr(*change)


def unread_file(
    config: rducodec.LatentConfig,
    parts: list[rducodec.LatentSlice],
    labels: rducodec.Labels,
    *,
    written: Callable[[Tensors], Tensors] = lambda tensors: tensors,
    encoders: Sequence[Encoder] = (),
) -> bytes:
    """A file that is not read again; `written` changes what is written of the networks, not what they compute."""
    payloads = []
    for part, coder in zip(parts, encoders or [RangeEncoder() for _ in parts], strict=True):
        encode_tensors(coder, written(part.tensors()))
        encode_latents([coder], [part.entropy], [part.latents], config)
        payloads.append(coder.finish())
    samples = [synthesize(part, config) for part in parts]
    shape = (config.channels, config.height, config.width)
    return writer._assemble(config, shape, labels, samples, payloads, None, rducodec.Texts())


def zeros_file(config: rducodec.LatentConfig, num_samples: int) -> bytes:
    """One slice whose payload is one word of 0: symbols 0 without end, so parameters and latents of 0."""
    samples = np.zeros((num_samples, config.channels, config.height, config.width), np.int32)
    shape = (config.channels, config.height, config.width)
    return writer._assemble(config, shape, counts(num_samples), [samples], [bytes(4)], None, rducodec.Texts())


class EndingEncoder(PlainEncoder):
    """A range encoder that writes another end: the two last words are a number that any decoder takes for `point`."""

    def __init__(self, slack: int | None) -> None:
        """The end is `slack` after `lower`; None for the first quantile out of range, read by the last symbol."""
        super().__init__()
        self._slack = slack
        self._before: tuple[list[int], int, int] = ([], 0, 0)
        self.possible = False

    def encode(self, symbols: np.ndarray, rows: np.ndarray) -> None:
        for symbol, row in zip(symbols, rows, strict=True):
            self._before = (list(self._words), self._lower, self._range)
            super().encode(symbol[None], row[None])
            self._is_one_bit = len(row) == 2 and symbol == 1

    def finish(self) -> bytes:
        if self._slack is not None:
            self.possible = self._slack < self._range
            return self._ending(self._words, self._lower + self._slack)
        words, lower, width = self._before
        scale = width >> 24
        # Without the check, the symbol is 1 and the rest of the interval ends the payload as it should.
        self.possible = self._is_one_bit and 1 << 32 <= scale << 23 < (1 << 33) - 1
        return self._ending(words, lower + (scale << 24))

    @staticmethod
    def _ending(words: list[int], point: int) -> bytes:
        number = int.from_bytes(np.array(words, ">u4").tobytes(), "big") << STATE_BITS
        whole = (number + point).to_bytes(4 * len(words) + STATE_BITS // 8, "big")
        return np.frombuffer(whole, ">u4").astype("<u4").tobytes()


def file_with_end(slack: int | None) -> bytes:
    """A file of one sample that ends with a negative escape and has this end (`EndingEncoder`)."""
    for seed in range(10_000):
        part = random_slice(tiny_config(), 1, np.random.default_rng([96, seed]), spread=0.5)
        part.latents[0][0, -1, -1] = -15
        encoders = [EndingEncoder(slack)]
        data = unread_file(tiny_config(), [part], counts(1), encoders=encoders)
        if encoders[0].possible:
            return data
    raise AssertionError("no such end")


def pack_plain(*arguments: Any, **keywords: Any) -> bytes:
    """A file of the raw profile without coded numbers."""
    with changed((raw, "encode_numbers", lambda _numbers, _bits: [])):
        return rducodec.pack_raw(*arguments, **keywords)


def raw_section(samples: np.ndarray, config: rducodec.RawConfig, method: int) -> bytes:
    """Method and data of a slice of the raw profile, with this method instead of the smallest one."""
    numbers = raw._residuals(raw.patterns_of(samples, config), method % 4, config.bits)
    plain = raw._lay_out(numbers, method // 4 % 2, config.bits)
    return bytes([method]) + (zstd.compress(plain) if method // 8 else plain)


def raw_file(
    samples: np.ndarray, labels: rducodec.Labels, config: rducodec.RawConfig, methods: list[int], slice_size: int = 1
) -> bytes:
    """A file of the raw profile with a method for each slice, not read again; samples class after class."""
    bounds = writer._slices_of_classes(labels.counts, slice_size)
    parts = [samples[begin : begin + size] for begin, size in bounds]
    payloads = [raw_section(part, config, method) for part, method in zip(parts, methods, strict=True)]
    channels, height, width = samples.shape[1:]
    return writer._assemble(config, (channels, height, width), labels, parts, payloads, None, rducodec.Texts())


def resealed(data: bytes, *, length: bool = True) -> bytes:
    """The file with its length and file check made to fit its bytes again: damage that a digest cannot see."""
    sealed = bytearray(data)
    if length:
        sealed[16:24] = struct.pack("<Q", len(data))
    sealed[40:48] = hashlib.sha256(sealed[:40] + sealed[48:]).digest()[:8]
    return bytes(sealed)


def with_header(data: bytes, change: Change) -> bytes:
    """The file with its (plain) header changed as a MessagePack map, or replaced by the bytes that `change` gives."""
    end = 48 + struct.unpack_from("<I", data, 12)[0]
    fields = msgpack.unpackb(data[48:end], strict_map_key=False)
    result = change(fields)
    packed = result if isinstance(result, bytes) else msgpack.packb(dict(sorted(fields.items())))
    return resealed(data[:12] + struct.pack("<I", len(packed)) + data[16:48] + packed + data[end:])


def stored_header(data: bytes) -> bytes:
    """The header of a file as it is stored."""
    return data[48 : 48 + struct.unpack_from("<I", data, 12)[0]]


def with_stored_header(data: bytes, stored: bytes, *, flags: int = 1) -> bytes:
    """The file with these bytes for its header: u32 and frame, or the header itself if `flags` is 0."""
    end = 48 + struct.unpack_from("<I", data, 12)[0]
    head = data[:10] + bytes([flags, 0]) + struct.pack("<I", len(stored)) + data[16:48]
    return resealed(head + stored + data[end:])


def put(key: int, value: Any) -> Change:
    """A change that sets one header field."""
    return lambda fields: fields.__setitem__(key, value)


def parameter(index: int, value: Any) -> Change:
    """A change that sets one of the parameters of the profile."""
    return lambda fields: fields[10].__setitem__(index, value)


def nested(depth: int) -> Any:
    """Arrays within each other."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def sections_of(data: bytes) -> tuple[bytes, list[bytes]]:
    """The labels section and the slice sections of a file."""
    dataset = rducodec.read(data)
    return pack_labels(dataset.label_set), [
        data[entry.offset_bytes : entry.offset_bytes + entry.num_bytes] for entry in dataset.slices
    ]


def with_sections(data: bytes, labels: bytes, slices: list[bytes]) -> bytes:
    """The file with other sections under the same digest of samples."""
    header = dataclasses.replace(
        rducodec.read(data).header, labels_bytes=len(labels), slice_bytes=tuple(len(part) for part in slices)
    )
    return container.pack_container(pack_header(header), [labels, *slices], data[24:40])
