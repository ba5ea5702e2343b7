from __future__ import annotations

import numpy as np
import pytest

from rducodec import LatentConfig
from rducodec.quantization import compensation, quantize, squared_error
from rducodec.quantization.render import Renderer
from rducodec.quantization.sensitivity import curvature, jacobian
from rducodec.weights import best_code
from spec.vector_tools import tiny_config
from tests.quantization.test_quantize import noisy

WIDE = tiny_config(height=8, width=8, num_scales=4, channels=3, synthesis_widths=(40,))
CONFIGS = [WIDE, tiny_config(channels=3, height=5, width=7, synthesis_widths=(6, 4)), tiny_config(synthesis_widths=())]


@pytest.mark.parametrize("config", CONFIGS)
def test_jacobian_is_the_limit_of_differences(config: LatentConfig) -> None:
    part = noisy(config, 2)
    networks = [np.asarray(tensor, np.float64) for tensor in (part.upsampling, *part.synthesis)]
    moves = jacobian(part.latents, networks, config, num_rows=config.height)
    renderer = Renderer(config, part.latents)
    rng = np.random.default_rng(1)
    begin = 0
    for index, tensor in enumerate(networks):
        direction = rng.normal(size=tensor.shape)
        ahead, behind = list(networks), list(networks)
        ahead[index], behind[index] = tensor + 1e-4 * direction, tensor - 1e-4 * direction
        difference = (renderer.finish(0, None, ahead) - renderer.finish(0, None, behind)) / 2e-4
        predicted = direction.reshape(-1) @ moves[begin : begin + tensor.size]
        begin += tensor.size
        wrong = np.linalg.norm(predicted - difference.reshape(-1)) / np.linalg.norm(predicted)
        assert wrong < 0.03, f"tensor {index}"  # some sums cross 0 on the way, where a ReLU has no slope
    assert begin == len(moves)


def test_a_strip_has_the_rows_of_the_whole() -> None:
    part = noisy(WIDE, 1)
    networks = [part.upsampling, *part.synthesis]
    whole = jacobian(part.latents, networks, WIDE, num_rows=99).reshape(-1, 3, 8, 8)
    strip = jacobian(part.latents, networks, WIDE, num_rows=6).reshape(-1, 3, 6, 8)
    assert np.allclose(strip[:, :, 2:-2], whole[:, :, 3:-3], rtol=1e-3, atol=1e-4)


def test_curvature_is_the_product_of_the_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3000)).astype(np.float32)
    assert np.allclose(curvature(rows), rows.astype(float) @ rows.T.astype(float) / 3000, atol=1e-6)


@pytest.mark.parametrize("max_mse", [1e-6, 1e-4])
@pytest.mark.parametrize("group", [2048, 100])
def test_later_parameters_make_up_for_earlier_ones(monkeypatch, max_mse, group) -> None:
    monkeypatch.setattr(compensation, "MAX_GROUP", group)
    parts = [noisy(WIDE, 6)]
    plain, compensated = (quantize(parts, WIDE, max_mse=max_mse, compensate=flag)[0] for flag in (False, True))

    def decoder_bits(part):
        return sum(best_code(tensor.values)[2] for tensor in part.tensors()[len(part.entropy) :])

    assert squared_error(compensated, parts[0], WIDE) <= max_mse
    assert decoder_bits(compensated) < 0.93 * decoder_bits(plain)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("group", [7, 50, 2048])
def test_every_parameter_is_in_one_group(monkeypatch, config, group) -> None:
    monkeypatch.setattr(compensation, "MAX_GROUP", group)
    part = noisy(config, 1)
    networks = (part.upsampling, *part.synthesis)
    groups = list(compensation._groups(networks, config))
    assert sorted(np.concatenate(groups).tolist()) == list(range(sum(tensor.size for tensor in networks)))
    if group == 2048:
        assert len(groups) == 1


def test_a_limit_that_compensation_cannot_use_gives_plain_rounding() -> None:
    parts = [noisy(WIDE, 2)]
    plain, same = (quantize(parts, WIDE, max_mse=0.0, compensate=flag)[0] for flag in (False, True))
    for a, b in zip(plain.tensors(), same.tensors(), strict=True):
        assert np.array_equal(a.values, b.values)


@pytest.mark.parametrize("config", CONFIGS[:2])
@pytest.mark.parametrize("gain", compensation.GAINS)
def test_a_gain_of_hidden_units_is_taken_back(config: LatentConfig, gain: float) -> None:
    part = noisy(config, 2)
    networks = [np.asarray(tensor, np.float64) for tensor in (part.upsampling, *part.synthesis)]
    search = compensation.CompensatedSearch(part, config)
    units = search._units[compensation.GAINS.index(gain)]
    assert len(units) == len(networks)
    with_gain = [tensor / unit for tensor, unit in zip(networks, units, strict=True)]
    renderer = Renderer(config, part.latents)
    assert np.allclose(renderer.finish(0, None, with_gain), renderer.finish(0, None, networks), atol=1e-5)


def test_more_gains_find_fewer_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [noisy(WIDE, 6)]

    def bits() -> float:
        (result,) = quantize(parts, WIDE, max_mse=1e-4)
        assert squared_error(result, parts[0], WIDE) <= 1e-4
        return sum(best_code(tensor.values)[2] for tensor in result.tensors()[len(result.entropy) :])

    found = bits()
    monkeypatch.setattr(compensation, "GAINS", (1.0,))
    assert found <= bits()


@pytest.mark.parametrize("config", CONFIGS[:2])
def test_hidden_units_that_nothing_depends_on_are_cleared(config: LatentConfig) -> None:
    search = compensation.CompensatedSearch(noisy(config, 1), config)
    integers = [np.ones(tensor.shape, np.int64) for tensor in search._networks]
    last = 2 * len(config.synthesis_widths) + 1
    integers[last][:, [0, 2]] = 0  # no outgoing weight of two units of the last hidden layer
    search._clear_unused(integers)
    assert not integers[last - 1][[0, 2]].any()
    assert not integers[last - 2][[0, 2]].any()
    assert integers[last - 2].any(axis=1).sum() == len(integers[last - 2]) - 2
    if last > 3:  # units of the layer before are cleared only when all that they lead to is
        integers[last][:] = 0
        search._clear_unused(integers)
        assert not any(integers[index].any() for index in range(1, last))
