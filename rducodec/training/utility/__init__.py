"""Utility losses: what samples are worth for training, and how to make them worth more (paper, Eq. 20)."""

from __future__ import annotations

from rducodec.training.utility.load import UTILITIES, make_utility
from rducodec.training.utility.protocol import HasSources, Utility, UtilityContext, UtilityGradient

__all__ = ["UTILITIES", "HasSources", "Utility", "UtilityContext", "UtilityGradient", "make_utility"]
