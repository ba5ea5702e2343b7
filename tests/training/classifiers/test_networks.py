"""The classifiers: published sizes, embeddings, initial weights, options."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rducodec.errors import RddInputError
from rducodec.training.classifiers import NAMES, Classifier, build_classifier, parameter_count
from rducodec.training.classifiers.base import first_padding
from rducodec.training.randomness import generator_for

SMALL: dict[str, dict[str, Any]] = {"convnet": {"width": 8}, "vit": {"dim": 16, "depth": 1, "heads": 2, "mlp": 8}}
VIT_LAYER = 512 * 1536 + 512 * 512 + 512 + 2 * (512 * 512 + 512) + 2 * 1024  # qkv, output, mlp, two norms
COUNTS = {
    "convnet": 320_010,  # as the papers print it
    "vgg11": 9_231_114,
    "resnet18": 11_173_962,  # as known of the networks for CIFAR
    "alexnet": sum(o * i * k * k + o for i, o, k in ((3, 128, 5), (128, 192, 5), (192, 256, 3), (256, 192, 3)))
    + (192 * 192 * 9 + 192)
    + (192 * 16 * 10 + 10),
    "vit": 6 * VIT_LAYER + (48 * 512 + 512) + 66 * 512 + 1024 + 5130,  # embedding, tokens, last norm, last layer
}


def build(name: str, size: tuple[int, int] = (32, 32), channels: int = 3, seed: int = 0, **options) -> Classifier:
    generator = generator_for(seed, "test")
    return build_classifier(name, channels=channels, num_classes=10, size=size, generator=generator, **options)


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name: str) -> None:
    assert parameter_count(build(name)) == COUNTS[name]


@pytest.mark.parametrize(("side", "depth"), [(8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (128, 5), (256, 6)])
def test_depth_and_last_map_of_the_convnet(side: int, depth: int) -> None:
    network = build("convnet", (side, side), width=4)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == depth
    last = 2 if side == 8 else 4
    assert network.classifier.in_features == 4 * last**2


@pytest.mark.parametrize(("side", "padding"), [(32, 1), (28, 3), (64, 1), (31, 2), (5, 3)])
def test_the_first_convolution_fills_the_map(side: int, padding: int) -> None:
    assert first_padding((side, 32), kernel=3, multiple=8) == (padding, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(3, 5), (8, 8), (28, 28), (33, 31), (64, 64), (128, 72)])
def test_any_size_gives_logits_that_are_linear_in_features(name: str, size: tuple[int, int]) -> None:
    network = build(name, size, 1, **SMALL.get(name, {})).eval()
    x = torch.randn(2, 1, *size, generator=generator_for(1, "x"))
    with torch.no_grad():
        features, logits = network.features(x), network(x)
    assert features.dim() == 2
    assert logits.shape == (2, 10)
    expected = features @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(logits, expected)
    assert not torch.allclose(logits[0], logits[1], rtol=0, atol=1e-6)  # the input reaches the end


@pytest.mark.parametrize("name", NAMES)
def test_weights_follow_from_the_generator_alone(name: str) -> None:
    options = SMALL.get(name, {})
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build(name, seed=3, **options).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again = build(name, seed=3, **options).state_dict()
    other = build(name, seed=4, **options).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    random = [key for key in first if key.endswith("weight") and first[key].dim() > 1]
    assert not any(torch.equal(first[key], other[key]) for key in random)


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_weights_have_the_bounds_of_torch(name: str) -> None:
    network = build(name)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    for layer in layers:
        bound = 1 / math.sqrt(layer.weight.numel() / len(layer.weight))
        assert 0.99 * bound < layer.weight.abs().max() <= bound
        assert abs(layer.weight.mean()) < 0.1 * bound
        assert layer.bias is None or layer.bias.abs().max() <= bound


def test_networks_without_a_generator_are_those_of_seed_0() -> None:
    one, two = (build_classifier("convnet", channels=1, num_classes=2, size=(8, 8), width=4) for _ in range(2))
    assert torch.equal(one.classifier.weight, two.classifier.weight)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_a_block_of_the_convnet(pooling: str, norm: str) -> None:
    network = build("convnet", (4, 4), width=3, depth=1, norm=norm, pooling=pooling)
    x = torch.randn(5, 3, 4, 4, generator=generator_for(1, "x"))
    convolution = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    maps = torch.conv2d(x, convolution.weight, convolution.bias, padding=1)
    axes = {"instance": (2, 3), "batch": (0, 2, 3)}.get(norm)
    if axes:
        variance = maps.var(axes, unbiased=False, keepdim=True)
        maps = (maps - maps.mean(axes, keepdim=True)) / (variance + 1e-5).sqrt()
    windows = maps.clamp(min=0).reshape(5, 3, 2, 2, 2, 2)  # (N, C, row, y, column, x)
    pooled = windows.mean((3, 5)) if pooling == "average" else windows.amax((3, 5))
    torch.testing.assert_close(network.features(x), pooled.flatten(1))


def test_attention_is_that_of_torch() -> None:
    network = build("vit", (8, 8), dim=16, depth=1, heads=4, mlp=8, dropout=0.0)
    attention = network.get_submodule("layers.1.attention")
    x = torch.randn(2, 5, 16, generator=generator_for(1, "x"))
    reference = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(attention.get_parameter("to_qkv.weight"))
        reference.in_proj_bias.zero_()
        reference.out_proj.weight.copy_(attention.get_parameter("output.0.weight"))
        reference.out_proj.bias.copy_(attention.get_parameter("output.0.bias"))
    normalised = torch.nn.functional.layer_norm(x, (16,))
    torch.testing.assert_close(attention(x), reference(normalised, normalised, normalised)[0])


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("nosuch", {}, "convnet, alexnet, vgg11, resnet18, vit"),
        ("convnet", {"dropout": 0.1}, "depth, norm, pooling, width"),
        ("alexnet", {"norm": "batch"}, "it has none"),
        ("resnet18", {"norm": "group"}, "instance, batch, none"),
        ("convnet", {"pooling": "mean"}, "average, max"),
        ("convnet", {"width": 0}, "positive integer"),
        ("convnet", {"depth": True}, "positive integer"),
        ("vit", {"dim": 12}, "multiple of heads"),
        ("vit", {"dropout": 1.0}, "less than 1"),
    ],
)
def test_unknown_names_and_options_are_refused(name: str, options: dict, text: str) -> None:
    with pytest.raises(RddInputError, match=text):
        build(name, **options)
    with pytest.raises(RddInputError, match="num_classes"):
        build_classifier("convnet", channels=3, num_classes=0, size=(8, 8))
