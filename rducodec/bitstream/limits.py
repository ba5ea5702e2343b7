"""What this implementation is willing to decode (spec, "Limits of the implementation")."""

from __future__ import annotations

from dataclasses import dataclass

from rducodec.errors import RddLimitError


@dataclass(frozen=True)
class Limits:
    """Upper bounds that a file must keep; each can be raised by the caller.

    The defaults admit every setting of the paper and stop a kilobyte that declares a petabyte or an hour.
    """

    max_file_bytes: int = 1 << 32
    max_header_bytes: int = 1 << 22  # after decompression
    max_output_bytes: int = 1 << 33  # of the decoded integer samples
    max_sample_pixels: int = 1 << 22  # height * width: a sample is computed whole
    max_work: int = 1 << 43  # multiplications to decode the whole file

    def check(self, name: str, value: int) -> None:
        """RddLimitError naming the limit and its option if `value` exceeds the field `name`."""
        allowed = getattr(self, name)
        if value > allowed:
            option = "--" + name.replace("_", "-")
            raise RddLimitError(f"{name}: the file needs {value}, allowed {allowed}; raise it with {option}")


DEFAULT_LIMITS = Limits()
