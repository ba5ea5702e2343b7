"""Identical samples whatever the machine does: processor features, libraries, threads; torch stays away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rducodec
from spec.make_vectors import counts, latent_file

REPORT = """
import hashlib, sys
import rducodec
dataset = rducodec.read(sys.argv[1])
digests = {hashlib.sha256(dataset.stored_samples(threads=t).tobytes()).hexdigest() for t in (1, 2)}
assert len(digests) == 1, "threads change the samples"
if len(sys.argv) > 2:
    from rducodec.torch import on_device
    digests.add(hashlib.sha256(dataset.stored_samples(xp_array=on_device("cpu")).tobytes()).hexdigest())
else:
    assert "torch" not in sys.modules
print(*digests)
"""
ENVIRONMENTS = [
    {},
    {"OPENBLAS_CORETYPE": "Haswell"},
    {"OPENBLAS_CORETYPE": "Sandybridge"},
    {"OPENBLAS_CORETYPE": "Prescott"},
    {"OPENBLAS_NUM_THREADS": "2"},
    {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
    {"LC_ALL": "C", "PYTHONOPTIMIZE": "1"},
]
TORCH_ENVIRONMENTS = [
    {"ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"},
    {"ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2"},
]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with sums long enough for their order to matter in float32."""
    config = rducodec.LatentConfig(3, 16, 16, 5, 16, 2, (120, 20))
    path = tmp_path_factory.mktemp("exactness") / "file.rdd"
    path.write_bytes(latent_file(config, [6, 6], counts(6, 6), 12, spread=3.0))
    return path


def digest(path: Path, environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-c", REPORT, str(path), *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_samples_are_the_same_in_every_environment(packed: Path) -> None:
    assert len({digest(packed, environment) for environment in ENVIRONMENTS}) == 1


def test_samples_are_the_same_with_torch(packed: Path) -> None:
    pytest.importorskip("torch")
    results = {digest(packed, environment, "torch") for environment in TORCH_ENVIRONMENTS}
    assert results == {digest(packed, {})}
