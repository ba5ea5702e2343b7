"""Trimming to a size: never above it, hardly below it, at little error, whatever the price it starts from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rducodec.model import LatentConfig
from rducodec.training import trim
from rducodec.training.execution import Execution
from rducodec.training.objective import Costs, Objective, Samples
from rducodec.training.parameters import SliceParameters, initial_parameters, split_scales
from rducodec.training.rounding import LATENT_GAIN
from rducodec.training.synthesis import synthesise
from rducodec.training.trim import trimmed_latents

CONFIG = LatentConfig(1, 16, 16, num_scales=4, context_size=8, entropy_depth=1, synthesis_widths=(6,))


@pytest.fixture(scope="module")
def trained() -> tuple[Objective, SliceParameters]:
    """Random latents of a few units; the targets are what they decode to. The second slice has fewer samples."""
    generator = torch.Generator().manual_seed(2)
    parameters = initial_parameters(
        CONFIG, num_samples=3, mean=torch.zeros(2, 1), shift=torch.ones(2, 1), generator=generator
    )
    latents = (torch.randn(parameters.latents.shape, generator=generator) * 2).round() / LATENT_GAIN
    weight = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    parameters = replace(parameters, latents=latents * weight[:, :, None])
    empty = Samples(torch.zeros(2, 1, 3, 16, 16), weight)
    objective = Objective(CONFIG, empty, Execution.for_device(torch.device("cpu")))
    return replace(objective, samples=Samples(objective.render(parameters), weight)), parameters


def costs(objective: Objective, parameters: SliceParameters, latents: torch.Tensor) -> Costs:
    return objective.evaluate(replace(parameters, latents=latents))


def trimmed(objective: Objective, parameters: SliceParameters, max_bits: float, lmbda: float) -> torch.Tensor | None:
    generator = torch.Generator().manual_seed(0)
    return trimmed_latents(objective, parameters, max_bits=max_bits, lmbda=lmbda, generator=generator)


@pytest.mark.parametrize("lmbda", [0.0, 1e-7])
@pytest.mark.parametrize("share", [0.99, 0.9, 0.7])
def test_a_size_is_met(share: float, lmbda: float, trained: tuple[Objective, SliceParameters]) -> None:
    objective, parameters = trained
    target = share * float(costs(objective, parameters, parameters.latents).bits.sum())
    latents = trimmed(objective, parameters, target, lmbda)
    assert latents is not None
    after = costs(objective, parameters, latents)
    assert target - 10 <= float(after.bits.sum()) <= target
    torch.testing.assert_close(latents * LATENT_GAIN, (latents * LATENT_GAIN).round())
    assert bool((latents[1, 2] == 0).all()), "no sample of this slice"


def test_cheap_latents_go_first(trained: tuple[Objective, SliceParameters]) -> None:
    """Less error than where as many bits are saved anywhere."""
    objective, parameters = trained
    target = 0.9 * float(costs(objective, parameters, parameters.latents).bits.sum())
    latents = trimmed(objective, parameters, target, 0.0)
    assert latents is not None
    generator, own = torch.Generator().manual_seed(1), parameters.latents.clone()
    while float(costs(objective, parameters, own).bits.sum()) > target:
        some = torch.rand(own.shape, generator=generator) < 0.01
        own -= own.sign() * some / LATENT_GAIN
    random_error = costs(objective, parameters, own).mse.sum()
    assert float(costs(objective, parameters, latents).mse.sum()) < 0.1 * float(random_error)


def test_what_fits_is_left_alone_and_what_cannot_be_is_told(trained: tuple[Objective, SliceParameters]) -> None:
    objective, parameters = trained
    bits = float(costs(objective, parameters, parameters.latents).bits.sum())
    kept = trimmed(objective, parameters, bits + 1, 0.0)
    assert kept is not None
    assert torch.equal(kept, parameters.latents)
    assert trimmed(objective, parameters, -5.0, 0.0) is None
    assert trimmed(objective, parameters, 3.0, 0.0) is None


def test_latents_move_to_where_bits_are_fewer(trained: tuple[Objective, SliceParameters]) -> None:
    """That is not zero where the entropy network expects another number."""
    objective, parameters = trained
    entropy = [torch.zeros_like(tensor) for tensor in parameters.entropy]
    entropy[-1][:] = torch.tensor([3.0, 4.0])  # location, and logarithm of the scale after an offset of 4
    own = replace(parameters, entropy=tuple(entropy))
    target = 0.8 * float(costs(objective, own, own.latents).bits.sum())
    latents = trimmed(objective, own, target, 0.0)
    assert latents is not None
    before, after = ((each[0] * LATENT_GAIN - 3).abs() for each in (own.latents, latents))
    assert bool((after <= before + 1e-4).all())
    assert bool((after < before - 0.5).any())


def test_gradients_and_curvatures_are_those_of_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the derivatives of each value, with several channels and a slice of fewer samples."""
    monkeypatch.setattr(trim, "MEAN_SHARE", 0.0)
    monkeypatch.setattr(trim, "PROBES", 400)
    config = LatentConfig(3, 6, 6, num_scales=2, context_size=8, entropy_depth=1, synthesis_widths=(5,))
    generator = torch.Generator().manual_seed(3)
    parameters = initial_parameters(
        config, num_samples=2, mean=torch.zeros(2, 3), shift=torch.ones(2, 3), generator=generator
    )
    integers = (torch.randn(parameters.latents.shape, generator=generator) * 2).round()
    parameters = replace(parameters, latents=integers / LATENT_GAIN)
    weight = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    targets = torch.rand((2, 3, 2, 6, 6), generator=generator)
    objective = Objective(config, Samples(targets, weight), Execution.for_device(torch.device("cpu")))
    integers.requires_grad_()
    grids = split_scales(integers, config)
    images = synthesise(grids, parameters.upsampling, parameters.synthesis, block_elements=1 << 20)
    present = (images * weight[:, None, :, None, None]).flatten()

    def gradient_of(value: Tensor) -> Tensor:
        return torch.autograd.grad(value, integers, retain_graph=True)[0]

    errors = (images - targets).square() * weight[:, None, :, None, None]
    found = trim._gradient(objective, parameters, objective.squared_error, lmbda=0.0)
    torch.testing.assert_close(found, gradient_of(errors.sum()) / 3, rtol=1e-4, atol=1e-5)
    expected = 2 / 3 * torch.stack([gradient_of(value).square() for value in present]).sum(0)
    curvatures = trim._curvatures(objective, parameters, generator=generator)
    assert not bool(curvatures[1, 1].any())
    assert float(curvatures.sum() / expected.sum()) == pytest.approx(1, abs=0.05)
    pairs = torch.stack([curvatures[weight > 0].flatten(), expected[weight > 0].flatten()])
    assert float(torch.corrcoef(pairs)[0, 1]) > 0.98
