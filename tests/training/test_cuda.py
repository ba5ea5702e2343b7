"""Training on a CUDA device: the numbers of a CPU but for rounding, and the same bits in every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rducodec.training import OverfitSettings, overfit
from rducodec.training.data import RealImages, fit_space
from rducodec.training.distillation.folder import LOG_FILE
from rducodec.training.distillation.latent import LatentRepresentation
from rducodec.training.distillation.representation import Step
from rducodec.training.distillation.run import Distillation, Reports
from rducodec.training.distillation.trainer import JointProgress
from rducodec.training.evaluation.evaluate import evaluate
from rducodec.training.experts import ExpertSettings, train_experts
from rducodec.training.export import network_bits
from rducodec.training.utility import Utility, UtilityContext, make_utility
from tests.training.distillation.small import configuration, digits
from tests.training.distillation.test_latent import CLASSES, CONFIG, slices
from tests.training.evaluation.small import QUICK, bars
from tests.training.test_overfit import CONFIG as OVERFIT_CONFIG
from tests.training.test_overfit import SETTINGS, smooth_samples

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NETWORK = {"width": 4, "depth": 1}
BUDGET: dict[str, Any] = {"export__target_bpc": 0.25, "joint__lmbda": [], "joint__iterations": 24}
GM: dict[str, Any] = {
    "utility__loss": "gm",
    "utility__options": {"real_batch": 6, "inner_steps": 4, "network_steps": 2},
    "samples__soft_labels": True,
}
TM = {"student_steps": 2, "expert_epochs": 1, "max_start_epoch": 1, "lr_lr": 1e-3}


@pytest.fixture(autouse=True)
def _whole_floats() -> Iterator[None]:
    """Convolutions with all bits of float32, which TF32 has not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def context(device: torch.device, **changes: Any) -> UtilityContext:
    data = digits(2).train
    return UtilityContext(
        real=RealImages.of(data, fit_space("standardised", data), device),
        num_classes=2,
        shape=(1, 8, 8),
        network_options=NETWORK,
        augmentation="color_crop_cutout_flip_scale_rotate",
        device=device,
        **changes,
    )


def experts(folder: Path, device: torch.device) -> Path:
    settings = ExpertSettings(num_experts=2, epochs=2, batch_size=64, batched=2, network_options=NETWORK)
    train_experts(context(device).real, num_classes=2, shape=(1, 8, 8), settings=settings, folder=folder, device=device)
    return folder


def bytes_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def losses(device: torch.device, folder: Path) -> dict[str, Callable[[], Utility]]:
    return {
        "dm": lambda: make_utility("dm", context(device), {"real_batch": 8}),
        "gm": lambda: make_utility("gm", context(device), {"real_batch": 8}),
        "tm": lambda: make_utility("tm", context(device), TM | {"experts": str(folder), "synthetic_batch": 3}),
    }


@pytest.mark.parametrize("name", ["dm", "gm", "tm"])
def test_losses_are_those_of_a_cpu(name: str, tmp_path: Path) -> None:
    folder = experts(tmp_path, CPU)
    samples = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for iteration in range(6):  # as many augmentations
        both = [
            losses(device, folder)[name]().gradient(samples.to(device), CLASSES.to(device), iteration=iteration)
            for device in (CPU, CUDA)
        ]
        np.testing.assert_allclose(both[1].loss, both[0].loss, rtol=1e-4)
        difference = (both[1].samples.cpu() - both[0].samples).norm()
        assert difference < 1e-3 * both[0].samples.norm()


@pytest.mark.parametrize("name", ["dm", "gm", "tm"])
def test_losses_are_the_same_bits_each_time(name: str, tmp_path: Path) -> None:
    folder = experts(tmp_path, CPU)
    samples = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(CUDA)
    for iteration in range(6):
        one, other = (
            losses(CUDA, folder)[name]().gradient(samples, CLASSES.to(CUDA), iteration=iteration) for _ in range(2)
        )
        assert one.loss == other.loss
        assert torch.equal(one.samples, other.samples)


