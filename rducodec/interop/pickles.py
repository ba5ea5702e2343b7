"""Torch files (.pt) without torch: a small pickle machine that builds tensors and containers, and runs nothing.

A pickle is a program. This machine knows the instructions that torch writes, and of the names that a pickle can ask for
only those of the lists below; everything else is refused by its name before anything is built. No name is imported or
called: tensors and containers are made by functions of this module, and objects of known libraries (modules,
optimisers) become inert stubs that keep their state. What a pickle makes is bounded: its own size, the arguments of a
call, the length of names and of encoded text, and the bytes of all tensors that are read, in shares of the file.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rducodec.errors import RddInputError
from rducodec.files import translated_errors

MAX_PICKLE_BYTES = 1 << 25  # a pool of a thousand slices with its optimisers takes a quarter of it
MAX_ARGUMENTS = 16  # of a call
MAX_NAME = 200  # characters of a module or class
MAX_SHOWN = 80  # characters of a name in a message
MAX_READ_SHARE = 4  # bytes of all tensors together that are read, in sizes of the file
MAX_DIRECTORY_BYTES = 1 << 27  # of the archive's table of contents
MAX_DIMENSIONS = 8
MAX_TENSOR_BITS = 40  # of the product of all sizes that are not 0
INT64_BITS = 63
TORCH_SUFFIXES = (".pt", ".pth")
BFLOAT16 = "bfloat16"
_STORAGE_TYPES = {
    **{f"{name}Storage": code for name, code in (("Float", "f4"), ("Double", "f8"), ("Half", "f2"))},
    **{f"{name}Storage": code for name, code in (("Long", "i8"), ("Int", "i4"), ("Short", "i2"), ("Char", "i1"))},
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "BFloat16Storage": BFLOAT16,
}
# Objects of these modules are kept as stubs: published checkpoints drag in modules, optimisers, schedules and hooks.
_STUB_MODULES = ("core", "ts", "torch.optim", "torch.nn", "torch.utils.hooks", "torch.amp", "torch.cuda.amp", "numpy")
_STUB_NAMES = frozenset(
    (
        *((module, name) for module in ("__builtin__", "builtins") for name in ("set", "frozenset", "complex")),
        *(("torch", f"{kind}{bits}") for kind in ("float", "int") for bits in (16, 32, 64)),
        *(("torch", name) for name in ("device", "bfloat16", "uint8", "int8", "bool", "Generator", "Tensor")),
        *(("torch._C", "Generator"), ("collections", "Counter"), ("collections", "deque")),
    )
)
_LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # torch before 1.6: not an archive
_END_RECORD = b"PK\x05\x06"
_END_BYTES = 22
_LARGE_END_RECORD = b"PK\x06\x06"
_LARGE_END_BYTES = 56 + 20  # with the locator behind it
_MAX_COMMENT = 0xFFFF
_LOCAL_BYTES = 30  # fixed part of an entry's header in front of its data
_LOCAL_MAGIC = b"PK\x03\x04"


@dataclass(eq=False, slots=True)
class Stub:
    """An object of a known library: what it is called and the state that it was given; it does nothing."""

    name: str
    state: Any = field(default=None, repr=False)  # may be deeply nested


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that is still in the file; `array` reads it while the file is open."""

    storage: _Storage
    offset: int  # in values
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in values

    def array(self) -> np.ndarray:
        """The values, contiguous, in the byte order of this machine; bfloat16 becomes float32."""
        flat = self.storage.read(math.prod(self.shape))
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.shape, [stride * flat.itemsize for stride in self.strides], writeable=False
        )
        return np.array(view, order="C")


