"""Distribution matching against its definition and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from rducodec.errors import RddInputError, RddVersionError
from rducodec.training import classifiers
from rducodec.training.data.real import RealImages
from rducodec.training.group import Group
from rducodec.training.utility import matching
from rducodec.training.utility.distribution import DistributionMatching
from rducodec.training.utility.protocol import UtilityGradient
from tests.training.utility import tiny

LABELS = tiny.labels_of(tiny.COUNTS)


def _one_network(monkeypatch: pytest.MonkeyPatch) -> classifiers.Classifier:
    """The network of every iteration from now on."""
    network = classifiers.build_classifier("convnet", channels=3, num_classes=3, size=(8, 8), width=3)
    monkeypatch.setattr(classifiers, "build_classifier", lambda *_, **__: network)
    return network.double()


def _definition(network: classifiers.Classifier, real: RealImages, samples: Tensor) -> float:
    """The loss against all real images, by its definition."""
    total = 0.0
    for label in range(3):
        with torch.no_grad():
            distance = network.features(real.batch(real.by_class[label]).double()).mean(0)
            distance -= network.features(samples[label == LABELS]).mean(0)
        total += float((distance**2).sum())
    return total


def test_loss_is_the_distance_of_mean_features(monkeypatch: pytest.MonkeyPatch) -> None:
    network, samples = _one_network(monkeypatch), tiny.samples_of()
    real = tiny.real_images((6, 6, 6))
    utility = DistributionMatching(tiny.context(augmentation="none", real=real), real_batch=6)
    # Real features are computed as float32 whatever the samples are.
    np.testing.assert_allclose(
        utility.gradient(samples, LABELS, iteration=4).loss, _definition(network, real, samples), rtol=1e-5
    )


@pytest.mark.parametrize("iteration", range(4))
def test_gradients_equal_finite_differences(iteration: int) -> None:
    context = tiny.context()
    tiny.check_gradients(
        lambda: DistributionMatching(context, real_batch=4), tiny.samples_of(), LABELS, iteration=iteration
    )


def test_a_subset_of_classes_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    _one_network(monkeypatch)
    context, samples = tiny.context(augmentation="none"), tiny.samples_of()
    chosen = set()
    for iteration in range(8):
        whole = DistributionMatching(context, real_batch=4).gradient(samples, LABELS, iteration=iteration)
        part = DistributionMatching(context, real_batch=4, classes_per_iteration=2).gradient(
            samples, LABELS, iteration=iteration
        )
        moved = [k for k in range(3) if part.samples[k == LABELS].any()]
        assert len(moved) == 2
        chosen.add(tuple(moved))
        rows = torch.isin(LABELS, torch.tensor(moved))
        torch.testing.assert_close(part.samples[rows], 1.5 * whole.samples[rows])
    assert len(chosen) == 3


@pytest.mark.parametrize("together", [2, 3])
def test_classes_may_go_through_the_network_together(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator."""
    alone = DistributionMatching(tiny.context(), real_batch=4)
    samples = tiny.samples_of()
    expected = [alone.gradient(samples, LABELS, iteration=iteration) for iteration in range(4)]
    monkeypatch.setattr(DistributionMatching, "_classes_at_once", lambda *_: together)
    for iteration, each in enumerate(expected):
        found = DistributionMatching(tiny.context(), real_batch=4).gradient(samples, LABELS, iteration=iteration)
        tiny.assert_close(found, each, rtol=1e-6)  # features of real images are float32
    results = tiny.together(
        2,
        lambda group: DistributionMatching(tiny.context(group=group), real_batch=2).gradient(
            samples, LABELS, iteration=1
        ),
    )
    for each in results:
        tiny.assert_close(each, expected[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "real_batch", "processes", "expected"),
    [
        ((640, 3, 32, 32), 256, 1, 16),  # all ten classes of CIFAR-10
        ((640, 3, 32, 32), 256, 4, 4),
        ((640, 3, 128, 128), 8, 1, 1),  # a graph of 64 large samples
        ((10, 3, 128, 128), 256, 1, 1),  # large batches of few samples
    ],
)
def test_classes_together_are_bounded(
    shape: tuple[int, int, int, int], real_batch: int, processes: int, expected: int
) -> None:
    samples = torch.empty(shape, device="meta")
    size = shape[0] // 10
    chosen = [(label, slice(label * size, (label + 1) * size)) for label in range(10)]
    utility = DistributionMatching(tiny.context(group=Group(0, processes)), real_batch=real_batch)
    assert utility._classes_at_once(samples, chosen) == expected
    assert utility._classes_at_once(torch.empty(1, 3, 8, 8), chosen) == 1


