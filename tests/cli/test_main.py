"""Exit codes, error lines, and what holds for every command."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rducodec
from rducodec_cli import bpc as bpc_module
from tests.cli.command import latent, pixels, refused, run

COMMANDS = ("encode", "decode", "bpc", "inspect", "verify", "eval")
FLIP_STRIDE = 13  # meets every bit of a byte; tests/test_file.py flips every bit
RDD = [sys.executable, "-c", "from rducodec_cli.main import main; main()"]


def test_no_arguments_show_the_commands():
    outcome = run()
    assert outcome.code == 0
    assert all(name in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_common_options(name):
    outcome = run(name, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.out
    assert "--debug" in outcome.out


def test_version():
    assert run("--version").out == f"rdd, version {rducodec.__version__}\n"


def test_usage_errors_are_one_line():
    assert "see rdd decode --help" in refused(2, "decode")
    assert "No such command" in refused(2, "transmogrify")
    assert "--frobnicate" in refused(2, "bpc", "--frobnicate", "x.rdd")
    assert "--threads" in refused(2, "bpc", "--threads", "0", "x.rdd")


@pytest.mark.parametrize("name", ["inspect", "verify"])
def test_missing_file(tmp_path, name):
    path = tmp_path / "nowhere.rdd"
    assert refused(6, name, path) == f"{path}: No such file or directory"


@pytest.mark.parametrize("name", ["inspect", "verify"])
def test_file_is_a_folder(tmp_path, name):
    assert refused(6, name, tmp_path) == f"{tmp_path}: Is a directory"


def hostile(good: bytes) -> dict[str, bytes]:
    return {
        "empty file": b"",
        "HTML page": b"<!DOCTYPE html><html>404</html>",
        "git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "gzip": gzip.compress(good),
        "text mode": good.replace(b"\r\n", b"\n", 1),
        "appended": good + b"\0",
        "twice": good + good,
        "zeros": bytes(100),
    }


LOOKS = {"HTML page": "HTML", "git-LFS pointer": "git-LFS pointer", "gzip": "gzip", "text mode": "text-mode"}


@pytest.mark.parametrize("name", ["bpc", "inspect", "verify", "decode"])
@pytest.mark.parametrize("kind", list(hostile(b"")))
def test_not_a_file_of_ours(tmp_path, name, kind):
    good = latent(tmp_path).read_bytes()
    path = tmp_path / "bad.rdd"
    path.write_bytes(hostile(good)[kind])
    before = sorted(tmp_path.iterdir())
    message = refused(3, name, path, *([tmp_path / "out.npz"] if name == "decode" else []))
    assert message.startswith(f"{path}: ")
    assert LOOKS.get(kind, "") in message
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_file_is_named_once_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "bad.rdd").write_bytes(b"xx\n")
    monkeypatch.chdir(tmp_path)
    for name in ("inspect", "verify", "bpc"):
        for path in ("bad.rdd", "./bad.rdd", tmp_path / "bad.rdd"):
            assert refused(3, name, path).count("bad.rdd") == 1


def test_every_truncation_is_refused_and_writes_nothing(tmp_path):
    good = latent(tmp_path, space=rducodec.ValueSpace()).read_bytes()
    path, out = tmp_path / "bad.rdd", tmp_path / "out.npz"
    for length in range(len(good)):
        path.write_bytes(good[:length])
        refused(3, "decode", path, out)
    assert not out.exists()


def test_flipped_bits_are_refused_and_write_nothing(tmp_path):
    good = latent(tmp_path, space=rducodec.ValueSpace()).read_bytes()
    path, out = tmp_path / "bad.rdd", tmp_path / "out.npz"
    for place in range(0, 8 * len(good), FLIP_STRIDE):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        outcome = run("decode", path, out)
        assert outcome.code in (3, 4), (place, outcome)  # 4: another version, a new flag
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.rdd", "latent.rdd"]


def test_newer_version(tmp_path):
    data = bytearray(latent(tmp_path).read_bytes())
    data[8] = 9
    path = tmp_path / "new.rdd"
    path.write_bytes(data)
    assert "format version 9" in refused(4, "inspect", path)


def test_limit_is_named_with_its_option_and_can_be_raised(tmp_path):
    path = latent(tmp_path)
    assert "raise it with --max-work" in refused(5, "verify", path, "--max-work", "10")
    assert "raise it with --max-output-bytes" in refused(5, "bpc", path, "--max-output-bytes", "10")
    assert "raise it with --max-file-bytes" in refused(5, "inspect", path, "--max-file-bytes", "10")
    assert run("verify", path, "--max-work", 10**15).code == 0


def test_control_characters_in_a_file_name_are_escaped(tmp_path):
    path = tmp_path / "a\x1b[31m\u202e.rdd"
    shutil.copy(latent(tmp_path), path)
    for name in ("bpc", "inspect", "verify"):
        out = run(name, path).out
        assert "a\\x1b[31m\\u202e.rdd" in out
        assert "\x1b[31m" not in out
        assert run(name, path, "--json").out.isascii()
    assert "a\\x1b[31m\\u202e.rdX" in refused(6, "verify", str(path)[:-1] + "X")


def test_internal_errors_are_one_line_without_debug(tmp_path, monkeypatch):
    path = latent(tmp_path)

    def fail(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(bpc_module.rducodec, "bpc", fail)
    assert refused(1, "bpc", path) == "internal error: ZeroDivisionError: a bug; --debug shows where"


def test_lack_of_memory_says_what_can_be_bounded(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(bpc_module.rducodec, "bpc", fail)
    message = "not enough memory; what a .rdd may need is bounded by --max-output-bytes"
    assert refused(6, "bpc", latent(tmp_path)) == message


def test_debug_shows_the_traceback(tmp_path):
    done = subprocess.run([*RDD, "verify", str(tmp_path / "x"), "--debug"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "RddIOError" in done.stderr


def test_interrupt(tmp_path, monkeypatch):
    path = latent(tmp_path)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bpc_module.rducodec, "bpc", interrupted)
    assert refused(130, "bpc", path) == "interrupted"


def shell(command: str, *paths: Path) -> subprocess.CompletedProcess:
    line = f'RDD() {{ "{RDD[0]}" -c "{RDD[2]}" "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", line, "bash", *map(str, paths)], capture_output=True, text=True, check=False)


posix = pytest.mark.skipif(shutil.which("bash") is None or os.name != "posix", reason="needs a POSIX shell")


@posix
def test_closed_pipe_is_quiet(tmp_path):
    done = shell('RDD inspect "$1" --json | :; exit ${PIPESTATUS[0]}', latent(tmp_path))
    assert done.stderr == ""
    assert done.returncode in (0, 128 + signal.SIGPIPE)  # it may have finished before the reader left


@posix
def test_closed_stdout_and_stderr(tmp_path):
    path = latent(tmp_path)
    assert shell('RDD verify "$1" >&-', path).returncode == 0
    assert shell('RDD verify "$1" >&- 2>&-', path).returncode == 0
    assert shell('RDD verify "$1/x" >&- 2>&-', path).returncode == 6
    assert shell('RDD decode "$1" "$2" >&- 2>&-', path, tmp_path / "o.npz").returncode == 0
    assert (tmp_path / "o.npz").stat().st_size > 100


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_behind_stdout(tmp_path):
    done = shell('RDD verify "$1" >/dev/full', latent(tmp_path))
    assert done.returncode == 6
    assert done.stderr == "error: output: No space left on device\n"


@posix
def test_plain_locale_and_optimised_python(tmp_path):
    path, _ = pixels(tmp_path, texts=rducodec.Texts(name="naïve 日本"))
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONOPTIMIZE": "1"}
    done = subprocess.run([*RDD, "inspect", str(path)], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"na" in done.stdout
    path.write_bytes(path.read_bytes()[:-1])
    assert (
        subprocess.run([*RDD, "verify", str(path)], env=environment, capture_output=True, check=False).returncode == 3
    )


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_writing_leaves_nothing(tmp_path, number):
    script = (
        "import dataclasses, signal, time; from rducodec_cli import decode; from rducodec_cli.main import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background inherits none
        "def slow(stream, *_):\n    stream.write(b'half'); print('ready', flush=True); time.sleep(60)\n"
        "decode.EXPORTS['npz'] = dataclasses.replace(decode.EXPORTS['npz'], write=slow)\nmain()\n"
    )
    arguments = [sys.executable, "-c", script, "decode", str(latent(tmp_path)), str(tmp_path / "o.npz")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.05)  # into the pause
        process.send_signal(number)
        code = process.wait()
    assert code == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["latent.rdd"]


def test_decoding_commands_load_no_torch(tmp_path):
    path, _ = pixels(tmp_path)
    script = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['safetensors'] = None\n"
        "from rducodec_cli.main import rdd\n"
        "file, folder = sys.argv[1:]\n"
        "lines = [[name, file] for name in ('bpc', 'inspect', 'verify')]\n"
        "lines += [['decode', file, folder + '/o.npz'], ['decode', file, folder + '/o']]\n"
        "lines += [['encode', folder + '/o', folder + '/r.rdd', '--profile', 'raw']]\n"
        "for line in lines:\n"
        "    try:\n"
        "        rdd.main(line)\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, (line, end.code)\n"
        "assert not [name for name in sys.modules if name.startswith('torch.')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
