"""Many networks of one architecture trained side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from rducodec.errors import RddInputError
from rducodec.training.classifiers.base import Classifier
from rducodec.training.classifiers.dropout import Dropout
from rducodec.training.classifiers.pieces import CPU_PIECE_PIXELS, GPU_PIECE_PIXELS


class Ensemble:
    """Networks that differ in their weights only.

    On a CPU they are computed one after the other: measured 1.2 to 3.6 times as fast as batched products, for ConvNets
    of width 16 to 64, with the memory of one. On an accelerator they are one batched program.
    """

    parameters: dict[str, Tensor]  # name -> (E, ...), leaves that require gradients

    def __init__(self, networks: Sequence[Classifier]) -> None:
        """Copies the weights of `networks`; RddInputError for none, for unlike ones, for batch norm or dropout."""
        if not networks:
            raise RddInputError("ensemble: no networks, expected at least one")
        _check_alike(networks)
        for module in networks[0].modules():
            _refuse_state(module)
        stacked, _ = stack_module_state(list(networks))
        self.parameters = {name: value.detach().clone().requires_grad_() for name, value in stacked.items()}
        self._network = networks[0]  # the program; its own weights are not used

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (E, N, K) of inputs (E, N, C, H, W), each network on its own."""
        program = self._in_turn if x.device.type == "cpu" else self._side_by_side
        return program(self.parameters, x)

    def gradients(
        self, x: Tensor, labels: Tensor, *, mixed_precision: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropies (E,) and the gradient of each network's own, of the shapes of `parameters`.

        Inputs (E, N, C, H, W), labels int64 (E, N); with `mixed_precision`, products are computed in bfloat16. Memory
        does not grow with N: what pieces of a batch give is added up.
        """
        on_cpu = x.device.type == "cpu"
        program = self._in_turn if on_cpu else self._side_by_side
        limit = CPU_PIECE_PIXELS if on_cpu else GPU_PIECE_PIXELS
        together = 1 if on_cpu else len(self)  # networks in memory at once
        count = max(1, limit // (together * x.shape[-2] * x.shape[-1]))
        losses = torch.zeros(len(self), device=x.device)
        gradients = {name: torch.zeros_like(value, requires_grad=False) for name, value in self.parameters.items()}
        for start in range(0, len(self), together):
            part = slice(start, start + together)
            leaves = {name: value[part].detach().requires_grad_() for name, value in self.parameters.items()}
            for piece, own_labels in zip(_pieces(x[part], count), _pieces(labels[part], count), strict=True):
                with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=mixed_precision):
                    logits = program(leaves, piece)
                entropies = F.cross_entropy(logits.float().transpose(1, 2), own_labels, reduction="none")  # (E, n)
                loss = entropies.sum(1) / x.shape[1]
                losses[part] += loss.detach()
                found = torch.autograd.grad(loss.sum(), list(leaves.values()))
                for name, gradient in zip(leaves, found, strict=True):
                    gradients[name][part] += gradient
        return losses, gradients

    def network_state(self, index: int) -> dict[str, Tensor]:
        """A copy of the parameters of one network, by their names in it."""
        return {name: value[index].detach().clone() for name, value in self.parameters.items()}

    def _logits(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self._network, weights, (x,))

    def _in_turn(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        each = ({name: value[i] for name, value in weights.items()} for i in range(len(x)))
        return torch.stack([self._logits(own, inputs) for own, inputs in zip(each, x, strict=True)])

    def _side_by_side(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return vmap(self._logits)(weights, x)


def _pieces(batches: Tensor, count: int) -> tuple[Tensor, ...]:
    """Of `count` samples of each network."""
    return torch.split(batches, count, 1)


def _check_alike(networks: Sequence[Classifier]) -> None:
    first = str(networks[0])
    shapes = [{name: p.shape for name, p in network.named_parameters()} for network in networks]
    for i, network in enumerate(networks):
        if str(network) != first or shapes[i] != shapes[0]:
            raise RddInputError(f"ensemble: network {i} is not built as network 0; expected one architecture")


def _refuse_state(module: nn.Module) -> None:
    """Refuse modules that change as they are used, or that look at the batch."""
    if isinstance(module, _BatchNorm):
        raise RddInputError("ensemble: batch norm has statistics of its own; expected norm 'instance' or 'none'")
    drops = (isinstance(module, Dropout) and module.rate) or (isinstance(module, _DropoutNd) and module.p)
    if drops or getattr(module, "drop_prob", 0):  # drop_prob: timm's paths
        raise RddInputError("ensemble: dropout draws for each network of its own; expected dropout 0")
