"""The integers that a `.rdd` file of the latent profile holds (spec, "Latent profile").

Everything here is plain data: the entropy coder, the synthesis and the training all speak in these types.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

UPSAMPLING_SIZE = 8  # side of the square upsampling kernel, in taps
SPATIAL_SIZE = 3  # side of the two last convolutions of the synthesis, in taps
NUM_SPATIAL_LAYERS = 2


@dataclass(frozen=True)
class LatentConfig:
    """Geometry and network shapes shared by all slices of a file.

    `num_scales` latent grids, finest first; grid k has ceil(height / 2**k) x ceil(width / 2**k) latents.
    The entropy network sees `context_size` latents of the same grid and `coarser_size` of the next coarser one (0 or
    5); with `grid_biases`, its last layer has a bias for each grid instead of one for all.
    `synthesis_widths` are the outputs of the hidden 1x1 layers, e.g. (480,) or (240, 40).
    An integer activation `a` of the entropy network stands for a * 2**-act_frac_bits and is clamped to
    |a| < 2**act_bits. A decoded integer sample `v` stands for v * 2**-sample_frac_bits.
    """

    channels: int
    height: int
    width: int
    num_scales: int
    context_size: int = 16
    entropy_depth: int = 4
    synthesis_widths: tuple[int, ...] = (480,)
    act_frac_bits: int = 6
    act_bits: int = 12
    sample_frac_bits: int = 16
    coarser_size: int = 0
    grid_biases: bool = False

    def grid_shapes(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of every latent grid, finest first."""
        return tuple((-(-self.height >> k), -(-self.width >> k)) for k in range(self.num_scales))

    def num_latents(self) -> int:
        """Latents of one sample, over all scales."""
        return sum(h * w for h, w in self.grid_shapes())

    def entropy_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of weight, bias, weight, bias, ... of the entropy network."""
        widths = (self.context_size + self.coarser_size, *(self.context_size,) * self.entropy_depth)
        shapes: list[tuple[int, ...]] = []
        for fan_in, fan_out in pairwise(widths):
            shapes += [(fan_out, fan_in), (fan_out,)]
        return (*shapes, (2, widths[-1]), (2 * self.num_output_biases(),))

    def num_output_biases(self) -> int:
        """Pairs (mean, scale) in the last bias of the entropy network: one for each grid, or one for all."""
        return self.num_scales if self.grid_biases else 1

    def entropy_name(self) -> str:
        """What the entropy network is, in short: 16x2 (context, depth), 16+5x2 with the coarser grid."""
        coarser = f"+{self.coarser_size}" if self.coarser_size else ""
        return f"{self.context_size}{coarser}x{self.entropy_depth}" + (", grid biases" if self.grid_biases else "")

    def synthesis_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of weight, bias, ... of the synthesis: the 1x1 layers (out, in), then two 3x3 layers."""
        widths = (self.num_scales, *self.synthesis_widths, self.channels)
        shapes: list[tuple[int, ...]] = []
        for fan_in, fan_out in pairwise(widths):
            shapes += [(fan_out, fan_in), (fan_out,)]
        spatial = (self.channels, self.channels, SPATIAL_SIZE, SPATIAL_SIZE)
        return (*shapes, *((spatial, (self.channels,)) * NUM_SPATIAL_LAYERS))

    def tensor_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of all tensors of a slice in stream order: entropy network, upsampling kernel, synthesis."""
        kernel = (UPSAMPLING_SIZE, UPSAMPLING_SIZE)
        return (*self.entropy_shapes(), kernel, *self.synthesis_shapes())

    def stored_tensors(self, *, entropy: bool, decoder: bool) -> slice:
        """Which tensors of `tensor_shapes` a slice stores that stores the entropy network, the decoder networks."""
        cut, end = len(self.entropy_shapes()), len(self.tensor_shapes())
        return slice(0 if entropy else cut, end if decoder else cut)


@dataclass(frozen=True)
class QuantizedTensor:
    """Network parameters as integers: the real value is `values * 2**-frac_bits`."""

    values: np.ndarray  # int32, any shape
    frac_bits: int  # 0..16

    def dequantize(self) -> np.ndarray:
        """The real parameters, float64, same shape; exact."""
        return np.asarray(self.values, np.float64) * 2.0**-self.frac_bits


@dataclass(frozen=True)
class LatentSlice:
    """Samples of one class that share networks: what one slice section of a file holds."""

    latents: tuple[np.ndarray, ...]  # int16, (samples, h_k, w_k) for each scale, finest first
    entropy: tuple[QuantizedTensor, ...]  # weight, bias, ... as LatentConfig.entropy_shapes
    upsampling: QuantizedTensor  # (8, 8), orientation of a transposed convolution
    synthesis: tuple[QuantizedTensor, ...]  # weight, bias, ... as LatentConfig.synthesis_shapes

    @property
    def num_samples(self) -> int:
        """Samples in the slice."""
        return int(self.latents[0].shape[0])

    def tensors(self) -> tuple[QuantizedTensor, ...]:
        """All network tensors in stream order."""
        return (*self.entropy, self.upsampling, *self.synthesis)
