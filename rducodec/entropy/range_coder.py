"""The range coder (spec, "Range coder"): rows of frequencies and symbols to 32-bit words and back.

The only module that knows constriction. Where that cannot be installed, `rducodec.entropy.plain_coder` takes
its place: same bytes, same interface.
"""

from __future__ import annotations

import numpy as np

from rducodec.errors import RddFormatError

try:
    import constriction
except ImportError:  # no wheel for this platform
    from rducodec.entropy.plain_coder import PlainDecoder as RangeDecoder
    from rducodec.entropy.plain_coder import PlainEncoder as RangeEncoder
else:
    from rducodec.entropy.plain_coder import Decoder, Encoder, payload_bytes, payload_words

    _FAMILY = constriction.stream.model.Categorical(perfect=False)

    class RangeEncoder(Encoder):  # type: ignore[no-redef]
        """Writes symbols; `rows` are float32 frequencies - 1, one row a symbol."""

        def __init__(self) -> None:
            self._coder = constriction.stream.queue.RangeEncoder()

        def encode(self, symbols: np.ndarray, rows: np.ndarray) -> None:
            if len(symbols):
                self._coder.encode(np.ascontiguousarray(symbols, np.int32), _FAMILY, rows)

        def finish(self) -> bytes:
            return payload_bytes(self._coder.get_compressed())

    class RangeDecoder(Decoder):  # type: ignore[no-redef]
        """Reads symbols from the bytes of a `RangeEncoder`."""

        def __init__(self, payload: bytes | memoryview) -> None:
            self._coder = constriction.stream.queue.RangeDecoder(payload_words(payload))

        def decode(self, rows: np.ndarray) -> np.ndarray:
            if not len(rows):
                return np.empty(0, np.int32)
            try:
                return self._coder.decode(_FAMILY, rows)
            except AssertionError as error:
                raise RddFormatError("range coder: the payload is not a sequence of symbols") from error

        def finish(self) -> None:
            if not self._coder.maybe_exhausted():
                raise RddFormatError("range coder: payload does not end with its last symbol")


__all__ = ["RangeDecoder", "RangeEncoder"]
