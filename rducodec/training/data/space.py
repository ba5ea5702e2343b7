"""Value spaces of samples: pixels, standardised, ZCA-whitened; both ways, on any device; fitted, kept and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError
from rducodec.interop.space import CONSTANTS, describe_space, parse_space
from rducodec.training.data.labelled import LabelledImages
from rducodec.training.data.moments import channel_statistics, pixel_moments
from rducodec.training.data.zca import Whitening, load_whitening, save_whitening

PIXELS, STANDARDISED, ZCA = "pixels", "standardised", "zca"


@dataclass(frozen=True, eq=False)
class SampleSpace:
    """A map from pixels to the values that are trained and stored: (pixels - mean) / std, then whitened if asked."""

    space: ValueSpace  # as a file's header states it
    mean: Tensor  # (C, 1, 1)
    std: Tensor  # (C, 1, 1)
    whitening: Tensor | None = None  # (C * H * W, C * H * W), symmetric, after standardisation
    centre: Tensor | None = None  # (C * H * W,), subtracted before whitening
    unwhitening: Tensor | None = None  # inverse of `whitening`
    fit: Whitening | None = None  # what the three follow from
    _elsewhere: dict[torch.device, SampleSpace] = field(default_factory=dict, init=False, repr=False)

    def to(self, device: torch.device | str) -> SampleSpace:
        """This space with its tensors on `device`, copied there once."""
        device = torch.device(device)
        if self.mean.device == device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = replace(
                self,
                mean=self.mean.to(device),
                std=self.std.to(device),
                whitening=_moved(self.whitening, device),
                centre=_moved(self.centre, device),
                unwhitening=_moved(self.unwhitening, device),
            )
        return self._elsewhere[device]

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (n, C, H, W) to values."""
        here = self.to(pixels.device)
        values = (pixels - here.mean) / here.std
        if here.whitening is None or here.centre is None:
            return values
        return ((values.flatten(1) - here.centre) @ here.whitening).view_as(values)

    def inverse(self, values: Tensor) -> Tensor:
        """Values (n, C, H, W) to pixels, not clamped."""
        here = self.to(values.device)
        if here.unwhitening is not None and here.centre is not None:
            values = (values.flatten(1) @ here.unwhitening + here.centre).view_as(values)
        return values * here.std + here.mean


def _moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)


def pixel_space(channels: int) -> SampleSpace:
    """Pixels as they are."""
    return SampleSpace(ValueSpace(), torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1))


def standardised_space(mean: Sequence[float], std: Sequence[float]) -> SampleSpace:
    """(pixels - mean) / std, a number for each channel."""
    return SampleSpace(ValueSpace(STANDARDISED, tuple(mean), tuple(std)), _per_channel(mean), _per_channel(std))


def whitened_space(whitening: Whitening) -> SampleSpace:
    """The space of a ZCA whitening; its matrices are computed here, in float64, and kept in float32."""
    centre, forward, back = (torch.from_numpy(array).float() for array in whitening.matrices())
    mean, std = _per_channel(whitening.mean), _per_channel(whitening.std)
    return SampleSpace(whitening.space(), mean, std, forward, centre, back, whitening)


def _per_channel(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64).float()[:, None, None]


def fit_space(spec: str, train: LabelledImages) -> SampleSpace:
    """The space that `spec` asks for, with what it leaves open fitted to the training images.

    `pixels`; `standardised` (mean and standard deviation of each channel of these images), `standardised:cifar10` and
    the other constants of `rducodec.interop.space`, `standardised:mean=A,B,C,std=D,E,F`; `zca` (pixels, ZCA-whitened:
    what trajectory matching does), and `zca:standardised`, `zca:cifar10`, `zca:mean=A,B,C,std=D,E,F` (standardised in
    that way, then whitened; `EPS` then weighs less against the variance of the images).

    Raises RddInputError for another spec, constants for another number of channels, a channel without variation, and
    images too large for ZCA.
    """
    kind, _, detail = spec.partition(":")
    channels = train.shape[0]
    if spec == PIXELS:
        return pixel_space(channels)
    if kind not in (STANDARDISED, ZCA) or spec.endswith(":"):
        raise _unknown(spec)
    mean, std = _constants(kind, detail, train)
    _check_channels(mean, std, channels)
    if kind == STANDARDISED:
        return standardised_space(mean, std)
    return whitened_space(Whitening(mean, std, pixel_moments(train)))


def _unknown(spec: str) -> RddInputError:
    constants = f"one of {', '.join(CONSTANTS)}, or mean=A,B,C,std=D,E,F with a number for each channel"
    return RddInputError(
        f"space {spec!r}: expected {PIXELS}, {STANDARDISED}, {ZCA} or {ZCA}:{STANDARDISED} (fitted to the training "
        f"images), or {STANDARDISED}:CONSTANTS or {ZCA}:CONSTANTS, where CONSTANTS are {constants}"
    )


def _constants(kind: str, detail: str, train: LabelledImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """By which pixels are standardised."""
    channels = train.shape[0]
    if not detail and kind == ZCA:
        return (0.0,) * channels, (1.0,) * channels
    if (kind, detail) in ((STANDARDISED, ""), (ZCA, STANDARDISED)):
        fitted = channel_statistics(train)
        return fitted.mean, fitted.std
    try:
        stated = parse_space(f"{STANDARDISED}:{detail}")
    except RddInputError as error:  # it names spaces of files, which cannot be computed here
        raise _unknown(f"{kind}:{detail}") from error
    return stated.mean, stated.std


def _check_channels(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    if not len(mean) == len(std) == channels:
        counts = f"{len(mean)} means and {len(std)} standard deviations"
        raise RddInputError(f"space: {counts} for images of {channels} channels")
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and min(std) > 0):
        raise RddInputError("space: means must be finite and standard deviations positive")


def sample_space(space: ValueSpace | None, channels: int, *, zca_file: Path | None = None) -> SampleSpace:
    """The space that a file's header states; a whitened one needs the file of `save_zca`.

    Raises RddInputError where the header does not say enough to compute the space, or the file is another whitening's.
    """
    if space is None:
        raise RddInputError("space: the file does not state the value space of its samples")
    if space.kind == PIXELS:
        return pixel_space(channels)
    if space.kind == STANDARDISED:
        _check_channels(space.mean, space.std, channels)
        return standardised_space(space.mean, space.std)
    if space.kind == ZCA and zca_file is not None:
        return load_zca(zca_file, space)
    needs = "needs the file of ZCA constants that was saved with it" if space.kind == ZCA else "is known by name only"
    raise RddInputError(f"space: {describe_space(space)}: it {needs}")


def save_zca(space: SampleSpace, path: Path) -> None:
    """The constants of a whitened space as .safetensors: about 38 MB for 32 x 32 images in colour.

    Raises RddInputError for a space that is not whitened, and RddIOError.
    """
    if space.fit is None:
        raise RddInputError(f"space: {space.space.kind} has no ZCA constants to save")
    save_whitening(space.fit, path)


def load_zca(path: Path, expected: ValueSpace | None = None) -> SampleSpace:
    """The space of a file of `save_zca`, checked against the one that a header states (`expected`).

    Raises RddInputError where the file is damaged, or is not what the header names; and RddIOError.
    """
    whitening = load_whitening(path)
    if expected is not None and whitening.space() != expected:
        raise RddInputError(
            f"{path}: these ZCA constants are not those of the samples: {whitening.space().text} here, "
            f"{describe_space(expected)} in the header"
        )
    return whitened_space(whitening)
