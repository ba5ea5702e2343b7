"""Differentiable siamese augmentation against the definitions of its operations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training.utility.augmentation import Augmentation, Draw

ALL = "color_crop_cutout_flip_scale_rotate"
NAMES = ALL.split("_")
SHAPES = [(5, 3, 8, 8), (2, 1, 9, 6), (3, 3, 5, 12)]


def _images(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _draw(name: str, n: int, *, siamese: bool, seed: int = 0) -> Draw:
    return Augmentation.of(name).draw(n, torch.Generator().manual_seed(seed), siamese=siamese)


def _apply(x: Tensor, name: str, *parameters: float) -> Tensor:
    return Augmentation.of(name).apply(x, Draw(name, torch.tensor(parameters, dtype=torch.float64)[:, None]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_one_draw_does_the_same_to_both_sides(name: str, shape: tuple[int, ...]) -> None:
    real, synthetic = _images(shape), _images(shape, 1)[:1]
    augmentation, draw = Augmentation.of(name), _draw(name, 99, siamese=True)
    both = augmentation.apply(torch.cat([real, synthetic]), draw)
    torch.testing.assert_close(both, torch.cat([augmentation.apply(real, draw), augmentation.apply(synthetic, draw)]))


@pytest.mark.parametrize("name", NAMES)
def test_own_draws_are_those_of_each_sample_alone(name: str) -> None:
    x = _images(SHAPES[0])
    augmentation, draw = Augmentation.of(name), _draw(name, len(x), siamese=False)
    alone = [augmentation.apply(x[i : i + 1], Draw(name, draw.parameters[:, i : i + 1])) for i in range(len(x))]
    torch.testing.assert_close(augmentation.apply(x, draw), torch.cat(alone))
    assert not torch.equal(draw.parameters[:, 0], draw.parameters[:, 1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("siamese", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_finite_differences(name: str, siamese: bool, shape: tuple[int, ...]) -> None:
    x = _images(shape).requires_grad_()
    augmentation = Augmentation.of(name)
    for seed in range(2):
        draw = _draw(name, len(x), siamese=siamese, seed=seed)
        assert torch.autograd.gradcheck(lambda t, d=draw: augmentation.apply(t, d), [x], fast_mode=True)


@pytest.mark.parametrize("name", ["scale", "rotate"])
@pytest.mark.parametrize("extreme", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 7, 7), (1, 1, 6, 11)])
def test_gradients_at_the_ends_of_the_ranges(name: str, extreme: float, shape: tuple[int, ...]) -> None:
    draw = Draw(name, torch.full((2 if name == "scale" else 1, 1), extreme, dtype=torch.float64))
    augmentation = Augmentation.of(name)
    assert torch.autograd.gradcheck(lambda t: augmentation.apply(t, draw), [_images(shape).requires_grad_()])


def test_brightness_adds_up_to_a_half() -> None:
    x = _images((2, 3, 4, 4))
    for uniform, added in ((0.0, -0.5), (0.5, 0.0), (1.0, 0.5)):
        torch.testing.assert_close(_apply(x, "color", uniform, 0.5, 0.5), x + added)


def test_saturation_scales_the_distance_from_grey() -> None:
    x = _images((2, 3, 4, 4))
    grey = (x[:, :1] + x[:, 1:2] + x[:, 2:]) / 3
    for uniform, factor in ((0.0, 0.0), (0.5, 1.0), (1.0, 2.0)):
        torch.testing.assert_close(_apply(x, "color", 0.5, uniform, 0.5), grey + factor * (x - grey))


def test_saturation_leaves_a_single_channel() -> None:
    x = _images((2, 1, 4, 4))
    torch.testing.assert_close(_apply(x, "color", 0.5, 0.1, 0.5), x)


def test_contrast_scales_the_distance_from_the_mean_of_an_image() -> None:
    x = _images((2, 3, 4, 4))
    mean = torch.stack([image.sum() / 48 for image in x])[:, None, None, None]
    for uniform, factor in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5)):
        torch.testing.assert_close(_apply(x, "color", 0.5, 0.5, uniform), mean + factor * (x - mean))


def test_crop_shifts_by_up_to_an_eighth_and_fills_with_zeros() -> None:
    x = _images((1, 2, 16, 8))  # shifts of up to 2 rows and 1 column
    seen = set()
    for row in range(5):
        for column in range(3):
            result = _apply(x, "crop", (row + 0.5) / 5, (column + 0.5) / 3)
            expected = torch.zeros_like(x)
            for i in range(16):
                for j in range(8):
                    y, z = i + row - 2, j + column - 1
                    if 0 <= y < 16 and 0 <= z < 8:
                        expected[..., i, j] = x[..., y, z]
            assert torch.equal(result, expected)
            seen.add(result.numpy().tobytes())
    assert len(seen) == 15


def test_cutout_clears_a_square_of_half_the_side_clipped_at_the_borders() -> None:
    x = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    for i, (first, last) in enumerate([(-2, 2), (-1, 3), (0, 4), (1, 5), (2, 6), (3, 7), (4, 8), (5, 9), (6, 10)]):
        cleared = (_apply(x, "cutout", (i + 0.5) / 9, 0.5) == 0)[0, 0]
        rows = [y for y in range(8) if first <= y < last]
        assert cleared.any(1).nonzero().flatten().tolist() == rows
        assert cleared.any(0).nonzero().flatten().tolist() == [2, 3, 4, 5]
        assert int(cleared.sum()) == 4 * len(rows)


def test_flip_happens_with_probability_one_half() -> None:
    x = _images((4000, 1, 1, 2))
    flipped = Augmentation.of("flip").apply(x, _draw("flip", len(x), siamese=False))
    same, mirrored = (flipped == x).all((1, 2, 3)), (flipped == x.flip(3)).all((1, 2, 3))
    assert bool((same ^ mirrored).all())
    assert abs(float(mirrored.double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(len(x))


def _read(image: Tensor, x: float, y: float) -> float:
    """Bilinear value at (x, y) in pixels, zero outside; by the definition."""
    height, width = image.shape
    total = 0.0
    for i in range(height):
        for j in range(width):
            total += float(image[i, j]) * max(0.0, 1 - abs(y - i)) * max(0.0, 1 - abs(x - j))
    return total


def _mapped(image: Tensor, a: float, b: float, c: float, d: float) -> Tensor:
    """The image read at (a x + b y, c x + d y), pixels from the middle."""
    height, width = image.shape
    mx, my = (width - 1) / 2, (height - 1) / 2
    result = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            x, y = j - mx, i - my
            result[i, j] = _read(image, a * x + b * y + mx, c * x + d * y + my)
    return result


@pytest.mark.parametrize("uniform", [(0.0, 1.0), (0.3, 0.8), (1.0, 0.0)])
def test_scale_reads_each_axis_at_its_own_factor(uniform: tuple[float, float]) -> None:
    x = _images((1, 1, 7, 6))
    horizontal, vertical = (1 / 1.2 + u * (1.2 - 1 / 1.2) for u in uniform)
    torch.testing.assert_close(_apply(x, "scale", *uniform)[0, 0], _mapped(x[0, 0], horizontal, 0, 0, vertical))


@pytest.mark.parametrize(("uniform", "degrees"), [(0.0, -15), (0.5, 0), (0.9, 12), (1.0, 15)])
def test_rotation_turns_by_up_to_15_degrees(uniform: float, degrees: float) -> None:
    x = _images((1, 1, 7, 6))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    torch.testing.assert_close(_apply(x, "rotate", uniform)[0, 0], _mapped(x[0, 0], cos, -sin, sin, cos))


def test_every_operation_is_drawn_about_as_often() -> None:
    augmentation, generator = Augmentation.of(ALL), torch.Generator().manual_seed(3)
    drawn = [augmentation.draw(1, generator, siamese=True) for _ in range(1200)]
    counts = {name: sum(d.operation == name for d in drawn) for name in NAMES}
    assert all(150 < count < 250 for count in counts.values()), counts
    for draw in drawn:
        assert bool(((draw.parameters >= 0) & (draw.parameters < 1)).all())


def test_draws_follow_from_the_generator() -> None:
    first, again, other = (_draw(ALL, 4, siamese=False, seed=seed) for seed in (7, 7, 8))
    assert first.operation == again.operation
    assert torch.equal(first.parameters, again.parameters)
    assert first.operation != other.operation or not torch.equal(first.parameters, other.parameters)


def test_none_changes_nothing() -> None:
    x, augmentation = _images((2, 3, 4, 4)), Augmentation.of("none")
    assert augmentation.apply(x, augmentation.draw(2, torch.Generator(), siamese=False)) is x


def test_float32_stays_float32() -> None:
    x = _images((2, 3, 8, 8)).float()
    for name in NAMES:
        assert Augmentation.of(name).apply(x, _draw(name, 2, siamese=False)).dtype == torch.float32


@pytest.mark.parametrize("names", ["", "color_mixup", "None", "none_color"])
def test_unknown_operations_are_refused_by_name(names: str) -> None:
    with pytest.raises(RddInputError, match=r"unknown '.*', expected some of color, crop, cutout"):
        Augmentation.of(names)


def test_an_operation_is_named_once() -> None:
    with pytest.raises(RddInputError, match="twice"):
        Augmentation.of("flip_color_flip")


def test_a_draw_for_other_samples_is_refused() -> None:
    with pytest.raises(RddInputError, match="a draw for 3 samples, but there are 2"):
        Augmentation.of("flip").apply(_images((2, 1, 4, 4)), _draw("flip", 3, siamese=False))
