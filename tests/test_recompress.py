"""Recompression: identical samples, never a larger file, and what --max-mse allows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import rducodec
from rducodec.effort import EFFORTS
from rducodec.recompress import recompress
from spec.make_vectors import counts, latent_file, random_slice, resealed
from spec.vector_tools import raw_file

CONFIG = rducodec.LatentConfig(1, 16, 16, num_scales=3, context_size=16, entropy_depth=1, synthesis_widths=(6,))
TEXTS = rducodec.Texts(name="walks", class_names=("a", "b"), recipe={"lr": 0.01})
SPACE = rducodec.ValueSpace("standardised", (0.5,), (0.25,))
ORDER = rducodec.Labels(np.array([6, 4]), np.array([0, 1, 0, 0, 1, 1, 0, 0, 1, 0]))


def file(labels: rducodec.Labels = ORDER, **changes: Any) -> bytes:
    """Three slices of one distribution of latents, with random networks that do not fit them."""
    config = replace(CONFIG, **changes)
    return latent_file(config, [3, 3, 4], labels, 6, spread=2.0, space=SPACE, texts=TEXTS)


@pytest.mark.parametrize("effort", [1, 3])
def test_samples_and_all_that_belongs_to_them_stay(effort: int) -> None:
    old = file()
    told: list[float] = []
    result = recompress(old, effort=effort, progress=lambda share, _: told.append(share))
    before, after = rducodec.read(old), rducodec.read(result.data)
    assert len(result.data) < len(old)
    assert result.saved_bytes == len(old) - len(result.data)
    assert np.array_equal(before.stored_samples(), after.stored_samples())
    assert before.sample_digest == after.sample_digest
    assert np.array_equal(before.labels, after.labels)
    assert (before.header.texts, before.header.space) == (after.header.texts, after.header.space)
    assert result.mse == 0
    assert not result.is_copy
    assert sum(result.after.parts.values()) == 8 * len(result.data)
    assert result.networks is not None
    assert result.networks[1].entropy < result.networks[0].entropy == 3
    assert bool(told) == (effort > 1)


def test_files_with_more_inputs_are_recompressed_too() -> None:
    old = file(coarser_size=5, grid_biases=True)
    for effort in (1, 2):
        result = recompress(old, effort=effort)
        assert len(result.data) < len(old)
        assert rducodec.read(result.data).sample_digest == rducodec.read(old).sample_digest


def test_more_effort_finds_less_bytes() -> None:
    sizes = [len(recompress(file(), effort=effort).data) for effort in (1, 3)]
    assert sizes[1] < sizes[0]


def test_nothing_smaller_is_a_copy() -> None:
    once = recompress(file(), effort=1).data
    again = recompress(once, effort=1)
    assert again.is_copy
    assert again.data == once
    assert again.saved_bytes == 0


def test_a_limit_of_the_error_is_kept_in_every_slice() -> None:
    fine = [
        replace(part, synthesis=tuple(_finer(t) for t in part.synthesis))
        for part in rducodec.read(file()).latent_slices()
    ]
    old = rducodec.pack_latent(fine, ORDER, CONFIG)
    result = recompress(old, effort=1, max_mse=1e-4)
    before, after = (rducodec.read(data) for data in (old, result.data))
    error = np.square((before.stored_samples() - after.stored_samples()) * 2.0**-16)
    assert 0 < result.mse == pytest.approx(error.mean())
    places = before.label_set.file_positions()
    for entry in before.slices:
        chosen = (places >= entry.first_sample) & (places < entry.first_sample + entry.num_samples)
        assert error[chosen].mean() <= 1e-4
    assert len(result.data) < len(recompress(old, effort=1).data)


def _finer(tensor: rducodec.QuantizedTensor) -> rducodec.QuantizedTensor:
    """The same numbers, nearly, in steps of 2^-16."""
    values = (tensor.values.astype(np.int64) << 16 - tensor.frac_bits) + 1
    return rducodec.QuantizedTensor(values.astype(np.int32), 16)


def test_raw_slices_get_their_best_codes() -> None:
    samples = np.repeat(np.arange(40, dtype=np.uint8)[None, None, :, None], 30, axis=3).repeat(4, axis=0)
    config = rducodec.RawConfig(False, 8, 255)
    old = raw_file(samples, counts(3, 1), config, [0, 0, 0], slice_size=2)
    result = recompress(old)
    assert len(result.data) < len(old) // 4
    before, after = (rducodec.read(data) for data in (old, result.data))
    assert before.sample_digest == after.sample_digest
    assert np.array_equal(before.stored_samples(), after.stored_samples())
    with pytest.raises(rducodec.RddInputError, match="raw profile"):
        recompress(old, max_mse=1e-3)


@pytest.mark.parametrize("effort", [0, 10])
def test_other_efforts_are_refused(effort: int) -> None:
    with pytest.raises(rducodec.RddInputError, match="effort"):
        recompress(file(), effort=effort)


def test_a_file_of_wrong_samples_is_not_recompressed() -> None:
    data = bytearray(file())
    data[24] ^= 1  # sample digest
    with pytest.raises(rducodec.RddDigestError):
        recompress(resealed(bytes(data)), effort=1)


def test_every_effort_tries_the_shape_of_the_file_first() -> None:
    for effort in EFFORTS.values():
        for config in (CONFIG, replace(CONFIG, context_size=32, entropy_depth=4, coarser_size=5)):
            configs = effort.configs(config)
            assert configs[0] == config
            assert len(set(configs)) == len(configs)


def test_extras_are_tried_with_the_shape_of_the_file_and_others() -> None:
    names = [config.entropy_name() for config in EFFORTS[5].configs(CONFIG)]
    assert names[:2] == ["16x1", "16x1, grid biases"]
    assert "24x2, grid biases" in names
    assert [config.entropy_name() for config in EFFORTS[5].variants(CONFIG)] == [*names[1:2], "16+5x1, grid biases"]
    assert len(EFFORTS[7].variants(CONFIG)) == 4
    assert len(EFFORTS[2].configs(CONFIG)) == 1


def test_least_effort_needs_no_torch() -> None:
    lines = (
        "import sys; sys.modules['torch'] = None",
        "from rducodec.recompress import recompress",
        "from tests.test_recompress import file",
        "recompress(file(), effort=1)",
    )
    code = "\n".join(lines)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_single_slice() -> None:
    part = random_slice(CONFIG, 2, np.random.default_rng(3))
    old = rducodec.pack_latent([part], counts(2), CONFIG)
    result = recompress(old, effort=3)
    assert np.array_equal(rducodec.read(old).stored_samples(), rducodec.read(result.data).stored_samples())


def test_latents_move_where_networks_are_shared() -> None:
    """Networks of several slices stay; the error goes to the latents alone, and no slice has more."""
    parts = [random_slice(CONFIG, 3, np.random.default_rng(seed), spread=2.0) for seed in (3, 4)]
    parts[1] = replace(parts[1], upsampling=parts[0].upsampling, synthesis=parts[0].synthesis)
    old = rducodec.pack_latent(parts, counts(6), CONFIG)
    result = recompress(old, effort=1, max_mse=1e-2)
    before, after = (rducodec.read(data) for data in (old, result.data))
    assert after.header.decoder_owners == (0, 0)
    assert len(result.data) < len(recompress(old, effort=1).data)
    error = np.square((before.stored_samples() - after.stored_samples()) * 2.0**-16).reshape(2, -1).mean(axis=1)
    assert (error <= 1e-2).all()
    assert result.mse == pytest.approx(error.mean())
