"""Hard and soft labels: as arrays, and as the bytes of a file."""

from rducodec.labels.hard import MAX_CLASSES, Labels, check_soft_labels, run_lengths
from rducodec.labels.precision import LabelPrecision, soft_labels_of
from rducodec.labels.section import SoftSection, label_digest, pack_labels, unpack_labels
from rducodec.labels.soft import (
    DEFAULT_ERROR,
    MAX_TOTAL,
    SoftLabels,
    error_bound,
    keep_top,
    published_bound_bits,
    quantize_labels,
    softmax,
    total_for,
)

__all__ = [
    "DEFAULT_ERROR",
    "MAX_CLASSES",
    "MAX_TOTAL",
    "LabelPrecision",
    "Labels",
    "SoftLabels",
    "SoftSection",
    "check_soft_labels",
    "error_bound",
    "keep_top",
    "label_digest",
    "pack_labels",
    "published_bound_bits",
    "quantize_labels",
    "run_lengths",
    "soft_labels_of",
    "softmax",
    "total_for",
    "unpack_labels",
]
