from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rducodec.demo import split_digits
from rducodec.demo.picture import BACKGROUND, contact_sheet


def test_sheet_shows_every_class(tmp_path: Path) -> None:
    split = split_digits(3, seed=0)
    path = tmp_path / "sheet.png"
    contact_sheet(split.train_samples, split.train_samples, path, labels=split.train_labels, per_class=2)
    with Image.open(path) as sheet:
        pixels = np.array(sheet.convert("RGB"))
    assert pixels.shape[0] >= 10 * 48
    black = (pixels == 0).all(2)  # the paper of a digit is black, that of the sheet is not
    assert len(np.flatnonzero(np.diff(black.any(1).astype(int)) == 1)) == 10
    assert (pixels[0, 0] == BACKGROUND).all()


def test_values_are_clipped_to_the_bounds(tmp_path: Path) -> None:
    samples = np.full((1, 3, 8, 8), 9.0)
    samples[:, 1] = -9.0
    contact_sheet(samples, samples, tmp_path / "a.png", labels=[0], bounds=(-1.0, 1.0))
    with Image.open(tmp_path / "a.png") as sheet:
        colours = {colour for _, colour in sheet.getcolors(1 << 16) or []}
    assert (255, 0, 255) in colours


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 2, 8, 8), (1, 8, 8)])
def test_shapes_that_do_not_fit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    samples = np.zeros(shape)
    with pytest.raises(ValueError, match="expected"):
        contact_sheet(samples, samples, tmp_path / "a.png", labels=[0])
    assert not (tmp_path / "a.png").exists()
