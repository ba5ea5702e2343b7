"""What accuracies depend on, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rducodec.errors import RddInputError
from rducodec.training.data import fit_space
from rducodec.training.evaluation.evaluate import EvaluationProgress, evaluate, evaluate_real_images
from tests.training.evaluation.small import QUICK, bars, real

TRAIN, TEST = bars(24), bars(60, seed=1)
SHORT = replace(QUICK, epochs=2)


def test_learns_and_repeats_itself() -> None:
    first = evaluate(TRAIN.pixels(), TRAIN.labels, real(TEST), QUICK, num_networks=2, seed=3)
    assert first.mean > 0.9
    again = evaluate(torch.from_numpy(TRAIN.pixels()), TRAIN.labels, real(TEST), QUICK, num_networks=1, seed=3)
    assert again.per_network == first.per_network[:1]


def test_wrong_labels_teach_nothing() -> None:
    wrong = np.random.default_rng(0).permutation(TRAIN.labels)
    assert evaluate(TRAIN.pixels(), wrong, real(TEST), QUICK, num_networks=2).mean < 0.7


def test_hard_labels_and_sure_probabilities_train_the_same_bits() -> None:
    one_hot = np.eye(3, dtype=np.float64)[TRAIN.labels]
    hard = evaluate(TRAIN.pixels(), TRAIN.labels, real(TEST), SHORT, num_networks=2)
    assert evaluate(TRAIN.pixels(), one_hot, real(TEST), SHORT, num_networks=2) == hard


def test_unsure_probabilities_train_others() -> None:
    test = real(TEST)
    flat = np.full((24, 3), 1 / 3)
    assert evaluate(TRAIN.pixels(), flat, test, QUICK, num_networks=1).mean < 0.8
    soft = 0.7 * np.eye(3)[TRAIN.labels] + 0.1
    assert evaluate(TRAIN.pixels(), soft, test, QUICK, num_networks=1).mean > 0.9


def test_real_images_train_what_their_pixels_train() -> None:
    one_pass = replace(SHORT, epochs=SHORT.full_epochs)
    whole = evaluate_real_images(real(TRAIN), real(TEST), SHORT.for_real_images(), num_networks=2)
    assert whole == evaluate(TRAIN.pixels(), TRAIN.labels, real(TEST), one_pass, num_networks=2)


def test_a_space_of_samples_is_that_of_the_test_images() -> None:
    space = fit_space("standardised", TRAIN)
    values = space.forward(torch.from_numpy(TRAIN.pixels()))
    assert evaluate(values, TRAIN.labels, real(TEST, space), QUICK, num_networks=1).mean > 0.9


def test_pixels_are_standardised() -> None:
    dark = replace(TRAIN, images=(TRAIN.images / 255 / 100).astype(np.float32))
    dark_test = replace(TEST, images=(TEST.images / 255 / 100).astype(np.float32))
    plain = replace(QUICK, network_options={"width": 8, "depth": 2, "norm": "none"})  # would not see dark images
    assert evaluate(dark.pixels(), dark.labels, real(dark_test), plain, num_networks=1).mean > 0.9


def test_leaves_global_state_alone() -> None:
    num_threads, state = torch.get_num_threads(), torch.get_rng_state()
    options = {"dim": 16, "depth": 1, "heads": 2, "mlp": 16, "dropout": 0.5}
    vit = replace(SHORT, network="vit", network_options=options, epochs=1)
    small = bars(3)
    evaluate(small.pixels(), small.labels, real(small), vit, num_networks=1)
    assert torch.get_num_threads() == num_threads
    assert torch.equal(torch.get_rng_state(), state)


def test_mixed_precision_learns_too() -> None:
    found = evaluate(TRAIN.pixels(), TRAIN.labels, real(TEST), QUICK, num_networks=1, mixed_precision=True)
    assert found.mean > 0.9


def test_progress_goes_from_network_to_network() -> None:
    told: list[EvaluationProgress] = []
    protocol = replace(SHORT, epochs=11)  # 22 steps
    accuracy = evaluate(TRAIN.pixels(), TRAIN.labels, real(TEST), protocol, num_networks=2, progress=told.append)
    assert [(state.step, len(state.accuracies)) for state in told] == [(20, 0), (22, 1), (42, 1), (44, 2)]
    assert {state.total_steps for state in told} == {44}
    assert told[-1].accuracies == accuracy.per_network


@pytest.mark.parametrize(
    ("samples", "labels", "message"),
    [
        (np.zeros((2, 8, 8)), [0, 1], "samples: shape"),
        (np.zeros((0, 1, 8, 8)), [], "samples: shape"),
        (np.zeros((2, 1, 8, 9)), [0, 1], "samples: 1 x 8 x 9 .* test images are 1 x 8 x 8"),
        (np.zeros((2, 3, 8, 8)), [0, 1], "samples: 3 x 8 x 8"),
        (np.full((2, 1, 8, 8), np.nan), [0, 1], r"value at \[0, 0, 0, 0\] is nan"),
        (np.full((2, 1, 8, 8), 1e300), [0, 1], "is inf, expected finite"),
        (np.zeros((2, 1, 8, 8)), [0, 1, 2], "one for each of 2 samples"),
        (np.zeros((2, 1, 8, 8)), [0, 3], "label 1 is 3, expected 0..2"),
        (np.zeros((2, 1, 8, 8)), [-1, 0], "label 0 is -1"),
        (np.zeros((2, 1, 8, 8)), [0.0, 1.0], "expected integers"),
        (np.zeros((2, 1, 8, 8)), np.eye(2), "2 probabilities a sample, the test images have 3 classes"),
        (np.zeros((2, 1, 8, 8)), np.ones((2, 3)), "sample 0 .* sum to 3, expected probabilities"),
        (np.zeros((2, 1, 8, 8)), [[1.5, -0.5, 0], [1, 0, 0]], "sample 0 are -0.5 or more"),
        (np.zeros((2, 1, 8, 8)), [[1, 0, 0], [np.nan, 0, 0]], "sample 1"),
    ],
)
def test_what_does_not_fit(samples: np.ndarray, labels: list, message: str) -> None:
    with pytest.raises(RddInputError, match=message):
        evaluate(samples, labels, real(TEST), SHORT)


def test_no_networks_and_other_images() -> None:
    with pytest.raises(RddInputError, match="networks: 0"):
        evaluate(TRAIN.pixels(), TRAIN.labels, real(TEST), SHORT, num_networks=0)
    with pytest.raises(RddInputError, match="training images: 1 x 10 x 8"):
        evaluate_real_images(real(bars(3, shape=(1, 10, 8))), real(TEST), SHORT)
