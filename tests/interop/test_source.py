"""Arrays of every kind end as those of a clean copy, or in an error that names the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rducodec
from rducodec.errors import RddInputError
from rducodec.interop import make_source

PIXELS = rducodec.ValueSpace()
LABELS = [0, 1, 1, 2]
CLEAN = np.random.default_rng(1).normal(size=(4, 3, 5, 6)).astype(np.float32)


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array: np.ndarray) -> np.ndarray:
    buffer = bytearray(1) + bytearray(array.tobytes())
    return np.frombuffer(buffer, array.dtype, offset=1).reshape(array.shape)


SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "big-endian": lambda a: a.astype(">f4"),
    "not contiguous": lambda a: np.repeat(a, 2, axis=3)[..., ::2],
    "negative strides": lambda a: a[:, ::-1].copy()[:, ::-1],
    "fortran order": np.asfortranarray,
    "read-only": frozen,
    "unaligned": unaligned,
    "list": lambda a: a.tolist(),  # becomes float64
    "subclass": lambda a: a.view(np.ma.MaskedArray),
}


@pytest.mark.parametrize("kind", SAME)
def test_same_as_a_clean_copy(kind):
    source = make_source(SAME[kind](CLEAN), LABELS, space=PIXELS)
    assert np.array_equal(source.raw_samples(), CLEAN)
    assert np.array_equal(source.float_samples(), CLEAN)
    assert source.samples.flags.c_contiguous
    assert source.samples.dtype.isnative
    assert type(source.samples) is np.ndarray
    assert source.raw_config() == rducodec.RawConfig(True, 32)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    clean = torch.from_numpy(CLEAN.copy())
    for tensor in (clean, clean.clone().requires_grad_(), clean.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)):
        source = make_source(tensor, torch.tensor(LABELS), space=PIXELS)
        assert np.array_equal(source.samples, CLEAN)
        assert source.labels.tolist() == LABELS


def test_bfloat16_becomes_float32_exactly():
    half = pytest.importorskip("torch").from_numpy(CLEAN.copy()).bfloat16()
    source = make_source(half, LABELS, space=PIXELS)
    assert source.samples.dtype == np.float32
    assert np.array_equal(source.samples, half.float().numpy())


def test_sparse_tensor_is_refused():
    clean = pytest.importorskip("torch").from_numpy(CLEAN.copy())
    with pytest.raises(RddInputError, match="sparse"):
        make_source(clean.to_sparse(), LABELS, space=PIXELS)


def with_value(value: Any, dtype: Any) -> np.ndarray:
    array = np.zeros((4, 1, 2, 2), dtype)
    array[2, 0, 1, 0] = value
    return array


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite(value, dtype):
    with pytest.raises(RddInputError, match=r"\[2, 0, 1, 0\] is -?(nan|inf)"):
        make_source(with_value(value, dtype), LABELS, space=PIXELS)


@pytest.mark.parametrize("dtype", [bool, object, complex, "datetime64[s]", "U3", np.longdouble])
def test_types_that_are_no_numbers(dtype):
    with pytest.raises(RddInputError, match="numbers expected"):
        make_source(np.zeros((4, 1, 2, 2), dtype), LABELS, space=PIXELS)


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_out_of_range(value):
    with pytest.raises(RddInputError, match=rf"\[2, 0, 1, 0\] is {value}"):
        make_source(with_value(value, np.int64), LABELS, space=PIXELS, divisor=255)


@pytest.mark.parametrize("shape", [(4, 2, 2), (4, 1, 1, 2, 2), (0, 1, 2, 2), (4, 0, 2, 2), (4, 1, 2, 0)])
def test_shapes_that_are_no_samples(shape):
    with pytest.raises(RddInputError, match="shape"):
        make_source(np.zeros(shape, np.uint8), [0] * shape[0])


def test_samples_of_different_sizes():
    with pytest.raises(RddInputError, match="not an array of one size"):
        make_source([np.zeros((1, 2, 2)), np.zeros((1, 3, 3))], [0, 1], space=PIXELS)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_integers_of_any_width(dtype):
    values = np.arange(16).reshape(4, 1, 2, 2)
    source = make_source(values.astype(dtype), LABELS, space=PIXELS, divisor=15)
    assert np.array_equal(source.samples, values)
    assert source.raw_config() == rducodec.RawConfig(False, 4, 15)
    assert np.array_equal(source.float_samples(), values.astype(np.float32) / np.float32(15))


def test_bytes_are_pixels():
    source = make_source(np.zeros((4, 1, 2, 2), np.uint8), LABELS)
    assert source.space == PIXELS
    assert source.raw_config() == rducodec.RawConfig(False, 8, 255)


def test_meaning_is_never_guessed():
    floats, words = np.zeros((4, 1, 2, 2), np.float32), np.zeros((4, 1, 2, 2), np.uint16)
    with pytest.raises(RddInputError, match="--space"):
        make_source(floats, LABELS)
    with pytest.raises(RddInputError, match="--space"):
        make_source(words, LABELS)
    with pytest.raises(RddInputError, match="--divisor"):
        make_source(words, LABELS, space=PIXELS)
    with pytest.raises(RddInputError, match="--divisor"):
        make_source(words.astype(np.uint8), LABELS, space=rducodec.ValueSpace("other", text="palette"))
    with pytest.raises(RddInputError, match="only integers"):
        make_source(floats, LABELS, space=PIXELS, divisor=255)
    with pytest.raises(RddInputError, match="divisor: 0"):
        make_source(words, LABELS, space=PIXELS, divisor=0)


def test_constants_must_fit_the_channels():
    with pytest.raises(RddInputError, match="1 means and 1 standard deviations for samples of 3 channels"):
        make_source(CLEAN, LABELS, space=rducodec.ValueSpace("standardised", (0.5,), (0.5,)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], "3 for 4 samples"),
        ([0, 1, -1, 2], "label 2 is -1"),
        ([0, 1, 2, 65535], "label 3 is 65535"),
        ([0.0, 1.0, 1.0, 2.0], "integers expected"),
        ([True, False, True, True], "numbers expected"),
        (2 * np.eye(4), "label 0 adds up to 2, probabilities to 1"),
        (np.array([0, 1, None, 2]), "numbers expected"),
    ],
)
def test_labels_that_cannot_be_stored(labels, message):
    with pytest.raises(RddInputError, match=message):
        make_source(CLEAN, labels, space=PIXELS)


def test_number_of_classes():
    assert make_source(CLEAN, LABELS, space=PIXELS).num_classes == 3
    assert make_source(CLEAN, LABELS, space=PIXELS, num_classes=7).num_classes == 7
    assert make_source(CLEAN, LABELS, space=PIXELS, class_names="abcd").num_classes == 4
    with pytest.raises(RddInputError, match="label 3 is 2"):
        make_source(CLEAN, LABELS, space=PIXELS, num_classes=2)
    with pytest.raises(RddInputError, match="4 for 7 classes"):
        make_source(CLEAN, LABELS, space=PIXELS, num_classes=7, class_names="abcd")
    with pytest.raises(RddInputError, match=r"0\.\.65534"):
        make_source(CLEAN, LABELS, space=PIXELS, num_classes=70_000)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "C:\\x", "a\0", "a\n", "-x", "x" * 300, "", "A"])
def test_class_names_that_are_paths_or_clash(name):
    with pytest.raises(RddInputError, match="class name"):
        make_source(CLEAN, LABELS, space=PIXELS, class_names=["a", "b", name])


def test_first_samples_of_each_class_keep_their_order():
    source = make_source(np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2), [2, 0, 2, 0, 0, 2], num_classes=4)
    some = source.first_per_class(2)
    assert some.labels.tolist() == [2, 0, 2, 0]
    assert some.samples[:, 0, 0, 0].tolist() == [0, 4, 8, 12]
    assert some.num_classes == 4


def test_float64_is_rounded_only_where_that_is_meant():
    fine = with_value(0.1, np.float64)
    source = make_source(fine, LABELS, space=PIXELS)
    assert np.array_equal(source.float_samples(), fine.astype(np.float32))
    with pytest.raises(RddInputError, match=r"\[2, 0, 1, 0\] is 0.1"):
        source.raw_samples()
    with pytest.raises(RddInputError, match="beyond the range"):
        make_source(with_value(1e300, np.float64), LABELS, space=PIXELS).float_samples()


def test_float16_stays_float16():
    source = make_source(CLEAN.astype(np.float16), LABELS, space=PIXELS)
    assert source.raw_config() == rducodec.RawConfig(True, 16)
    assert source.raw_samples().dtype == np.float16


def test_soft_labels_become_hard_where_that_is_wanted():
    soft = np.array([[0.1, 0.7, 0.2], [2.0, -1.0, 0.0], [0.0, 0.1, 0.2], [-3.0, -2.0, -4.0]], np.float32)
    with pytest.raises(RddInputError, match="--hard-labels"):
        make_source(CLEAN, soft, space=PIXELS)
    source = make_source(CLEAN, soft, space=PIXELS, hard_labels=True)
    assert source.labels.tolist() == [1, 0, 2, 1]
    assert source.num_classes == 3
    assert "only the largest" in source.remarks[0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), 1e-308])
def test_temperature_out_of_range(temperature):
    with pytest.raises(RddInputError, match="temperature"):
        make_source(CLEAN, [[1.0, 20.0]] * 4, space=PIXELS, temperature=temperature)


def test_soft_labels_beside_others():
    soft = np.array([[0.5, 0.5]] * 4, np.float16)
    source = make_source(CLEAN, [1, 0, 1, 1], space=PIXELS, soft_labels=soft)
    assert source.labels.tolist() == [1, 0, 1, 1]
    assert source.soft_labels is not None
    assert source.soft_labels.tolist() == soft.tolist()
    first = source.first_per_class(1)
    assert first.soft_labels is not None
    assert first.soft_labels.shape == (2, 2)
    with pytest.raises(RddInputError, match="beside soft labels"):
        make_source(CLEAN, soft, space=PIXELS, soft_labels=soft)
    with pytest.raises(RddInputError, match="3 for 4 samples"):
        make_source(CLEAN, [1, 0, 1, 1], space=PIXELS, soft_labels=soft[:3])


@pytest.mark.parametrize(
    ("labels", "fields", "message"),
    [
        ([[1.0, 2.0], [3.0, 3.0], [0.0, 1.0], [1.0, 0.0]], {}, "label 1, 3.0, occurs more than once"),
        ([[1.0, np.nan]] * 4, {}, r"labels: the value at \[0, 1\] is nan"),
        ([[0], [1], [1], [0]], {}, "1 entries a row, at least 2 expected"),
        ([[0.0, 1.0]] * 4, {"num_classes": 3}, "2 entries a row, 3 expected"),
        ([[0.0, 1.0]] * 3, {}, "3 for 4 samples"),
        (LABELS, {}, "--hard-labels has nothing to do"),
    ],
)
def test_soft_labels_without_a_largest_entry(labels, fields, message):
    with pytest.raises(RddInputError, match=message):
        make_source(CLEAN, labels, space=PIXELS, hard_labels=True, **fields)
