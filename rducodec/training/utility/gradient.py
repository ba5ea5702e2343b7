"""Gradient matching (GM, Zhao, Mopuri and Bilen 2021): samples that move a network as real images do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.training import classifiers
from rducodec.training.classifiers.determinism import deterministic_convolutions
from rducodec.training.randomness import generator_for
from rducodec.training.utility.augmentation import Augmentation, Draw
from rducodec.training.utility.matching import (
    blocks,
    check_counts,
    check_rates,
    class_slices,
    minibatches,
    new_network,
    pieces,
    precision,
    real_images,
    refuse_compiled,
    settle,
    targets_of,
)
from rducodec.training.utility.protocol import UtilityContext, UtilityGradient

COSINE_MARGIN = 1e-6  # keeps a quotient finite where a gradient vanishes, as published


def gradient_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Sum over layers and output rows of 1 - cos of the angle between gradients, 0-dimensional.

    Weights (out, ...) have `out` rows. One-dimensional parameters (biases, scales of norms) do not count, as in the
    published experiments.
    """
    total = synthetic[0].new_zeros(())
    for a, b in zip(real, synthetic, strict=True):
        if a.ndim > 1:
            a, b = a.flatten(1), b.flatten(1)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + COSINE_MARGIN)).sum()
    return total


