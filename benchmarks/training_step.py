"""One step of overfitted compression against the same step written the published way, on the same data and noise.

    OMP_WAIT_POLICY=passive python -m benchmarks.training_step [--steps N]   # passive: idle threads do not spin

10 slices of 64 images of 32 x 32 (smooth random ones), v4-480, 16x4. The rival trains one slice after the other with
unfolded 9 x 9 contexts and the networks as plain torch layers; both start from the same parameters, see the same noise
and use Adam at the same rate. Steps alternate in one run; the losses of both are compared step by step.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import rducodec
from benchmarks.report import write_result
from rducodec.entropy.context import CONTEXT_POSITIONS
from rducodec.training.adam import Adam
from rducodec.training.execution import Execution, Piece
from rducodec.training.objective import Objective, Samples
from rducodec.training.parameters import SliceParameters, initial_parameters, split_scales
from rducodec.training.rounding import LATENT_GAIN, kumaraswamy_noise, noisy_soft_round

CONFIG = rducodec.LatentConfig(3, 32, 32, 6, 16, 4, (480,))
SLICES, SAMPLES = 10, 64
LMBDA, RATE, TEMPERATURE, NOISE_SHAPE = 1e-3, 1e-3, 0.3, 2.0
PROBABILITY_FLOOR = 2.0**-16


def smooth_images(rng: np.random.Generator) -> Tensor:
    """(slices, 3, samples, 32, 32): sums of a few random waves, in [0, 1]."""
    y, x = np.meshgrid(np.linspace(0, 1, 32), np.linspace(0, 1, 32), indexing="ij")
    images = np.zeros((SLICES, 3, SAMPLES, 32, 32))
    for _ in range(6):
        shape = (SLICES, 3, SAMPLES, 1, 1)
        fy, fx, phase = rng.uniform(-6, 6, shape), rng.uniform(-6, 6, shape), rng.uniform(0, 6.28, shape)
        images += rng.normal(scale=0.1, size=shape) * np.cos(6.28 * (fy * y + fx * x) + phase)
    return torch.from_numpy((0.5 + images).clip(0, 1)).to(torch.float32)


@dataclass
class Rival:
    """One slice the published way."""

    grids: list[Tensor]  # (n, 1, h, w), finest first
    entropy: list[Tensor]
    upsampling: Tensor  # (1, 1, 8, 8)
    synthesis: list[Tensor]
    optimiser: torch.optim.Adam

    @classmethod
    def of(cls, parameters: SliceParameters, index: int) -> Rival:
        """A copy of one slice of `parameters`."""

        def leaf(x: Tensor) -> Tensor:
            return x.detach().clone().requires_grad_()

        grids = [leaf(grid[index].unsqueeze(1)) for grid in split_scales(parameters.latents, CONFIG)]
        entropy = [leaf(x[index]) for x in parameters.entropy]
        upsampling = leaf(parameters.upsampling[index][None, None])
        synthesis = [leaf(x[index][..., None, None] if x.ndim == 3 else x[index]) for x in parameters.synthesis]
        return cls(
            grids, entropy, upsampling, synthesis, torch.optim.Adam([*grids, *entropy, upsampling, *synthesis], lr=RATE)
        )

    def step(self, target: Tensor, noise: list[Tensor]) -> float:
        """One step on targets (n, 3, h, w); the loss before it."""
        self.optimiser.zero_grad()
        loss = self._loss(target, noise)
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def _loss(self, target: Tensor, noise: list[Tensor]) -> Tensor:
        latents = [noisy_soft_round(LATENT_GAIN * g, u, TEMPERATURE) for g, u in zip(self.grids, noise, strict=True)]
        positions = list(CONTEXT_POSITIONS[CONFIG.context_size])
        unfolded = [F.unfold(F.pad(z, (4,) * 4), 9).transpose(1, 2)[:, :, positions] for z in latents]
        x = torch.cat([u.reshape(-1, CONFIG.context_size) for u in unfolded])
        values = torch.cat([z.reshape(-1) for z in latents])
        for weight, bias in zip(self.entropy[:-2:2], self.entropy[1:-2:2], strict=True):
            x = F.relu(F.linear(x, weight, bias) + x)
        mean, log_scale = F.linear(x, self.entropy[-2], self.entropy[-1]).unbind(1)
        b = torch.exp((log_scale - 4).clamp(-4.6, 5.0))

        def cdf(v: Tensor) -> Tensor:
            return 0.5 - 0.5 * torch.sign(v - mean) * torch.expm1(-(v - mean).abs() / b)

        bits = -torch.log2((cdf(values + 0.5) - cdf(values - 0.5)).clamp(min=PROBABILITY_FLOOR)).sum()
        n, _, height, width = target.shape
        return (self._decode(latents) - target).square().mean() + LMBDA * bits / (n * height * width)

    def _decode(self, latents: list[Tensor]) -> Tensor:
        x = latents[-1]
        for grid in reversed(latents[:-1]):
            n, c, h, w = x.shape
            padded = F.pad(x.reshape(n * c, 1, h, w), (4,) * 4, mode="replicate")
            finer = F.conv_transpose2d(padded, self.upsampling, stride=2)[:, :, 11:-11, 11:-11]
            x = torch.cat([grid, finer.reshape(n, c, 2 * h, 2 * w)], dim=1)
        pairs = list(zip(self.synthesis[::2], self.synthesis[1::2], strict=True))
        for index, (weight, bias) in enumerate(pairs[:-2]):
            x = F.conv2d(x, weight, bias)
            x = x if index == len(pairs) - 3 else F.relu(x)
        x = F.relu(F.conv2d(F.pad(x, (1,) * 4, mode="replicate"), *pairs[-2]) + x)
        return F.conv2d(F.pad(x, (1,) * 4, mode="replicate"), *pairs[-1]) + x


def main() -> None:
    """Alternate the steps, print and store times and losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    num_steps = parser.parse_args().steps
    targets = smooth_images(np.random.default_rng(0))
    generator = torch.Generator().manual_seed(0)
    samples = Samples(targets, torch.ones(SLICES, SAMPLES))
    shift = torch.zeros(SLICES, 3)
    parameters = initial_parameters(
        CONFIG, num_samples=SAMPLES, mean=targets.mean((2, 3, 4)), shift=shift, generator=generator
    )
    rivals = [Rival.of(parameters, index) for index in range(SLICES)]
    objective = Objective(CONFIG, samples, Execution.for_device(torch.device("cpu")))
    adam = Adam.for_tensors(parameters.tensors())
    pixels = SAMPLES * CONFIG.height * CONFIG.width
    ours_seconds, rival_seconds, ours_losses, rival_losses = [], [], [], []
    for step in range(num_steps):
        uniform = torch.rand(SLICES, SAMPLES, CONFIG.num_latents(), generator=generator)
        noise = kumaraswamy_noise(uniform, NOISE_SHAPE)

        def rounding(z: Tensor, piece: Piece, noise: Tensor = noise) -> Tensor:
            return noisy_soft_round(z, noise[piece.slices, piece.samples], TEMPERATURE)

        begin = time.perf_counter()
        costs, grads = objective.gradients(parameters, rounding=rounding, lmbda=LMBDA, train_networks=True)
        adam.step(parameters.tensors(), grads, learning_rates=[RATE] * len(parameters.tensors()))
        ours_seconds.append(time.perf_counter() - begin)
        ours_losses.append(float((costs.mse + LMBDA * costs.bits / pixels).mean()))

        scales = split_scales(noise, CONFIG)
        begin = time.perf_counter()
        losses = [
            rival.step(targets[index].transpose(0, 1), [grid[index].unsqueeze(1) for grid in scales])
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
        "training_step",
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
