"""One training against plain definitions, seen through a network that records what it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rducodec.errors import RddInputError
from rducodec.training.evaluation import classify
from rducodec.training.evaluation.classify import Samples, Standardised, Task, mean_and_std
from rducodec.training.evaluation.protocols import Protocol
from rducodec.training.randomness import generator_for

PROTOCOL = Protocol("p", epochs=2, batch_size=4, augmentation="none", learning_rate=0.1)


class Recorder(nn.Module):
    """Logits linear in the pixels; remembers its inputs."""

    def __init__(self, num_values: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, num_values * num_classes).view(num_values, num_classes))
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.shown.append(x.detach().flatten(1))
        return x.flatten(1) @ self.weight


def task(protocol: Protocol, train: Samples, test: Samples, *, num_classes: int = 3) -> Task:
    channels, height, width = train.values.shape[1:]
    return Task(train, test, (channels, height, width), num_classes, protocol, 0, torch.device("cpu"))


def examples(count: int, *, num_values: int = 2, seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 1, 1, num_values, generator=generator)
    return Samples(values, torch.arange(count) % 3)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    network = Recorder(2, 3)
    monkeypatch.setattr(classify, "build_classifier", lambda *_, **__: network)
    return network


def test_every_pass_shows_every_example_once(recorder: Recorder) -> None:
    train = examples(10)
    task(PROTOCOL, train, examples(3)).accuracy(0, lambda _: None)
    assert [len(x) for x in recorder.shown] == [4, 4, 2] * 2
    for shown in (recorder.shown[:3], recorder.shown[3:]):
        rows = torch.cat(shown)
        assert sorted(rows.tolist()) == sorted(train.values.flatten(1).tolist())
    assert not torch.equal(torch.cat(recorder.shown[:3]), torch.cat(recorder.shown[3:]))


def test_descent_is_that_of_the_protocol(recorder: Recorder) -> None:
    train = examples(10)
    protocol = replace(PROTOCOL, weight_decay=0.03, momentum=0.8)
    weight = recorder.weight.detach().double().numpy().copy()
    task(protocol, train, examples(3)).accuracy(0, lambda _: None)
    labels = {tuple(x): k for x, k in zip(train.values.flatten(1).tolist(), train.labels.tolist(), strict=True)}
    velocity = np.zeros_like(weight)
    for step, shown in enumerate(recorder.shown):
        x = shown.double().numpy()
        scores = np.exp(x @ weight)
        errors = scores / scores.sum(1, keepdims=True)
        errors[np.arange(len(x)), [labels[tuple(row)] for row in shown.tolist()]] -= 1
        velocity = 0.8 * velocity + x.T @ errors / len(x) + 0.03 * weight
        weight -= (0.1 if step < 3 else 0.01) * velocity
    np.testing.assert_allclose(recorder.weight.detach().numpy(), weight, atol=1e-6)


def test_accuracy_counts_right_answers(recorder: Recorder) -> None:
    test = examples(1100, seed=5)  # more than two batches
    found = task(replace(PROTOCOL, learning_rate=1e-12), examples(4), test).accuracy(0, lambda _: None)
    answers = np.argmax(test.values.flatten(1).numpy() @ recorder.weight.detach().numpy(), 1)
    assert found == np.mean(answers == test.labels.numpy())


def test_reports_steps_that_are_done(recorder: Recorder) -> None:
    told: list[int] = []
    task(replace(PROTOCOL, epochs=25), examples(8), examples(3)).accuracy(0, told.append)
    assert told == [20, 40]
    assert len(recorder.shown) == 50


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_network_that_diverges_is_refused_and_not_counted_as_chance(optimiser: str) -> None:
    options: dict[str, Any] = {"width": 4, "depth": 2}
    steep = replace(PROTOCOL, optimiser=optimiser, learning_rate=1e30, network_options=options)
    train = Samples(torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3)
    with pytest.raises(RddInputError, match=r"protocol p: network 1 diverged .* learning rate .* it is 1e\+30"):
        task(steep, train, train).accuracy(1, lambda _: None)


def test_a_long_training_that_diverges_ends_before_its_last_step(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "CHECK_STEPS", 6)
    steep = replace(PROTOCOL, learning_rate=1e30, epochs=100)
    with pytest.raises(RddInputError, match=r"diverged by step 6 of 200"):
        task(steep, examples(8), examples(3)).accuracy(0, lambda _: None)
    assert len(recorder.shown) == 6


def test_augmentation_is_drawn_anew_for_each_batch(recorder: Recorder) -> None:
    protocol = replace(PROTOCOL, augmentation="color", batch_size=8)
    train = Samples(torch.rand(1, 1, 1, 2).expand(8, 1, 1, 2), torch.zeros(8, dtype=torch.int64))
    task(protocol, train, examples(3)).accuracy(0, lambda _: None)
    first, second = recorder.shown
    assert len(first.unique(dim=0)) == 8
    assert not torch.equal(first, second)


def test_statistics_of_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(700, 3, 2, 4, generator=generator) * torch.tensor([1.0, 5.0, 0.0])[:, None, None] + 7
    samples = Samples(values, torch.zeros(700, dtype=torch.int64))
    mean, std = mean_and_std(samples)
    array = values.double().numpy()
    np.testing.assert_allclose(mean.flatten(), array.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std.flatten()[:2], array.std((0, 2, 3))[:2], rtol=1e-6)
    seen = Standardised(samples, mean, std).batch(torch.arange(700)).double()
    assert seen.isfinite().all()  # the third channel is constant
    np.testing.assert_allclose(seen[:, :2].std((0, 2, 3), correction=0), [1, 1], rtol=1e-5)


def test_networks_of_other_numbers_and_seeds_differ() -> None:
    network_options: dict[str, Any] = {"width": 4, "depth": 2}
    protocol = replace(PROTOCOL, network_options=network_options)
    starts = []
    for seed, number in ((0, 0), (0, 1), (1, 0), (0, 0)):
        generator = generator_for(seed, "evaluation weights", number)
        network = classify._network(protocol, (1, 8, 8), 3, generator)
        starts.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(starts[0], starts[3])
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
