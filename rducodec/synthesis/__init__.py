"""Latents to samples in integers (spec, "Upsampling" and "Synthesis")."""

from rducodec.synthesis.network import synthesize

__all__ = ["synthesize"]
