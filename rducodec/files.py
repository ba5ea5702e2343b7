"""Files written so that a crash, an error or a second writer leaves the old one, the new one, or none: never a mix.

Output goes to a temporary name in the target's folder, reaches the disk, and is then renamed over the target.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from rducodec.errors import RddInputError, RddIOError

TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".rdd-", ".tmp"
NAME_BYTES = 8  # of randomness in a temporary name
GB = 10**9
WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_KINDS = (
    (stat.S_ISLNK, errno.ELOOP, "is a symbolic link; name the file that it points to"),
    (stat.S_ISFIFO, errno.EINVAL, "is a FIFO, not a file"),
    (stat.S_ISCHR, errno.EINVAL, "is a device, not a file"),
    (stat.S_ISBLK, errno.EINVAL, "is a device, not a file"),
    (stat.S_ISSOCK, errno.EINVAL, "is a socket, not a file"),
)


def _refuse(path: Path, number: int, reason: str) -> RddIOError:
    return RddIOError(number, f"{path}: {reason}")


@contextlib.contextmanager
def translated_errors(path: str | Path) -> Iterator[None]:
    """Inside, an OSError becomes an RddIOError that names `path` and keeps errno."""
    try:
        yield
    except RddIOError:
        raise
    except OSError as error:
        raise RddIOError(error.errno, f"{path}: {error.strerror or error}") from error


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _refuse_special(path: Path, status: os.stat_result) -> None:
    for is_kind, number, reason in _KINDS:
        if is_kind(status.st_mode):
            raise _refuse(path, number, reason)
    if not status.st_mode & WRITE_BITS:
        raise _refuse(path, errno.EACCES, "is marked read-only")


def _refuse_inputs(path: Path, inputs: Iterable[str | Path]) -> None:
    for source in inputs:
        if os.path.exists(source) and os.path.samefile(path, source):  # noqa: PTH110, PTH121 - `source` may be text
            raise _refuse(path, errno.EINVAL, "is both input and output")


def check_target(path: str | Path, *, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse now what `replacing` would refuse: for a caller with long work ahead.

    Raises RddIOError where `path` is a folder, link, FIFO, device, read-only or one of the inputs, or where its folder
    is missing or not writable.
    """
    path = Path(path)
    with translated_errors(path):
        status = _status(path)
        if status is not None:
            if stat.S_ISDIR(status.st_mode):
                raise _refuse(path, errno.EISDIR, "is a folder")
            _refuse_special(path, status)
            _refuse_inputs(path, inputs)
        _check_folder(path)


def check_folder_target(path: str | Path, *, inputs: Iterable[str | Path] = ()) -> None:
    """As `check_target` for `replacing_folder`: the target must not exist, or be an empty folder."""
    path = Path(path)
    with translated_errors(path):
        status = _status(path)
        if status is not None:
            _refuse_special(path, status)
            _refuse_inputs(path, inputs)
            if not stat.S_ISDIR(status.st_mode):
                raise _refuse(path, errno.EEXIST, "exists and is not a folder")
            if any(path.iterdir()):
                raise _refuse(path, errno.ENOTEMPTY, "is a folder that is not empty")
        _check_folder(path)


def _check_folder(path: Path) -> None:
    folder = path.absolute().parent
    if not folder.exists():
        raise _refuse(path, errno.ENOENT, "its folder does not exist")
    if not folder.is_dir():
        raise _refuse(path, errno.ENOTDIR, "its parent is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _refuse(path, errno.EACCES, "its folder is not writable")


def _temporary(path: Path) -> Path:
    name = TEMPORARY_PREFIX + secrets.token_hex(NAME_BYTES) + TEMPORARY_SUFFIX
    return path.absolute().parent / name


def _sync_folder(folder: Path) -> None:
    """Put a rename on the disk, where the system knows how."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without it
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: str | Path, *, inputs: Iterable[str | Path] = ()) -> Iterator[BinaryIO]:
    """A stream that becomes the file `path` when the block ends, and vanishes if the block raises.

    `inputs` are files that must not be overwritten. Raises RddIOError, with errno, for whatever the system or
    `check_target` refuses. An existing file keeps its permissions.
    """
    path = Path(path)
    check_target(path, inputs=inputs)
    temporary = _temporary(path)
    with translated_errors(path):
        status = _status(path)
        try:
            with temporary.open("xb") as stream:
                yield stream
                stream.flush()
                if status is not None:
                    temporary.chmod(stat.S_IMODE(status.st_mode))
                os.fsync(stream.fileno())
            os.replace(temporary, path)  # noqa: PTH105 - the call whose promise is meant
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.absolute().parent)


def write_file(path: str | Path, data: bytes, *, inputs: Iterable[str | Path] = ()) -> None:
    """`data` as the whole content of `path`, or an RddIOError and what was there before."""
    with replacing(path, inputs=inputs) as stream:
        stream.write(data)


@contextlib.contextmanager
def replacing_folder(path: str | Path, *, inputs: Iterable[str | Path] = ()) -> Iterator[Path]:
    """A new folder that becomes `path` when the block ends, and vanishes with its content if the block raises.

    Raises RddIOError for whatever the system or `check_folder_target` refuses.
    """
    path = Path(path)
    check_folder_target(path, inputs=inputs)
    temporary = _temporary(path)
    with translated_errors(path):
        try:
            temporary.mkdir()
            yield temporary
            if hasattr(os, "sync"):
                os.sync()  # one call for all files
            if path.exists():
                path.rmdir()  # still empty, or this fails; some systems rename over no folder
            os.replace(temporary, path)  # noqa: PTH105 - the call whose promise is meant
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(path.absolute().parent)


def check_room(
    folder: Path,
    *,
    num_bytes: int,
    num_bytes_there: int = 0,
    what: str = "checkpoints",
    advice: str = "free some, or choose another folder",
) -> None:
    """Raises RddInputError where the disk has less room than files in a folder take, before hours are spent.

    `what` needs `num_bytes`, of which `num_bytes_there` are in the folder already. The folder need not exist.
    """
    parent = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    with translated_errors(parent):
        free = shutil.disk_usage(parent).free
    missing = num_bytes - num_bytes_there
    if free < missing:
        more = " more" if num_bytes_there else ""
        raise RddInputError(f"{folder}: {_size(free)} free, {what} need about {_size(missing)}{more}; {advice}")


def _size(num_bytes: int) -> str:
    """Bytes for a person.

    >>> _size(1000), _size(12_340_000_000)
    ('1000 bytes', '12.3 GB')
    """
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB else f"{num_bytes} bytes"
