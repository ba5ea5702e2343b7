"""How finely soft labels are kept: by an error, or by a number of bits (no part of the specification)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rducodec.bitstream.varint import pack_varint
from rducodec.errors import RddInputError
from rducodec.labels.coding import encode_soft_labels
from rducodec.labels.section import LABEL_CHECK_BYTES
from rducodec.labels.soft import DEFAULT_ERROR, MAX_TOTAL, SoftLabels, keep_top, quantize_labels, total_for

SEARCH_STEP = 64  # a total is found to one part in so many


@dataclass(frozen=True)
class LabelPrecision:
    """What of soft labels is kept.

    `error`: the most by which a probability may change, above 0. `bits`, if stated, takes its place: the finest
    labels that take at most so many bits each. `top`, if stated: only so many largest probabilities of a label, scaled
    to the sum 1; then the error is that to these.
    """

    error: float = DEFAULT_ERROR
    bits: float | None = None
    top: int | None = None


def label_bits(soft: SoftLabels, sizes: np.ndarray) -> float:
    """Bits a label, with all that a file stores because of them; rows in the order of the file."""
    num_bytes = len(encode_soft_labels(soft, sizes)) + len(pack_varint(soft.total)) + LABEL_CHECK_BYTES
    return 8 * num_bytes / len(soft.counts)


def soft_labels_of(probabilities: np.ndarray, sizes: np.ndarray, precision: LabelPrecision) -> SoftLabels:
    """Probabilities (samples, classes) in the order of the file as integers; `sizes` has the samples of each class.

    Raises RddInputError for a precision that cannot be reached.
    """
    if precision.top is not None:
        if precision.top < 1:
            raise RddInputError(f"label top: {precision.top}, expected at least 1")
        probabilities = keep_top(probabilities, precision.top)
    if precision.bits is not None:
        return _finest(probabilities, sizes, precision.bits)
    try:
        return quantize_labels(probabilities, total_for(precision.error, probabilities.shape[1]))
    except ValueError as error:
        raise RddInputError(str(error)) from error


def _finest(probabilities: np.ndarray, sizes: np.ndarray, bits: float) -> SoftLabels:
    """The labels of the largest total, to one part in `SEARCH_STEP`, that take at most `bits` each."""
    best = quantize_labels(probabilities, 1)
    least = label_bits(best, sizes)
    if not least <= bits:
        raise RddInputError(f"label bits: {bits:g}, at least {least:.3g} are needed")
    beyond = MAX_TOTAL + 1
    while beyond - best.total > max(1, best.total // SEARCH_STEP):
        middle = (best.total + beyond) // 2 if beyond <= MAX_TOTAL else min(2 * best.total, MAX_TOTAL)
        candidate = quantize_labels(probabilities, middle)
        if label_bits(candidate, sizes) <= bits:
            best = candidate
            if middle == MAX_TOTAL:
                break
        else:
            beyond = middle
    return best
