from __future__ import annotations

import numpy as np
import pytest

from rducodec import LatentConfig
from rducodec.quantization import adjoint
from rducodec.quantization.adjoint import Adjoint
from rducodec.quantization.render import render
from spec.vector_tools import random_slice, tiny_config

CONFIGS = [
    tiny_config(channels=3, height=13, width=18, num_scales=4, synthesis_widths=(9, 7)),
    tiny_config(height=4, width=1, num_scales=3, synthesis_widths=()),
    tiny_config(num_scales=1),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("chunk", [1 << 21, 1])
def test_gradients_are_limits_of_differences(config: LatentConfig, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along random directions: the scalar product with the gradient, whatever is computed together."""
    monkeypatch.setattr(adjoint, "CHUNK_VALUES", chunk)
    part = random_slice(config, 3, np.random.default_rng(2))
    networks = [tensor.dequantize() for tensor in (part.upsampling, *part.synthesis)]
    rng = np.random.default_rng(1)
    still = render(part.latents, networks, config)
    reference = still + rng.normal(scale=0.1, size=still.shape).astype(np.float32)
    gradients, error = Adjoint(networks, config).gradients(part.latents, reference)

    def total(latents: list[np.ndarray]) -> float:
        return float(np.square(render(latents, networks, config).astype(float) - reference).sum())

    assert error == pytest.approx(total(list(part.latents)), rel=1e-4)
    for index, gradient in enumerate(gradients):
        assert gradient.shape == part.latents[index].shape
        direction = rng.normal(size=gradient.shape)
        ends = []
        for sign in (1, -1):
            latents = [grid.astype(float) for grid in part.latents]
            latents[index] += sign * 2e-3 * direction
            ends.append(total(latents))
        expected = (ends[0] - ends[1]) / 8e-3
        size = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert abs(float((gradient * direction).sum()) - expected) < 0.02 * size + 1e-3


def test_squares_follow_the_outgoing_weights() -> None:
    """Latents of a plane that no unit sees do not matter, and twice the weights give four times the square."""
    config = tiny_config(synthesis_widths=())
    part = random_slice(config, 2, np.random.default_rng(3))
    weight = np.array([[0.0, 0.5]])
    networks = [tensor.dequantize() for tensor in (part.upsampling, *part.synthesis)]
    networks[1] = weight
    fine, coarse = Adjoint(networks, config).squares(part.latents)
    assert not fine.any()
    assert np.allclose(coarse, 0.25)
    assert coarse.shape == part.latents[1].shape
