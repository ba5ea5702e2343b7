"""Soft labels of a real classifier: a small ConvNet is trained on a folder of images and asked about unseen ones.

    python -m benchmarks.label_classifier FOLDER OUT --images 4500 --epochs 10 [--subclasses 1,10,100]

FOLDER has `class/image.jpg` of one size. Of each class, the first images are for training; of the 100 after them the
probabilities are stored.

Few data sets of small images have 100 or 1000 classes. Finer ones are made of the images: the training images of a
class, averaged to 8 x 8, are divided by k-means into so many subclasses (`--subclasses`), and an unseen image belongs
to that of the nearest mean in its class. So the finer classes are kinds of light, colour and layout of a class, not
things with names; images and classifier are real. One network has an output for each division, trained together. A
division into K classes is stored as OUT-K.npz: `probabilities` (n, K) float32 with the true classes as `labels`;
`pixels` (n, 3, h, w) uint8 of the images and their class in the folder, `folder_labels`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

WIDTHS = (32, 48, 64)  # default outputs of the blocks, each of which halves height and width
ASKED = 100  # images of a class whose labels are stored
BATCH = 64
LEARNING_RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
POINT_SIDE = 8  # of the images that k-means sees
ROUNDS = 20  # of k-means


def read_images(folder: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `count` images of each class, uint8 (n, 3, h, w), class after class, and their classes."""
    arrays, labels = [], []
    for label, place in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        paths = sorted(path for path in place.iterdir() if path.suffix in (".jpg", ".png"))[:count]
        arrays += [np.asarray(Image.open(path).convert("RGB")) for path in paths]
        labels += [label] * len(paths)
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def standardised(pixels: torch.Tensor) -> torch.Tensor:
    """Float images without mean and in units of the deviation, channel by channel."""
    images = pixels.float()
    mean, std = images.mean(dim=(0, 2, 3), keepdim=True), images.std(dim=(0, 2, 3), keepdim=True)
    return (images - mean) / std


def nearest(points: torch.Tensor, number: int, seen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """For each point (n, d) which of `number` means is nearest; k-means of those that are `seen`."""
    known = points[seen]
    means = known[torch.randperm(len(known), generator=generator)[:number]]
    for _ in range(ROUNDS):
        group = torch.cdist(known, means).argmin(dim=1)
        size = torch.bincount(group, minlength=number)[:, None]
        sums = torch.zeros_like(means).index_add_(0, group, known)
        means = torch.where(size > 0, sums / size.clamp(min=1), means)
    return torch.cdist(points, means).argmin(dim=1)


def divided(images: torch.Tensor, labels: torch.Tensor, number: int, seen: torch.Tensor) -> torch.Tensor:
    """Labels of `number` subclasses of each class, see the module. SystemExit where one has no image to train on."""
    if number == 1:
        return labels
    generator = torch.Generator().manual_seed(number)
    points = nn.functional.adaptive_avg_pool2d(images, POINT_SIDE).flatten(1)
    finer = labels * number
    for label in labels.unique():
        rows = labels == label
        finer[rows] += nearest(points[rows], number, seen[rows], generator)
    if len(finer[seen].unique()) != number * len(labels.unique()):
        raise SystemExit(f"{number} subclasses: one has no images to train on")
    return finer


def network(side: int, num_outputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Blocks of 3x3 convolution, instance norm, ReLU and pooling; then a linear layer."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip((3, *widths), widths, strict=False):
        norm = nn.GroupNorm(fan_out, fan_out)
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), norm, nn.ReLU(), nn.AvgPool2d(2)]
    features = widths[-1] * (side >> len(widths)) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, num_outputs))


def train(
    images: torch.Tensor,
    labels: torch.Tensor,
    sizes: list[int],
    *,
    epochs: int,
    widths: tuple[int, ...],
    seed: int = 0,
) -> nn.Sequential:
    """A network trained by momentum and one cycle of the learning rate, with mirrored images half of the time.

    labels (n, divisions), sizes: classes of each division. The network's outputs are those of all divisions.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = network(images.shape[2], sum(sizes), widths)
    optimiser = torch.optim.SGD(net.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=DECAY)
    steps = epochs * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(labels), generator=generator)
        for rows in order.split(BATCH):
            if len(rows) < BATCH:
                continue
            batch = images[rows]
            batch = batch.flip(3) if torch.rand((), generator=generator) < 0.5 else batch
            outputs = net(batch).split(sizes, dim=1)
            losses = [nn.functional.cross_entropy(*pair) for pair in zip(outputs, labels[rows].T, strict=True)]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()
            schedule.step()
        last = ", ".join(f"{loss.item():.3f}" for loss in losses)
        print(f"epoch {epoch + 1} of {epochs}: loss of the last batch {last}", flush=True)
    return net


def classifier_labels(
    folder: Path, *, images_per_class: int, epochs: int, widths: tuple[int, ...], subclasses: tuple[int, ...] = (1,)
) -> list[dict[str, np.ndarray]]:
    """For each division `probabilities`, `labels`, `accuracy` and more of images that the network has not seen."""
    pixels, folder_labels = read_images(folder, images_per_class + ASKED)
    images = standardised(pixels)
    num_classes = int(folder_labels.max()) + 1
    counts = torch.bincount(folder_labels, minlength=num_classes)
    seen = torch.cat([torch.arange(int(count)) for count in counts]) < images_per_class
    labels = torch.stack([divided(images, folder_labels, number, seen) for number in subclasses], dim=1)
    sizes = [num_classes * number for number in subclasses]
    net = train(images[seen], labels[seen], sizes, epochs=epochs, widths=widths)
    with torch.no_grad():
        outputs = net(images[~seen]).split(sizes, dim=1)
    found = []
    for logits, truth in zip(outputs, labels[~seen].T, strict=True):
        accuracy = (logits.argmax(dim=1) == truth).double().mean()
        found.append(
            {
                "probabilities": logits.softmax(dim=1).numpy(),
                "labels": truth.numpy(),
                "accuracy": np.array(float(accuracy)),
                "images_per_class": np.array(images_per_class),
                "epochs": np.array(epochs),
                "widths": np.array(widths),
                "pixels": pixels[~seen].numpy(),
                "folder_labels": folder_labels[~seen].numpy(),
            }
        )
    return found


def main() -> None:
    """Train, ask, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=500, help="of each class, to train on")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="outputs of the three blocks")
    parser.add_argument("--subclasses", default="1", help="of each class, one division after the other")
    arguments = parser.parse_args()
    widths, subclasses = (tuple(map(int, text.split(","))) for text in (arguments.widths, arguments.subclasses))
    for found in classifier_labels(
        arguments.folder,
        images_per_class=arguments.images,
        epochs=arguments.epochs,
        widths=widths,
        subclasses=subclasses,
    ):
        count, num_classes = found["probabilities"].shape
        np.savez_compressed(arguments.out.with_name(f"{arguments.out.name}-{num_classes}.npz"), **found)
        print(f"{num_classes} classes: accuracy {float(found['accuracy']):.4f} on {count} unseen images")


if __name__ == "__main__":
    main()
