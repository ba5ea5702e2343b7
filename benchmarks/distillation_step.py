"""An iteration of distribution matching against the same iteration written the published way.

    OMP_WAIT_POLICY=passive python -m benchmarks.distillation_step [--iterations N] [--device cuda] [--compiled]
        [--mixed-precision]

10 classes of 64 samples of 32 x 32, v4-480, 16x4, ConvNet of width 128, 256 real images a class (noise: contents do
not matter to the time). The rival takes slices and classes one after the other, in plain torch layers, one
graph through decoder and network; both start from the same parameters and see the same noise, augmentation, networks
and real images, and learn at the same rates: losses agree. Prints how long each part of ours takes and, on a GPU, the
memory of both and how long it is busy in an iteration of ours.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.report import write_result
from benchmarks.slice_after_slice import CONFIG, SAMPLES, SLICES, Rival, smooth_images
from benchmarks.training_step import synchronise
from rducodec.training.data import RealImages
from rducodec.training.data.space import pixel_space
from rducodec.training.distillation.latent import LatentRepresentation
from rducodec.training.distillation.representation import Step
from rducodec.training.export import export
from rducodec.training.parameters import initial_parameters, split_scales
from rducodec.training.randomness import generator_for
from rducodec.training.schedule import NOISE_DEVIATIONS, TEMPERATURES, rate_shares
from rducodec.training.utility import UtilityContext
from rducodec.training.utility.augmentation import Augmentation
from rducodec.training.utility.distribution import DistributionMatching
from rducodec.training.utility.matching import new_network, real_images

REAL_BATCH, RATE, WEIGHT, FRAC_BITS = 256, 1e-3, 1.0, 10
_T = TypeVar("_T")


class Clock:
    """Seconds of the parts of an iteration."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.parts: dict[str, list[float]] = defaultdict(list)

    def timed(self, name: str, run: Callable[[], _T]) -> _T:
        """What `run` gives; its time is noted."""
        synchronise(self.device)
        begin = time.perf_counter()
        result = run()
        synchronise(self.device)
        self.parts[name].append(time.perf_counter() - begin)
        return result

    def median(self, name: str) -> float:
        """Of all but the first iteration."""
        return float(np.median(self.parts[name][1:]))


