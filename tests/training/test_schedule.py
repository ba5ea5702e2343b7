"""Stages of the overfitted compression, and learning rates of what is trained together."""

from __future__ import annotations

import pytest

from rducodec.model import LatentConfig
from rducodec.training.schedule import Noise, rate_shares, stages


def test_noise_and_temperature_fall_as_published() -> None:
    soft, last = stages(1000, candidates=1)
    assert (soft.noise, last.noise) == (Noise.GAUSSIAN, Noise.GAUSSIAN)
    ends = [
        (stage.temperature(step), stage.noise_level(step), stage.learning_rate(step))
        for stage, step in ((soft, 0), (soft, soft.steps), (last, 0), (last, last.steps))
    ]
    assert ends[0] == pytest.approx((0.3, 0.25, 1e-2))
    assert ends[1] == pytest.approx((0.1, 0.1, 1e-3))
    assert ends[2] == pytest.approx((0.1, 0.1, 1e-3))
    assert ends[3] == pytest.approx((0.1, 0.1, 0.0))
    middle = soft.steps // 2
    assert (soft.temperature(middle), soft.noise_level(middle)) == pytest.approx((0.2, 0.175))
    assert soft.learning_rate(middle) == pytest.approx(5.5e-3)
    assert (soft.quantized_networks, last.quantized_networks) == (False, True)


def test_candidates_begin_with_the_published_noise() -> None:
    first, second, *others = stages(1000, candidates=5)
    assert [stage.candidates for stage in (first, second, *others)] == [5, 2, 1, 1]
    for stage in (first, second):
        assert stage.noise is Noise.KUMARASWAMY
        for step in (0, stage.steps):
            assert (stage.temperature(step), stage.noise_level(step), stage.learning_rate(step)) == (0.3, 2.0, 1e-2)
    assert sum(stage.steps for stage in others) == 1000


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
