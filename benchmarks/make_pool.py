"""Checkpoints in the published layout, of real images: what the codec is measured on beside the one that was published.

    python -m benchmarks.make_pool OUT.pt --images FOLDER
    python -m benchmarks.make_pool OUT.pt --photographs

FOLDER has `class/image.jpg` of one size: of the first two classes the first 64 images, with the networks that the paper
has for 64 samples of CIFAR-10, towards its 13 kB a class. --photographs takes the two photographs that scikit-learn
ships (427 x 640, installed apart: pip install scikit-learn) as two classes, of each eight crops of 128 x 128 on an even
grid, none of which overlap, with the networks and about the size of the published checkpoint of eight samples a class.
Every class is one slice, compressed by overfitting up to the end of the stages whose networks are floats. Beside the
checkpoint stands OUT.json, which says how it was made.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.label_classifier import read_images
from benchmarks.report import machine
from rducodec.model import LatentConfig
from rducodec.quantization import FloatSlice, float_samples
from rducodec.rate import BITS_PER_KB
from rducodec.shape import num_scales_for, parse_decoder, parse_entropy
from rducodec.training import OverfitSettings, Progress, overfit_floats
from tests.interop.checkpoints import Tensors, write_pool

LATENT_GAIN = 16  # the layout holds integer latents divided by this
FULL = 255.0
SIDE = 128  # of the crops
GRID = (2, 4)  # of the crops of a photograph
CLASSES, SPC = 2, 64  # of a folder


@dataclass(frozen=True)
class PoolRecipe:
    """Networks and training of a checkpoint."""

    what: str
    decoder: str
    entropy: str
    kb: float  # of 1024 bytes that a class should take; what networks take is an estimate
    lmbda: float  # where the search for that size starts
    steps: int


IMAGES = PoolRecipe("the first 64 images of the first two classes of a folder", "v4-480", "16x4", 13.0, 1e-3, 400)
PHOTOGRAPHS = PoolRecipe(
    "two photographs of scikit-learn, of each eight crops of 128 x 128", "v4-160", "16x2", 4.0, 1e-2, 300
)


def folder_classes(folder: Path) -> list[np.ndarray]:
    """uint8 (64, 3, h, w) of the first classes."""
    pixels, labels = read_images(folder, SPC)
    return [pixels[labels == label].numpy() for label in range(CLASSES)]


def photograph_classes() -> list[np.ndarray]:
    """uint8 (8, 3, 128, 128) of each photograph: the crops of the grid, row after row."""
    from sklearn.datasets import load_sample_images  # nothing else needs it

    classes = []
    for photograph in load_sample_images().images:
        starts = [np.linspace(0, size - SIDE, n).round() for size, n in zip(photograph.shape, GRID, strict=False)]
        corners = [(int(y), int(x)) for y in starts[0] for x in starts[1]]
        crops = [photograph[y : y + SIDE, x : x + SIDE] for y, x in corners]
        classes.append(np.stack(crops).transpose(0, 3, 1, 2))
    return classes


def lists_of(part: FloatSlice) -> Tensors:
    """The parameter lists of a slice as the layout has them."""

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    synthesis = [values[:, :, None, None] if values.ndim == 2 else values for values in part.synthesis]
    return {
        "grids": [tensor(grid[:, None]) / LATENT_GAIN for grid in part.latents],
        "ap": [tensor(values) for values in part.entropy],
        "up": [tensor(part.upsampling[None, None])],
        "sp": [tensor(values) for values in synthesis],
    }


def told(progress: Progress) -> None:
    """A line for the log."""
    sizes = ", ".join(f"{bits / BITS_PER_KB:.2f}" for bits in progress.bits_per_class)
    psnr = -10 * np.log10(progress.mse)
    print(f"{progress.step} of {progress.total_steps}: {progress.stage}, {sizes} kB, {psnr:.2f} dB", flush=True)


def make_pool(out: Path, images: Path | None) -> None:
    """Train, write the checkpoint and its description; of the photographs if there is no folder of images."""
    recipe = IMAGES if images else PHOTOGRAPHS
    samples = folder_classes(images) if images else photograph_classes()
    context, depth = parse_entropy(recipe.entropy)
    channels, height, width = samples[0].shape[1:]
    config = LatentConfig(
        channels,
        height,
        width,
        num_scales=num_scales_for(height, width),
        context_size=context,
        entropy_depth=depth,
        synthesis_widths=parse_decoder(recipe.decoder),
    )
    settings = OverfitSettings(steps=recipe.steps, lmbda=recipe.lmbda, target_bits_per_class=recipe.kb * BITS_PER_KB)
    values = [(part / FULL).astype(np.float32) for part in samples]
    slices = overfit_floats(values, config, settings, progress=told)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_pool(out, {f"{label}_0": lists_of(part) for label, part in enumerate(slices)}, with_optimizer=False)
    errors = [np.square(float_samples(part, config) - own).mean() for part, own in zip(slices, values, strict=True)]
    description = asdict(recipe) | {
        "classes": len(samples),
        "spc": len(samples[0]),
        "size": [height, width],
        "psnr_db": [-10 * float(np.log10(error)) for error in errors],
        "settings": asdict(settings),
        "machine": machine(),
    }
    out.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")


def main() -> None:
    """Make one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path)
    source.add_argument("--photographs", action="store_true")
    arguments = parser.parse_args()
    make_pool(arguments.out, arguments.images)


if __name__ == "__main__":
    main()
