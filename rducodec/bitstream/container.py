"""The outermost layer: a fixed prefix, the header, and sections that tile the file (spec, "Container")."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from rducodec.bitstream import zstd
from rducodec.bitstream.limits import Limits
from rducodec.errors import RddChecksumError, RddFormatError, RddTruncatedError, RddVersionError

MAGIC = b"\x89RDD\r\n\x1a\n"
MAJOR, MINOR = 0, 1
FLAG_HEADER_ZSTD = 1  # the header is stored as a Zstandard frame, after its size as u32
SAMPLE_DIGEST_BYTES = 16
FILE_CHECK_BYTES = 8
# magic, major, minor, flags, reserved, header bytes, file bytes, sample digest, file check
_PREFIX = struct.Struct(f"<8sBBBBIQ{SAMPLE_DIGEST_BYTES}s{FILE_CHECK_BYTES}s")
PREFIX_BYTES = _PREFIX.size
_CHECK_OFFSET = PREFIX_BYTES - FILE_CHECK_BYTES

# What a file that is not ours looks like: its first bytes, and what to say.
_LOOKALIKES = (
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file; unpack it first"),
    (b"version https://git-lfs", "a git-LFS pointer; fetch the real file"),
    (b"<", "an HTML or XML page; the download went wrong"),
    (b"PK\x03\x04", "a zip archive (.pt and .npz are zip archives)"),
    (b"\x89PNG", "a PNG image"),
    (MAGIC[:4] + b"\n", "an .rdd file damaged by a text-mode transfer"),
    (MAGIC[1:4], "an .rdd file damaged by a 7-bit transfer"),
    (MAGIC[:4], "an .rdd file with damaged first bytes"),
)


@dataclass(frozen=True)
class Container:
    """A file whose stored bytes are known to be intact."""

    header: bytes  # plain, after decompression
    header_is_compressed: bool
    body: memoryview  # all sections after the header
    body_offset: int
    sample_digest: bytes
    num_bytes: int
    file_check: bytes  # digest of the stored bytes


def _file_check(data: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(data[:_CHECK_OFFSET])
    digest.update(data[PREFIX_BYTES:])
    return digest.digest()[:FILE_CHECK_BYTES]


def pack_container(header: bytes, sections: list[bytes], sample_digest: bytes) -> bytes:
    """The file: prefix, header (compressed where that is smaller), sections."""
    compressed = struct.pack("<I", len(header)) + zstd.compress(header)
    flags = FLAG_HEADER_ZSTD if len(compressed) < len(header) else 0
    stored = compressed if flags else header
    body = b"".join([stored, *sections])

    def prefix(check: bytes) -> bytes:
        size = PREFIX_BYTES + len(body)
        return _PREFIX.pack(MAGIC, MAJOR, MINOR, flags, 0, len(stored), size, sample_digest, check)

    draft = prefix(bytes(FILE_CHECK_BYTES)) + body
    return prefix(_file_check(draft)) + body


def _refuse_magic(data: memoryview) -> None:
    for start, description in _LOOKALIKES:
        if bytes(data[: len(start)]) == start:
            raise RddFormatError(f"not an .rdd file: looks like {description}")
    raise RddFormatError(f"not an .rdd file: it begins with {bytes(data[:8]).hex(' ') or 'nothing'}")


def unpack_container(data: bytes | memoryview, limits: Limits) -> Container:
    """Check a file from outside in: magic, version, length, digest of the stored bytes.

    Raises RddFormatError and its children, RddVersionError, RddLimitError.
    """
    data = memoryview(data).cast("B")
    if bytes(data[: len(MAGIC)]) != MAGIC:
        if len(data) < len(MAGIC) and MAGIC.startswith(bytes(data)):
            raise RddTruncatedError(f"prefix: the file has {len(data)} bytes, at least {PREFIX_BYTES} expected")
        _refuse_magic(data)
    if len(data) > len(MAGIC) and data[8] != MAJOR:
        raise RddVersionError(f"prefix at byte 8: format version {data[8]}, this reader knows {MAJOR}.{MINOR}")
    if len(data) < PREFIX_BYTES:
        raise RddTruncatedError(f"prefix: the file has {len(data)} bytes, at least {PREFIX_BYTES} expected")
    _, _, minor, flags, reserved, header_bytes, file_bytes, sample_digest, check = _PREFIX.unpack(data[:PREFIX_BYTES])
    if minor != MINOR:
        raise RddVersionError(f"prefix at byte 9: format version 0.{minor}, this reader knows {MAJOR}.{MINOR}")
    if len(data) < file_bytes:
        raise RddTruncatedError(f"prefix at byte 16: {file_bytes} bytes declared, the file has {len(data)}")
    if len(data) > file_bytes:
        raise RddFormatError(f"prefix at byte 16: {file_bytes} bytes declared, {len(data) - file_bytes} more follow")
    if _file_check(data) != check:
        raise RddChecksumError("prefix at byte 40: the stored bytes do not have the digest that was written")
    if flags & ~FLAG_HEADER_ZSTD or reserved:
        raise RddVersionError(f"prefix at byte 10: unknown flags {flags:#04x}, {reserved:#04x}: a newer feature")
    if header_bytes > file_bytes - PREFIX_BYTES:
        raise RddFormatError(f"prefix at byte 12: header of {header_bytes} bytes in a file of {file_bytes}")
    body_offset = PREFIX_BYTES + header_bytes
    header = _unpack_header_bytes(bytes(data[PREFIX_BYTES:body_offset]), bool(flags), limits)
    return Container(header, bool(flags), data[body_offset:], body_offset, sample_digest, file_bytes, check)


def _unpack_header_bytes(stored: bytes, compressed: bool, limits: Limits) -> bytes:
    if not compressed:
        limits.check("max_header_bytes", len(stored))
        return stored
    if len(stored) < 4:
        raise RddFormatError(f"header at byte {PREFIX_BYTES}: {len(stored)} bytes, too short for a compressed header")
    (size,) = struct.unpack("<I", stored[:4])
    limits.check("max_header_bytes", size)
    return zstd.decompress(stored[4:], size, "header")
