"""Distribution matching (DM, Zhao and Bilen 2023): mean features of samples like those of real images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training import classifiers
from rducodec.training.classifiers.determinism import deterministic_convolutions
from rducodec.training.randomness import generator_for
from rducodec.training.utility.augmentation import Augmentation, Draw
from rducodec.training.utility.matching import (
    Block,
    blocks,
    check_counts,
    class_slices,
    features_function,
    new_network,
    pieces,
    precision,
    real_images,
    settle,
)
from rducodec.training.utility.protocol import UtilityContext, UtilityGradient

# Of the classes that an accelerator takes together:
GRAPH_PIXELS = 2**20  # of samples, some 3 GB of a ConvNet's activations
REAL_PIXELS = 2**22  # of real images: 100 MB, and as much again in a batch


class DistributionMatching:
    """Sum over classes of |mean features of real images - mean features of samples|^2, in a new network each time.

    Both sides of a class see the same augmentation. The gradient is that of the sum over all classes; with
    `classes_per_iteration` it is estimated, without bias, from that many random ones.
    """

    def __init__(
        self, context: UtilityContext, *, real_batch: int = 256, classes_per_iteration: int | None = None
    ) -> None:
        """real_batch: real images per class and process."""
        check_counts(real_batch=real_batch, classes_per_iteration=classes_per_iteration)
        self.context, self.real_batch, self.classes_per_iteration = context, real_batch, classes_per_iteration
        self.augmentation = Augmentation.of(context.augmentation)
        self._features = features_function(context)

    @deterministic_convolutions()
    def gradient(
        self, samples: Tensor, labels: Tensor, *, iteration: int, label_logits: Tensor | None = None
    ) -> UtilityGradient:
        """See `Utility.gradient`. Raises RddInputError for learned labels: this loss does not depend on them."""
        if label_logits is not None:
            raise RddInputError("distribution matching: learns no labels; use hard labels or another utility")
        context, group = self.context, self.context.group
        network = new_network(context, iteration, dtype=samples.dtype).requires_grad_(False)
        settle(network, context, iteration=iteration, dtype=samples.dtype)
        classes = class_slices(labels, context)
        chosen = self._chosen(classes, iteration)
        loss, grad = samples.new_zeros(1), torch.zeros_like(samples)
        for block in blocks(chosen, group.size * self._classes_at_once(samples, chosen)):
            draws = [self._draw(label, iteration) for label, _ in block]
            targets = group.mean(self._real_means(network, block, draws, iteration, samples.dtype))
            own = slice(group.rank, None, group.size)
            if places := [rows for _, rows in block[own]]:
                parts = [samples[rows] for rows in places]
                term, grads = self._squared_distance(network, parts, draws[own], targets[own])
                loss += term
                for rows, part in zip(places, grads, strict=True):
                    grad[rows] = part
        loss, grad = group.means([loss, grad])
        weight = group.size * len(classes) / max(1, len(chosen))  # each class is with one process; chosen stand for all
        return UtilityGradient(float(loss) * weight, grad * weight)

    def _classes_at_once(self, samples: Tensor, chosen: Block) -> int:
        """Of each process: one on a CPU; an accelerator would wait for the launches of each."""
        if samples.device.type == "cpu":
            return 1
        most = max((rows.stop - rows.start for _, rows in chosen), default=1)
        pixels = samples.shape[2] * samples.shape[3]
        with_graph, real = GRAPH_PIXELS // (most * pixels), REAL_PIXELS // (self.real_batch * pixels)
        return max(1, min(with_graph, real // self.context.group.size))

    def _chosen(self, classes: Block, iteration: int) -> Block:
        """The classes of an iteration."""
        if self.classes_per_iteration is None or self.classes_per_iteration >= len(classes):
            return classes
        generator = generator_for(self.context.seed, "classes", iteration)
        order = torch.randperm(len(classes), generator=generator)[: self.classes_per_iteration]
        return [classes[i] for i in sorted(order.tolist())]

    def _draw(self, label: int, iteration: int) -> Draw:
        generator = generator_for(self.context.seed, "augmentation", iteration, label)
        return self.augmentation.draw(1, generator, siamese=True)

    def _real_means(
        self,
        network: classifiers.Classifier,
        block: Block,
        draws: Sequence[Draw],
        iteration: int,
        dtype: torch.dtype,
    ) -> Tensor:
        """Mean features of this process's real images of each class, (classes, F)."""
        batches = []
        for (label, _), draw in zip(block, draws, strict=True):
            images = real_images(self.context, label, batch=self.real_batch, iteration=iteration, dtype=dtype)
            batches.append(self.augmentation.apply(images, draw))
        features = classifiers.chunked_features(
            network, torch.cat(batches), mixed_precision=self.context.mixed_precision, features=self._features
        )
        return _means(features, batches).to(dtype)

    def _squared_distance(
        self, network: classifiers.Classifier, parts: Sequence[Tensor], draws: Sequence[Draw], targets: Tensor
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The terms of some classes and the gradient of each; their graph is the memory that is needed."""
        with torch.enable_grad():
            leaves = [part.detach().requires_grad_() for part in parts]
            augmented = [self.augmentation.apply(leaf, draw) for leaf, draw in zip(leaves, draws, strict=True)]
            with precision(self.context):
                features = torch.cat([self._features(network, piece) for piece in pieces(torch.cat(augmented))])
            loss = (_means(features.to(targets.dtype), parts) - targets).square().sum()
            grads = torch.autograd.grad(loss, leaves)
        return loss.detach(), grads

    def state(self) -> dict[str, Tensor]:
        """Nothing changes from iteration to iteration."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to load."""

    def recipe(self) -> dict[str, float]:
        """No advice to who trains on the samples."""
        return {}


def _means(features: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Of the features of each part, (parts, F)."""
    return torch.stack([own.mean(0) for own in torch.split(features, [len(part) for part in parts])])
