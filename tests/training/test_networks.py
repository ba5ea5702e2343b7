"""The batched building blocks of the training against plain references."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rducodec.entropy.context import COARSER_OFFSETS, context_offsets
from rducodec.model import LatentConfig
from rducodec.training.pointwise import Layer, forward_layers, pointwise
from rducodec.training.rate import effective_layers, gather_contexts, latent_bits
from rducodec.training.rounding import kumaraswamy_noise, soft_round
from rducodec.training.shifts import replicate_pad
from rducodec.training.synthesis import synthesise
from rducodec.training.upsampling import bicubic_kernel, upsample

BLOCK = 200  # elements: small enough that every test crosses block borders
BOTH = {"coarser_size": 5, "grid_biases": True}


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _randn(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [8, 16, 24, 32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (7, 3), (12, 11)])
def test_contexts_equal_an_unfolded_window(size: int, shape: tuple[int, int], generator: torch.Generator) -> None:
    grid = _randn(2, 3, *shape, generator=generator)
    contexts = gather_contexts([grid], context_size=size)
    windows = F.unfold(grid.reshape(6, 1, *shape), 9, padding=4)  # (6, 81, h * w)
    positions = [(dy + 4) * 9 + dx + 4 for dy, dx in context_offsets(size)]
    expected = windows[:, positions].view(2, 3, size, -1).transpose(1, 2).flatten(2)
    assert torch.equal(contexts, expected)


@pytest.mark.parametrize("shapes", [[(1, 1)], [(5, 4), (3, 2), (2, 1), (1, 1)], [(6, 7), (3, 4)]])
def test_contexts_of_the_coarser_grid(shapes: list[tuple[int, int]], generator: torch.Generator) -> None:
    grids = [_randn(2, 3, *shape, generator=generator) for shape in shapes]
    plain = gather_contexts(grids, context_size=8)
    contexts = gather_contexts(grids, context_size=8, coarser_size=5)
    assert torch.equal(contexts[:, :8], plain)
    expected = [[_coarser(grids, k, place) for k in range(len(grids))] for place in COARSER_OFFSETS[5]]
    rows = [torch.cat([part.flatten(1) for part in parts], dim=1) for parts in expected]
    assert torch.equal(contexts[:, 8:], torch.stack(rows, dim=1))


def _coarser(grids: list[torch.Tensor], k: int, place: tuple[int, int]) -> torch.Tensor:
    """For each latent of grid k the one at a place around (y >> 1, x >> 1) of the next grid, by definition."""
    result = torch.zeros_like(grids[k])
    for y in range(grids[k].shape[2]):
        for x in range(grids[k].shape[3]):
            v, u = (y >> 1) + place[0], (x >> 1) + place[1]
            if k + 1 < len(grids) and 0 <= v < grids[k + 1].shape[2] and 0 <= u < grids[k + 1].shape[3]:
                result[..., y, x] = grids[k + 1][..., v, u]
    return result


@pytest.mark.parametrize(("shape", "size"), [((2, 3, 5, 4), 2), ((1, 2, 1, 7), 4), ((1, 1, 1, 1), 1)])
def test_replicated_borders_have_the_gradient_of_torch(
    shape: tuple[int, ...], size: int, generator: torch.Generator
) -> None:
    x = _randn(*shape, generator=generator).requires_grad_()
    ours, reference = replicate_pad(x, size), F.pad(x, (size,) * 4, mode="replicate")
    assert torch.equal(ours, reference)
    weight = _randn(*ours.shape, generator=generator)
    grads = [torch.autograd.grad((padded * weight).sum(), x)[0] for padded in (ours, reference)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("target", [(8, 6), (7, 6), (8, 5), (7, 5), (1, 1), (2, 1)])
def test_upsampling_equals_a_transposed_convolution(target: tuple[int, int], generator: torch.Generator) -> None:
    height, width = target
    grids = _randn(2, 3, -(-height // 2), -(-width // 2), generator=generator)
    kernel = _randn(2, 8, 8, generator=generator)
    for i in range(2):
        padded = F.pad(grids[i, :, None], (4, 4, 4, 4), mode="replicate")
        full = F.conv_transpose2d(padded, kernel[i, None, None], stride=2)[:, 0, 11:-11, 11:-11]
        result = upsample(grids, kernel, height=height, width=width)[i]
        torch.testing.assert_close(result, full[:, :height, :width])


def test_bicubic_kernel_keeps_a_constant() -> None:
    kernel = torch.from_numpy(bicubic_kernel())[None]
    grids = torch.full((1, 1, 3, 4), 5.0, dtype=torch.float64)
    torch.testing.assert_close(upsample(grids, kernel, height=6, width=8), torch.full((1, 1, 6, 8), 5.0).double())


def _layers(widths: list[int], generator: torch.Generator) -> list[Layer]:
    return [
        Layer(_randn(2, b, a, generator=generator).requires_grad_(), _randn(2, b, generator=generator).requires_grad_())
        for a, b in itertools.pairwise(widths)
    ]


@pytest.mark.parametrize("widths", [[3, 2], [3, 9, 2], [4, 7, 5, 3]])
def test_pointwise_gradients(widths: list[int], generator: torch.Generator) -> None:
    x = _randn(2, widths[0], 131, generator=generator).requires_grad_()
    layers = _layers(widths, generator)
    tensors = [t for layer in layers for t in (layer.weight, layer.bias) if t is not None]

    def function(x: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        pairs = [Layer(w, b) for w, b in zip(tensors[::2], tensors[1::2], strict=True)]
        return pointwise(x, pairs, block_elements=BLOCK)

    assert torch.autograd.gradcheck(function, (x, *tensors), fast_mode=True)
    with torch.no_grad():
        torch.testing.assert_close(function(x, *tensors), forward_layers(x, layers)[-1])


def _entropy(config: LatentConfig, generator: torch.Generator) -> list[torch.Tensor]:
    tensors = [0.2 * _randn(2, *shape, generator=generator) for shape in config.entropy_shapes()]
    tensors[-1][:, 1::2] += 4
    return tensors


@pytest.mark.parametrize("extra", [{}, {"coarser_size": 5}, {"grid_biases": True}, BOTH])
@pytest.mark.parametrize("depth", [0, 1, 4])
def test_rate_equals_the_formula(depth: int, extra: dict[str, Any], generator: torch.Generator) -> None:
    config = LatentConfig(1, 5, 4, 3, context_size=16, entropy_depth=depth, **extra)
    grids = [_randn(2, 3, *shape, generator=generator).mul(2).round() for shape in config.grid_shapes()]
    entropy = _entropy(config, generator)
    weight = torch.tensor([[1, 1, 0], [1, 1, 1]], dtype=torch.float64)
    bits = latent_bits(grids, entropy, weight=weight, block_elements=BLOCK, coarser_size=config.coarser_size)
    for i in range(2):
        expected = 0.0
        for k in range(3):
            for sample in range(int(weight[i].sum())):
                one = [grid[i : i + 1, sample : sample + 1] for grid in grids]
                expected += _reference_bits(one, k, [t[i] for t in entropy], config)
        assert float(bits[i]) == pytest.approx(expected, rel=1e-9)


def _reference_bits(grids: list[torch.Tensor], k: int, entropy: list[torch.Tensor], config: LatentConfig) -> float:
    """Of the latents of grid k; grids are (1, 1, h, w)."""
    positions = [(dy + 4) * 9 + dx + 4 for dy, dx in context_offsets(config.context_size)]
    x = F.unfold(grids[k], 9, padding=4)[0, positions].T
    coarser = [_coarser(grids, k, place).flatten() for place in COARSER_OFFSETS[config.coarser_size]]
    x = torch.cat([x, *(part[:, None] for part in coarser)], dim=1)
    for weight, bias in zip(entropy[:-2:2], entropy[1:-2:2], strict=True):
        x = F.relu(F.linear(x, weight, bias) + x[:, : config.context_size])
    last = entropy[-1][2 * k : 2 * k + 2] if config.grid_biases else entropy[-1]
    mean, scale = F.linear(x, entropy[-2], last).unbind(1)
    laplace = torch.distributions.Laplace(mean, torch.exp((scale - 4).clamp(-4.6, 5.0)))
    value = grids[k].flatten()
    return float(-(laplace.cdf(value + 0.5) - laplace.cdf(value - 0.5)).clamp(min=2**-16).log2().sum())


@pytest.mark.parametrize("extra", [{}, BOTH])
@pytest.mark.parametrize("depth", [0, 2])
def test_rate_gradients(depth: int, extra: dict[str, Any], generator: torch.Generator) -> None:
    config = LatentConfig(1, 4, 5, 2, context_size=8, entropy_depth=depth, **extra)
    grids = [_randn(2, 2, *shape, generator=generator).requires_grad_() for shape in config.grid_shapes()]
    entropy = [t.requires_grad_() for t in _entropy(config, generator)]
    weight = torch.tensor([[1, 0], [1, 1]], dtype=torch.float64)

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        extra = {"coarser_size": config.coarser_size}
        return latent_bits(tensors[:2], tensors[2:], weight=weight, block_elements=BLOCK, **extra)

    assert torch.autograd.gradcheck(function, (*grids, *entropy), fast_mode=True)


def test_effective_layers_hold_the_residual(generator: torch.Generator) -> None:
    entropy = _entropy(LatentConfig(1, 4, 4, 2, context_size=8, entropy_depth=1, coarser_size=5), generator)
    x = _randn(2, 13, 7, generator=generator)
    hidden = forward_layers(x, effective_layers(entropy))[1]
    expected = F.relu(torch.bmm(entropy[0], x) + entropy[1][:, :, None] + x[:, :8])
    torch.testing.assert_close(hidden, expected)


def _reference_samples(grids: list[torch.Tensor], kernel: torch.Tensor, synthesis: list[torch.Tensor]) -> torch.Tensor:
    """One slice, as published: grids (n, 1, h, w) -> (n, c, h, w)."""
    x = grids[-1]
    for grid in reversed(grids[:-1]):
        n, channels, h, w = x.shape
        padded = F.pad(x.reshape(n * channels, 1, h, w), (4, 4, 4, 4), mode="replicate")
        full = F.conv_transpose2d(padded, kernel[None, None], stride=2)[..., 11:-11, 11:-11]
        full = full.reshape(n, channels, 2 * h, 2 * w)[..., : grid.shape[2], : grid.shape[3]]
        x = torch.cat((grid, full), dim=1)
    num_pointwise = len(synthesis) // 2 - 2
    for i in range(num_pointwise):
        x = F.conv2d(x, synthesis[2 * i][..., None, None], synthesis[2 * i + 1])
        x = F.relu(x) if i < num_pointwise - 1 else x
    for i in (num_pointwise, num_pointwise + 1):
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        x = F.conv2d(padded, synthesis[2 * i], synthesis[2 * i + 1]) + x
        x = F.relu(x) if i == num_pointwise else x
    return x


@pytest.mark.parametrize("widths", [(), (9,), (9, 5)])
@pytest.mark.parametrize(("height", "width", "scales", "channels"), [(8, 8, 4, 3), (5, 11, 3, 1), (1, 3, 1, 2)])
def test_synthesis_equals_single_convolutions(
    widths: tuple[int, ...], height: int, width: int, scales: int, channels: int, generator: torch.Generator
) -> None:
    grids = [_randn(2, 3, -(-height >> k), -(-width >> k), generator=generator) for k in range(scales)]
    kernel = _randn(2, 8, 8, generator=generator)
    sizes = (scales, *widths, channels)
    synthesis = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        synthesis += [_randn(2, fan_out, fan_in, generator=generator), _randn(2, fan_out, generator=generator)]
    for _ in range(2):
        synthesis += [
            _randn(2, channels, channels, 3, 3, generator=generator),
            _randn(2, channels, generator=generator),
        ]
    result = synthesise(grids, kernel, synthesis, block_elements=BLOCK)
    for i in range(2):
        expected = _reference_samples([g[i, :, None] for g in grids], kernel[i], [t[i] for t in synthesis])
        torch.testing.assert_close(result[i].transpose(0, 1), expected)


def test_synthesis_gradients(generator: torch.Generator) -> None:
    grids = [_randn(2, 2, *shape, generator=generator).requires_grad_() for shape in ((3, 5), (2, 3))]
    kernel = _randn(2, 8, 8, generator=generator).requires_grad_()
    shapes = ((6, 2), (6,), (1, 6), (1,), (1, 1, 3, 3), (1,), (1, 1, 3, 3), (1,))
    synthesis = [_randn(2, *shape, generator=generator).requires_grad_() for shape in shapes]

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        return synthesise(tensors[:2], tensors[2], tensors[3:], block_elements=BLOCK)

    assert torch.autograd.gradcheck(function, (*grids, kernel, *synthesis), fast_mode=True)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.3, 5.0])
def test_soft_round_fixes_integers_and_half_integers(temperature: float) -> None:
    x = torch.arange(-6, 7, dtype=torch.float64) / 2
    torch.testing.assert_close(soft_round(x, temperature), x)


def test_kumaraswamy_noise_is_centred() -> None:
    uniform = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    noise = kumaraswamy_noise(uniform, 2.0)
    assert float(noise.min()) == -0.5
    assert float(noise.max()) == 0.5
    histogram = np.histogram(noise.numpy(), bins=25, range=(-0.5, 0.5))[0]
    assert abs(int(histogram.argmax()) - 12) <= 1
    assert math.isclose(float(kumaraswamy_noise(torch.tensor(0.3), 1.0)), -0.2, abs_tol=1e-6)
