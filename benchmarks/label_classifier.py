"""Soft labels of a real classifier: a small ConvNet is trained on a folder of images and asked about unseen ones.

    python -m benchmarks.label_classifier FOLDER OUT.npz --images 4000 --epochs 8

FOLDER has `class/image.jpg` of one size. Of each class, the first images are for training; of the 100 after them the
probabilities are stored, as `probabilities` (n, classes) float32 with the true classes as `labels`.
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


def read_images(folder: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `count` images of each class (n, 3, h, w), standardised, class after class, and their classes."""
    arrays, labels = [], []
    for label, place in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        paths = sorted(path for path in place.iterdir() if path.suffix in (".jpg", ".png"))[:count]
        arrays += [np.asarray(Image.open(path).convert("RGB")) for path in paths]
        labels += [label] * len(paths)
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float()
    mean, std = images.mean(dim=(0, 2, 3), keepdim=True), images.std(dim=(0, 2, 3), keepdim=True)
    return (images - mean) / std, torch.tensor(labels)


def network(side: int, num_classes: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Blocks of 3x3 convolution, instance norm, ReLU and pooling; then a linear layer."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip((3, *widths), widths, strict=False):
        norm = nn.GroupNorm(fan_out, fan_out)
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), norm, nn.ReLU(), nn.AvgPool2d(2)]
    features = widths[-1] * (side >> len(widths)) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, num_classes))


def train(
    images: torch.Tensor, labels: torch.Tensor, *, epochs: int, widths: tuple[int, ...], seed: int = 0
) -> nn.Sequential:
    """A network trained by momentum and one cycle of the learning rate, with mirrored images half of the time."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = network(images.shape[2], int(labels.max()) + 1, widths)
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
            loss = nn.functional.cross_entropy(net(batch), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss of the last batch {loss.item():.3f}", flush=True)
    return net


def classifier_labels(
    folder: Path, *, images_per_class: int, epochs: int, widths: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """`probabilities`, `labels` and `accuracy` of images that the network has not seen."""
    images, labels = read_images(folder, images_per_class + ASKED)
    num_classes = int(labels.max()) + 1
    places = torch.cat([torch.arange(int(count)) for count in torch.bincount(labels, minlength=num_classes)])
    seen = places < images_per_class
    net = train(images[seen], labels[seen], epochs=epochs, widths=widths)
    with torch.no_grad():
        probabilities = net(images[~seen]).softmax(dim=1)
    accuracy = (probabilities.argmax(dim=1) == labels[~seen]).double().mean()
    return {
        "probabilities": probabilities.numpy(),
        "labels": labels[~seen].numpy(),
        "accuracy": np.array(float(accuracy)),
        "images_per_class": np.array(images_per_class),
        "epochs": np.array(epochs),
        "widths": np.array(widths),
    }


def main() -> None:
    """Train, ask, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=500, help="of each class, to train on")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="outputs of the three blocks")
    arguments = parser.parse_args()
    widths = tuple(int(width) for width in arguments.widths.split(","))
    found = classifier_labels(
        arguments.folder, images_per_class=arguments.images, epochs=arguments.epochs, widths=widths
    )
    np.savez(arguments.out, **found)
    print(f"accuracy {float(found['accuracy']):.4f} on {len(found['labels'])} unseen images")


if __name__ == "__main__":
    main()
