"""Embeddings in pieces against embeddings at once."""

from __future__ import annotations

import pytest
import torch

from rducodec.training.classifiers import build_classifier, chunked_features, pieces
from rducodec.training.randomness import generator_for

X = torch.randn(7, 1, 8, 8, generator=generator_for(0, "x"))


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_pieces_change_nothing(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CPU_PIECE_PIXELS", 3 * 64)
    network = build_classifier("convnet", channels=1, num_classes=2, size=(8, 8), width=4, norm=norm)
    expected = network.features(X)
    result = chunked_features(network, X, mixed_precision=False)
    torch.testing.assert_close(result, expected.detach())
    assert not result.requires_grad
    seen: list[int] = []
    network.get_submodule("blocks").register_forward_pre_hook(lambda _, x: seen.append(len(x[0])))
    chunked_features(network, X, mixed_precision=False)
    assert seen == ([7] if norm == "batch" else [3, 3, 1])


def test_mixed_precision_is_near_and_float32() -> None:
    network = build_classifier("convnet", channels=1, num_classes=2, size=(8, 8), width=4)
    expected = chunked_features(network, X, mixed_precision=False)
    result = chunked_features(network, X, mixed_precision=True)
    assert result.dtype == torch.float32
    assert not torch.equal(result, expected)
    torch.testing.assert_close(result, expected, rtol=0.05, atol=0.05)
