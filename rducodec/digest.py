"""Digests of decoded samples (spec, "Digest of the samples")."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from rducodec.bitstream.container import SAMPLE_DIGEST_BYTES

SLICE_CHECK_BYTES = 4


def slice_digest(samples: np.ndarray) -> bytes:
    """SHA-256 of one slice: its samples in C order, little-endian; int32 unless they are floats."""
    dtype = samples.dtype.newbyteorder("<") if samples.dtype.kind == "f" else np.dtype("<i4")
    return hashlib.sha256(np.ascontiguousarray(samples, dtype).data).digest()


def dataset_digest(slice_digests: Sequence[bytes], labels: np.ndarray, label_digest: bytes = b"") -> bytes:
    """First 16 bytes of the SHA-256 of all slice digests, then of all labels as little-endian u16.

    `label_digest` is that of the soft labels, which ends it where there are any.
    """
    whole = hashlib.sha256(b"".join(slice_digests))
    whole.update(np.ascontiguousarray(labels, "<u2").data)
    whole.update(label_digest)
    return whole.digest()[:SAMPLE_DIGEST_BYTES]
