"""Learning rates of what is trained together."""

from __future__ import annotations

import pytest

from rducodec.model import LatentConfig
from rducodec.training.schedule import rate_shares


def _config(*widths: int) -> LatentConfig:
    return LatentConfig(3, 8, 8, 4, context_size=8, entropy_depth=1, synthesis_widths=widths)


def test_every_tensor_has_its_share_of_the_rate() -> None:
    config = _config(16, 4)
    shares = rate_shares(config)
    assert len(shares) == 1 + len(config.tensor_shapes())
    decoder = len(config.synthesis_shapes())
    assert shares[:-decoder] == [1.0] * (len(shares) - decoder)
    assert shares[-decoder:] == pytest.approx([0.5953] * decoder, abs=1e-4)


def test_wider_decoders_learn_more_slowly() -> None:
    last = [rate_shares(_config(*widths))[-1] for widths in ((), (16,), (40, 240), (480,))]
    assert last == sorted(last, reverse=True)
    assert last[0] == 1.0
