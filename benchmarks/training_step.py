"""One step of overfitted compression against the same step written the published way, on the same data and noise.

    OMP_WAIT_POLICY=passive python -m benchmarks.training_step [--steps N] [--device cuda]

Passive: idle threads do not spin.

10 slices of 64 images of 32 x 32 (smooth random ones), v4-480, 16x4. The rival trains one slice after the other with
unfolded 9 x 9 contexts and the networks as plain torch layers; both start from the same parameters, see the same noise
and use Adam at the same rate. Steps alternate in one run; the losses of both are compared step by step.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import write_result
from benchmarks.slice_after_slice import CONFIG, SAMPLES, SLICES, Rival, smooth_images
from rducodec.training.adam import Adam
from rducodec.training.execution import Execution, Piece
from rducodec.training.objective import Objective, Samples
from rducodec.training.parameters import initial_parameters, split_scales
from rducodec.training.rounding import kumaraswamy_noise, noisy_soft_round

LMBDA, RATE, TEMPERATURE, NOISE_SHAPE = 1e-3, 1e-3, 0.3, 2.0


def synchronise(device: torch.device) -> None:
    """Wait for what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def published_step(rival: Rival, target: Tensor, noise: list[Tensor]) -> float:
    """One step on targets (n, 3, h, w); the loss before it."""
    rival.optimiser.zero_grad()
    bits, images = rival.bits_and_images(noise, TEMPERATURE)
    loss = (images - target).square().mean() + LMBDA * bits / (len(target) * CONFIG.height * CONFIG.width)
    loss.backward()
    rival.optimiser.step()
    return loss.item()


def main() -> None:
    """Alternate the steps, print and store times and losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    num_steps, device = arguments.steps, torch.device(arguments.device)
    targets = smooth_images(np.random.default_rng(0))
    generator = torch.Generator().manual_seed(0)
    samples = Samples(targets.to(device), torch.ones(SLICES, SAMPLES, device=device))
    shift = torch.zeros(SLICES, 3)
    parameters = initial_parameters(
        CONFIG, num_samples=SAMPLES, mean=targets.mean((2, 3, 4)), shift=shift, generator=generator
    )
    parameters = parameters.with_tensors([tensor.to(device) for tensor in parameters.tensors()])
    targets = samples.values
    rates = [RATE] * len(parameters.tensors())
    rivals = [Rival.of(parameters, index, learning_rates=rates) for index in range(SLICES)]
    objective = Objective(CONFIG, samples, Execution.for_device(device))
    adam = Adam.for_tensors(parameters.tensors())
    pixels = SAMPLES * CONFIG.height * CONFIG.width
    ours_seconds, rival_seconds, ours_losses, rival_losses = [], [], [], []
    for step in range(num_steps):
        uniform = torch.rand(SLICES, SAMPLES, CONFIG.num_latents(), generator=generator)
        noise = kumaraswamy_noise(uniform, NOISE_SHAPE).to(device)

        def rounding(z: Tensor, piece: Piece, noise: Tensor = noise) -> Tensor:
            return noisy_soft_round(z, noise[piece.slices, piece.samples], TEMPERATURE)

        begin = time.perf_counter()
        costs, grads = objective.gradients(parameters, rounding=rounding, lmbda=LMBDA, train_networks=True)
        adam.step(parameters.tensors(), grads, learning_rates=rates)
        synchronise(device)
        ours_seconds.append(time.perf_counter() - begin)
        ours_losses.append(float((costs.mse + LMBDA * costs.bits / pixels).mean()))

        scales = split_scales(noise, CONFIG)
        begin = time.perf_counter()
        losses = [
            published_step(rival, targets[index].transpose(0, 1), [grid[index].unsqueeze(1) for grid in scales])
            for index, rival in enumerate(rivals)
        ]
        rival_seconds.append(time.perf_counter() - begin)
        rival_losses.append(math.fsum(losses) / SLICES)
        print(
            f"step {step:3}: ours {ours_seconds[-1]:.2f} s, loss {ours_losses[-1]:.6f};  "
            f"published way {rival_seconds[-1]:.2f} s, loss {rival_losses[-1]:.6f};  "
            f"{rival_seconds[-1] / ours_seconds[-1]:.2f} times as long"
        )
    ours, rival = float(np.median(ours_seconds[1:])), float(np.median(rival_seconds[1:]))
    difference = max(abs(a / b - 1) for a, b in zip(ours_losses, rival_losses, strict=True))
    print(f"median of {num_steps - 1} steps: ours {ours:.3f} s, published way {rival:.3f} s, ratio {rival / ours:.2f}")
    print(f"largest relative difference of the losses: {difference:.2e}")
    write_result(
        "training_step" if device.type == "cpu" else f"training_step_{device.type}",
        {
            "ours_seconds": ours,
            "published_seconds": rival,
            "ratio": rival / ours,
            "largest_relative_loss_difference": difference,
            "ours_losses": ours_losses,
            "published_losses": rival_losses,
        },
    )


if __name__ == "__main__":
    main()
