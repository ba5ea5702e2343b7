"""A target is the old file, the complete new one, or refused; no temporary is left."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rducodec import files
from rducodec.errors import RddIOError

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


def refused(call, *arguments, **keywords) -> RddIOError:
    with pytest.raises(RddIOError) as caught:
        call(*arguments, **keywords)
    assert caught.value.exit_code == 6
    return caught.value


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_new_file(tmp_path):
    files.write_file(tmp_path / "a", b"new")
    assert content(tmp_path) == {"a": b"new"}


@posix
def test_existing_file_is_replaced_and_keeps_its_permissions(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old and longer")
    target.chmod(0o640)
    files.write_file(str(target), b"new")
    assert content(tmp_path) == {"a": b"new"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@posix
def test_new_file_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_file(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_name_as_long_as_the_system_allows(tmp_path):
    files.write_file(tmp_path / ("n" * 255), b"new")
    assert content(tmp_path) == {"n" * 255: b"new"}


def test_error_in_the_block_keeps_the_old_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    def fail():
        with files.replacing(tmp_path / "a") as stream:
            stream.write(b"half of the n")
            raise ValueError("nothing to do with files")

    with pytest.raises(ValueError, match="nothing to do"):
        fail()
    assert content(tmp_path) == {"a": b"old"}


def test_interrupt_in_the_block_keeps_the_old_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    def fail():
        with files.replacing(tmp_path / "a"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert content(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_system_refuses_at_the_end(tmp_path, monkeypatch, name, number):
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)
    error = refused(files.write_file, tmp_path / "a", b"new")
    assert error.errno == number
    assert error.strerror == f"{tmp_path / 'a'}: {os.strerror(number)}"
    monkeypatch.undo()
    assert content(tmp_path) == {"a": b"old"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit on the size of files")
def test_disk_full_while_writing(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    script = (
        "import resource, signal, sys; from rducodec import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n    files.write_file(sys.argv[1], bytes(100_000))\n"
        "except files.RddIOError as error:\n    sys.exit(error.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    assert done.returncode == errno.EFBIG
    assert content(tmp_path) == {"a": b"old"}


def test_target_is_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    assert refused(files.write_file, tmp_path / "a", b"new").errno == errno.EISDIR
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@posix
def test_target_is_a_symbolic_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "a").symlink_to("real")
    assert refused(files.write_file, tmp_path / "a", b"new").errno == errno.ELOOP
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"old"


@posix
def test_target_is_a_dangling_link(tmp_path):
    (tmp_path / "a").symlink_to("nowhere")
    assert refused(files.write_file, tmp_path / "a", b"new").errno == errno.ELOOP


@posix
def test_target_is_a_fifo(tmp_path):
    os.mkfifo(tmp_path / "a")
    assert "FIFO" in str(refused(files.write_file, tmp_path / "a", b"new"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@posix
def test_target_is_a_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is limited to about 100 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a")
        assert "socket" in str(refused(files.write_file, "a", b"new"))


@posix
def test_target_is_a_device():
    assert "device" in str(refused(files.write_file, "/dev/null", b"new"))


@posix
def test_target_is_read_only(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    target.chmod(0o444)
    assert refused(files.write_file, target, b"new").errno == errno.EACCES
    assert content(tmp_path) == {"a": b"old"}


@posix
def test_folder_is_read_only(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert refused(files.write_file, tmp_path / "a", b"new").errno == errno.EACCES


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")
def test_folder_is_really_read_only(tmp_path):
    tmp_path.chmod(0o555)
    try:
        assert refused(files.write_file, tmp_path / "a", b"new").errno == errno.EACCES
    finally:
        tmp_path.chmod(0o755)


def test_folder_is_missing(tmp_path):
    assert refused(files.write_file, tmp_path / "b" / "a", b"new").errno == errno.ENOENT


def test_parent_is_a_file(tmp_path):
    (tmp_path / "b").write_bytes(b"")
    assert refused(files.write_file, tmp_path / "b" / "a", b"new").errno == errno.ENOTDIR


def test_input_is_the_output(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "b")
    for source in ("a", "b"):
        error = refused(files.write_file, tmp_path / "a", b"new", inputs=[tmp_path / source])
        assert "both input and output" in str(error)
    assert (tmp_path / "a").read_bytes() == b"old"


def test_two_writers_leave_one_whole_file(tmp_path):
    target = tmp_path / "a"
    contents = [bytes([number]) * 200_000 for number in range(4)]
    threads = [threading.Thread(target=files.write_file, args=(target, data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1


@posix
def test_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"\0" * 100_000)
    script = (
        "import sys; from rducodec import files\nprint(flush=True)\n"
        "for n in range(1, 10**9): files.write_file(sys.argv[1], bytes([n % 256]) * 100_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    left = target.read_bytes()
    assert len(left) == 100_000
    assert len(set(left)) == 1


def test_new_folder(tmp_path):
    with files.replacing_folder(tmp_path / "out") as folder:
        (folder / "x").write_bytes(b"1")
        assert not (tmp_path / "out").exists()
    assert content(tmp_path / "out") == {"x": b"1"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_empty_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    with files.replacing_folder(tmp_path / "out") as folder:
        (folder / "x").write_bytes(b"1")
    assert content(tmp_path / "out") == {"x": b"1"}


def test_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"old")
    assert refused(files.check_folder_target, tmp_path / "out").errno == errno.ENOTEMPTY
    assert content(tmp_path / "out") == {"mine": b"old"}


def test_folder_where_a_file_is(tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    assert refused(files.check_folder_target, tmp_path / "out").errno == errno.EEXIST


def test_error_while_filling_a_folder(tmp_path):
    def fail():
        with files.replacing_folder(tmp_path / "out") as folder:
            (folder / "x").write_bytes(b"1")
            raise OSError(errno.ENOSPC, "No space left on device")

    assert refused(fail).errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
