"""Unsigned integers of variable length, seven bits a byte (spec, "Variable-length integers")."""

from __future__ import annotations

from rducodec.errors import RddFormatError

MAX_BYTES = 9  # values below 2**63


def pack_varint(value: int) -> bytes:
    """Little-endian groups of seven bits; every byte but the last has its top bit set."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def unpack_varint(data: bytes | memoryview, offset: int, where: str) -> tuple[int, int]:
    """(value, offset after it). RddFormatError if it is cut off, too long, or not in its shortest form."""
    value = 0
    for index in range(MAX_BYTES):
        if offset + index >= len(data):
            raise RddFormatError(f"{where} at byte {offset}: variable-length integer is cut off")
        byte = data[offset + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index:
                raise RddFormatError(f"{where} at byte {offset}: variable-length integer is longer than needed")
            return value, offset + index + 1
    raise RddFormatError(f"{where} at byte {offset}: variable-length integer is longer than {MAX_BYTES} bytes")
