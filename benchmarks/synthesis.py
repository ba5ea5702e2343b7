"""Time and memory of the integer synthesis, beside the same networks as float32 convolutions of torch.

    python -m benchmarks.synthesis

Two jobs of the paper's sizes: 640 samples of 32 x 32 with v4-480, and 1020 of 128 x 128 with v5-240. Each job runs in a
fresh process whose peak memory is read at its end; the memory allowed is twice the declared output and 256 MiB.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np

import rducodec
from benchmarks.exactness import float_decode
from benchmarks.report import write_result
from rducodec.parallel import map_threads
from rducodec.synthesis import synthesize
from spec.make_vectors import random_slice

JOBS = {
    "640 of 32x32, v4-480": (32, (480,), 10, 64, 16, 4),
    "1020 of 128x128, v5-240": (128, (240, 40), 10, 102, 32, 4),
}
SECONDS_ALLOWED = {"640 of 32x32, v4-480": 5, "1020 of 128x128, v5-240": 60}
MIB = 1 << 20


def run(name: str, decoder: str) -> dict[str, float]:
    """Seconds, and MiB at the peak over what the process had before."""
    side, widths, num_slices, num_samples, context, depth = JOBS[name]
    config = rducodec.LatentConfig(3, side, side, 6, context, depth, widths)
    rng = np.random.default_rng(0)
    parts = [random_slice(config, num_samples, rng) for _ in range(num_slices)]
    if decoder == "float32":
        import torch

        torch.set_grad_enabled(False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    if decoder == "integer":
        result = np.empty((num_slices, num_samples, 3, side, side), np.float32)

        def work(index: int) -> None:
            result[index] = synthesize(parts[index], config) * np.float32(2.0**-16)

        map_threads(work, range(num_slices), None)
    else:
        result = np.concatenate([float_decode(part, 64) for part in parts])
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "peak_mib": peak / 1024, "output_mib": result.nbytes / MIB}


def main() -> None:
    """Run all jobs, print the table, write the result."""
    rows = {}
    for name in JOBS:
        for decoder in ("integer", "float32"):
            command = [sys.executable, "-m", "benchmarks.synthesis", name, decoder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows[f"{name}, {decoder}"] = json.loads(done.stdout)
        ours, theirs = rows[f"{name}, integer"], rows[f"{name}, float32"]
        allowed = 2 * ours["output_mib"] + 256
        print(
            f"{name:26} integer {ours['seconds']:6.2f} s (at most {SECONDS_ALLOWED[name]})  "
            f"float32 convolutions {theirs['seconds']:6.2f} s  ratio {ours['seconds'] / theirs['seconds']:.2f}  "
            f"memory {ours['peak_mib']:.0f} MiB (at most {allowed:.0f})"
        )
    write_result("synthesis", {"rows": rows})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(run(*sys.argv[1:])))
    else:
        main()
