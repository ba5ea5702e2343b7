"""Joint rate-utility optimisation: from a representation of real images to the file (paper, Eq. 20)."""

from __future__ import annotations

from rducodec.training.distillation.configuration import Configuration, configuration_names, read_configuration
from rducodec.training.distillation.run import Distillation, Distilled, Reports

__all__ = ["Configuration", "Distillation", "Distilled", "Reports", "configuration_names", "read_configuration"]