@pytest.mark.parametrize("options", [{"mixed_precision": True}, {"compiled": True}])
def test_faster_products_change_little(options: dict[str, bool]) -> None:
    samples = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(CUDA)
    results = [
        make_utility("dm", context(CUDA, **changed), {"real_batch": 8}).gradient(samples, CLASSES.to(CUDA), iteration=0)
        for changed in ({}, options)
    ]
    np.testing.assert_allclose(results[1].loss, results[0].loss, rtol=0.05)
    assert (results[1].samples - results[0].samples).norm() < 0.05 * results[0].samples.norm()


def test_bits_and_gradients_are_those_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    slope = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    results = []
    for device in (CPU, CUDA):
        own = LatentRepresentation(slices(), CONFIG, device=device, max_mse=1e-3)
        monkeypatch.setattr(own, "_rounding", lambda _: lambda latents, __: latents + 0.1)  # noise is of the device
        both = own.objective.evaluate(own.parameters).bits, network_bits(own.parameters, own.frac_bits)
        _, grads = own.gradients(Step(0, 0.0, 1e-3, 37.0), slope.to(device))
        results.append((own.decoded().cpu(), torch.stack(both).cpu(), grads))
    (decoded, bits, grads), (cuda_decoded, cuda_bits, cuda_grads) = results
    torch.testing.assert_close(cuda_decoded, decoded, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cuda_bits, bits, rtol=1e-4, atol=1e-2)
    for grad, cuda_grad in zip(grads, cuda_grads, strict=True):
        assert (cuda_grad.cpu() - grad).norm() <= 1e-3 * grad.norm() + 1e-6


@pytest.mark.parametrize("target", [None, 2000.0], ids=["no size", "within a size"])
def test_initial_compression_is_resumed_bit_for_bit(target: float | None, tmp_path: Path) -> None:
    settings: OverfitSettings = replace(SETTINGS, device="cuda", target_bits_per_class=target)
    samples = smooth_samples()
    whole = overfit(samples, OVERFIT_CONFIG, settings)

    class StoppedError(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.step >= settings.steps // 2:
            raise StoppedError

    path = tmp_path / "state"
    with pytest.raises(StoppedError):
        overfit(samples, OVERFIT_CONFIG, settings, checkpoint=path, progress=stop)
    continued = overfit(samples, OVERFIT_CONFIG, settings, checkpoint=path)
    for one, other in zip(whole, continued, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.latents, other.latents, strict=True))
        assert all(np.array_equal(a.values, b.values) for a, b in zip(one.tensors(), other.tensors(), strict=True))


def distilled(folder: Path, *, stop_at: int | None = None, **changes: Any) -> bytes:
    class StoppedError(Exception):
        pass

    def report(progress: JointProgress) -> None:
        if progress.iteration == stop_at:
            raise StoppedError

    run = Distillation(configuration(**changes), digits(2), folder, CUDA, reports=Reports(joint=report))
    if stop_at is None:
        return run.run().exported.data
    with pytest.raises(StoppedError):
        run.run()
    return b""


@pytest.mark.parametrize("name", ["dm within a size", "gm with soft labels", "tm on pixels"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    changes = {
        "dm within a size": BUDGET,
        "gm with soft labels": GM,
        "tm on pixels": {
            "utility__loss": "tm",
            "utility__options": TM | {"experts": str(tmp_path / "experts")},
            "samples__parameterization": "pixels",
        },
    }[name]
    experts(tmp_path / "experts", CUDA)
    expected = distilled(tmp_path / "whole", **changes)
    distilled(tmp_path / "stopped", stop_at=17 if name == "dm within a size" else 4, **changes)
    assert distilled(tmp_path / "stopped", **changes) == expected
    logs = [(tmp_path / run / LOG_FILE).read_text().splitlines() for run in ("whole", "stopped")]
    numbers = [[line.rsplit(",", 1)[0] for line in log] for log in logs]  # but for seconds
    assert numbers[0] == numbers[1]


def test_experts_are_the_same_bits_each_time(tmp_path: Path) -> None:
    one, other = (bytes_of(experts(tmp_path / name, CUDA)) for name in ("one", "other"))
    assert one == other


def test_evaluation_learns_and_repeats_itself() -> None:
    train, test = bars(24), bars(60, seed=1)
    images = RealImages.of(test, fit_space("pixels", test), CUDA)
    first, again = (
        evaluate(train.pixels(), train.labels, images, QUICK, num_networks=2, device=CUDA) for _ in range(2)
    )
    assert first.mean > 0.9
    assert again.per_network == first.per_network
