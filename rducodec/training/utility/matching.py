"""What the matching losses share: networks, batches of real images, classes of the samples, minibatches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from rducodec.errors import RddInputError, RddVersionError
from rducodec.training import classifiers
from rducodec.training.classifiers.pieces import CPU_PIECE_PIXELS, Features, plain_features, sees_batches
from rducodec.training.randomness import generator_for
from rducodec.training.utility.protocol import UtilityContext

SETTLING_IMAGES = 16  # real images per class that give batch norm its statistics (published code of Zhao 2021)

Block = list[tuple[int, slice]]  # classes and where their samples are


def check_counts(**values: object) -> None:
    """RddInputError unless every value is a positive integer, or None."""
    for name, value in values.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise RddInputError(f"utility option {name}: {value!r}, expected a positive integer")


def check_rates(**values: object) -> None:
    """RddInputError unless every value is a finite number that is not negative."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise RddInputError(f"utility option {name}: {value!r}, expected a number that is not negative")


def class_slices(labels: Tensor, context: UtilityContext) -> Block:
    """The classes that have samples and where these are, in order.

    Raises RddInputError if the labels are not class after class, or a class has no real images.
    """
    if len(labels) and (bool((labels.diff() < 0).any()) or not 0 <= int(labels[0]) <= int(labels[-1])):
        raise RddInputError("labels of samples: not in ascending order; sort the samples by class")
    if len(labels) and int(labels[-1]) >= context.num_classes:
        raise RddInputError(f"labels of samples: class {int(labels[-1])}, but there are {context.num_classes}")
    block, start = [], 0
    for label, count in enumerate(torch.bincount(labels, minlength=context.num_classes).tolist()):
        if count and not len(context.real.by_class[label]):
            raise RddInputError(f"real images: none of class {label}, which has {count} samples")
        if count:
            block.append((label, slice(start, start + count)))
        start += count
    return block


def blocks(classes: Block, size: int) -> Iterator[Block]:
    """`size` classes at a time: the processes share the samples of these out by class."""
    for start in range(0, len(classes), size):
        yield classes[start : start + size]


def new_network(context: UtilityContext, *steps: int, dtype: torch.dtype) -> classifiers.Classifier:
    """A randomly initialised network, the same in all processes; `steps` say which."""
    channels, *size = context.shape
    network = classifiers.build_classifier(
        context.network,
        channels=channels,
        num_classes=context.num_classes,
        size=(size[0], size[1]),
        generator=generator_for(context.seed, "network", *steps),
        **context.network_options,
    )
    return network.to(context.device, dtype)


def settle(network: classifiers.Classifier, context: UtilityContext, *, iteration: int, dtype: torch.dtype) -> None:
    """To evaluation mode, where an image's result depends on no other; batch norm takes statistics of real images.

    As in the published code of gradient matching: one class alone, or a few samples, would give other statistics.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if sees_batches(network):
        present = [label for label, rows in enumerate(context.real.by_class) if len(rows)]
        generator = generator_for(context.seed, "settling images", iteration)
        rows = torch.cat([context.real.draw(label, SETTLING_IMAGES, generator) for label in present])
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0  # of these images alone
        with torch.no_grad():
            network(context.real.batch(rows).to(dtype))
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
    network.eval()


def real_images(context: UtilityContext, label: int, *, batch: int, iteration: int, dtype: torch.dtype) -> Tensor:
    """This process's part of the real images of a class, (batch, C, H, W)."""
    generator = generator_for(context.seed, "real images", iteration, label)
    rows = context.real.draw(label, batch * context.group.size, generator)
    return context.real.batch(context.group.share(rows)).to(dtype)


def pieces(x: Tensor) -> Sequence[Tensor]:
    """Samples in parts that suit the device, for passes with a graph: all at once except on a CPU."""
    if x.device.type != "cpu":
        return [x]
    return torch.split(x, max(1, CPU_PIECE_PIXELS // (x.shape[-2] * x.shape[-1])))


def features_function(context: UtilityContext) -> Features:
    """What computes the features of a network; compiled once for all networks of a kind, if asked."""
    if not context.compiled:
        return plain_features
    from torch._dynamo.exc import BackendCompilerFailed  # takes seconds to load

    compiled = torch.compile(plain_features)

    def features(network: classifiers.Classifier, x: Tensor) -> Tensor:
        try:
            result: Tensor = compiled(network, x)
        except BackendCompilerFailed as error:
            reason = str(error).strip().splitlines()[0]
            raise RddVersionError(f"utility.compiled: torch cannot compile networks here ({reason})") from error
        return result

    return features


def refuse_compiled(context: UtilityContext, loss: str) -> None:
    """RddInputError for a loss that takes second derivatives, which torch does not compile."""
    if context.compiled:
        raise RddInputError(f"utility.compiled: {loss} needs second derivatives, which torch.compile does not have")


def precision(context: UtilityContext) -> torch.autocast:
    """Where the products of a network are computed in bfloat16, if asked."""
    return torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=context.mixed_precision)


def minibatches(count: int, size: int | None, steps: int, generator: torch.Generator) -> list[Tensor]:
    """Indices of `steps` minibatches of up to `size` (None: all) of `count` samples, in epochs, each shuffled."""
    batches: list[Tensor] = []
    while len(batches) < steps:
        batches.extend(torch.split(torch.randperm(count, generator=generator), size or count))
    return batches[:steps]


def targets_of(labels: Tensor, label_logits: Tensor | None) -> Tensor:
    """What cross entropy compares with: classes, or the probabilities of soft labels."""
    return labels if label_logits is None else label_logits.softmax(1)