def test_an_iteration_follows_from_seed_and_number() -> None:
    samples = tiny.samples_of(dtype=torch.float32)

    def run(iteration: int, seed: int = 0) -> UtilityGradient:
        return DistributionMatching(tiny.context(seed=seed), real_batch=4).gradient(
            samples, LABELS, iteration=iteration
        )

    tiny.assert_same(run(3), run(3))
    assert run(3).loss != run(4).loss
    assert run(3).loss != run(3, seed=1).loss
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    run(3)
    assert torch.equal(torch.rand(1), first)


@pytest.mark.parametrize("size", [2, 4])  # 4: more processes than classes
def test_processes_do_what_one_does_with_the_larger_batch(size: int) -> None:
    samples = tiny.samples_of()

    def run(group: Group) -> UtilityGradient:
        return DistributionMatching(tiny.context(group=group), real_batch=4 // size).gradient(
            samples, LABELS, iteration=2
        )

    alone = DistributionMatching(tiny.context(), real_batch=4).gradient(samples, LABELS, iteration=2)
    results = tiny.together(size, run)
    for result in results:
        tiny.assert_same(result, results[0])
        tiny.assert_close(result, alone, rtol=1e-5)


def test_pieces_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, context = tiny.samples_of(), tiny.context()
    whole = DistributionMatching(context).gradient(samples, LABELS, iteration=0)
    monkeypatch.setattr(matching, "CPU_PIECE_PIXELS", 2 * 8 * 8)
    tiny.assert_close(DistributionMatching(context).gradient(samples, LABELS, iteration=0), whole)


def test_bfloat16_is_near() -> None:
    samples = tiny.samples_of(dtype=torch.float32)
    exact, rough = (
        DistributionMatching(tiny.context(mixed_precision=mixed)).gradient(samples, LABELS, iteration=0)
        for mixed in (False, True)
    )
    assert rough.samples.dtype == torch.float32
    assert exact.loss != rough.loss
    assert float(torch.cosine_similarity(rough.samples.flatten(), exact.samples.flatten(), dim=0)) > 0.98


@pytest.mark.slow
def test_compiled_networks_change_nothing_but_rounding() -> None:
    samples = tiny.samples_of(dtype=torch.float32)
    plain, compiled = (DistributionMatching(tiny.context(compiled=each)) for each in (False, True))
    for iteration in (0, 1):  # another network, the same machine code
        tiny.assert_close(
            compiled.gradient(samples, LABELS, iteration=iteration),
            plain.gradient(samples, LABELS, iteration=iteration),
            rtol=1e-3,
        )


def test_where_nothing_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(_: object) -> object:
        def fail(*_: object) -> None:
            raise BackendCompilerFailed(print, RuntimeError("no C++ compiler"), None)

        return fail

    monkeypatch.setattr(torch, "compile", compiled)
    loss = DistributionMatching(tiny.context(compiled=True))
    with pytest.raises(RddVersionError, match=r"utility.compiled: torch cannot compile"):
        loss.gradient(tiny.samples_of(dtype=torch.float32), LABELS, iteration=0)


def test_a_network_with_batch_norm_sees_real_statistics() -> None:
    context = tiny.context(network_options={"width": 3, "norm": "batch"})
    tiny.check_gradients(lambda: DistributionMatching(context, real_batch=4), tiny.samples_of(), LABELS, iteration=1)


def test_no_state_and_no_advice() -> None:
    utility = DistributionMatching(tiny.context())
    utility.load_state(utility.state())
    assert utility.state() == {}
    assert utility.recipe() == {}


def test_learned_labels_are_refused() -> None:
    with pytest.raises(RddInputError, match="learns no labels"):
        DistributionMatching(tiny.context()).gradient(
            tiny.samples_of(), LABELS, iteration=0, label_logits=tiny.logits_of()
        )


@pytest.mark.parametrize("option", ["real_batch", "classes_per_iteration"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "many"])
def test_counts_are_checked(option: str, value: object) -> None:
    options: dict = {option: value}
    with pytest.raises(RddInputError, match=f"utility option {option}: .* expected a positive integer"):
        DistributionMatching(tiny.context(), **options)
