"""How expert networks are trained."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rducodec.errors import RddInputError
from rducodec.training.utility.augmentation import Augmentation


@dataclass(frozen=True)
class ExpertSettings:
    """SGD on all real images; the defaults are those of the published experiments (Cazenavette 2022).

    An epoch sees each image once, in an order of each expert's own; the last batch may be smaller. `batched` networks
    are trained together and end in one file. `seed` alone decides about weights, orders and augmentation. With
    `mixed_precision`, products are computed in bfloat16.
    """

    num_experts: int = 100
    epochs: int = 50
    learning_rate: float = 0.01
    batch_size: int = 256
    momentum: float = 0.0
    weight_decay: float = 0.0
    batched: int = 10
    seed: int = 0
    network: str = "convnet"
    network_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str = "color_crop_cutout_flip_scale_rotate"
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        for name in ("num_experts", "epochs", "batch_size", "batched"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RddInputError(f"setting {name}: {value!r}, expected a positive integer")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise RddInputError(f"setting learning_rate: {self.learning_rate!r}, expected a positive number")
        if not 0 <= self.momentum < 1:
            raise RddInputError(f"setting momentum: {self.momentum!r}, expected at least 0 and less than 1")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise RddInputError(f"setting weight_decay: {self.weight_decay!r}, expected a number that is not negative")
        if not 0 <= self.seed < 2**31:
            raise RddInputError(f"setting seed: {self.seed!r}, expected 0..{2**31 - 1}")
        Augmentation.of(self.augmentation)
        try:
            json.dumps(dict(self.network_options))
        except (TypeError, ValueError) as error:
            raise RddInputError(f"setting network_options: {error}, expected names with plain values") from error

    @property
    def num_groups(self) -> int:
        """Groups of networks that are trained together, so files."""
        return -(-self.num_experts // self.batched)

    def experts(self, group: int) -> range:
        """Numbers of the experts of a group."""
        return range(group * self.batched, min((group + 1) * self.batched, self.num_experts))

    def fields(self) -> dict[str, Any]:
        """As JSON keeps them."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "network_options": dict(self.network_options)}
