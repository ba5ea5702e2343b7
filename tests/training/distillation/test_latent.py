"""Latents and networks under a utility loss: gradients against differences, noise, filling, steps of networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rducodec.model import LatentConfig, LatentSlice
from rducodec.training.data import RealImages, fit_space
from rducodec.training.distillation.configuration import OptimisationSettings
from rducodec.training.distillation.labels import SampleLabels
from rducodec.training.distillation.latent import LatentRepresentation
from rducodec.training.distillation.representation import Step
from rducodec.training.distillation.trainer import JointTrainer
from rducodec.training.distillation.weight import START_SHARE
from rducodec.training.experts import ExpertSettings, train_experts
from rducodec.training.export import coded_bits, export, quantize_networks
from rducodec.training.objective import Rounding, Samples
from rducodec.training.parameters import initial_parameters
from rducodec.training.rounding import LATENT_GAIN, soft_round
from rducodec.training.utility import Utility, UtilityContext, make_utility
from tests.training.distillation.small import CPU, digits

CONFIG = LatentConfig(1, 8, 8, num_scales=4, context_size=8, entropy_depth=1, synthesis_widths=(4,))
NUM_SAMPLES = [2, 1, 2]  # of slices: the second one is filled up
CLASSES = torch.tensor([0, 0, 0, 1, 1])
STEP = 1e-6  # of differences
STAND_INS: dict[str, Rounding] = {
    "identity": lambda latents, _: latents,
    "soft": lambda latents, _: soft_round(latents, 0.5),
}


def slices(num_samples: list[int] = NUM_SAMPLES) -> list[LatentSlice]:
    """Random latents of a few units, networks near their initial values."""
    generator = torch.Generator().manual_seed(4)
    count = len(num_samples)
    parameters = initial_parameters(
        CONFIG,
        num_samples=max(num_samples),
        mean=torch.full((count, 1), 0.3),
        shift=torch.ones(count, 1),
        generator=generator,
    )
    tensors = [t + 0.1 * torch.randn(t.shape, generator=generator) for t in parameters.tensors()]
    latents = torch.randn(tensors[0].shape, generator=generator) * 2 / LATENT_GAIN
    steps = torch.full((count, len(tensors) - 1), 7)
    return export(parameters.with_tensors([latents, *tensors[1:]]), steps, config=CONFIG, num_samples=num_samples)


def representation(**changes: Any) -> LatentRepresentation:
    return LatentRepresentation(slices(), CONFIG, device=CPU, max_mse=1e-3, **changes)


def precise(monkeypatch: pytest.MonkeyPatch, rounding: Rounding) -> LatentRepresentation:
    """In float64, with another stand-in for rounding."""
    own = representation()
    generator = torch.Generator().manual_seed(7)
    tensors = [t.double() + 1e-3 * torch.randn(t.shape, generator=generator) for t in own.parameters.tensors()]
    own.parameters = own.parameters.with_tensors(tensors)  # no activation is exactly 0, where ReLU has no slope
    samples = own.objective.samples
    own.objective = replace(own.objective, samples=Samples(samples.values.double(), samples.weight.double()))
    monkeypatch.setattr(own, "_rounding", lambda _: rounding)
    return own


def latent_bits(own: LatentRepresentation, step: Step) -> float:
    """As the step sees them."""
    costs, _ = own.objective.gradients(
        own.parameters, rounding=own._rounding(step), lmbda=1.0, train_networks=False, distortion=lambda x, _: x.sum()
    )
    return float(costs.bits.sum())


def check_slope(own: LatentRepresentation, step: Step, utility: Callable[[Tensor], float], grads: list[Tensor]) -> None:
    """Gradients against central differences of bits + weight * utility, along random directions of each tensor."""
    start = own.parameters
    for place, grad in enumerate(grads):
        generator = torch.Generator().manual_seed(place)
        direction = torch.randn(grad.shape, generator=generator, dtype=torch.float64)
        if place == 0:
            direction /= LATENT_GAIN
        ends = []
        for sign in (1, -1):
            moved = start.tensors()
            moved[place] = moved[place] + sign * STEP * direction
            own.parameters = start.with_tensors(moved)
            ends.append(latent_bits(own, step) + step.num_pixels_weight * utility(own.samples(step)))
        expected = (ends[0] - ends[1]) / (2 * STEP)
        np.testing.assert_allclose(float((grad * direction).sum()), expected, rtol=2e-5, atol=1e-5)
    own.parameters = start


@pytest.mark.parametrize("name", STAND_INS)
def test_gradients_of_bits_and_a_linear_utility(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own, step = precise(monkeypatch, STAND_INS[name]), Step(0, 0.0, 1e-3, 37.0)
    slope = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, grads = own.gradients(step, slope)
    check_slope(own, step, lambda samples: float((samples * slope).sum()), grads)
    assert not grads[0][1, 1].any(), "filling has a gradient"
    _, alone = own.gradients(Step(0, 0.0, 1e-3, 0.0), slope)
    assert (grads[0] - alone[0]).norm() > alone[0].norm() / 10, "the utility does not count"


def losses(folder: Path) -> dict[str, Callable[[], Utility]]:
    data = digits(2).train
    options = {"width": 3, "depth": 1}
    context = UtilityContext(
        real=RealImages.of(data, fit_space("standardised", data), CPU),
        num_classes=2,
        shape=(1, 8, 8),
        network_options=options,
        augmentation="crop_scale_rotate",
    )
    train_experts(
        context.real,
        num_classes=2,
        shape=(1, 8, 8),
        settings=ExpertSettings(num_experts=2, epochs=2, batch_size=64, batched=2, network_options=options),
        folder=folder,
        device=CPU,
    )
    tm = {"experts": str(folder), "student_steps": 2, "expert_epochs": 1, "max_start_epoch": 1, "synthetic_batch": 3}
    return {
        "dm": lambda: make_utility("dm", context, {"real_batch": 8}),
        "gm": lambda: make_utility("gm", context, {"real_batch": 8}),
        "tm": lambda: make_utility("tm", context, tm),
    }


@pytest.mark.parametrize("name", ["dm", "gm", "tm"])
def test_the_chain_from_a_loss_to_latents_and_networks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = losses(tmp_path)[name]
    own, step = precise(monkeypatch, STAND_INS["identity"]), Step(0, 0.0, 1e-3, 500.0)
    result = make().gradient(own.samples(step), CLASSES, iteration=0)
    _, grads = own.gradients(step, result.samples)
    check_slope(own, step, lambda samples: make().gradient(samples, CLASSES, iteration=0).loss, grads)


def test_the_weight_that_a_held_size_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, utility, weights = representation(), losses(tmp_path)["dm"](), [0.0]
    monkeypatch.setattr(own, "move", lambda step, _: weights.append(step.num_pixels_weight))
    labels = SampleLabels(CLASSES, num_classes=2)
    JointTrainer(own, utility, labels, OptimisationSettings(1), target_bits=1e4).run()
    step = Step(0, 0.0, 1e-3, 0.0)
    gradient = utility.gradient(own.samples(step), CLASSES, iteration=0).samples
    (alone, *_), (both, *_) = (own.gradients(replace(step, num_pixels_weight=w), gradient)[1] for w in weights)
    assert float((both - alone).norm()) == pytest.approx(START_SHARE * float(alone.norm()), rel=1e-3)


def test_noise_and_temperature_fall_linearly(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []

    def spy(latents: Tensor, noise: Tensor, temperature: float) -> Tensor:
        seen.append((temperature, float(noise.std())))
        return latents

    monkeypatch.setattr("rducodec.training.distillation.latent.noisy_soft_round", spy)
    own = LatentRepresentation(slices([40]), CONFIG, device=CPU, max_mse=1e-2)
    for position in (0.0, 0.25, 1.0):
        own.samples(Step(0, position, 1e-3, 1.0))
    np.testing.assert_allclose([t for t, _ in seen], [0.3, 0.25, 0.1])
    np.testing.assert_allclose([s for _, s in seen], [0.25, 0.2125, 0.1], rtol=0.05)


def test_noise_follows_from_seed_and_iteration() -> None:
    own, other, another = representation(), representation(), representation(seed=1)
    step, next_step = (Step(iteration, 0.0, 1e-3, 1.0) for iteration in (3, 4))
    first, second = own.samples(step), own.samples(next_step)
    assert torch.equal(first, own.samples(step))
    assert torch.equal(first, other.samples(step))
    assert not torch.equal(first, second)
    assert not torch.equal(first, another.samples(step))


def test_straight_through_shows_the_decoded_samples() -> None:
    own = representation(rounding="straight-through")
    torch.testing.assert_close(own.samples(Step(0, 0.0, 1e-3, 1.0)), own.decoded())


def test_the_estimate_is_near_what_is_coded() -> None:
    own = representation()
    generator = torch.Generator().manual_seed(0)
    for tensor in own.parameters.tensors():
        tensor += 0.02 * torch.randn(tensor.shape, generator=generator)  # no multiples of a step any more
    own.move(Step(0, 0.0, 0.0, 0.0), [torch.zeros_like(t) for t in own.parameters.tensors()])  # to the mean
    own.count(networks=True)
    rate, _ = own.gradients(Step(0, 0.0, 1e-3, 0.0), torch.zeros(5, 1, 8, 8))
    parameters, steps = quantize_networks(own.with_targets(), own.parameters, max_mse=own.max_mse)
    networks, latents = coded_bits(export(parameters, steps, config=CONFIG, num_samples=NUM_SAMPLES), CONFIG)
    assert rate.networks == pytest.approx(networks)
    assert rate.latents == pytest.approx(latents)
    own.count(networks=False)
    rate, _ = own.gradients(Step(0, 0.0, 1e-3, 0.0), torch.zeros(5, 1, 8, 8))
    assert rate.latents == pytest.approx(latents)
    uncorrected = own.objective.evaluate(own.parameters).bits.sum()
    assert float(uncorrected) == pytest.approx(latents - 3 * 48, rel=0.02)


def test_latents_that_cost_nothing_are_counted() -> None:
    own = representation()
    own.parameters.latents.zero_()
    own.parameters.entropy[-1][:, 1::2] = -20.0  # the narrowest distribution, around 0
    for tensor in own.parameters.entropy[:-1]:
        tensor.zero_()
    own.move(Step(0, 0.0, 0.0, 0.0), [torch.zeros_like(t) for t in own.parameters.tensors()])
    assert not own.objective.evaluate(own.parameters).bits.any()
    for networks in (False, True):
        own.count(networks=networks)
        rate, _ = own.gradients(Step(0, 0.0, 1e-3, 0.0), torch.zeros(5, 1, 8, 8))
        assert 3 * 48 <= rate.latents < 3 * 48 + 1


def test_counted_are_the_mean_parameters_of_the_latest_steps() -> None:
    own = representation()
    generator = torch.Generator().manual_seed(0)
    start = [t.clone() for t in own.parameters.tensors()]
    seen = []
    for iteration in range(200):  # of 1,000
        for tensor, first in zip(own.parameters.tensors(), start, strict=True):
            tensor.copy_(first + torch.randn(first.shape, generator=generator) / 160)  # a tenth of a latent
        own.move(Step(iteration, iteration / 1000, 0.0, 0.0), [torch.zeros_like(t) for t in start])
        seen.append(own.parameters.latents.clone())
    mean = own.state()["average.0"]
    torch.testing.assert_close(mean, torch.stack(seen[-100:]).mean(0), rtol=0, atol=5e-3)
    own.count(networks=False)
    of_mean, _ = own.gradients(Step(0, 0.0, 1e-3, 0.0), torch.zeros(5, 1, 8, 8))
    still = representation()
    of_start, _ = still.gradients(Step(0, 0.0, 1e-3, 0.0), torch.zeros(5, 1, 8, 8))
    assert of_mean.latents == pytest.approx(of_start.latents, rel=0.05)


def test_a_state_continues() -> None:
    first, second = representation(), representation()
    grads = [torch.ones_like(t) for t in first.parameters.tensors()]
    for iteration in range(3):
        first.move(Step(iteration, iteration / 100, 1e-2, 1.0), grads)
    first.count(networks=True)
    second.load_state({name: t.clone() for name, t in first.state().items()})
    for networks in (None, False, True):  # corrections as they were loaded, then new ones
        rates = []
        for each in (first, second):
            each.move(Step(3, 0.03, 1e-2, 1.0), grads)
            if networks is not None:
                each.count(networks=networks)
            rates.append(each.gradients(Step(4, 0.04, 1e-2, 1.0), torch.zeros(5, 1, 8, 8))[0])
        assert rates[0] == rates[1]
        one, other = first.state(), second.state()
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
