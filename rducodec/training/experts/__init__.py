"""Expert trajectories: the parameters of networks trained on real images, epoch by epoch (Cazenavette 2022)."""

from __future__ import annotations

from rducodec.training.experts.settings import ExpertSettings
from rducodec.training.experts.store import ExpertStore
from rducodec.training.experts.train import train_experts

__all__ = ["ExpertSettings", "ExpertStore", "train_experts"]
