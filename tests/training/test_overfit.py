"""The whole training on small samples: geometry, resumption, rate control, quantisation, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rducodec.errors import RddInputError
from rducodec.model import LatentConfig, LatentSlice
from rducodec.quantization import float_samples
from rducodec.synthesis.network import synthesize
from rducodec.training import OverfitSettings, Progress, overfit, overfit_floats
from rducodec.training.checkpoint import read_checkpoint, write_checkpoint
from rducodec.training.execution import Execution
from rducodec.training.export import coded_bits, network_bits, quantize_networks, tensor_bits
from rducodec.training.objective import Objective, Samples
from rducodec.training.parameters import SliceParameters, initial_parameters

CONFIG = LatentConfig(
    channels=1, height=8, width=8, num_scales=4, context_size=8, entropy_depth=1, synthesis_widths=(8,)
)
SETTINGS = OverfitSettings(steps=60, lmbda=1e-3, candidates=3, report_interval=5, checkpoint_interval=7, max_mse=1e-4)


def smooth_samples(config: LatentConfig = CONFIG, *, slices: int = 2, count: int = 4) -> np.ndarray:
    """Smooth random images in [0, 1], float32 (slices, count, c, h, w)."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[: config.height, : config.width] / 4.0
    phase = random.uniform(0, 6, (slices, count, config.channels, 4, 1, 1))
    waves = np.sin(phase[..., 0, :, :] * y + phase[..., 1, :, :]) * np.cos(phase[..., 2, :, :] * x / 2)
    return (0.5 + 0.4 * waves).astype(np.float32)


def _decoded_mse(part: LatentSlice, config: LatentConfig, samples: np.ndarray) -> float:
    decoded = synthesize(part, config) * 2.0**-config.sample_frac_bits
    return float(np.mean((decoded.reshape(samples.shape) - samples) ** 2))


def _assert_equal(first: list[LatentSlice], second: list[LatentSlice]) -> None:
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a.latents, b.latents, strict=True):
            np.testing.assert_array_equal(x, y)
        for p, q in zip(a.tensors(), b.tensors(), strict=True):
            assert p.frac_bits == q.frac_bits
            np.testing.assert_array_equal(p.values, q.values)


def test_training_lowers_the_error_and_the_decoder_agrees() -> None:
    samples = smooth_samples()
    reports: list[Progress] = []
    slices = overfit(samples, CONFIG, SETTINGS, progress=reports.append)
    assert reports[-1].mse < 0.5 * samples.var()
    decoded = np.mean([_decoded_mse(part, CONFIG, own) for part, own in zip(slices, samples, strict=True)])
    assert decoded == pytest.approx(reports[-1].mse, rel=1e-3)
    assert reports[-1].step == reports[-1].total_steps
    assert sum(reports[-1].bits_per_class) == pytest.approx(reports[-1].num_bits)


def test_floats_are_what_is_trained_before_networks_become_integers() -> None:
    samples = smooth_samples()
    parts = overfit_floats(samples, CONFIG, SETTINGS)
    errors = [np.square(float_samples(part, CONFIG) - own).mean() for part, own in zip(parts, samples, strict=True)]
    assert np.mean(errors) < 0.5 * samples.var()
    for part, own in zip(parts, overfit(samples, CONFIG, SETTINGS), strict=True):
        assert len(part.networks()) == len(own.tensors())
        for tensor, integers in zip(part.networks(), own.tensors(), strict=True):
            assert tensor.shape == integers.values.shape
            if tensor.any():  # a float that was not rounded is no multiple of the step
                assert not np.array_equal(tensor, integers.dequantize())


