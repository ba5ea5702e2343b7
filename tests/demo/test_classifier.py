import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rducodec.demo import split_digits  # noqa: E402 (after the check for torch)
from rducodec.demo.classifier import Accuracy, train_and_test  # noqa: E402


def test_learns_digits_and_repeats_itself() -> None:
    split = split_digits(10, seed=0)
    train = (split.train_samples, split.train_labels)
    test = (split.test_samples, split.test_labels)
    first = train_and_test(train, test, num_networks=2, num_steps=60, seed=3)
    assert first.mean > 0.7
    assert first.per_network[0] != first.per_network[1]
    assert train_and_test(train, test, num_networks=2, num_steps=60, seed=3) == first


def test_leaves_global_state_alone() -> None:
    split = split_digits(1, seed=0)
    train = (split.train_samples, split.train_labels)
    num_threads, state = torch.get_num_threads(), torch.get_rng_state()
    train_and_test(train, train, num_networks=1, num_steps=2)
    assert torch.get_num_threads() == num_threads
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_labels_teach_nothing() -> None:
    split = split_digits(10, seed=0)
    wrong = np.random.default_rng(0).permutation(split.train_labels)
    accuracy = train_and_test(
        (split.train_samples, wrong), (split.test_samples, split.test_labels), num_networks=2, num_steps=40
    )
    assert accuracy.mean < 0.4


def test_class_probabilities_as_labels() -> None:
    split = split_digits(4, seed=0)
    one_hot = np.eye(10, dtype=np.float32)[split.train_labels]
    test = (split.test_samples, split.test_labels)
    hard = train_and_test((split.train_samples, split.train_labels), test, num_networks=1, num_steps=20)
    soft = train_and_test((split.train_samples, one_hot), test, num_networks=1, num_steps=20)
    assert soft == hard


def test_colour_samples_of_another_size() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 2
    samples = rng.normal(size=(12, 3, 12, 16)) + labels[:, None, None, None]
    accuracy = train_and_test((samples, labels), (samples, labels), num_networks=1, num_steps=30)
    assert accuracy.mean == 1.0


def test_shapes_that_do_not_fit() -> None:
    samples = np.zeros((3, 1, 8, 8), np.float32)
    with pytest.raises(ValueError, match="expected"):
        train_and_test((samples, [0, 1]), (samples, [0, 1, 2]))
    with pytest.raises(ValueError, match="expected"):
        train_and_test((samples[0], [0]), (samples, [0, 1, 2]))


def test_mean_and_deviation() -> None:
    assert Accuracy((0.5,)).std == 0.0
    assert Accuracy((0.5, 0.7)).mean == pytest.approx(0.6)
    assert Accuracy((0.5, 0.7)).std == pytest.approx(0.2 / 2**0.5)
