"""Images in one torch file and labels in another beside it: MTT and its relatives, DATM, FreD, quantised RUO tensors.

`images_TAG.pt` is a float tensor (n, channels, height, width) and `labels_TAG.pt` has integers (n,), or in DATM logits
(n, classes). TAG is `best`, the iteration, or in RUO the squared error that the quantisation of networks was allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rducodec.bitstream.header import ValueSpace
from rducodec.errors import RddInputError
from rducodec.interop.layouts.layout import COMMON_SETS, PIXELS, Layout, Request, finish, named_space, tensor
from rducodec.interop.pickles import StoredTensor, open_torch_file
from rducodec.interop.source import SOFT_DIMENSIONS, SourceSet
from rducodec.interop.space import parse_space

IMAGES = re.compile(r"images_(?P<zca>zca_)?(?P<tag>.+)\.pt")
DATM_TEMPERATURE = 1.0
_ITERATION = re.compile(r"best|[0-9]+")
_ERROR = re.compile(r"[0-9]*\.[0-9]+(e-?[0-9]+)?|[0-9]+\.?e-?[0-9]+", re.IGNORECASE)
# Files beside the images that tell a layout from its relatives.
_MARKS = {"datm": ("lr_{}.pt",), "fred": ("mask.pt",), "haba": ("weights_{}.pt", "styles_{}.pt")}
_WHITENED = "it is standardised (standardised:cifar10, standardised:cifar100-mtt, standardised:imagenet) or zca:TEXT"


def tag_of(path: Path) -> str:
    """What follows `images_` (and `zca_`) in a file name. Raises RddInputError for another name."""
    match = IMAGES.fullmatch(path.name)
    if match is None:
        raise RddInputError(f"{path}: a file images_TAG.pt expected, e.g. images_best.pt")
    return match["tag"]


def marks_of(path: Path, name: str) -> list[Path]:
    """Files beside the images that the layout has and its relatives have not; those that exist."""
    candidates = (path.with_name(mark.format(tag_of(path))) for mark in _MARKS[name])
    return [mark for mark in candidates if mark.is_file()]


def relative_of(path: Path) -> str:
    """Which layout images_TAG.pt belongs to, by TAG and the files beside it. Raises RddInputError for none or two."""
    found = [name for name in _MARKS if marks_of(path, name)]
    if len(found) > 1:
        raise RddInputError(f"{path}: the files beside it are of {' and '.join(found)}; name one (--layout)")
    if found:
        return found[0]
    if _ITERATION.fullmatch(tag_of(path)):
        return "mtt"
    if _ERROR.fullmatch(tag_of(path)):
        return "ruo"
    raise RddInputError(f"{path}: no known layout; name it (--layout), e.g. mtt")


def read_tensor(path: Path) -> np.ndarray:
    """The tensor that a torch file consists of. Raises RddIOError, and RddInputError that names the file."""
    with open_torch_file(path) as root:
        return tensor(root, "the content").array()


def family_remarks(space: ValueSpace | None) -> tuple[str, ...]:
    """A word about constants that look right and are of another family."""
    if space != parse_space("standardised:cifar100"):
        return ()
    return (
        "standardised:cifar100 has the constants of DC, DSA and DM; trajectory matching takes those of CIFAR-10 "
        "(standardised:cifar100-mtt)",
    )


def whitening_hint(path: Path) -> str:
    """What the files say about the value space of images of trajectory matching."""
    reconstructed = sorted(path.parent.glob("images_zca_*.pt"))
    return f"{reconstructed[0].name} beside it says zca:TEXT" if reconstructed else _WHITENED


def _read(
    path: Path, request: Request, *, hint: str, remarks: Sequence[str] = (), temperature: float | None = None
) -> SourceSet:
    """Images and the labels beside them; two-dimensional ones are logits if the layout has a `temperature`."""
    labels = path.with_name(f"labels_{tag_of(path)}.pt")
    if not labels.is_file():
        raise RddInputError(f"{path}: no {labels.name} beside it")
    numbers, options = read_tensor(labels), request.source_options()
    if numbers.ndim == SOFT_DIMENSIONS and not request.hard_labels:
        options["temperature"] = request.temperature or temperature
    source = finish(path, read_tensor(path), numbers, options, hint)
    return replace(source, remarks=(*source.remarks, *remarks), files=(path, labels))


def read_mtt(path: Path, request: Request) -> SourceSet:
    """Trajectory matching (Cazenavette et al. 2022). Whitening is fitted on pixels, so un-whitened images are those."""
    if path.name.startswith("images_zca_"):
        reconstructed = replace(request, space=request.space or PIXELS)
        remark = "reconstructed from whitening: pixels, not clamped; the training set was the whitened one"
        return _read(path, reconstructed, hint="pixels", remarks=[remark])
    return _read(path, request, hint=whitening_hint(path), remarks=family_remarks(request.space))


def _learned_rate(path: Path) -> list[str]:
    for mark in marks_of(path, "datm"):
        with open_torch_file(mark) as root:
            rate = root.array() if isinstance(root, StoredTensor) else np.asarray(root if type(root) is float else [])
        if rate.size != 1:
            raise RddInputError(f"{mark}: shape {rate.shape}, one learning rate expected")
        return [f"learned learning rate {rate.item():.7g}: keep it with --recipe lr={rate.item():.7g}"]
    return []


def read_datm(path: Path, request: Request) -> SourceSet:
    """Difficulty-aligned trajectory matching (Guo et al. 2024): labels are logits, the learning rate is learned.

    Its loss takes the softmax of the labels as they are: temperature 1.
    """
    remarks = [*family_remarks(request.space), *_learned_rate(path)]
    source = _read(path, request, hint=whitening_hint(path), remarks=remarks, temperature=DATM_TEMPERATURE)
    return replace(source, files=(*source.files, *marks_of(path, "datm")))


def _standardised(path: Path, request: Request, remarks: Sequence[str] = ()) -> SourceSet:
    completed = replace(request, space=request.space or named_space(path, COMMON_SETS))
    hint = "it is standardised; with which constants depends on the data set, e.g. standardised:cifar10"
    return _read(path, completed, hint=hint, remarks=remarks)


def _coefficients(mask: np.ndarray, source: SourceSet) -> dict[str, int]:
    """How many a mask of 0 and 1 keeps of a channel of height x width; nothing where it differs, or is no such mask."""
    height, width = source.samples.shape[2:]
    if mask.shape[-2:] != (height, width) or not np.isin(mask, (0, 1)).all():
        return {}
    kept = np.unique(mask.reshape(-1, height * width).sum(axis=1).astype(np.int64))
    return {"coefficients": int(kept[0])} if len(kept) == 1 and kept[0] > 0 else {}


def read_fred(path: Path, request: Request) -> SourceSet:
    """Frequency-domain distillation (Shin et al. 2023): the images as decoded from its coefficients."""
    remark = "the images are kept; mask.pt, which says what they were decoded from, is not"
    source = _standardised(path, request, [remark])
    marks = marks_of(path, "fred")
    stored = {} if not marks else _coefficients(read_tensor(marks[0]), source)
    return replace(source, files=(*source.files, *marks), stored=stored)


def read_ruo(path: Path, request: Request) -> SourceSet:
    """Tensors decoded with quantised networks (rate-utility optimisation)."""
    return _standardised(path, request)


LAYOUTS = (
    Layout("mtt", "images_best.pt (or images_ITERATION.pt) and labels_best.pt", read_mtt, IMAGES),
    Layout("datm", "images_best.pt, labels_best.pt (logits) and lr_best.pt", read_datm, IMAGES),
    Layout("fred", "images_TAG.pt, labels_TAG.pt and mask.pt", read_fred, IMAGES),
    Layout("ruo", "images_MSE.pt and labels_MSE.pt", read_ruo, IMAGES),
)
