"""The search of the file that uses a budget, against files whose sizes are made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from rducodec.training.distillation import export
from rducodec.training.distillation.export import _Candidate, _Exporter

MAX_BYTES = 1000


@dataclass
class Files:
    """Bits are shared out among streams that end in whole words; `framing` bytes come to them."""

    streams: int
    framing: int
    smallest: float = 0.0  # bits that latents can be trimmed to
    asked: list[float] = field(default_factory=list)

    def candidate(self, threshold: float, target_bits: float | None) -> _Candidate | None:
        assert target_bits is not None
        self.asked.append(target_bits)
        if target_bits < self.smallest:
            return None
        return _Candidate([target_bits], threshold, 0.0, is_trimmed=True)  # type: ignore[list-item]

    def pack(self, slices: Any) -> bytes:
        return bytes(self.framing + 4 * self.streams * -(-int(slices[0]) // (32 * self.streams)))


def fitted(files: Files, monkeypatch: pytest.MonkeyPatch, bits: float) -> bytes | None:
    exporter = _Exporter(None, None, None, files.pack)  # type: ignore[arg-type]
    monkeypatch.setattr(_Exporter, "candidate", lambda _, *arguments: files.candidate(*arguments))
    monkeypatch.setattr(_Exporter, "bits", lambda _, slices: slices[0])
    first = files.candidate(1e-3, bits)
    assert first is not None
    found = exporter.fitted(first, bits, MAX_BYTES)
    return None if found is None else found[0]


@pytest.mark.parametrize("streams", [1, 10, 50])
@pytest.mark.parametrize("framing", [1, 3, 37])
def test_a_file_that_is_too_large_ends_within_the_budget(
    streams: int, framing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bits must go before any stream is a word shorter."""
    full = (MAX_BYTES // (4 * streams)) * 4 * streams  # bytes of whole words
    data = fitted(Files(streams, MAX_BYTES - full + framing), monkeypatch, 8 * full)
    assert data is not None
    assert MAX_BYTES - 12 * streams <= len(data) <= MAX_BYTES


def test_bytes_that_are_left_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    data = fitted(Files(1, 0), monkeypatch, 8 * MAX_BYTES - 800)
    assert data is not None
    assert (1 - export.SPARE_SHARE) * MAX_BYTES <= len(data) <= MAX_BYTES


def test_a_budget_that_latents_cannot_meet_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(1, MAX_BYTES, smallest=800)
    assert fitted(files, monkeypatch, 4000.0) is None
    assert files.asked == sorted(files.asked, reverse=True)