@pytest.mark.parametrize(
    "config",
    [
        LatentConfig(3, 5, 9, 3, context_size=8, entropy_depth=0, synthesis_widths=(6, 4)),
        LatentConfig(1, 1, 1, 1, context_size=16, entropy_depth=1, synthesis_widths=()),
        LatentConfig(2, 7, 3, 8, context_size=24, entropy_depth=2, synthesis_widths=(5,)),
    ],
)
def test_any_geometry(config: LatentConfig) -> None:
    samples = smooth_samples(config, slices=2, count=3)
    settings = replace(SETTINGS, steps=10, candidates=1, max_mse=1e-3)
    for part in overfit(samples, config, settings):
        assert tuple(t.values.shape for t in part.tensors()) == config.tensor_shapes()
        assert tuple(g.shape for g in part.latents) == tuple((3, *s) for s in config.grid_shapes())
        assert all(g.dtype == np.int16 for g in part.latents)


def test_slices_of_different_sizes_share_a_program() -> None:
    samples = smooth_samples(count=4)
    slices = overfit([samples[0], samples[1, :2]], CONFIG, replace(SETTINGS, steps=20))
    assert [part.num_samples for part in slices] == [4, 2]
    assert _decoded_mse(slices[1], CONFIG, samples[1, :2]) < samples[1, :2].var()


class _InterruptedError(Exception):
    pass


@pytest.mark.parametrize(
    "stop_at",
    [
        ("trial 2", 6),
        ("soft rounding", 22),
        pytest.param(("soft rounding", 25), marks=pytest.mark.slow),
        pytest.param(("latents", 57), marks=pytest.mark.slow),
    ],
)
def test_resuming_continues_bit_for_bit(stop_at: tuple[str, int], tmp_path: Path) -> None:
    settings = replace(SETTINGS, lmbda=1.0, checkpoint_interval=5, report_interval=1, target_bits_per_class=3000.0)
    samples = smooth_samples()
    expected = overfit(samples, CONFIG, settings)

    def interrupt(progress: Progress) -> None:
        if (progress.stage, progress.step) == stop_at:
            raise _InterruptedError

    path = tmp_path / "training.safetensors"
    with pytest.raises(_InterruptedError):
        overfit(samples, CONFIG, settings, checkpoint=path, progress=interrupt)
    _assert_equal(overfit(samples, CONFIG, settings, checkpoint=path), expected)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    settings = replace(SETTINGS, steps=10)
    overfit(smooth_samples(), CONFIG, settings, checkpoint=path)
    with pytest.raises(RddInputError, match="other samples or settings"):
        overfit(smooth_samples(), CONFIG, replace(settings, seed=1), checkpoint=path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(RddInputError, match="checkpoint"):
        overfit(smooth_samples(), CONFIG, settings, checkpoint=path)


@pytest.mark.parametrize("change", ["lacks a tensor", "lacks a field", "has another field of the control"])
def test_a_checkpoint_of_another_version_is_refused(change: str, tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    settings = replace(SETTINGS, steps=10)
    overfit(smooth_samples(), CONFIG, settings, checkpoint=path)
    tensors, fields = read_checkpoint(path)
    if change == "lacks a tensor":
        del tensors["beta2"]
    elif change == "lacks a field":
        del fields["stage"]
    else:
        fields["control"]["gain"] = 1.0
    write_checkpoint(path, tensors, fields)
    with pytest.raises(RddInputError, match=r"training\.safetensors: not as this version writes it.*remove it"):
        overfit(smooth_samples(), CONFIG, settings, checkpoint=path)


@pytest.mark.parametrize("factor", [0.75, pytest.param(0.9, marks=pytest.mark.slow)])
def test_the_size_ends_at_the_target(factor: float) -> None:
    free: list[Progress] = []
    samples = smooth_samples(count=12)
    settings = replace(SETTINGS, steps=200, candidates=1)
    overfit(samples, CONFIG, settings, progress=free.append)
    target = free[-1].num_bits * factor / 2
    settings = replace(settings, target_bits_per_class=target)
    slices = overfit(samples, CONFIG, settings)
    assert 0.97 * target <= sum(coded_bits(slices, CONFIG)) / 2 <= target


def test_a_size_is_met_from_any_weight() -> None:
    samples = smooth_samples(count=12)
    for lmbda in (1e-5, 1.0):
        settings = replace(SETTINGS, steps=200, candidates=1, lmbda=lmbda, target_bits_per_class=2500.0)
        assert 0.95 * 2500 <= sum(coded_bits(overfit(samples, CONFIG, settings), CONFIG)) / 2 <= 2500


def test_a_target_out_of_reach_is_refused() -> None:
    with pytest.raises(RddInputError, match="not reached"):
        overfit(smooth_samples(), CONFIG, replace(SETTINGS, steps=10, target_bits_per_class=50.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :, :, :7], "shape"),
        (lambda x: x[:, :0], "shape"),
        (lambda x: np.where(np.arange(8) == 3, np.nan, x), "finite"),
        (lambda x: x[:0], "no slices"),
    ],
)
def test_bad_samples_are_refused(change, message: str) -> None:
    with pytest.raises(RddInputError, match=message):
        overfit(change(smooth_samples()), CONFIG, SETTINGS)