@dataclass(frozen=True)
class _Storage:
    """Values of one type that an archive holds as one entry."""

    archive: _Archive
    entry: zipfile.ZipInfo
    dtype: str
    num_values: int

    def read(self, count: int) -> np.ndarray:
        """All values, of which a tensor takes `count`."""
        item_bytes = _item_bytes(self.dtype)
        data = self.archive.read_storage(self.entry, count * item_bytes)
        order = ">" if self.archive.big_endian else "<"
        if self.dtype == BFLOAT16:  # the upper half of a float32
            return (np.frombuffer(data, f"{order}u2").astype(np.uint32) << 16).view(np.float32)
        values = np.frombuffer(data, order + self.dtype)
        return values.astype(values.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class _StorageType:
    dtype: str


@dataclass(frozen=True)
class PickledFunction:
    """What a name of the lists stands for: a function of the reader's own from the arguments of a call."""

    name: str
    call: Callable[..., Any]


# --- the archive ------------------------------------------------------------------------------------------------------


class _Archive:
    """The zip file around the pickle: stored entries that do not overlap, each read by itself."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._cached: tuple[str, bytes] = ("", b"")
        _check_directory(stream)
        self._budget = MAX_READ_SHARE * stream.seek(0, io.SEEK_END)
        try:
            with zipfile.ZipFile(stream) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OverflowError) as error:
            raise RddInputError(f"damaged archive: {error}") from error
        self.entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            if len(entry.filename) > MAX_NAME:
                raise RddInputError(f"archive: an entry with a name of {len(entry.filename)} characters")
            if entry.filename in self.entries:
                raise RddInputError(f"archive: two entries {entry.filename!r}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise RddInputError(f"archive: entry {entry.filename!r} is compressed; torch stores its entries")
            if entry.flag_bits & 1:
                raise RddInputError(f"archive: entry {entry.filename!r} is encrypted")
            self.entries[entry.filename] = entry
        pickles = [name for name in self.entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise RddInputError(f"not a torch file: {len(pickles)} entries FOLDER/data.pkl in the archive, 1 expected")
        self.prefix = pickles[0].removesuffix("data.pkl")
        self._begins = self._data_ranges(entries)
        self.big_endian = self._is_big_endian()

    def _data_ranges(self, entries: list[zipfile.ZipInfo]) -> dict[str, int]:
        """First byte of each entry's data. RddInputError where two entries share a byte."""
        begins, end = {}, 0
        file_bytes = self._stream.seek(0, io.SEEK_END)
        for entry in sorted(entries, key=lambda each: each.header_offset):
            if entry.header_offset < end:
                raise RddInputError(f"archive: entry {entry.filename!r} overlaps another one")
            if entry.header_offset >= file_bytes:
                raise RddInputError(f"archive: entry {entry.filename!r} begins beyond the file")
            self._stream.seek(entry.header_offset)
            header = self._stream.read(_LOCAL_BYTES)
            if len(header) < _LOCAL_BYTES or not header.startswith(_LOCAL_MAGIC):
                raise RddInputError(f"archive: no header of entry {entry.filename!r} where one should be")
            begin = entry.header_offset + _LOCAL_BYTES + sum(struct.unpack("<2H", header[26:]))
            end = begin + entry.file_size
            if end > file_bytes:
                raise RddInputError(f"archive: entry {entry.filename!r} ends beyond the file")
            begins[entry.filename] = begin
        return begins

    def _is_big_endian(self) -> bool:
        entry = self.entries.get(self.prefix + "byteorder")
        if entry is None:  # torch before 2.1
            return False
        if entry.file_size not in (3, 6) or (order := self.read(entry)) not in (b"little", b"big"):
            raise RddInputError("archive: byte order neither little nor big")
        return order == b"big"

    def read(self, entry: zipfile.ZipInfo) -> bytes:
        """The bytes of an entry. RddInputError where they are not those that were written."""
        self._stream.seek(self._begins[entry.filename])
        data = self._stream.read(entry.file_size)
        if len(data) != entry.file_size:
            raise RddInputError(f"archive: entry {entry.filename!r} is cut short")
        if zipfile.crc32(data) != entry.CRC:  # type: ignore[attr-defined]
            raise RddInputError(f"archive: entry {entry.filename!r} is damaged (its checksum differs)")
        return data

    def read_storage(self, entry: zipfile.ZipInfo, num_bytes: int) -> bytes:
        """The bytes of a storage, for a tensor that takes `num_bytes` of them; several tensors may share one."""
        self._budget -= num_bytes
        if self._budget < 0:
            raise RddInputError(f"tensors of more than {MAX_READ_SHARE} times the size of the file")
        if self._cached[0] != entry.filename:
            self._cached = (entry.filename, self.read(entry))
        return self._cached[1]

    def storage(self, key: str, dtype: str, num_values: int) -> _Storage:
        """A storage, checked against the size of its entry."""
        name = f"{self.prefix}data/{key}"
        entry = self.entries.get(name)
        if entry is None:
            raise RddInputError(f"pickle: storage {key!r} is not in the archive")
        num_bytes = num_values * _item_bytes(dtype)
        if num_bytes != entry.file_size:
            raise RddInputError(
                f"pickle: storage {key!r} of {num_values} values, {num_bytes} bytes; "
                f"the archive holds {entry.file_size}"
            )
        return _Storage(self, entry, dtype, num_values)


def _item_bytes(dtype: str) -> int:
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def _check_directory(stream: BinaryIO) -> None:
    """The table of contents is of bounded size, before it is read."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    start = stream.read(len(_LEGACY_MAGIC))
    if start == _LEGACY_MAGIC:
        raise RddInputError("a torch file of the format before torch 1.6; load it there and save it again")
    if not start.startswith(_LOCAL_MAGIC):
        raise RddInputError("not a torch file (no zip archive)")
    stream.seek(max(0, size - _END_BYTES - _MAX_COMMENT - _LARGE_END_BYTES))
    tail = stream.read()
    place = tail.rfind(_END_RECORD)
    if place < 0 or len(tail) - place < _END_BYTES:
        raise RddInputError("damaged archive: it has no end, the file may be cut short")
    (directory_bytes,) = struct.unpack_from("<L", tail, place + 12)
    if directory_bytes == 0xFFFFFFFF:  # the number is in the record for large files, in front of its locator
        record = tail.rfind(_LARGE_END_RECORD, 0, place)
        if record < 0 or place - record < _LARGE_END_BYTES:
            raise RddInputError("damaged archive: the end of a large file is incomplete")
        (directory_bytes,) = struct.unpack_from("<Q", tail, record + 40)
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise RddInputError(f"archive: a table of contents of {directory_bytes} bytes, allowed {MAX_DIRECTORY_BYTES}")


# --- what a pickle may call -------------------------------------------------------------------------------------------


def _check_integer(value: Any, what: str) -> int:
    if type(value) is not int or value < 0 or value >> INT64_BITS:
        raise RddInputError(f"pickle: {what} is {told(value)}, a size expected")
    return value


def told(value: Any) -> str:
    """A value for a message: short, and never the inside of an object."""
    if value is None or type(value) in (bool, float):
        return str(value)
    if type(value) is int:
        return str(value) if value.bit_length() <= INT64_BITS else "a huge integer"
    if type(value) is str:
        return repr(value[:40])
    if isinstance(value, (Stub, PickledFunction)):
        return f"a {value.name[:MAX_SHOWN]}"
    return "a tensor" if isinstance(value, StoredTensor) else f"a {type(value).__name__}"


def _sizes(values: Any, what: str) -> tuple[int, ...]:
    if type(values) is not tuple or len(values) > MAX_DIMENSIONS:
        raise RddInputError(f"pickle: {what} of a tensor is no tuple of at most {MAX_DIMENSIONS} sizes")
    return tuple(_check_integer(value, f"{what} of a tensor") for value in values)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, _Storage):
        raise RddInputError(f"pickle: a tensor of {told(storage)}, a storage expected")
    shape, strides = _sizes(size, "shape"), _sizes(stride, "strides")
    offset = _check_integer(offset, "offset of a tensor")
    if len(shape) != len(strides):
        raise RddInputError(f"pickle: a tensor with {len(shape)} sizes and {len(strides)} strides")
    num_values = math.prod(shape)
    strides = tuple(step if length > 1 and num_values else 0 for length, step in zip(shape, strides, strict=True))
    last = offset + sum((length - 1) * step for length, step in zip(shape, strides, strict=True)) if num_values else 0
    too_large = math.prod(max(length, 1) for length in shape) >> MAX_TENSOR_BITS
    if (
        too_large
        or num_values > storage.num_values
        or offset > storage.num_values
        or last >= max(1, storage.num_values)
    ):
        raise RddInputError(
            f"pickle: a tensor of shape {shape}, strides {strides} and offset {offset} does not fit its storage "
            f"of {storage.num_values} values"
        )
    return StoredTensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise RddInputError(f"pickle: a parameter of {told(data)}, a tensor expected")
    return data


def _typed(function: Any, _: Any, arguments: Any, __: Any) -> Any:
    """A tensor with attributes of its own, which do not matter."""
    if (
        not isinstance(function, PickledFunction)
        or function.call not in (_tensor, _parameter)
        or type(arguments) is not tuple
    ):
        raise RddInputError(f"pickle: a tensor made by {told(function)}")
    return function.call(*arguments[:MAX_ARGUMENTS])


def _encoded(text: Any, encoding: Any = "utf-8") -> bytes:
    """How protocol 2 writes bytes; long ones would only be there to be made again and again."""
    if type(text) is not str or encoding not in ("latin1", "utf-8") or len(text) > MAX_NAME:
        raise RddInputError(f"pickle: bytes of {told(text)} as {told(encoding)}")
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise RddInputError(f"pickle: {error}") from error


def _empty(kind: type) -> Callable[..., Any]:
    """A container without members; what torch and its optimisers put in comes later."""

    def make(*arguments: Any) -> Any:
        if arguments and not (kind is dict and all(isinstance(each, PickledFunction) for each in arguments)):
            raise RddInputError(f"pickle: a {kind.__name__} made of {told(arguments[0])}, none expected")
        return kind()

    return make


def _shape(values: Any = ()) -> tuple[Any, ...]:
    return _sizes(values, "shape")


_BUILTINS = ("__builtin__", "builtins")
_CALLABLES: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _typed,
    ("torch", "Size"): _shape,
    ("_codecs", "encode"): _encoded,
    ("collections", "OrderedDict"): _empty(dict),
    ("collections", "defaultdict"): _empty(dict),
    **{(module, "dict"): _empty(dict) for module in _BUILTINS},
    **{(module, "list"): _empty(list) for module in _BUILTINS},
}


def _find(module: Any, name: Any) -> PickledFunction | _StorageType:
    """What a name of a pickle stands for. RddInputError, with the name, for one that is on no list."""
    if type(module) is not str or type(name) is not str or len(module) > MAX_NAME or len(name) > MAX_NAME:
        raise RddInputError(f"pickle: the name {told(module)}.{told(name)}")
    full = f"{module}.{name}"
    if (module, name) in _CALLABLES:
        return PickledFunction(full, _CALLABLES[module, name])
    if module == "torch" and name in _STORAGE_TYPES:
        return _StorageType(_STORAGE_TYPES[name])
    known = (module, name) in _STUB_NAMES or any(f"{module}.".startswith(f"{each}.") for each in _STUB_MODULES)
    if known and name.isidentifier():
        return PickledFunction(full, lambda *_: Stub(full))
    raise RddInputError(f"pickle: it asks for {full[:MAX_SHOWN]!r}, which is not allowed; nothing was run")


# --- the machine ------------------------------------------------------------------------------------------------------

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: Stub("set"),  # modules keep sets of names; nobody needs them
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class PickleMachine:
    """Runs the instructions of one pickle; `stack` holds what is being built, `marks` the stacks around it.

    A subclass adds instructions as methods `_op_NAME`. Besides RddInputError, `run` raises ValueError, struct.error
    and OverflowError for damaged pickles.
    """

    find: Callable[[Any, Any], Any]  # what a module and a name stand for, or RddInputError
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, data: bytes) -> Any:
        """The object that the pickle describes."""
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                if self.marks or len(self.stack) != 1:
                    raise RddInputError("pickle: it ends with something unfinished")
                return self.stack[0]
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                self.stack.append(_EMPTY[name]())
            elif name in _TUPLES:
                self.stack.append(tuple(self._pop(_TUPLES[name])))
            else:
                step = getattr(self, f"_op_{name.lower()}", None)
                if step is None:
                    raise RddInputError(f"pickle: the instruction {name} is not allowed; nothing was run")
                step(argument)
        raise RddInputError("pickle: it does not end")

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise RddInputError("pickle: it takes more than it has built")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _pop_mark(self) -> list[Any]:
        if not self.marks:
            raise RddInputError("pickle: a group ends that did not begin")
        taken, self.stack = self.stack, self.marks.pop()
        return taken

    def _top(self, kind: type, what: str) -> Any:
        if self.stack and isinstance(self.stack[-1], Stub):
            return kind()  # members of an inert object go nowhere
        if not self.stack or type(self.stack[-1]) is not kind:
            raise RddInputError(f"pickle: {what} to {told(self.stack[-1]) if self.stack else 'nothing'}")
        return self.stack[-1]

    def _op_proto(self, version: int) -> None:
        if version > 5:
            raise RddInputError(f"pickle: protocol {version}, at most 5 expected")

    def _op_frame(self, _: int) -> None:
        pass

    def _op_mark(self, _: None) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _op_pop(self, _: None) -> None:
        self._pop(1)

    def _op_tuple(self, _: None) -> None:
        items = self._pop_mark()
        self.stack.append(tuple(items))

    def _op_append(self, _: None) -> None:
        (item,) = self._pop(1)
        self._top(list, "an item").append(item)

    def _op_appends(self, _: None) -> None:
        items = self._pop_mark()
        self._top(list, "items").extend(items)

    def _op_additems(self, _: None) -> None:
        self._pop_mark()
        self._top(set, "members")

    def _op_setitem(self, _: None) -> None:
        self._set_items(self._pop(2))

    def _op_setitems(self, _: None) -> None:
        self._set_items(self._pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict, "members")
        if len(items) % 2:
            raise RddInputError("pickle: a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            plain = key is None or type(key) in (str, bool, bytes, Stub, StoredTensor)
            if not plain and not (type(key) is int and key.bit_length() <= INT64_BITS):
                raise RddInputError(f"pickle: {told(key)} as a key")
            target[key] = value

    def _op_binput(self, index: int) -> None:
        if not self.stack:
            raise RddInputError("pickle: it remembers what it has not built")
        self.memo[index] = self.stack[-1]

    _op_long_binput = _op_binput

    def _op_memoize(self, _: None) -> None:
        self._op_binput(len(self.memo))

    def _op_binget(self, index: int) -> None:
        if index not in self.memo:
            raise RddInputError(f"pickle: it recalls number {index}, which it did not remember")
        self.stack.append(self.memo[index])

    _op_long_binget = _op_binget

    def _op_global(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self.stack.append(self.find(module, name))

    def _op_stack_global(self, _: None) -> None:
        module, name = self._pop(2)
        self.stack.append(self.find(module, name))

    def _op_reduce(self, _: None) -> None:
        function, arguments = self._pop(2)
        self.stack.append(self._called(function, arguments))

    _op_newobj = _op_reduce

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, PickledFunction) or type(arguments) is not tuple:
            raise RddInputError(f"pickle: it calls {told(function)}; nothing was run")
        if len(arguments) > MAX_ARGUMENTS:
            raise RddInputError(
                f"pickle: {function.name} with {len(arguments)} arguments, at most {MAX_ARGUMENTS} allowed"
            )
        try:
            return function.call(*arguments)
        except TypeError as error:
            raise RddInputError(f"pickle: {function.name} with {len(arguments)} arguments") from error

    def _op_build(self, _: None) -> None:
        (state,) = self._pop(1)
        if not self.stack:
            raise RddInputError("pickle: a state for nothing")
        target = self.stack[-1]
        if isinstance(target, Stub):
            target.state = state
        elif type(target) is not dict and not isinstance(target, StoredTensor):  # attributes of these do not matter
            raise RddInputError(f"pickle: a state for {told(target)}")


@dataclass
class _TorchMachine(PickleMachine):
    """A machine whose storages lie in the archive around the pickle."""

    archive: _Archive = field(kw_only=True)

    def _op_binpersid(self, _: None) -> None:
        (ident,) = self._pop(1)
        if type(ident) is not tuple or len(ident) != 5 or ident[0] != "storage":
            raise RddInputError("pickle: a persistent id that is no storage")
        _, kind, key, _, count = ident
        if not isinstance(kind, _StorageType) or type(key) is not str:
            raise RddInputError(f"pickle: a storage of type {told(kind)} under {told(key)}")
        self.stack.append(self.archive.storage(key, kind.dtype, _check_integer(count, "length of a storage")))


@contextmanager
def open_torch_file(path: Path) -> Iterator[Any]:
    """The object in a torch file: dicts, lists, tuples, strings, numbers, `StoredTensor` and `Stub`.

    Tensors can be read until the context ends. Raises RddInputError, naming the file, for what is damaged, hostile or
    asks for anything that is not on the lists of this module, and RddIOError. Errors of the block about the content
    get the name of the file too.
    """
    with translated_errors(path), path.open("rb") as stream:
        try:
            archive = _Archive(stream)
            entry = archive.entries[archive.prefix + "data.pkl"]
            if entry.file_size > MAX_PICKLE_BYTES:
                raise RddInputError(f"pickle of {entry.file_size} bytes, allowed {MAX_PICKLE_BYTES}")
            try:
                root = _TorchMachine(_find, archive=archive).run(archive.read(entry))
            except (ValueError, UnicodeDecodeError, struct.error, OverflowError) as error:
                if isinstance(error, RddInputError):
                    raise
                raise RddInputError(f"damaged pickle: {error}") from error
            yield root
        except RddInputError as error:
            raise RddInputError(f"{path}: {error}") from error
