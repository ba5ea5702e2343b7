"""Numbers of the raw profile by a range coder: neighbours, forms, counts (spec, "Coded numbers").

`encode_numbers` tries what a slice may be coded with; `decode_numbers` reads either method.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rducodec.entropy.range_coder import RangeDecoder, RangeEncoder
from rducodec.errors import RddFormatError
from rducodec.pixels.few import (
    FORM_ORDER,
    MAX_LETTERS,
    MAX_TABLE,
    FewSetting,
    Level,
    decode_few,
    decode_few_setting,
    encode_few,
    encode_few_setting,
)
from rducodec.pixels.fitting import Fitted, fit_forms, setting_of
from rducodec.pixels.forms import Form, Setting, checked_forms, form_shapes
from rducodec.pixels.neighbours import ROW_DELAY, batch_size
from rducodec.pixels.wide import decode_setting, decode_wide, encode_setting, encode_wide
from rducodec.weights import decode_tensors, encode_tensors

METHOD_WIDE, METHOD_FEW = 32, 33  # method bytes of a slice section
MAX_NUMBERS = 1 << 28  # of a slice, excluded: counts stay exact in float64
MAX_BATCH = 1 << 20  # numbers of a step and a channel: bounds the memory of a decoder
# A letter has a frequency of at most 2**24 - 2**11, so it costs more than 2**-13 bits.
NUMBERS_PER_BIT = 1 << 13
PAYLOAD_SLACK_BITS = 64
# A number takes about as long as so many multiplications of the synthesis, a batch as long as so many numbers.
WORK_OF_NUMBER, NUMBERS_OF_BATCH = 1 << 12, 1 << 9
REACHES_TRIED = (10, 4)
MANY_NUMBERS = 1 << 12  # from here on, the weights of the larger reach are worth their bytes
# Orders of contexts without forms, by the number of letters; what came best on sets of images of 1 to 5 bits.
ORDERS = {2: (1, 3, 6, 9), 4: (1, 2, 3, 4, 6), 8: (1, 3, 4), MAX_LETTERS: (1, 2)}
WEIGHT_BITS = 3
# Contexts with forms: means in eighths with a factor e of scale; means in units, where counts are few.
SHIFTS_TRIED = ((2, 4), (5, 8))
FORM_LEVELS = (Level(FORM_ORDER, 5),)


def encode_numbers(numbers: np.ndarray, bits: int) -> list[tuple[int, bytes]]:
    """(method, payload) of each way to code numbers (n, channels, height, width) of `bits` bits that is worth trying.

    None for slices that the methods cannot hold.
    """
    if numbers.size >= MAX_NUMBERS or batch_size(numbers.shape) > MAX_BATCH or not numbers.any():
        return []
    if int(numbers.max()) < MAX_LETTERS:
        settings = list(_few_settings(numbers))
        return [
            (METHOD_FEW, few_payload(numbers, setting, fitted))
            for setting, fitted in settings
            if setting.table_size(numbers.shape[1]) <= MAX_TABLE
        ]
    wide = [setting_of(numbers, reach) for reach in _reaches(numbers)]
    return [(METHOD_WIDE, wide_payload(numbers, bits, each, fit_forms(numbers, each))) for each in wide]


def _reaches(numbers: np.ndarray) -> tuple[int, ...]:
    return REACHES_TRIED[:1] if numbers.size >= MANY_NUMBERS else REACHES_TRIED


def wide_payload(numbers: np.ndarray, bits: int, setting: Setting, fitted: Fitted) -> bytes:
    """Numbers of many values with these forms."""
    encoder = RangeEncoder()
    encode_setting(encoder, setting, bits)
    encode_tensors(encoder, fitted.tensors)
    encode_wide(encoder, numbers, setting, fitted.forms)
    return encoder.finish()


def _few_settings(numbers: np.ndarray) -> Iterator[tuple[FewSetting, Fitted]]:
    plain = setting_of(numbers, REACHES_TRIED[0])
    orders = next(orders for letters, orders in ORDERS.items() if plain.top < letters)
    yield FewSetting(plain.top, plain.origin, tuple(Level(order, WEIGHT_BITS) for order in orders)), Fitted([], [])
    if plain.top == 1:
        return  # a mean between two numbers says no more than its context
    for reach in _reaches(numbers):
        setting = setting_of(numbers, reach)
        fitted = fit_forms(numbers, setting)
        for mean_shift, scale_shift in SHIFTS_TRIED:
            yield FewSetting(plain.top, plain.origin, FORM_LEVELS, setting, mean_shift, scale_shift), fitted


def few_payload(numbers: np.ndarray, setting: FewSetting, fitted: Fitted) -> bytes:
    """Numbers of few values with these contexts; `fitted` counts where the setting has forms."""
    encoder = RangeEncoder()
    encode_few_setting(encoder, setting)
    if fitted.tensors:
        encode_tensors(encoder, fitted.tensors)
    encode_few(encoder, numbers, setting, fitted.forms)
    return encoder.finish()


def work_of(shape: tuple[int, ...]) -> int:
    """What decoding a slice of this shape takes, in multiplications that take as long."""
    num_samples, channels, height, width = shape
    numbers = num_samples * channels * height * width
    batches = channels * (width + ROW_DELAY * (height - 1))
    return WORK_OF_NUMBER * (numbers + NUMBERS_OF_BATCH * batches)


def decode_numbers(method: int, payload: bytes | memoryview, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Numbers of a slice of this shape, uint16. Raises RddFormatError."""
    count = int(np.prod(shape, dtype=object))
    if count >= MAX_NUMBERS or count > (8 * len(payload) + PAYLOAD_SLACK_BITS) * NUMBERS_PER_BIT:
        raise RddFormatError(f"coded numbers: {len(payload)} bytes cannot hold {count} numbers")
    if batch_size(shape) > MAX_BATCH:
        raise RddFormatError(f"coded numbers: batches of {batch_size(shape)} numbers, allowed {MAX_BATCH}")
    if not len(payload):
        raise RddFormatError("coded numbers: no payload")
    decoder = RangeDecoder(payload)
    if method == METHOD_WIDE:
        setting = decode_setting(decoder, bits)
        numbers = decode_wide(decoder, shape, setting, _forms(decoder, shape[1], setting.reach))
    else:
        few = decode_few_setting(decoder, shape[1], bits)
        forms = _forms(decoder, shape[1], few.forms.reach) if few.forms else []
        numbers = decode_few(decoder, shape, few, forms)
    decoder.finish()
    return numbers


def _forms(decoder: RangeDecoder, num_channels: int, reach: int) -> list[Form]:
    return checked_forms(decode_tensors(decoder, form_shapes(num_channels, reach)))
