"""Honest rivals of a file: real images of the same data in the same bytes per class, kept in well-known ways.

Lossless ways all keep a beginning of one random order of the images of each class, so the one that keeps the most is at
least as good as the others; the ways that everybody knows, `OWN_ROWS`, may be evaluated beside it. A lossy way keeps
the more images the lower its quality is, without end: each of a few qualities fills the budget, one network for each
tells them apart on training images that no rival may use, and the best of each codec is what counts. Pictures are kept
one file an image and one sheet of all images a class, whichever holds more: headers of hundreds of bytes leave small
images no chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from rducodec.errors import RddInputError
from rducodec.interop.source import PIXEL_DIVISOR
from rducodec.training.data.labelled import LabelledImages
from rducodec.training.evaluation import stores
from rducodec.training.evaluation.stores import Codec, Groups, Pixels, Store
from rducodec.training.search import largest

QUALITIES = (10, 25, 50, 75)  # of JPEG and of lossy WebP
HELD_OUT = 0.1  # of each class of the training images: to choose a quality by
LOSSLESS, JPEG, WEBP = "lossless", "JPEG", "WebP"  # families of stores
OWN_ROWS = ("PNG", "8-bit pixels")  # codecs that are rivals even where another lossless one keeps more images


@dataclass(frozen=True)
class Baseline:
    """A training set and what it takes to keep it."""

    name: str
    codec_name: str  # what decides about the values of samples
    samples: NDArray[np.float32]  # (N, C, H, W), as decoded; pixels
    labels: NDArray[np.int64]  # (N,)
    num_bytes: int  # of all samples, exactly; labels are free
    num_classes: int
    num_per_class: int  # a class with fewer images gives all it has
    header_bytes: int = 0  # of num_bytes: what the same files take for flat grey images

    @property
    def bytes_per_class(self) -> float:
        """On average."""
        return self.num_bytes / self.num_classes


Rival = tuple[Baseline, tuple[tuple[str, float], ...]]  # and what it was chosen among: name, validation accuracy


@dataclass(frozen=True)
class Capacity:
    """How many images of each class a store keeps within some bytes."""

    name: str  # of the store
    num_per_class: int  # 0 where not one fits
    bytes_per_class: float  # of these images

    def fields(self) -> dict[str, str | int | float]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RealImageSets:
    """Real images in at most so many bytes, kept in every way."""

    by_family: dict[str, list[Baseline]]  # those of at least one image a class, most images first
    capacities: tuple[Capacity, ...]  # of all stores, most images first


def held_out_split(data: LabelledImages, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Images for rivals, and a tenth of each class (at least one, where there are two) to choose between them.

    Raises RddInputError where no class has two images.
    """
    rng = np.random.default_rng((seed, 1))
    kept, held = [], []
    for label in range(data.num_classes):
        rows = rng.permutation(np.flatnonzero(data.labels == label))
        count = min(max(1, round(HELD_OUT * len(rows))), len(rows) - 1) if len(rows) else 0
        held.append(rows[:count])
        kept.append(rows[count:])
    if not sum(map(len, held)):
        raise RddInputError("training images: at most one of each class, expected two to choose between rivals")
    return _subset(data, np.concatenate(kept)), _subset(data, np.concatenate(held))


def _subset(data: LabelledImages, rows: NDArray[np.int64]) -> LabelledImages:
    rows = np.sort(rows)
    return LabelledImages(data.images[rows], data.labels[rows], data.class_names)


def random_order(data: LabelledImages, seed: int) -> list[NDArray[np.int64]]:
    """Indices of the images of each class, in random order; a smaller choice is a beginning of a larger one."""
    rng = np.random.default_rng((seed, 0))
    return [rng.permutation(np.flatnonzero(data.labels == label)) for label in range(data.num_classes)]


def byte_pixels(data: LabelledImages) -> Pixels:
    """Images as 8-bit pixels, rounded where they are finer."""
    if data.images.dtype == np.uint8:
        return data.images
    return np.rint(np.clip(data.images, 0, 1) * PIXEL_DIVISOR).astype(np.uint8)