class GradientMatching:
    """Sum over classes of the distance between the gradients of cross entropy on real images and on samples.

    A network serves `inner_steps` iterations. Between two of them it is trained on the samples for `network_steps`
    steps of SGD, each sample augmented on its own. (The published code, at 50 samples per class, keeps a network for 50
    iterations and trains it for 10 epochs in between; 40 steps of 256 are 10 epochs of 960 samples.)
    """

    def __init__(
        self,
        context: UtilityContext,
        *,
        real_batch: int = 256,
        synthetic_batch: int | None = None,
        inner_steps: int = 10,
        network_steps: int = 40,
        network_batch: int = 256,
        network_lr: float = 0.01,
        network_momentum: float = 0.5,
    ) -> None:
        """real_batch: real images per class and process; synthetic_batch: samples per class, None for all."""
        refuse_compiled(context, "gradient matching")
        check_counts(real_batch=real_batch, synthetic_batch=synthetic_batch)
        check_counts(inner_steps=inner_steps, network_steps=network_steps, network_batch=network_batch)
        check_rates(network_lr=network_lr, network_momentum=network_momentum)
        self.context, self.real_batch, self.synthetic_batch = context, real_batch, synthetic_batch
        self.inner_steps, self.network_steps, self.network_batch = inner_steps, network_steps, network_batch
        self.network_lr, self.network_momentum = network_lr, network_momentum
        self.augmentation = Augmentation.of(context.augmentation)
        self._network: classifiers.Classifier | None = None
        self._momentum: dict[str, Tensor] = {}

    @deterministic_convolutions()
    def gradient(
        self, samples: Tensor, labels: Tensor, *, iteration: int, label_logits: Tensor | None = None
    ) -> UtilityGradient:
        """See `Utility.gradient`. Soft labels count where the samples' gradients are taken."""
        context, group = self.context, self.context.group
        network = self._network_at(iteration, samples, labels, label_logits)
        settle(network, context, iteration=iteration, dtype=samples.dtype)
        sums = [samples.new_zeros(1), torch.zeros_like(samples)]
        sums += [] if label_logits is None else [torch.zeros_like(label_logits)]
        for block in blocks(class_slices(labels, context), group.size):
            draws = [self._draw(label, iteration) for label, _ in block]
            real = [
                group.means(self._real_gradients(network, k, draw, iteration, samples.dtype))
                for (k, _), draw in zip(block, draws, strict=True)
            ]
            if group.rank < len(block):
                own = group.rank
                rows = self._rows(block[own][0], block[own][1], iteration).to(samples.device)
                logits = None if label_logits is None else label_logits[rows]
                terms = self._distance(network, samples[rows], labels[rows], logits, draws[own], real[own])
                sums[0] += terms[0]
                for total, term in zip(sums[1:], terms[1:], strict=True):
                    total[rows] = term
        loss, grad, *grad_logits = [mean * group.size for mean in group.means(sums)]  # each class is with one process
        return UtilityGradient(float(loss), grad, grad_logits[0] if grad_logits else None)

    def _draw(self, label: int, iteration: int) -> Draw:
        generator = generator_for(self.context.seed, "augmentation", iteration, label)
        return self.augmentation.draw(1, generator, siamese=True)

    def _rows(self, label: int, rows: slice, iteration: int) -> Tensor:
        """Indices of the samples of a class that an iteration looks at."""
        if self.synthetic_batch is None or self.synthetic_batch >= rows.stop - rows.start:
            return torch.arange(rows.start, rows.stop)
        generator = generator_for(self.context.seed, "samples", iteration, label)
        return torch.randperm(rows.stop - rows.start, generator=generator)[: self.synthetic_batch] + rows.start

    def _real_gradients(
        self, network: classifiers.Classifier, label: int, draw: Draw, iteration: int, dtype: torch.dtype
    ) -> list[Tensor]:
        """Of the mean cross entropy on this process's real images of a class."""
        images = real_images(self.context, label, batch=self.real_batch, iteration=iteration, dtype=dtype)
        images = self.augmentation.apply(images, draw)
        parameters = list(network.parameters())
        totals = [torch.zeros_like(p) for p in parameters]
        for piece in pieces(images):
            with torch.enable_grad():
                with precision(self.context):
                    logits = network(piece)
                loss = F.cross_entropy(logits.to(dtype), self._label(label, piece), reduction="sum") / len(images)
                grads = torch.autograd.grad(loss, parameters)
            for total, grad in zip(totals, grads, strict=True):
                total += grad
        return totals

    @staticmethod
    def _label(label: int, like: Tensor) -> Tensor:
        return torch.full((len(like),), label, device=like.device)

    def _distance(
        self,
        network: classifiers.Classifier,
        samples: Tensor,
        labels: Tensor,
        label_logits: Tensor | None,
        draw: Draw,
        real: Sequence[Tensor],
    ) -> list[Tensor]:
        """The term of one class and its gradients with respect to samples and, where given, logits of labels."""
        inputs = [t.detach().requires_grad_() for t in (samples, label_logits) if t is not None]
        parameters = list(network.parameters())
        with torch.enable_grad():
            augmented = self.augmentation.apply(inputs[0], draw)
            with precision(self.context):
                logits = network(augmented)
            targets = targets_of(labels, None if label_logits is None else inputs[1])
            loss = F.cross_entropy(logits.to(samples.dtype), targets)
            synthetic = torch.autograd.grad(loss, parameters, create_graph=True)
            distance = gradient_distance(real, synthetic)
            grads = torch.autograd.grad(distance, inputs)
        return [distance.detach(), *grads]

    def _network_at(
        self, iteration: int, samples: Tensor, labels: Tensor, label_logits: Tensor | None
    ) -> classifiers.Classifier:
        """A new network, or the last one trained on."""
        if self._network is None or iteration % self.inner_steps == 0:
            self._network = new_network(self.context, iteration // self.inner_steps, dtype=samples.dtype)
            self._momentum = {name: torch.zeros_like(p) for name, p in self._network.named_parameters()}
        else:
            self._train(self._network, iteration, samples.detach(), targets_of(labels, label_logits).detach())
        return self._network

    def _train(self, network: classifiers.Classifier, iteration: int, samples: Tensor, targets: Tensor) -> None:
        """Steps on the samples, the same ones in all processes."""
        network.train()
        generator = generator_for(self.context.seed, "training of the network", iteration)
        for batch in minibatches(len(samples), self.network_batch, self.network_steps, generator):
            draw = self.augmentation.draw(len(batch), generator, siamese=False)
            rows = batch.to(samples.device)
            augmented = self.augmentation.apply(samples[rows], draw)
            with torch.enable_grad():
                with precision(self.context):
                    logits = network(augmented)
                loss = F.cross_entropy(logits.to(samples.dtype), targets[rows])
                grads = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for (name, parameter), grad in zip(network.named_parameters(), grads, strict=True):
                    momentum = self._momentum[name].mul_(self.network_momentum).add_(grad)
                    parameter.sub_(self.network_lr * momentum)

    def state(self) -> dict[str, Tensor]:
        """The network and the momentum of its optimiser; nothing before the first iteration."""
        if self._network is None:
            return {}
        state = {f"network/{name}": t.detach().clone() for name, t in self._network.state_dict().items()}
        return state | {f"momentum/{name}": t.clone() for name, t in self._momentum.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "momentum": {}}
        for name, tensor in state.items():
            part, _, key = name.partition("/")
            parts[part][key] = tensor
        self._network, self._momentum = None, {}
        if state:
            self._momentum = {name: t.to(self.context.device, copy=True) for name, t in parts["momentum"].items()}
            dtype = next(iter(self._momentum.values())).dtype
            self._network = new_network(self.context, 0, dtype=dtype)  # all of it is overwritten
            self._network.load_state_dict(parts["network"])

    def recipe(self) -> dict[str, float]:
        """No advice to who trains on the samples."""
        return {}