def starting_point(device: torch.device) -> tuple[LatentRepresentation, UtilityContext]:
    """Random latents of a few units and random networks; real images."""
    generator = torch.Generator().manual_seed(0)
    images = smooth_images(np.random.default_rng(0))
    parameters = initial_parameters(
        CONFIG,
        num_samples=SAMPLES,
        mean=images.mean((2, 3, 4)),
        shift=torch.zeros(SLICES, 3),
        generator=generator,
    )
    parameters.latents.normal_(generator=generator).mul_(0.2)
    frac_bits = torch.full((SLICES, len(parameters.networks())), FRAC_BITS)
    slices = export(parameters, frac_bits, config=CONFIG, num_samples=[SAMPLES] * SLICES)
    real = torch.randint(0, 256, (SLICES * REAL_BATCH, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(SLICES).repeat_interleave(REAL_BATCH)
    by_class = tuple(torch.nonzero(labels == label).flatten() for label in range(SLICES))
    context = UtilityContext(
        real=RealImages(real.to(device), labels.to(device), by_class, pixel_space(3)),
        num_classes=SLICES,
        shape=(3, 32, 32),
        device=device,
    )
    return LatentRepresentation(slices, CONFIG, device=device, max_mse=5e-6), context


def published_iteration(rivals: list[Rival], context: UtilityContext, noise: list[list[torch.Tensor]], i: int) -> float:
    """One iteration; the utility loss before it."""
    network = new_network(context, i, dtype=torch.float32).requires_grad_(False).eval()
    augmentation, loss = Augmentation.of(context.augmentation), 0.0
    num_pixels = SLICES * SAMPLES * CONFIG.height * CONFIG.width
    for label, rival in enumerate(rivals):
        rival.optimiser.zero_grad()
        bits, images = rival.bits_and_images(noise[label], TEMPERATURES[0])
        draw = augmentation.draw(1, generator_for(context.seed, "augmentation", i, label), siamese=True)
        real = real_images(context, label, batch=REAL_BATCH, iteration=i, dtype=torch.float32)
        with torch.no_grad():
            target = network.features(augmentation.apply(real, draw)).mean(0)
        own = (network.features(augmentation.apply(images, draw)).mean(0) - target).square().sum()
        (bits + WEIGHT * num_pixels * own).backward()
        rival.optimiser.step()
        loss += own.item()
    return loss


def peak_memory(device: torch.device) -> int | None:
    """Bytes since the last call; None on a CPU."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def kernels(device: torch.device, run: Callable[[], object]) -> dict[str, float] | None:
    """How many a GPU runs in one more iteration, and how long they take; None on a CPU. Else it copies or waits."""
    if device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
        synchronise(device)
    on_device = [event for event in profiler.events() or [] if event.device_type == DeviceType.CUDA]
    found = [event for event in on_device if not event.name.startswith(("Memcpy", "Memset"))]
    return {"number": len(found), "seconds": sum(event.time_range.elapsed_us() for event in found) / 1e6}


def main() -> None:
    """Alternate the iterations, print and store times, losses and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compiled", action="store_true", help="networks of ours through torch.compile")
    parser.add_argument("--mixed-precision", action="store_true", help="products of our networks in bfloat16")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    representation, context = starting_point(device)
    options = {"compiled": arguments.compiled, "mixed_precision": arguments.mixed_precision}
    utility = DistributionMatching(replace(context, **options), real_batch=REAL_BATCH)
    labels = torch.arange(SLICES, device=device).repeat_interleave(SAMPLES)
    rates = [RATE * share for share in rate_shares(CONFIG)]
    rivals = [Rival.of(representation.parameters, index, learning_rates=rates) for index in range(SLICES)]
    ours, published = Clock(device), Clock(device)
    losses: list[tuple[float, float]] = []
    memory: dict[str, list[int | None]] = {"ours": [], "published": []}
    for i in range(arguments.iterations):
        step = Step(i, 0.0, RATE, WEIGHT * len(labels) * CONFIG.height * CONFIG.width)
        generator = generator_for(representation.seed, "rounding noise", i, device=device)
        shape = representation.parameters.latents.shape
        noise = torch.randn(shape, generator=generator, device=device).mul_(NOISE_DEVIATIONS[0])
        grids = [[g[s].unsqueeze(1) for g in split_scales(noise, CONFIG)] for s in range(SLICES)]
        peak_memory(device)

        def iteration(i: int = i, step: Step = step) -> float:
            samples = ours.timed("samples", lambda: representation.samples(step))
            result = ours.timed("utility", lambda: utility.gradient(samples, labels, iteration=i))
            _, grads = ours.timed("gradients", lambda: representation.gradients(step, result.samples))
            ours.timed("Adam", lambda: representation.move(step, grads))
            return result.loss

        own = ours.timed("iteration", iteration)
        memory["ours"].append(peak_memory(device))
        other = published.timed("iteration", lambda i=i, grids=grids: published_iteration(rivals, context, grids, i))
        memory["published"].append(peak_memory(device))
        losses.append((own, other))
        seconds = (ours.parts["iteration"][-1], published.parts["iteration"][-1])
        print(
            f"iteration {i}: ours {seconds[0]:.2f} s, loss {own:.5f};  published way {seconds[1]:.2f} s, "
            f"loss {other:.5f};  {seconds[1] / seconds[0]:.2f} times as long",
            flush=True,
        )
    result: dict[str, Any] = {
        "device": str(device),
        **options,
        "ours_seconds": ours.median("iteration"),
        "published_seconds": published.median("iteration"),
        "ratio": published.median("iteration") / ours.median("iteration"),
        "parts_of_ours_seconds": {name: ours.median(name) for name in ours.parts if name != "iteration"},
        "kernels_of_ours": kernels(device, iteration),
        "peak_bytes": {name: values[-1] for name, values in memory.items()},
        "largest_relative_loss_difference": max(abs(a / b - 1) for a, b in losses),
        "losses": losses,
    }
    rate = 1 / result["ours_seconds"]
    print(f"ours {rate:.3g} iterations per second, the published way {result['ratio']:.2f} times as long")
    for name, value in result["parts_of_ours_seconds"].items():
        print(f"  {name:10} {value:.3f} s")
    if found := result["kernels_of_ours"]:
        print(f"{found['number']:.0f} kernels of ours run {found['seconds']:.3f} s")
    write_result(f"distillation_step_{device.type}", result)


if __name__ == "__main__":
    main()
