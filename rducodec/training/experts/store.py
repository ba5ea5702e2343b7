"""Expert trajectories as they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rducodec.errors import RddInputError
from rducodec.training.experts.files import COMMAND, common_fields, group_files, group_path, opened, read_fields
from rducodec.training.experts.settings import ExpertSettings


@dataclass(frozen=True)
class ExpertStore:
    """A folder of finished trajectories; `ExpertStore.open` makes it."""

    folder: Path
    settings: ExpertSettings
    shape: tuple[int, int, int]  # channels, height, width of the images
    num_classes: int
    data: Mapping[str, Any]  # of the images: name, num_images, digest, and their value space
    test_accuracy: tuple[float, ...] | None  # of each expert after its last epoch, 0..1; None without a test set

    @classmethod
    def open(cls, folder: Path) -> ExpertStore:
        """The trajectories in `folder`.

        Raises RddInputError if there are none, if some are missing or damaged, or if they are not of one training.
        """
        folder = Path(folder)
        paths = group_files(folder)
        if not paths:
            raise RddInputError(f"experts {folder}: no file experts-NNNNN.safetensors; `{COMMAND}` trains experts")
        fields = {group: read_fields(path) for group, path in paths.items()}
        first = next(iter(paths))
        common = common_fields(fields[first])
        for group, path in paths.items():
            if common_fields(fields[group]) != common:
                raise RddInputError(
                    f"experts {path}: of another training than {paths[first].name}; keep one training in a folder"
                )
        try:
            settings = ExpertSettings(**common["settings"])
            channels, height, width = common["shape"]
            num_classes, data = int(common["num_classes"]), dict(common["data"])
        except (KeyError, TypeError, ValueError) as error:
            raise RddInputError(f"experts {paths[first]}: not written by `{COMMAND}` ({error})") from error
        _check_groups(folder, settings, paths)
        accuracies = [fields[group].get("test_accuracy") or () for group in sorted(fields)]
        known = tuple(float(a) for group in accuracies for a in group)
        complete = len(known) == settings.num_experts
        return cls(folder, settings, (channels, height, width), num_classes, data, known if complete else None)

    @property
    def num_experts(self) -> int:
        """Experts 0..num_experts - 1."""
        return self.settings.num_experts

    @property
    def num_epochs(self) -> int:
        """Epochs trained: parameters are there for 0 (the initial ones) to num_epochs."""
        return self.settings.epochs

    def digest(self) -> str:
        """SHA-256 of what all experts ended at, which follows from every step before; in hexadecimal digits."""
        result = hashlib.sha256()
        for expert in range(self.num_experts):
            for name, values in sorted(self.parameters(expert, self.num_epochs).items()):
                result.update(name.encode() + values.numpy().tobytes())
        return result.hexdigest()

    def parameters(self, expert: int, epoch: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """float32 parameters of an expert after an epoch, by their names in the network; reads those alone.

        Raises RddInputError where there is no such expert or epoch.
        """
        if not (0 <= expert < self.num_experts and 0 <= epoch <= self.num_epochs):
            raise RddInputError(
                f"experts {self.folder}: expert {expert} after epoch {epoch}, "
                f"expected experts 0..{self.num_experts - 1} and epochs 0..{self.num_epochs}"
            )
        group, row = divmod(expert, self.settings.batched)
        with opened(group_path(self.folder, group)) as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return {name: s[row : row + 1, epoch : epoch + 1][0, 0].to(device) for name, s in slices.items()}


def _check_groups(folder: Path, settings: ExpertSettings, paths: Mapping[int, Path]) -> None:
    """All groups are there, and each tensor has all experts and epochs."""
    expected = set(range(settings.num_groups))
    if missing := sorted(expected - paths.keys()):
        names = ", ".join(group_path(folder, group).name for group in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise RddInputError(f"experts {folder}: {names}{more} missing; the same `{COMMAND}` again continues")
    if extra := sorted(paths.keys() - expected):
        raise RddInputError(f"experts {paths[extra[0]]}: one file too many for {settings.num_experts} experts")
    for group, path in paths.items():
        leading = [len(settings.experts(group)), settings.epochs + 1]
        with opened(path) as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                shape = file.get_slice(name).get_shape()
                if shape[:2] != leading:
                    raise RddInputError(f"experts {path}: {name} has shape {shape}, expected {leading} to begin with")
