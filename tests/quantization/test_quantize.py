from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rducodec
from rducodec import LatentConfig, LatentSlice
from rducodec.entropy.known import KnownLatents
from rducodec.errors import RddInputError
from rducodec.quantization import FloatSlice, decoder_steps, float_samples, quantize, squared_error
from rducodec.quantization.allocation import MAX_FRAC_BITS
from rducodec.quantization.entropy_steps import quantized_entropy
from rducodec.quantization.render import Renderer
from rducodec.quantization.rounding import rounded
from rducodec.synthesis import synthesize
from rducodec.weights import MAX_VALUE, best_code
from spec.vector_tools import counts, random_slice, tiny_config
from tests import strategies


def as_floats(part: LatentSlice) -> FloatSlice:
    """The same slice with its networks as real numbers."""
    entropy, synthesis = ([t.dequantize() for t in tensors] for tensors in (part.entropy, part.synthesis))
    return FloatSlice(part.latents, tuple(entropy), part.upsampling.dequantize(), tuple(synthesis))


def noisy(config: LatentConfig, num_samples: int = 4, seed: int = 0) -> FloatSlice:
    """A slice whose networks are no multiples of any step."""
    part = as_floats(random_slice(config, num_samples, np.random.default_rng(seed)))
    rng = np.random.default_rng(seed)

    def moved(tensor: np.ndarray) -> np.ndarray:
        return tensor + rng.normal(0, 1e-2, tensor.shape)

    entropy, synthesis = (tuple(map(moved, tensors)) for tensors in (part.entropy, part.synthesis))
    return FloatSlice(part.latents, entropy, moved(part.upsampling), synthesis)


@given(strategies.latent_configs(), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_float_samples_are_the_decoded_ones_but_for_rounding(config, num_samples, seed):
    part = random_slice(config, num_samples, np.random.default_rng(seed))
    unit = 2.0**-config.sample_frac_bits
    decoded = synthesize(part, config) * unit
    assert np.allclose(float_samples(as_floats(part), config), decoded, rtol=1e-4, atol=2e-3 + unit)


def test_samples_that_are_worse_than_all_do_not_refuse_a_limit(monkeypatch):
    config = tiny_config(height=8, width=8)
    part = noisy(config, num_samples=40)
    latents = tuple(grid.copy() for grid in part.latents)
    for grid in latents:
        grid[0] *= 40  # the one that is checked
    part = FloatSlice(latents, part.entropy, part.upsampling, part.synthesis)
    monkeypatch.setattr(decoder_steps, "CHECKED_PIXELS", 64)
    finest = np.full(len(part.synthesis) + 1, MAX_FRAC_BITS)
    search = decoder_steps.PlainSearch(part, config)
    of_one = search._added_error(finest)
    search._check(40)
    of_all = search._added_error(finest)
    assert of_all < of_one / 4
    decoder = decoder_steps.PlainSearch(part, config).decoder(of_all * 2)
    assert [tensor.frac_bits for tensor in decoder]
    with pytest.raises(RddInputError, match="finest network steps"):
        decoder_steps.PlainSearch(part, config).decoder(of_all / 2)


def test_rendering_goes_on_from_any_layer():
    config = tiny_config(synthesis_widths=(7, 5))
    part = noisy(config)
    networks = [part.upsampling, *part.synthesis]
    renderer = Renderer(config, part.latents)
    stages = renderer.stages(networks)
    assert len(stages) == renderer.num_layers + 1
    last = stages[-1]
    assert last is not None
    for layer, stage in enumerate(stages[:-1]):
        assert np.array_equal(renderer.finish(layer, stage, networks), last)


@given(strategies.latent_configs(), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_known_latents_cost_what_a_file_counts(config, num_samples, seed):
    part = random_slice(config, num_samples, np.random.default_rng(seed))
    data = rducodec.pack_latent([part], counts(num_samples), config)
    counted = KnownLatents.of(part.latents, config).information(part.entropy)
    assert counted == pytest.approx(rducodec.bpc(data).information_bits["latents"], rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("max_mse", [1e-7, 1e-5, 1e-3])
def test_error_stays_under_the_limit_and_the_latents_as_they_are(max_mse):
    config = tiny_config()
    parts = [noisy(config, 4, seed) for seed in range(3)]
    done: list[float] = []
    results = quantize(parts, config, max_mse=max_mse, progress=done.append)
    assert sum(done) == len(parts)
    for part, result in zip(parts, results, strict=True):
        assert squared_error(result, part, config) <= max_mse
        for grid, again in zip(part.latents, result.latents, strict=True):
            assert np.array_equal(grid, again)


def test_result_does_not_depend_on_threads():
    config = tiny_config()
    parts = [noisy(config, 4, seed) for seed in range(3)]
    one, four = (quantize(parts, config, threads=threads) for threads in (1, 4))
    for a, b in zip(one, four, strict=True):
        for x, y in zip(a.tensors(), b.tensors(), strict=True):
            assert x.frac_bits == y.frac_bits
            assert np.array_equal(x.values, y.values)


def test_entropy_network_is_cheaper_than_at_any_common_step():
    config = tiny_config()
    part = noisy(config, 8)
    known = KnownLatents.of(part.latents, config)

    def cost(network):
        return known.information(network) + sum(best_code(tensor.values)[2] for tensor in network)

    chosen = cost(quantized_entropy(part, config))
    common = [cost([rounded(tensor, step) for tensor in part.entropy]) for step in range(13)]
    assert chosen <= min(common)
    assert chosen < max(common)


def test_values_stay_within_what_a_file_holds():
    tensor = rounded(np.array([1e30, -1e30, 0.26]), 2)
    assert tensor.values.tolist() == [MAX_VALUE, -MAX_VALUE, 1]
