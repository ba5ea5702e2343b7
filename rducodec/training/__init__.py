"""Training of latents and networks (needs torch): `overfit` compresses real samples into slices."""

from __future__ import annotations

from rducodec.training.progress import Progress, ProgressCallback
from rducodec.training.settings import OverfitSettings
from rducodec.training.trainer import overfit, overfit_floats

__all__ = ["OverfitSettings", "Progress", "ProgressCallback", "overfit", "overfit_floats"]
