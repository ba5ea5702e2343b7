"""Distribution matching (DM, Zhao and Bilen 2023): mean features of samples like those of real images."""

from __future__ import annotations

from collections.abc import Mapping

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
        for block in blocks(chosen, group.size):
            draws = [self._draw(label, iteration) for label, _ in block]
            means = [
                self._real_mean(network, label, draw, iteration, samples.dtype)
                for (label, _), draw in zip(block, draws, strict=True)
            ]
            targets = group.mean(torch.stack(means))
            if group.rank < len(block):
                rows = block[group.rank][1]
                own, grad[rows] = self._squared_distance(network, samples[rows], draws[group.rank], targets[group.rank])
                loss += own
        loss, grad = group.means([loss, grad])
        weight = group.size * len(classes) / max(1, len(chosen))  # each class is with one process; chosen stand for all
        return UtilityGradient(float(loss) * weight, grad * weight)

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

    def _real_mean(
        self, network: classifiers.Classifier, label: int, draw: Draw, iteration: int, dtype: torch.dtype
    ) -> Tensor:
        """Mean features of this process's real images, (F,)."""
        images = real_images(self.context, label, batch=self.real_batch, iteration=iteration, dtype=dtype)
        images = self.augmentation.apply(images, draw)
        features = classifiers.chunked_features(
            network, images, mixed_precision=self.context.mixed_precision, features=self._features
        )
        return features.mean(0).to(dtype)

    def _squared_distance(
        self, network: classifiers.Classifier, samples: Tensor, draw: Draw, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The term of one class and its gradient; the graph of one class is the memory that is needed."""
        with torch.enable_grad():
            leaf = samples.detach().requires_grad_()
            augmented = self.augmentation.apply(leaf, draw)
            with precision(self.context):
                features = [self._features(network, piece) for piece in pieces(augmented)]
            loss = (torch.cat(features).to(target.dtype).mean(0) - target).square().sum()
            (grad,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), grad

    def state(self) -> dict[str, Tensor]:
        """Nothing changes from iteration to iteration."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to load."""

    def recipe(self) -> dict[str, float]:
        """No advice to who trains on the samples."""
        return {}
