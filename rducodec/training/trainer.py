"""Overfitted compression: real samples to latents and networks, all slices in one batch (paper, Eq. 22)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.model import LatentConfig, LatentSlice
from rducodec.quantization import FloatSlice
from rducodec.training.adam import Adam
from rducodec.training.checkpoint import read_checkpoint, restored_from, write_checkpoint
from rducodec.training.control import RateControl
from rducodec.training.execution import Execution
from rducodec.training.export import (
    choose_steps,
    coarser,
    coded_bits,
    export,
    float_slices,
    network_bits,
    quantize_networks,
)
from rducodec.training.objective import Objective, Rounding, Samples
from rducodec.training.parameters import SliceParameters, initial_parameters
from rducodec.training.progress import Progress, ProgressCallback
from rducodec.training.rounding import kumaraswamy_noise, noisy_soft_round
from rducodec.training.schedule import OVERFIT_BETA2, Noise, Stage, rate_shares, stages
from rducodec.training.settings import OverfitSettings
from rducodec.training.trim import trimmed_to

INITIAL_FRAC_BITS = 6  # of all network tensors, for size estimates before the first search of steps
STEP_SEARCHES = 3  # in the soft-rounding stage, for the size estimates that callers see and that steer lmbda
SEED_STRIDE = 1_000_003  # between the random numbers of successive steps; prime


@dataclass
class _State:
    """All that changes during a training; what a checkpoint holds."""

    parameters: SliceParameters
    adam: Adam
    frac_bits: Tensor  # (S, tensors)
    control: RateControl
    stage: int = 0
    step: int = 0  # in the stage
    total_steps: int = 0  # over all stages


def _checked_samples(samples: Sequence[np.ndarray], config: LatentConfig) -> Samples:
    """Targets of all slices; the CPU, float32."""
    if len(samples) == 0:
        raise RddInputError("samples: no slices")
    shape = (config.channels, config.height, config.width)
    for i, array in enumerate(samples):
        if array.ndim != 4 or array.shape[0] == 0 or array.shape[1:] != shape:
            raise RddInputError(f"samples of slice {i}: shape {array.shape}, expected (n, {shape})")
        if not np.isfinite(array).all():
            where = tuple(int(v) for v in np.argwhere(~np.isfinite(array))[0])
            raise RddInputError(f"samples of slice {i} at {where}: {array[where]}, expected a finite number")
    largest = max(len(array) for array in samples)
    values = torch.zeros(len(samples), config.channels, largest, config.height, config.width)
    weight = torch.zeros(len(samples), largest)
    for i, array in enumerate(samples):
        values[i, :, : len(array)] = torch.from_numpy(np.asarray(array, np.float32)).transpose(0, 1)
        weight[i, : len(array)] = 1
    return Samples(values, weight)


class _Trainer:
    """Runs the stages on a state."""

    def __init__(
        self,
        samples: Sequence[np.ndarray],
        config: LatentConfig,
        settings: OverfitSettings,
        *,
        classes: Sequence[int],
        checkpoint: Path | None,
        progress: ProgressCallback | None,
    ) -> None:
        self.config, self.settings = config, settings
        self.checkpoint, self.progress = checkpoint, progress
        self.device = torch.device(settings.device)
        targets = _checked_samples(samples, config)
        self.num_samples = [len(array) for array in samples]
        self.fingerprint = self._fingerprint(targets)
        names, self.class_index = np.unique(np.asarray(classes), return_inverse=True)
        self.num_classes = len(names)
        self.samples = Samples(targets.values.to(self.device), targets.weight.to(self.device))
        self.stages = stages(settings.steps, candidates=settings.candidates)
        self.total_steps = sum(stage.steps for stage in self.stages)
        self.state = self._initial_state()
        self.objective = self._objective(self.stages[0].candidates)

    def _fingerprint(self, targets: Samples) -> str:
        """Identifies a training: a checkpoint of another one is refused."""
        steering = {"checkpoint_interval", "device"}
        settings = {k: v for k, v in asdict(self.settings).items() if k not in steering}
        digest = hashlib.sha256(repr((asdict(self.config), settings, self.num_samples)).encode())
        digest.update(targets.values.numpy().tobytes())
        return digest.hexdigest()

    def _objective(self, candidates: int) -> Objective:
        index = torch.arange(len(self.num_samples), device=self.device).repeat_interleave(candidates)
        samples = self.samples.select(index) if candidates > 1 else self.samples
        return Objective(self.config, samples, Execution.for_device(self.device))

    def _initial_state(self) -> _State:
        generator = torch.Generator().manual_seed(self.settings.seed)
        samples = self._objective(1).samples
        count = samples.counts()[:, None] * (self.config.height * self.config.width)
        mean = samples.values.sum((2, 3, 4)) / count
        shift = (-samples.values.amin((2, 3, 4))).clamp(min=0)
        repeated = [t.cpu().repeat_interleave(self.stages[0].candidates, dim=0) for t in (mean, shift)]
        parameters = initial_parameters(
            self.config,
            num_samples=max(self.num_samples),
            mean=repeated[0],
            shift=repeated[1],
            generator=generator,
        )
        parameters = parameters.with_tensors([t.to(self.device) for t in parameters.tensors()])
        frac_bits = torch.full(
            (len(parameters.latents), len(parameters.networks())), INITIAL_FRAC_BITS, device=self.device
        )
        target = self.settings.target_bits_per_class
        target_bits = None if target is None else target * self.num_classes
        control = RateControl(self.settings.lmbda, target_bits, self.total_steps)
        return _State(parameters, Adam.for_tensors(parameters.tensors(), beta2=OVERFIT_BETA2), frac_bits, control)

    # checkpoints

    def save(self) -> None:
        """Write the state, if there is a path to write it to."""
        if self.checkpoint is None:
            return
        state = self.state
        tensors = {f"parameter.{i}": t for i, t in enumerate(state.parameters.tensors())}
        tensors |= state.adam.state() | {"frac_bits": state.frac_bits}
        fields = {
            "fingerprint": self.fingerprint,
            "stage": state.stage,
            "step": state.step,
            "total_steps": state.total_steps,
            "control": state.control.fields(),
        }
        write_checkpoint(self.checkpoint, tensors, fields)

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one. Raises RddInputError if it is of another training."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        tensors, fields = read_checkpoint(self.checkpoint)
        if fields.get("fingerprint") != self.fingerprint:
            raise RddInputError(f"checkpoint {self.checkpoint}: of other samples or settings")
        with restored_from(self.checkpoint):
            state = self.state
            count = len(state.parameters.tensors())
            parameters = [tensors[f"parameter.{i}"].to(self.device) for i in range(count)]
            self.state = _State(
                parameters=state.parameters.with_tensors(parameters),
                adam=Adam.of_state(tensors, device=self.device),
                frac_bits=tensors["frac_bits"].to(self.device),
                control=replace(state.control, **fields["control"]),
                stage=fields["stage"],
                step=fields["step"],
                total_steps=fields["total_steps"],
            )

    # stages

    def run(self) -> list[LatentSlice]:
        """All stages from where the state is, then the integers."""
        self._run_stages(len(self.stages))
        self._trim()
        return self._exported()

    def run_floats(self) -> list[FloatSlice]:
        """The stages in which networks are floats, then these networks."""
        self._run_stages(sum(not stage.quantized_networks for stage in self.stages))
        return float_slices(self.state.parameters, self.config, self.num_samples)

    def _run_stages(self, end: int) -> None:
        while self.state.stage < end:
            stage = self.stages[self.state.stage]
            self.objective = self._objective(stage.candidates)
            self._enter(stage)
            while self.state.step < stage.steps:
                if self._begins_again():
                    break
                self._step(stage)
            else:
                self.state.stage += 1
                self.state.step = 0

    def _begins_again(self) -> bool:
        """At the end of a trial that was too far from the target: back to the initial state, with another lmbda.

        Asked before a step, not after it: a checkpoint may lie in between.
        """
        state = self.state
        if not state.control.ends_trial(state.total_steps):
            return False
        if not state.control.begins_again(self._bits(), steps=state.total_steps):
            return False
        self.state = replace(self._initial_state(), control=state.control)
        return True

    def _bits(self) -> float:
        """Estimate of all latents, rounded, and networks; the mean of candidates."""
        state = self.state
        bits = self.objective.evaluate(state.parameters, distortion=False).bits
        bits = bits + network_bits(state.parameters, state.frac_bits)
        return float(bits.mean()) * len(self.num_samples)

    def _enter(self, stage: Stage) -> None:
        """Keep the best candidates, or quantise the networks, once at the begin of a stage."""
        state = self.state
        if state.step > 0:
            return
        slices = len(self.num_samples)
        if len(state.parameters.latents) != slices * stage.candidates:
            self._keep_best(stage.candidates)
        if stage.quantized_networks:
            state.parameters, state.frac_bits = quantize_networks(
                self.objective, state.parameters, max_mse=self.settings.max_mse
            )

    def _keep_best(self, number: int) -> None:
        """Reduce the candidates of each slice to the `number` of lowest cost."""
        state, slices = self.state, len(self.num_samples)
        present = len(state.parameters.latents) // slices
        costs = self._objective(present).evaluate(state.parameters)
        pixels = self._objective(present).samples.counts() * (self.config.height * self.config.width)
        total = (costs.mse + state.control.lmbda * costs.bits / pixels).view(slices, present)
        order = total.argsort(dim=1, stable=True)[:, :number]
        index = (order + torch.arange(slices, device=self.device)[:, None] * present).flatten()
        state.parameters, state.adam = state.parameters.select(index), state.adam.select(index)
        state.frac_bits = state.frac_bits.index_select(0, index)

    def _trim(self) -> None:
        """Bring the size within the target, if there is one, by the count of what will be written."""
        state = self.state
        target = state.control.target_bits
        if target is None:
            return
        trimmed = self._trimmed(target)
        for max_mse in coarser(self.settings.max_mse) if self.settings.may_coarsen else ():
            if trimmed is not None:
                break
            state.parameters, state.frac_bits = quantize_networks(self.objective, state.parameters, max_mse=max_mse)
            trimmed = self._trimmed(target)
        if trimmed is None:
            networks, latents = (bits / self.num_classes for bits in coded_bits(self._exported(), self.config))
            raise RddInputError(
                f"target of {self.settings.target_bits_per_class:.0f} bits per class for networks and latents not "
                f"reached: they take {networks:.0f} and {latents:.0f}, and latents cannot become so small; choose a "
                "larger size, a smaller decoder or entropy network, larger slices or fewer samples"
            )
        state.parameters = trimmed
        self._report(self.stages[-1])

    def _trimmed(self, target_bits: float) -> SliceParameters | None:
        """Within the target, or None where latents cannot become small enough beside these networks."""
        return trimmed_to(
            self.objective,
            self.state.parameters,
            self.state.frac_bits,
            num_samples=self.num_samples,
            target_bits=target_bits,
            lmbda=self.state.control.lmbda,
            generator=self._generator(),
        )

    def _exported(self) -> list[LatentSlice]:
        return export(self.state.parameters, self.state.frac_bits, config=self.config, num_samples=self.num_samples)

    def _generator(self) -> torch.Generator:
        """Random numbers that depend on the seed and the number of steps done only."""
        seed = self.settings.seed + SEED_STRIDE * (1 + self.state.total_steps)
        return torch.Generator(self.device).manual_seed(seed)

    def _rounding(self, stage: Stage) -> Rounding:
        """What stands for rounding in this step. Noise depends on seed and step only."""
        state = self.state
        generator = self._generator()
        level, temperature = stage.noise_level(state.step), stage.temperature(state.step)
        shape = state.parameters.latents.shape
        if stage.noise is Noise.GAUSSIAN:
            noise = torch.randn(shape, generator=generator, device=self.device).mul_(level)
        else:
            noise = kumaraswamy_noise(torch.rand(shape, generator=generator, device=self.device), level)
        return lambda latents, piece: noisy_soft_round(latents, noise[piece.slices, piece.samples], temperature)

    def _step(self, stage: Stage) -> None:
        state = self.state
        _, grads = self.objective.gradients(
            state.parameters,
            rounding=self._rounding(stage),
            lmbda=state.control.lmbda,
            train_networks=not stage.quantized_networks,
        )
        rate = stage.learning_rate(state.step)
        rates = [rate * share for share in rate_shares(self.config)]
        state.adam.step(state.parameters.tensors(), grads, learning_rates=rates)
        state.step += 1
        state.total_steps += 1
        if (
            not stage.quantized_networks
            and stage.noise is Noise.GAUSSIAN
            and state.step % max(1, stage.steps // STEP_SEARCHES) == 0
        ):
            state.frac_bits = choose_steps(self.objective, state.parameters, max_mse=self.settings.max_mse)
        if state.control.steers(stage, state.step):
            state.control.correct(self._bits(), steps=state.total_steps)
        if state.step % self.settings.report_interval == 0 or state.step == stage.steps:
            self._report(stage)
        if state.total_steps % self.settings.checkpoint_interval == 0:
            self.save()

    def _report(self, stage: Stage) -> None:
        """Estimate the size and tell the caller."""
        state = self.state
        if self.progress is None:
            return
        costs = self.objective.evaluate(state.parameters)
        bits = (costs.bits + network_bits(state.parameters, state.frac_bits)).view(-1, stage.candidates).mean(1)
        per_class = np.bincount(self.class_index, weights=bits.double().cpu().numpy(), minlength=self.num_classes)
        weight = self.objective.samples.counts()
        self.progress(
            Progress(
                stage=f"trial {state.control.trials + 1}" if state.control.is_trying else stage.name,
                step=state.total_steps,
                total_steps=self.total_steps,
                num_bits=float(bits.sum()),
                bits_per_class=tuple(float(b) for b in per_class),
                mse=float((costs.mse * weight).sum() / weight.sum()),
                lmbda=state.control.lmbda,
            )
        )


def overfit(
    samples: Sequence[np.ndarray] | np.ndarray,
    config: LatentConfig,
    settings: OverfitSettings | None = None,
    *,
    classes: Sequence[int] | None = None,
    checkpoint: Path | None = None,
    progress: ProgressCallback | None = None,
) -> list[LatentSlice]:
    """Latents and networks of every slice, as integers.

    samples: for each slice a float array (n, c, h, w), n may differ; an array (S, n, c, h, w) will do. classes: the
    class of each slice (each its own class if absent), for sizes per class. With `checkpoint` the state is written
    to this path now and then, and a training that finds its own checkpoint there continues bit for bit.
    Raises RddInputError for samples that are not finite or not of the shape that `config` says, for a checkpoint of
    another training, and for a target that cannot be reached.
    """
    trainer = _trainer(samples, config, settings, classes, checkpoint, progress)
    trainer.resume()
    return trainer.run()


def overfit_floats(
    samples: Sequence[np.ndarray] | np.ndarray,
    config: LatentConfig,
    settings: OverfitSettings | None = None,
    *,
    classes: Sequence[int] | None = None,
    progress: ProgressCallback | None = None,
) -> list[FloatSlice]:
    """As `overfit`, up to where networks become integers: integer latents and float networks, as checkpoints hold them.

    A target is steered to and not kept: what the networks will take is not decided yet.
    """
    return _trainer(samples, config, settings, classes, None, progress).run_floats()


def _trainer(
    samples: Sequence[np.ndarray] | np.ndarray,
    config: LatentConfig,
    settings: OverfitSettings | None,
    classes: Sequence[int] | None,
    checkpoint: Path | None,
    progress: ProgressCallback | None,
) -> _Trainer:
    settings = settings or OverfitSettings()
    classes = range(len(samples)) if classes is None else classes
    if len(classes) != len(samples):
        raise RddInputError(f"classes: {len(classes)} for {len(samples)} slices")
    return _Trainer(list(samples), config, settings, classes=classes, checkpoint=checkpoint, progress=progress)
