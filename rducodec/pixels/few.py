"""Numbers of few values: rows of frequencies for all of them, learned in contexts (spec, "Few values")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rducodec.entropy.plain_coder import Decoder, Encoder
from rducodec.entropy.symbols import decode_raw_bits, encode_raw_bits
from rducodec.errors import RddFormatError
from rducodec.pixels.counts import Counts, coder_rows, laplace_rows, uniform_row
from rducodec.pixels.forms import SCALE_INDICES, Canvas, Form, Setting, scale_parts
from rducodec.pixels.neighbours import channels_before, geometry, places_of
from rducodec.pixels.wide import REACH_BITS, REACHES, by_position, by_sample, check_setting

LETTER_BITS = 5  # numbers are 0..31 at most
MAX_LETTERS = 1 << LETTER_BITS
LEVEL_BITS, ORDER_BITS, WEIGHT_BITS = 3, 4, 3
MEAN_SHIFT_BITS, SCALE_SHIFT_BITS = 3, 4
MAX_TABLE = 1 << 22  # counts of all contexts, levels and channels
FORM_ORDER = 0  # the order of a level whose contexts are mean and scale, not neighbours
# Rows of `places_of` (0 is the position itself, then W, N, NW, NE, WW, NN, ...) in a channel, before and after the
# ones of the channels before: what matters most comes first.
NEAREST, NEAREST_BEFORE, FURTHER = (1, 2), (1, 2), (4, 3, 5, 6)
LAST_SCALE_INDEX = int(SCALE_INDICES.max())


@dataclass(frozen=True)
class Level:
    """Contexts in which counts are kept."""

    order: int  # so many neighbours, or FORM_ORDER
    weight_bits: int  # what the level below says counts as much as 2**weight_bits numbers


@dataclass(frozen=True)
class FewSetting:
    """What a slice of few values begins with, before the weights of the forms."""

    top: int  # greatest number
    origin: int  # stands for a number where there is none
    levels: tuple[Level, ...]
    forms: Setting | None = None  # None: every number starts with equal frequencies
    mean_shift: int = 0  # contexts of FORM_ORDER: means in units of 2**(mean_shift - 5) ...
    scale_shift: int = 0  # ... and 2**scale_shift scale indices together

    @property
    def num_letters(self) -> int:
        """Different numbers."""
        return self.top + 1

    def scale_bins(self) -> int:
        """Scales that contexts of FORM_ORDER tell apart."""
        return (LAST_SCALE_INDEX >> self.scale_shift) + 1

    def form_contexts(self, mean: np.ndarray, scale_index: np.ndarray) -> np.ndarray:
        """Numbers of contexts of FORM_ORDER, int64 (n,), for means in units of 2**-5."""
        half = (1 << self.mean_shift) >> 1
        return ((mean + half) >> self.mean_shift) * self.scale_bins() + (scale_index >> self.scale_shift)

    def num_contexts(self, channel: int, level: Level) -> int:
        """Contexts of a level."""
        if level.order == FORM_ORDER:
            highest = np.array([self.top << 5])
            return int(self.form_contexts(highest, np.array([LAST_SCALE_INDEX]))[0]) + 1
        return int(self.num_letters ** len(sources(channel)[: level.order]))

    def table_size(self, num_channels: int) -> int:
        """Counts of all contexts."""
        contexts = (self.num_contexts(channel, level) for level in self.levels for channel in range(num_channels))
        return self.num_letters * sum(contexts)


def sources(channel: int) -> list[tuple[int, int]]:
    """(channel, row of `places_of`) of the numbers that make a context, the nearest first."""
    before = [channel - 1 - k for k in range(channels_before(channel))]
    here = [(channel, row) for row in NEAREST]
    previous = [(before[0], row) for row in NEAREST_BEFORE] if before else []
    return [*((each, 0) for each in before), *here, *previous, *((channel, row) for row in FURTHER)]


def encode_few_setting(encoder: Encoder, setting: FewSetting) -> None:
    """Write everything but the weights of forms."""
    fields = [(setting.top, LETTER_BITS), (setting.origin, LETTER_BITS), (len(setting.levels), LEVEL_BITS)]
    for level in setting.levels:
        fields += [(level.order, ORDER_BITS), (level.weight_bits, WEIGHT_BITS)]
    fields.append((int(setting.forms is not None), 1))
    if setting.forms is not None:
        fields += [(setting.forms.spread, LETTER_BITS), (REACHES.index(setting.forms.reach), REACH_BITS)]
        fields += [(setting.mean_shift, MEAN_SHIFT_BITS), (setting.scale_shift, SCALE_SHIFT_BITS)]
    values, widths = (np.array(part, np.int64) for part in zip(*fields, strict=True))
    encode_raw_bits(encoder, values, widths)


def _read(decoder: Decoder, *widths: int) -> list[int]:
    fields: list[int] = decode_raw_bits(decoder, np.array(widths, np.int64)).tolist()
    return fields


def decode_few_setting(decoder: Decoder, num_channels: int, bits: int) -> FewSetting:
    """Read what `encode_few_setting` wrote. RddFormatError for a field out of range or tables that are too large."""
    top, origin, num_levels = _read(decoder, LETTER_BITS, LETTER_BITS, LEVEL_BITS)
    if top >> bits:
        raise RddFormatError(f"coded numbers: a greatest number of {top} in {bits} bits")
    levels = tuple(Level(*_read(decoder, ORDER_BITS, WEIGHT_BITS)) for _ in range(num_levels))
    if _read(decoder, 1)[0]:
        spread, reach, mean_shift, scale_shift = _read(
            decoder, LETTER_BITS, REACH_BITS, MEAN_SHIFT_BITS, SCALE_SHIFT_BITS
        )
        check_setting(top, origin, spread)
        if reach >= len(REACHES):
            raise RddFormatError(f"coded numbers: reach {reach}, allowed 0..{len(REACHES) - 1}")
        setting = FewSetting(top, origin, levels, Setting(top, origin, spread, REACHES[reach]), mean_shift, scale_shift)
    else:
        check_setting(top, origin, 0)
        setting = FewSetting(top, origin, levels)
        if any(level.order == FORM_ORDER for level in levels):
            raise RddFormatError("coded numbers: contexts of forms without forms")
    size = setting.table_size(num_channels)
    if size > MAX_TABLE:
        raise RddFormatError(f"coded numbers: {size} counts, allowed {MAX_TABLE}")
    return setting


class _Model:
    """Rows of the numbers of each step, and what is learned from them."""

    def __init__(self, shape: tuple[int, ...], setting: FewSetting, forms: Sequence[Form]) -> None:
        num_samples, channels, height, width = shape
        self._setting, self._forms = setting, forms
        self.plan = geometry(height, width)
        stand_in = setting.forms or Setting(setting.top, setting.origin, 0, REACHES[-1])
        self.canvas = Canvas((channels, height, width), num_samples, stand_in)
        self._counts = [
            [Counts(setting.num_contexts(c, level), setting.num_letters, level.weight_bits) for level in setting.levels]
            for c in range(channels)
        ]
        self._sources = [sources(channel) for channel in range(channels)]

    def _contexts(self, channel: int, places: np.ndarray, order: int, num_numbers: int) -> np.ndarray:
        number = np.zeros(num_numbers, np.int64)
        for each, row in self._sources[channel][:order]:
            number = number * self._setting.num_letters + self.canvas.values[each, places[row]].reshape(-1).astype(int)
        return number

    def code(self, channel: int, positions: np.ndarray, exchange: Callable[[np.ndarray], np.ndarray]) -> None:
        """Rows to `exchange`, which gives the letters; and learn from them."""
        setting, places = self._setting, places_of(self.plan, positions)
        count = len(positions) * self.canvas.values.shape[2]
        if setting.forms is None:
            mean = np.zeros(count)
            rows = np.broadcast_to(uniform_row(setting.num_letters), (count, setting.num_letters))
        else:
            mean, scale = self.canvas.predict(channel, places, self._forms[channel])
            index = SCALE_INDICES[scale_parts(scale)]
            rows = laplace_rows(mean.astype(np.int64), index, setting.num_letters)
        contexts = [
            self._contexts(channel, places, level.order, count)
            if level.order != FORM_ORDER
            else setting.form_contexts(mean.astype(np.int64), index)
            for level in setting.levels
        ]
        for counts, numbers in zip(self._counts[channel], contexts, strict=True):
            rows = counts.refine(rows, numbers)
        letters = exchange(coder_rows(rows))
        for counts, numbers in zip(self._counts[channel], contexts, strict=True):
            counts.update(numbers, letters)
        self.canvas.write(channel, positions, letters, mean)


def encode_few(encoder: Encoder, numbers: np.ndarray, setting: FewSetting, forms: Sequence[Form]) -> None:
    """Write numbers (n, channels, height, width), after setting and forms."""
    model, known = _Model(numbers.shape, setting, forms), by_position(numbers).astype(np.int32)
    for positions in model.plan.steps:
        for channel in range(numbers.shape[1]):
            letters = known[channel, positions].reshape(-1)

            def write(rows: np.ndarray, letters: np.ndarray = letters) -> np.ndarray:
                encoder.encode(letters, rows)
                return letters

            model.code(channel, positions, write)


def decode_few(decoder: Decoder, shape: tuple[int, ...], setting: FewSetting, forms: Sequence[Form]) -> np.ndarray:
    """Read what `encode_few` wrote, uint16."""
    model = _Model(shape, setting, forms)
    for positions in model.plan.steps:
        for channel in range(shape[1]):
            model.code(channel, positions, decoder.decode)
    return by_sample(model.canvas.values[:, :-1], shape)
