"""Every exception that leaves the public interface, with its exit code (spec, "Errors")."""

from __future__ import annotations


class RddError(Exception):
    """Root of all errors of this package; `exit_code` is what the `rdd` command ends with."""

    exit_code = 1


class RddFormatError(RddError, ValueError):
    """The bytes are not an .rdd file, are damaged, or break the specification."""

    exit_code = 3


class RddTruncatedError(RddFormatError):
    """The file ends before the length that it declares."""


class RddChecksumError(RddFormatError):
    """The stored bytes are not those that were written."""


class RddVersionError(RddError):
    """The file is valid but needs a newer reader, or a feature named in the message."""

    exit_code = 4


class RddLimitError(RddError):
    """The file is valid but larger than a limit; the message names the limit and how to raise it."""

    exit_code = 5


class RddIOError(RddError, OSError):
    """The system refused a read or a write; `errno` is kept."""

    exit_code = 6


class RddInputError(RddError, ValueError):
    """Encode side: this input cannot be represented; the message names index and value."""

    exit_code = 7


class RddDigestError(RddError):
    """The file decoded, but the samples are not those that it promises."""

    exit_code = 8
