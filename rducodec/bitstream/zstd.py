"""Zstandard frames of known size, nothing else (spec, "Zstandard frames"). The only module that knows zstandard."""

from __future__ import annotations

import zstandard

from rducodec.errors import RddFormatError

LEVEL = 19
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"


def compress(data: bytes) -> bytes:
    """One frame that states its content size, without checksum or dictionary."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=False, write_content_size=True).compress(data)


def decompress(frame: bytes | memoryview, size: int, where: str) -> bytes:
    """The content of a single frame, which must be exactly `size` bytes; the caller has checked `size`.

    Raises RddFormatError, naming `where`, for anything else than one frame of that declared size: unknown size,
    a dictionary, a skippable frame, bytes after it, damage.
    """
    frame = bytes(frame)
    if frame[: len(FRAME_MAGIC)] != FRAME_MAGIC:
        raise RddFormatError(f"{where}: not a Zstandard frame")
    try:
        parameters = zstandard.get_frame_parameters(frame)
        if parameters.dict_id:
            raise RddFormatError(f"{where}: Zstandard frame needs a dictionary")
        if parameters.content_size != size:
            raise RddFormatError(f"{where}: Zstandard frame declares {parameters.content_size} bytes, expected {size}")
        # With the size stated in the frame, exactly that much is allocated and no more is ever produced.
        content = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise RddFormatError(f"{where}: damaged Zstandard frame") from error
    if len(content) != size:
        raise RddFormatError(f"{where}: Zstandard frame holds {len(content)} bytes, expected {size}")
    return content
