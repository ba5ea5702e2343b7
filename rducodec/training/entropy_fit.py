"""An entropy network fitted to integer latents that stay as they are: fewest bits of latents and network together."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from rducodec.model import LatentConfig
from rducodec.training.execution import Execution
from rducodec.training.parameters import initial_entropy
from rducodec.training.randomness import generator_for
from rducodec.training.rate import latent_bits

BATCH_LATENTS = 1 << 15  # of a step
LEARNING_RATE = 4e-2  # from a random start (measured: half and twice as much end higher)
WARM_LEARNING_RATE = 1e-2  # from a network that is fitted already
OWN_RATE_OF_STEP = 2e-2 / 2400  # times the steps: from one trained with the latents (600 to 2400 steps measured)
MAX_OWN_RATE = 2e-2  # of these, twice as much ends higher
LAST_SHARE = 0.02  # of the learning rate at the end of the cosine
STEP = 2.0**-4  # of the parameters as they are expected to be stored: noise of this width makes networks that bear it
OWN_STEP = 2.0**-5  # of networks that were trained with the latents: the noise must not undo that (64 samples)


def _network_bits(tensors: Sequence[Tensor], step: float) -> Tensor:
    """Bits of the parameters, about: log2(2 e b) each where the mean magnitude b, in steps, is large, 0 where it is 0.

    The entropy of a Laplace distribution of scale b is log2(2 e b); 1 is added inside to go through 0.
    """
    sizes = [tensor.numel() * torch.log2(1 + 2 * math.e / step * tensor.abs().mean()) for tensor in tensors]
    return torch.stack(sizes).sum()


def fit_entropy(
    latents: Sequence[np.ndarray],
    config: LatentConfig,
    *,
    steps: int,
    start: Sequence[np.ndarray] | None = None,
    learning_rate: float = LEARNING_RATE,
    step: float = STEP,
    seed: int = 0,
    device: torch.device | str = "cpu",
    told: Callable[[float], object] = lambda _: None,
) -> tuple[np.ndarray, ...]:
    """Float64 tensors of `LatentConfig.entropy_shapes` after `steps` steps of Adam.

    `latents`: integers (samples, h, w) for each scale, finest first. Starts from `start`, or from random numbers of
    `seed`. Each of the steps takes about BATCH_LATENTS latents: whole samples, drawn anew. `step`: about what an
    integer of the parameters stands for when they are stored. `told` gets 1 for each step of Adam.
    """
    generator = generator_for(seed, "entropy fit", config.context_size, config.entropy_depth)
    tensors = initial_entropy(config, generator) if start is None else [torch.as_tensor(t)[None] for t in start]
    parameters = [torch.nn.Parameter(tensor.to(device, torch.float32, copy=True)) for tensor in tensors]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps), eta_min=learning_rate * LAST_SHARE)
    execution = Execution.for_device(torch.device(device))
    grids = [torch.as_tensor(np.asarray(grid, np.float32), device=device)[None] for grid in latents]
    count = len(latents[0])
    batch = min(count, max(1, BATCH_LATENTS // config.num_latents()))
    weight = torch.ones(1, batch, device=device)
    total = count * config.num_latents()
    for _ in range(steps):
        chosen = grids
        if batch < count:
            index = torch.randperm(count, generator=generator)[:batch].to(device)
            chosen = [grid.index_select(1, index) for grid in grids]
        noisy = [
            parameter + step * (torch.rand(parameter.shape, generator=generator) - 0.5).to(device)
            for parameter in parameters
        ]
        bits = latent_bits(
            chosen,
            noisy,
            weight=weight,
            block_elements=execution.block_elements,
            coarser_size=config.coarser_size,
        ).sum()
        loss = (bits * (count / batch) + _network_bits(parameters, step)) / total
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        told(1)
    return tuple(parameter.detach()[0].cpu().double().numpy() for parameter in parameters)


def own_learning_rate(steps: int) -> float:
    """For a network that was trained with the latents: few steps must not lead away from what it has."""
    return min(MAX_OWN_RATE, OWN_RATE_OF_STEP * steps)


@contextmanager
def fitting_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which torch computes alone, and takes numbers too small for float32's normal form as 0.

    The tails of the Laplace distribution are full of those, and a processor needs 25 times as long with them.
    """
    threads = torch.get_num_threads()
    started = threading.Barrier(count + 1)

    def initialise() -> None:
        torch.get_num_threads()  # sets a new thread up, with the global count: before it is changed
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        started.wait()

    with ThreadPoolExecutor(count, thread_name_prefix="rducodec-fit", initializer=initialise) as pool:
        for _ in range(count):
            pool.submit(int)
        started.wait()
        torch.set_num_threads(threads)
        yield pool
