"""Subsets of ten classes of ImageNet-1k (Nette, Woof, Fruit, Yellow, Meow, Squawk) from a folder of class folders."""

from __future__ import annotations

import re
from pathlib import Path

from rducodec.errors import RddInputError
from rducodec.training.data.folders import FolderListing, class_folders, list_classes, split_folders

NUM_IMAGENET = 1000
_WNID = re.compile(r"n\d{8}")  # WordNet's name of a class; in sorted order they are the classes 0..999
# ImageNet-1k classes of each subset, in the order of its labels (trajectory matching, Cazenavette et al., 2022).
SUBSETS = {
    "imagenette": (0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
    "imagewoof": (193, 182, 258, 162, 155, 167, 159, 273, 207, 229),
    "imagefruit": (953, 954, 949, 950, 951, 957, 952, 945, 943, 948),
    "imageyellow": (309, 986, 954, 951, 987, 779, 599, 291, 72, 11),
    "imagemeow": (281, 282, 283, 284, 285, 291, 292, 290, 289, 287),
    "imagesquawk": (84, 130, 88, 144, 145, 22, 96, 9, 100, 89),
}


def list_subset(root: Path, name: str) -> FolderListing:
    """Images of a subset in `root`/train/WNID and `root`/val/WNID (or test), or `root`/WNID without a test part.

    The training part holds the 1000 classes of ImageNet-1k, or just the ten of the subset: their names sort as the
    class numbers do, so the folder of a class is found by its place among them. That ten folders belong to this subset
    and no other cannot be seen from their names. Classes are called by their folders. Raises RddInputError, RddIOError.
    """
    train, test = split_folders(root)
    folders = _subset_folders(train, name)
    test_files = None
    if test is not None:
        missing = next((folder for folder in folders if not (test / folder).is_dir()), None)
        if missing is not None:
            raise RddInputError(f"{test / missing}: not found; the test images are expected in one folder a class")
        test_files = list_classes(test, folders, folders)
    return FolderListing(name, list_classes(train, folders, folders), test_files)


def _subset_folders(train: Path, name: str) -> list[str]:
    """Names of the class folders in the order of the labels."""
    indices = SUBSETS[name]
    found = [folder.name for folder in class_folders(train)]
    other = next((folder for folder in found if not _WNID.fullmatch(folder)), None)
    if other is not None:
        raise RddInputError(f"{train / other}: not the name of an ImageNet class (n and eight digits)")
    if len(found) == NUM_IMAGENET:
        return [found[index] for index in indices]
    if len(found) == len(indices):
        places = sorted(indices)
        return [found[places.index(index)] for index in indices]
    raise RddInputError(
        f"{train}: {len(found)} class folders; {name} needs all {NUM_IMAGENET} of ImageNet-1k, or just its "
        f"{len(indices)}, classes {' '.join(map(str, sorted(indices)))}"
    )