def all_stores(images: Pixels, *, qualities: Sequence[int] = QUALITIES) -> dict[str, list[Store]]:
    """Ways to keep these images, by family: `LOSSLESS`, `JPEG`, `WEBP`. Pictures only with 1 or 3 channels."""
    found: dict[str, list[Store]] = {LOSSLESS: [stores.PlainPixels(images), stores.RawFile(images)]}
    if images.shape[1] not in stores.PICTURE_CHANNELS:
        return found
    found[LOSSLESS] += _both_ways(images, [stores.png(), stores.lossless_webp()])
    found[JPEG] = _both_ways(images, [stores.jpeg(quality) for quality in qualities])
    found[WEBP] = _both_ways(images, [stores.webp(quality) for quality in qualities])
    return found


def _both_ways(images: Pixels, codecs: Sequence[Codec]) -> list[Store]:
    files: list[Store] = [stores.PictureFiles(images, codec) for codec in codecs]
    return files + [stores.PictureSheets(images, codec) for codec in codecs]


def fill(store: Store, order: Sequence[NDArray[np.int64]], target_bytes_per_class: float) -> Baseline | None:
    """The most images of each class, the first ones of `order`, that a store keeps within the bytes.

    The same number of each class, as far as there are so many; the bytes of all classes together count, exactly.
    None where not one image a class fits.
    """
    budget = target_bytes_per_class * len(order)

    def first(count: int) -> Groups:
        return [rows[:count] for rows in order]

    count = largest(lambda n: store.num_bytes(first(n)) <= budget, max(map(len, order)))
    if not count:
        return None
    groups = first(count)
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    pixels = np.divide(store.decoded(groups), np.float32(PIXEL_DIVISOR), dtype=np.float32)
    num_bytes, headers = store.num_bytes(groups), store.header_bytes(groups)
    return Baseline(store.name, store.codec_name, pixels, labels, num_bytes, len(groups), count, headers)


def real_image_sets(
    data: LabelledImages, target_bytes_per_class: float, *, seed: int, qualities: Sequence[int] = QUALITIES
) -> RealImageSets:
    """Every way to keep these images, filled. None exceeds the target."""
    order = random_order(data, seed)
    families: dict[str, list[Baseline]] = {}
    capacities: list[Capacity] = []
    for family, ways in all_stores(byte_pixels(data), qualities=qualities).items():
        filled = [(way.name, fill(way, order, target_bytes_per_class)) for way in ways]
        capacities += [Capacity(n, b.num_per_class, b.bytes_per_class) if b else Capacity(n, 0, 0.0) for n, b in filled]
        families[family] = sorted((b for _, b in filled if b), key=lambda b: -b.num_per_class)
    return RealImageSets(families, tuple(sorted(capacities, key=lambda capacity: -capacity.num_per_class)))


def choose_rivals(
    found: Mapping[str, list[Baseline]], validate: Callable[[Baseline], float], *, own_rows: Sequence[str] = ()
) -> list[Rival]:
    """The best of each family, and what it was compared with: (name, accuracy on held-out training images).

    `validate` is asked only where a choice is to be made by accuracy: among lossy sets. Of the lossless codecs in
    `own_rows` the largest set is there too.
    """
    chosen: list[Rival] = []
    for family, candidates in found.items():
        if not candidates:
            continue
        most = _largest_of_each(candidates)
        if family == LOSSLESS:
            chosen += [(each, ()) for each in most if each is most[0] or each.codec_name in own_rows]
            continue
        scores = [validate(candidate) for candidate in most]
        names = [candidate.name for candidate in most]
        chosen.append((most[int(np.argmax(scores))], tuple(zip(names, scores, strict=True))))
    return chosen


def count_choices(found: Mapping[str, list[Baseline]]) -> int:
    """How often `choose_rivals` will ask."""
    return sum(len(_largest_of_each(candidates)) for family, candidates in found.items() if family != LOSSLESS)


def _largest_of_each(candidates: Sequence[Baseline]) -> list[Baseline]:
    """The first, so the largest, of each codec, in order: of nearly the same pixels, more are better."""
    first: dict[str, Baseline] = {}
    for candidate in candidates:
        first.setdefault(candidate.codec_name, candidate)
    return list(first.values())
