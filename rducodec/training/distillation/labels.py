"""Labels of the samples while they are optimised: hard ones, or logits that are learned beside the samples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from rducodec.training.adam import Adam

INITIAL_CONFIDENCE = 0.9  # probability of a sample's own class at first


class SampleLabels:
    """Classes of the samples, class after class, and where they are learned the logits of soft labels."""

    def __init__(self, classes: Tensor, *, num_classes: int, learning_rate: float | None = None) -> None:
        """classes (N,), int64. Without a `learning_rate` labels are hard."""
        self.classes, self.learning_rate = classes, learning_rate
        self.logits: Tensor | None = None
        if learning_rate is not None:
            margin = torch.tensor(INITIAL_CONFIDENCE * (num_classes - 1) / (1 - INITIAL_CONFIDENCE)).log()
            self.logits = F.one_hot(classes, num_classes).float() * margin.to(classes.device)
            self._adam = Adam.for_tensors([self.logits])

    def probabilities(self) -> Tensor | None:
        """Soft labels (N, K), or None."""
        return None if self.logits is None else self.logits.softmax(1)

    def move(self, grad: Tensor) -> None:
        """One step of the optimiser, where labels are learned."""
        if self.logits is not None and self.learning_rate is not None:
            self._adam.step([self.logits], [grad], learning_rates=[self.learning_rate])

    def state(self) -> dict[str, Tensor]:
        """Logits and moments; nothing for hard labels."""
        return {} if self.logits is None else {"logits": self.logits} | self._adam.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
        if self.logits is None:
            return
        device = self.classes.device
        self.logits = state["logits"].to(device)
        self._adam = Adam.of_state(state, device=device)
