"""The command `rdd`: its sub-commands, and how every error ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click

import rducodec
from rducodec import RddError, RddIOError
from rducodec_cli.bpc import bpc
from rducodec_cli.claims import claims
from rducodec_cli.decode import decode
from rducodec_cli.demo import demo
from rducodec_cli.encode import encode
from rducodec_cli.eval import evaluation
from rducodec_cli.experts import experts
from rducodec_cli.inspection import inspect
from rducodec_cli.options import DEBUG_KEY
from rducodec_cli.recompress import recompress_command
from rducodec_cli.terminal import shown
from rducodec_cli.train import train
from rducodec_cli.verify import verify

EXIT_BUG, EXIT_USAGE = 1, 2
EXIT_SIGNAL = 128  # plus the number of the signal, as shells have it


class ErrorGroup(click.Group):
    """A group of commands whose errors are one line on standard error and an exit code of the documentation."""

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        """Run and exit; usage errors are shown here."""
        keywords |= {"standalone_mode": False, "prog_name": "rdd"}
        try:
            code = super().main(*arguments, **keywords)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "rdd"
            _complain(f"{error.format_message()} (see {command} --help)")
            code = EXIT_USAGE
        except click.ClickException as error:
            _complain(error.format_message())
            code = EXIT_USAGE
        except click.Abort:
            code = EXIT_SIGNAL + signal.SIGINT
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever it raises becomes an exit code."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            _drop_output()
            ctx.exit(EXIT_SIGNAL + getattr(signal, "SIGPIPE", 0))
        except KeyboardInterrupt:
            _complain("interrupted")
            ctx.exit(EXIT_SIGNAL + signal.SIGINT)
        except Exception as error:
            if ctx.find_root().meta.get(DEBUG_KEY):
                raise
            ctx.exit(_report(error))
        return result


def _report(error: Exception) -> int:
    """Show an error on one line; returns its exit code."""
    if isinstance(error, RddError):
        message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _complain(": ".join([*getattr(error, "__notes__", []), message]))
        return error.exit_code
    if isinstance(error, OSError):  # of standard output; files have errors of their own
        _drop_output()
        _complain(f"output: {error.strerror or error}")
        return RddIOError.exit_code
    if isinstance(error, MemoryError):
        _complain("not enough memory; what a .rdd may need is bounded by --max-output-bytes")
        return RddIOError.exit_code
    _complain(f"internal error: {type(error).__name__}: {error}; --debug shows where")
    return EXIT_BUG


def _complain(message: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {shown(message)}", err=True)


def _drop_output() -> None:
    """Let what is still buffered for a closed or full standard output go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # not a real file
        sys.stdout = None


@click.group(cls=ErrorGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rducodec.__version__, prog_name="rdd")
@click.pass_context
def rdd(context: click.Context) -> None:
    """Distilled datasets as small files with bit-exact samples."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (encode, decode, recompress_command, bpc, claims, inspect, verify, train, experts, evaluation, demo):
    rdd.add_command(_command)


def _terminate(number: int, _: FrameType | None) -> None:
    raise SystemExit(EXIT_SIGNAL + number)  # unwinds, so that temporary files go


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the installed command."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know fewer characters than a file's name
    rdd.main(arguments if arguments is None else list(arguments))


if __name__ == "__main__":
    main()
