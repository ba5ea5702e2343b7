"""What a loss returns, compared with the protocol: an error of its author's is found where it is made."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training.utility.protocol import UtilityGradient


def check_gradient(result: object, samples: Tensor, label_logits: Tensor | None) -> UtilityGradient:
    """The result of `Utility.gradient` at these samples and logits, with the loss as a float.

    Raises RddInputError, saying what the protocol wants, for another type or shape, and where labels are learned and
    their gradient is missing.
    """
    shape = tuple(samples.shape)
    if not isinstance(result, UtilityGradient):
        raise RddInputError(
            f"utility: gradient() returned {type(result).__name__}; return "
            "rducodec.training.utility.UtilityGradient(loss, samples), a number and the gradient at the samples, a "
            f"tensor of their shape {shape}"
        )
    if not isinstance(result.samples, Tensor):
        raise RddInputError(
            f"utility: the gradient at the samples is {type(result.samples).__name__}, a tensor of shape {shape} "
            "expected"
        )
    if result.samples.shape != samples.shape:
        raise RddInputError(f"utility: a gradient of shape {tuple(result.samples.shape)} for samples of shape {shape}")
    logits = result.label_logits
    if label_logits is not None and (not isinstance(logits, Tensor) or logits.shape != label_logits.shape):
        raise RddInputError(
            "utility: gives no gradient for the labels; set samples.soft_labels = false, or take another loss"
        )
    try:
        return replace(result, loss=float(result.loss))
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: of a tensor with several numbers
        raise RddInputError(f"utility: the loss is {type(result.loss).__name__}, one number expected") from error
