"""Subsets of ten classes of ImageNet-1k (Nette, Woof, Fruit, Yellow, Meow, Squawk) from a folder of class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rducodec.errors import RddInputError
from rducodec.training.data.folders import FolderListing, list_classes, split_folders, stretched

# WNIDs (names of ImageNet-1k classes, and of their folders) of each subset, in the order of its labels
# (trajectory matching, Cazenavette et al., 2022).
SUBSETS = {
    name: tuple(wnids.split())
    for name, wnids in {
        "imagenette": """
            n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257""",
        "imagewoof": """
            n02096294 n02093754 n02111889 n02088364 n02086240 n02089973 n02087394 n02115641 n02099601 n02105641""",
        "imagefruit": """
            n07753275 n07753592 n07745940 n07747607 n07749582 n07768694 n07753113 n07720875 n07718472 n07742313""",
        "imageyellow": """
            n02206856 n12057211 n07753592 n07749582 n12144580 n04146614 n03530642 n02129165 n01773157 n01531178""",
        "imagemeow": """
            n02123045 n02123159 n02123394 n02123597 n02124075 n02129165 n02129604 n02128925 n02128757 n02127052""",
        "imagesquawk": """
            n01806143 n02007558 n01818515 n02051845 n02056570 n01614925 n01843383 n01518878 n01860187 n01819313""",
    }.items()
}


def list_subset(root: Path, name: str) -> FolderListing:
    """Images of a subset in `root`/train/WNID and `root`/val/WNID (or test), or `root`/WNID without a test part.

    Folders of other classes are passed over, so all of ImageNet-1k may be there. Classes are called by their WNIDs.
    Images are stretched to a size, as in the published experiments (whose torchvision may not have smoothed them).
    Raises RddInputError, naming the folders that are missing, and RddIOError.
    """
    wnids = SUBSETS[name]
    train, test = split_folders(root, classes=wnids[0])
    _check_folders(train, name, wnids)
    files = list_classes(train, wnids, wnids)
    if test is None:
        return FolderListing(name, files, None, stretched)
    _check_folders(test, name, wnids)
    return FolderListing(name, files, list_classes(test, wnids, wnids), stretched)


def _check_folders(part: Path, name: str, wnids: Sequence[str]) -> None:
    missing = [wnid for wnid in wnids if not (part / wnid).is_dir()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise RddInputError(
            f"{part}: no folder {missing[0]}{more}; {name} needs the images of each class in a folder of its ImageNet "
            f"name: {' '.join(wnids)}, for training in ROOT/train or in ROOT itself"
        )
