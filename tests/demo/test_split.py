import numpy as np
import pytest

from rducodec.demo import MAX_TRAIN_PER_CLASS, NUM_CLASSES, TEST_PER_CLASS, split_digits


def images_of(samples: np.ndarray) -> set[bytes]:
    return {sample.tobytes() for sample in samples}


@pytest.mark.parametrize("per_class", [1, 32, MAX_TRAIN_PER_CLASS])
def test_counts_and_order(per_class: int) -> None:
    split = split_digits(per_class, seed=5)
    assert split.train_labels.tolist() == np.repeat(np.arange(NUM_CLASSES), per_class).tolist()
    assert split.test_labels.tolist() == np.repeat(np.arange(NUM_CLASSES), TEST_PER_CLASS).tolist()
    assert split.train_samples.shape == (NUM_CLASSES * per_class, 1, 8, 8)
    assert split.test_samples.shape == (NUM_CLASSES * TEST_PER_CLASS, 1, 8, 8)


def test_no_test_image_is_trained_on() -> None:
    for seed in range(3):
        split = split_digits(MAX_TRAIN_PER_CLASS, seed)
        train, test = images_of(split.train_samples), images_of(split.test_samples)
        assert len(train) == len(split.train_samples)
        assert not train & test


def test_sizes_share_their_test_set_and_nest() -> None:
    small, large = split_digits(8, seed=1), split_digits(64, seed=1)
    assert np.array_equal(small.test_samples, large.test_samples)
    assert images_of(small.train_samples) < images_of(large.train_samples)


def test_seed_decides() -> None:
    first, again, other = split_digits(4, 0), split_digits(4, 0), split_digits(4, 1)
    assert np.array_equal(first.train_samples, again.train_samples)
    assert not np.array_equal(first.train_samples, other.train_samples)


@pytest.mark.parametrize("per_class", [-1, 0, MAX_TRAIN_PER_CLASS + 1])
def test_impossible_counts(per_class: int) -> None:
    with pytest.raises(ValueError, match="per_class"):
        split_digits(per_class, seed=0)
