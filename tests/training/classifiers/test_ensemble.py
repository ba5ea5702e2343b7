"""Networks side by side against the same networks alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rducodec.errors import RddInputError
from rducodec.training.classifiers import Classifier, Ensemble, build_classifier
from rducodec.training.classifiers import ensemble as ensemble_module
from rducodec.training.randomness import generator_for

E, N = 3, 4


class DropPath(torch.nn.Module):
    """As timm's."""

    drop_prob = 0.1


def _networks(name: str = "convnet", **options) -> list[Classifier]:
    options = options or {"width": 4}
    return [
        build_classifier(
            name, channels=2, num_classes=3, size=(8, 8), generator=generator_for(i, "test"), **options
        ).double()
        for i in range(E)
    ]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(E, N, 2, 8, 8, generator=generator_for(0, "x"), dtype=torch.float64)
    return x, torch.randint(3, (E, N), generator=generator_for(0, "y"))


@pytest.mark.parametrize("name", ["convnet", "vit"])
@pytest.mark.parametrize("pixels", [64, 192, 2**16])  # pieces of 1, of 3 and 1, of all
def test_logits_and_gradients_are_those_of_each_network(
    name: str, pixels: int, batch: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble_module, "CPU_PIECE_PIXELS", pixels)
    x, labels = batch
    options = {"dim": 8, "depth": 1, "heads": 2, "dropout": 0.0} if name == "vit" else {"width": 4}
    networks = _networks(name, **options)
    ensemble = Ensemble(networks)
    assert len(ensemble) == E
    logits = ensemble(x)
    losses, gradients = ensemble.gradients(x, labels)
    for i, network in enumerate(networks):
        expected = network(x[i])
        torch.testing.assert_close(logits[i], expected)
        loss = F.cross_entropy(expected, labels[i])
        torch.testing.assert_close(losses[i].double(), loss.detach(), rtol=1e-6, atol=1e-6)  # of float32 logits
        for key, parameter in network.named_parameters():
            (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
            torch.testing.assert_close(gradients[key][i], gradient, rtol=1e-4, atol=1e-6)
            assert torch.equal(ensemble.network_state(i)[key], parameter)


def test_the_batched_program_computes_the_same(batch: tuple) -> None:
    """The way of an accelerator, on the CPU."""
    x, labels = batch
    ensemble = Ensemble(_networks())
    logits = ensemble._side_by_side(ensemble.parameters, x)
    torch.testing.assert_close(logits, ensemble(x))
    losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)
    found = torch.autograd.grad(losses.sum(), list(ensemble.parameters.values()))
    _, gradients = ensemble.gradients(x, labels)
    torch.testing.assert_close(dict(zip(gradients, found, strict=True)), gradients, rtol=1e-4, atol=1e-6)


def test_mixed_precision_is_near(batch: tuple) -> None:
    x, labels = batch[0].float(), batch[1]
    networks = [network.float() for network in _networks()]
    losses, gradients = Ensemble(networks).gradients(x, labels)
    near_losses, near = Ensemble(networks).gradients(x, labels, mixed_precision=True)
    assert not torch.equal(losses, near_losses)
    torch.testing.assert_close(near_losses, losses, rtol=0.02, atol=0.02)
    torch.testing.assert_close(near, gradients, rtol=0.05, atol=0.05)


def test_parameters_are_leaves_of_their_own() -> None:
    networks = _networks()
    ensemble = Ensemble(networks)
    state = ensemble.network_state(1)
    for key, value in ensemble.parameters.items():
        assert value.is_leaf
        assert value.requires_grad
        with torch.no_grad():
            value += 1
        assert torch.equal(state[key], networks[1].get_parameter(key))
    assert not torch.equal(ensemble.network_state(1)["classifier.bias"], state["classifier.bias"])


def test_unfit_networks_are_refused() -> None:
    with pytest.raises(RddInputError, match="no networks"):
        Ensemble([])
    with pytest.raises(RddInputError, match="batch norm"):
        Ensemble(_networks(width=4, norm="batch"))
    with pytest.raises(RddInputError, match="dropout"):
        Ensemble(_networks("vit", dim=8, depth=1, heads=2))
    for dropping in (torch.nn.Dropout2d(0.1), DropPath()):
        networks = _networks()
        for network in networks:
            network.add_module("dropping", dropping)
        with pytest.raises(RddInputError, match="dropout"):
            Ensemble(networks)
    with pytest.raises(RddInputError, match="network 1 is not built as network 0"):
        Ensemble([_networks(width=4)[0], _networks(width=5)[0]])
