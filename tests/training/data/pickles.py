"""Pickles as cPickle of Python 2 wrote those of CIFAR (protocol 2), put together byte by byte."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np


class Python2Pickle:
    """Writes dicts of text, lists, integers and byte arrays with the instructions of Python 2."""

    def __init__(self) -> None:
        self.memo = 0

    def dumps(self, value: Any) -> bytes:
        return b"\x80\x02" + self.write(value) + b"."

    def put(self) -> bytes:
        self.memo += 1
        return b"q" + bytes([self.memo]) if self.memo < 256 else b"r" + struct.pack("<I", self.memo)

    def text(self, data: bytes) -> bytes:
        return (b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))) + data

    def write(self, value: Any) -> bytes:
        if isinstance(value, dict):
            start = b"}" + self.put() + b"("
            return start + b"".join(self.write(key) + self.write(item) for key, item in value.items()) + b"u"
        if isinstance(value, list):
            return b"]" + self.put() + b"(" + b"".join(map(self.write, value)) + b"e"
        if isinstance(value, str):
            return self.text(value.encode()) + self.put()
        if isinstance(value, int):
            return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
        return self.array(value)

    def array(self, values: np.ndarray, *, sizes: tuple[int, ...] | None = None, code: bytes = b"u1") -> bytes:
        empty = b"cnumpy.core.multiarray\n_reconstruct\n" + self.put() + b"cnumpy\nndarray\n" + self.put()
        empty += b"K\0\x85U\x01b\x87R" + self.put()
        shape = b"(" + b"".join(map(self.write, sizes or values.shape)) + b"t"
        dtype = b"cnumpy\ndtype\n" + self.put() + self.text(code) + b"K\0K\x01\x87R" + self.put()
        dtype += b"(K\x03U\x01|NNNJ" + struct.pack("<i", -1) + b"J" + struct.pack("<i", -1) + b"K\0tb"
        return empty + b"(K\x01" + shape + dtype + b"\x89" + self.text(values.tobytes()) + b"tb"
