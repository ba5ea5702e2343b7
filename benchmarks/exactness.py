"""Do the samples change with the machine's settings? Ours, and a float32 decoder of the same networks as a control.

    python -m benchmarks.exactness

Each row decodes one file in a fresh process under other settings of processor features and libraries, and prints the
digest of the samples. Ours must show one digest; the control is the usual way (float32 convolutions of torch).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import rducodec
from benchmarks.report import write_result
from spec.make_vectors import counts, latent_file

ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"OPENBLAS_CORETYPE": "Haswell"},
    {"OPENBLAS_CORETYPE": "Sandybridge"},
    {"OPENBLAS_CORETYPE": "Prescott"},
    {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
    {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"DNNL_MAX_CPU_ISA": "SSE41"},
    {"DNNL_MAX_CPU_ISA": "AVX"},
    {"MKL_CBWR": "COMPATIBLE"},
    {"MKL_CBWR": "AVX2"},
    {"TORCH_MKLDNN": "0"},
]


def digest(array: np.ndarray) -> str:
    """Short digest of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def float_decode(part: rducodec.LatentSlice, batch: int) -> Any:
    """The same networks in float32 convolutions, `batch` samples at a time."""
    import torch
    import torch.nn.functional as F

    def tensor(values: np.ndarray) -> Any:
        return torch.from_numpy(np.asarray(values, np.float32))

    kernel = tensor(part.upsampling.dequantize())[None, None]
    layers = [tensor(each.dequantize()) for each in part.synthesis]
    results = []
    for begin in range(0, part.num_samples, batch):
        x: Any = None
        for grid in reversed(part.latents):
            values = tensor(grid[begin : begin + batch])[:, None]
            if x is not None:
                n, c, h, w = x.shape
                padded = F.pad(x.reshape(n * c, 1, h, w), (4,) * 4, mode="replicate")
                finer = F.conv_transpose2d(padded, kernel, stride=2)[:, :, 11:-11, 11:-11]
                finer = finer.reshape(n, c, 2 * h, 2 * w)[:, :, : values.shape[2], : values.shape[3]]
                values = torch.cat([values, finer], dim=1)
            x = values
        pairs = list(zip(layers[::2], layers[1::2], strict=True))
        for index, (weight, bias) in enumerate(pairs):
            if weight.ndim == 2:
                x = F.conv2d(x, weight[:, :, None, None], bias)
                x = x if index == len(pairs) - 3 else F.relu(x)
            else:
                x = x + F.conv2d(F.pad(x, (1,) * 4, mode="replicate"), weight, bias)
                x = x if index == len(pairs) - 1 else F.relu(x)
        results.append(x)
    return torch.cat(results).numpy()


def child(path: str) -> None:
    """Print the digests of one process: ours on numpy and torch, the control with two batch sizes."""
    import torch

    from rducodec.torch import on_device

    if os.environ.get("TORCH_MKLDNN") == "0":
        torch.backends.mkldnn.enabled = False
    dataset = rducodec.read(Path(path).read_bytes())
    ours = {
        "numpy": digest(dataset.stored_samples()),
        "numpy, 1 thread": digest(dataset.stored_samples(threads=1)),
        "torch cpu": digest(dataset.stored_samples(xp_array=on_device("cpu"))),
    }
    if torch.cuda.is_available():
        ours["torch cuda"] = digest(dataset.stored_samples(xp_array=on_device("cuda")))
    control = {}
    for batch in (32, 5):
        samples = [float_decode(part, batch) for part in dataset.latent_slices()]
        control[f"float32, batches of {batch}"] = digest(np.concatenate(samples))
    print(json.dumps({"ours": ours, "control": control}))


def main() -> None:
    """Run every environment, print the table, write the result."""
    config = rducodec.LatentConfig(3, 32, 32, 6, 16, 2, (480,))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.rdd"
        path.write_bytes(latent_file(config, [32], counts(32), 3, spread=2.0))
        for environment in ENVIRONMENTS:
            command = [sys.executable, "-m", "benchmarks.exactness", str(path)]
            done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
            row = {"environment": environment, **json.loads(done.stdout)}
            rows.append(row)
            settings = " ".join(f"{k}={v}" for k, v in environment.items()) or "as it is"
            print(f"{settings:44} ours {sorted(set(row['ours'].values()))}  control {list(row['control'].values())}")
    ours = {value for row in rows for value in row["ours"].values()}
    control = {value for row in rows for value in row["control"].values()}
    print(f"different results: ours {len(ours)}, float32 control {len(control)}, in {len(rows)} environments")
    name = "exactness_cuda" if "torch cuda" in rows[0]["ours"] else "exactness"
    write_result(name, {"different_ours": len(ours), "different_control": len(control), "rows": rows})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1])
    else:
        main()