@pytest.mark.parametrize("field", ["lmbda", "max_mse", "steps", "candidates", "target_bits_per_class"])
def test_bad_settings_are_refused(field: str) -> None:
    with pytest.raises(RddInputError, match=field):
        replace(SETTINGS, **{field: -1})  # type: ignore[arg-type]


def _trained_like() -> tuple[Objective, SliceParameters]:
    generator = torch.Generator().manual_seed(5)
    samples = Samples(torch.rand(3, 1, 4, 8, 8, generator=generator), torch.ones(3, 4))
    mean = samples.values.mean((2, 3, 4))
    parameters = initial_parameters(CONFIG, num_samples=4, mean=mean, shift=torch.zeros_like(mean), generator=generator)
    tensors = [t + 0.1 * torch.randn(t.shape, generator=generator) for t in parameters.tensors()]
    return Objective(CONFIG, samples, Execution.for_device(torch.device("cpu"))), parameters.with_tensors(tensors)


@pytest.mark.parametrize("max_mse", [1e-3, 1e-6])
def test_quantisation_respects_the_error_limit(max_mse: float) -> None:
    objective, parameters = _trained_like()
    integers, steps = quantize_networks(objective, parameters, max_mse=max_mse)
    difference = objective.render(integers) - objective.render(parameters)
    error = difference.square().mean((1, 2, 3, 4))
    assert bool((error <= max_mse * 1.001).all())
    assert bool((error > 0.2 * max_mse).all()), "bits could be saved"
    weights, biases = steps[:, 0], steps[:, 1]
    assert bool((biases <= weights + CONFIG.act_frac_bits).all())


def test_finer_steps_cost_more() -> None:
    _, parameters = _trained_like()
    coarse, fine = (torch.full((3, len(parameters.networks())), f) for f in (3, 9))
    assert bool((network_bits(parameters, coarse) < network_bits(parameters, fine)).all())


def test_parameter_bits_of_a_laplace_sample_are_its_entropy() -> None:
    random = np.random.default_rng(0)
    tensor = torch.from_numpy(random.laplace(scale=8.0, size=(1, 20_000)))
    bits = float(tensor_bits([tensor], torch.tensor([[0]])))
    assert bits / 20_000 == pytest.approx(np.log2(2 * np.e * 8.0), rel=0.01)


def test_results_do_not_depend_on_the_cutting() -> None:
    objective, parameters = _trained_like()
    device = torch.device("cpu")
    whole = Objective(CONFIG, objective.samples, Execution(device, 1, 2**20, 2**20)).evaluate(parameters)
    for workers, pixels, block in ((2, 64, 64), (3, 200, 2**20), (1, 1, 1)):
        cut = Objective(CONFIG, objective.samples, Execution(device, workers, pixels, block)).evaluate(parameters)
        torch.testing.assert_close(cut.mse, whole.mse)
        torch.testing.assert_close(cut.bits, whole.bits)
