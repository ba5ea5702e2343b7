"""Adam over a list of tensors, with a state that can be saved and cut by slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BETA1, BETA2 = 0.9, 0.999
EPSILON = 1e-8


@dataclass
class Adam:
    """First and second moments of the gradients of some tensors."""

    first: list[Tensor]
    second: list[Tensor]
    steps: int = 0
    beta2: float = BETA2

    @classmethod
    def for_tensors(cls, tensors: Sequence[Tensor], *, beta2: float = BETA2) -> Adam:
        """The state before the first step."""
        return cls([torch.zeros_like(t) for t in tensors], [torch.zeros_like(t) for t in tensors], beta2=beta2)

    def select(self, index: Tensor) -> Adam:
        """The state of the slices `index`."""
        first, second = ([t.index_select(0, index) for t in moments] for moments in (self.first, self.second))
        return Adam(first, second, self.steps, self.beta2)

    def state(self) -> dict[str, Tensor]:
        """All of it as tensors, for a checkpoint."""
        moments = {"first": self.first, "second": self.second}
        named = {f"{name}.{i}": t for name, tensors in moments.items() for i, t in enumerate(tensors)}
        return named | {"steps": torch.tensor(self.steps), "beta2": torch.tensor(self.beta2, dtype=torch.float64)}

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], *, device: torch.device) -> Adam:
        """Inverse of `state`."""
        count = sum(name.startswith("first.") for name in state)
        first, second = ([state[f"{name}.{i}"].to(device) for i in range(count)] for name in ("first", "second"))
        return cls(first, second, int(state["steps"]), float(state["beta2"]))

    def step(self, tensors: Sequence[Tensor], grads: Sequence[Tensor], *, learning_rates: Sequence[float]) -> None:
        """Move the tensors for which there is a gradient, in place, each at its own rate."""
        self.steps += 1
        correction1, correction2 = 1 - BETA1**self.steps, 1 - self.beta2**self.steps
        count = len(grads)
        if count == 0:
            return
        moved, found = list(tensors[:count]), list(grads)
        first, second = self.first[:count], self.second[:count]
        torch._foreach_lerp_(first, found, 1 - BETA1)
        torch._foreach_mul_(second, self.beta2)
        torch._foreach_addcmul_(second, found, found, value=1 - self.beta2)
        denominators = torch._foreach_sqrt(second)
        torch._foreach_div_(denominators, correction2**0.5)
        torch._foreach_add_(denominators, EPSILON)
        torch._foreach_addcdiv_(moved, first, denominators, [-rate / correction1 for rate in learning_rates[:count]])
