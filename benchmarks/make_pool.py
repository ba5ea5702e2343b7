"""Checkpoints in the published layout, of real images: what the codec is measured on beside the one that was published.

    python -m benchmarks.make_pool OUT.pt --images FOLDER [--spc 64] [--decoder v4-480] [--entropy 16x4] [--kb 13]
    python -m benchmarks.make_pool OUT.pt --photographs --spc 8 --decoder v4-160 --entropy 16x2 --kb 4

FOLDER has `class/image.jpg` of one size; the first images of the first classes are taken. --photographs takes the two
photographs that scikit-learn ships (427 x 640, installed apart: pip install scikit-learn) as two classes, of each the
crops of 128 x 128 of an even grid, none of which overlap. Every class is one slice, compressed by overfitting towards
--kb each (networks by estimate), up to the end of the stages whose networks are floats. Beside the checkpoint stands
OUT.json, which says all of this.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

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


def folder_classes(folder: Path, classes: int, spc: int) -> list[np.ndarray]:
    """uint8 (spc, 3, h, w) of the first classes."""
    pixels, labels = read_images(folder, spc)
    return [pixels[labels == label].numpy() for label in range(classes)]


def photograph_classes(spc: int) -> list[np.ndarray]:
    """uint8 (spc, 3, 128, 128) of each photograph: the first crops of the grid, row after row."""
    from sklearn.datasets import load_sample_images  # nothing else needs it

    classes = []
    for photograph in load_sample_images().images:
        starts = [np.linspace(0, size - SIDE, n).round() for size, n in zip(photograph.shape, GRID, strict=False)]
        corners = [(int(y), int(x)) for y in starts[0] for x in starts[1]][:spc]
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


def make_pool(
    out: Path, samples: list[np.ndarray], *, decoder: str, entropy: str, kb: float, steps: int, what: str
) -> dict[str, Any]:
    """Train, write the checkpoint and its description; the description."""
    context, depth = parse_entropy(entropy)
    channels, height, width = samples[0].shape[1:]
    config = LatentConfig(
        channels,
        height,
        width,
        num_scales=num_scales_for(height, width),
        context_size=context,
        entropy_depth=depth,
        synthesis_widths=parse_decoder(decoder),
    )
    settings = OverfitSettings(steps=steps, target_bits_per_class=kb * BITS_PER_KB)
    values = [(part / FULL).astype(np.float32) for part in samples]
    slices = overfit_floats(values, config, settings, progress=told)
    write_pool(out, {f"{label}_0": lists_of(part) for label, part in enumerate(slices)}, with_optimizer=False)
    errors = [np.square(float_samples(part, config) - own).mean() for part, own in zip(slices, values, strict=True)]
    description = {
        "images": what,
        "classes": len(samples),
        "spc": len(samples[0]),
        "size": [height, width],
        "decoder": decoder,
        "entropy": entropy,
        "psnr_db": [-10 * float(np.log10(error)) for error in errors],
        "settings": asdict(settings),
        "machine": machine(),
    }
    out.with_suffix(".json").write_text(json.dumps(description, indent=1) + "\n")
    return description


def main() -> None:
    """Make one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path)
    source.add_argument("--photographs", action="store_true")
    parser.add_argument("--classes", type=int, default=2, help="of a folder")
    parser.add_argument("--spc", type=int, default=64)
    parser.add_argument("--decoder", default="v4-480")
    parser.add_argument("--entropy", default="16x4")
    parser.add_argument("--kb", type=float, default=13.0, help="of 1024 bytes that a class should take")
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    if arguments.photographs:
        samples = photograph_classes(arguments.spc)
        what = f"crops of {SIDE} x {SIDE} of the two photographs of scikit-learn, each photograph a class"
    else:
        samples = folder_classes(arguments.images, arguments.classes, arguments.spc)
        what = "the first images of the first classes of a folder"
    out, chosen = arguments.out, vars(arguments)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = make_pool(out, samples, what=what, **{key: chosen[key] for key in ("decoder", "entropy", "kb", "steps")})
    print(f"{out.name}: {', '.join(f'{psnr:.2f} dB' for psnr in made['psnr_db'])}")


if __name__ == "__main__":
    main()
