"""Shapes of networks by name, with the sizes that the paper prints."""

from __future__ import annotations

import numpy as np
import pytest

from rducodec import RddInputError
from rducodec.model import LatentConfig
from rducodec.shape import DECODERS, num_scales_for, parse_decoder, parse_entropy

PARAMETERS = {
    "v4-40": 571,
    "v4-160": 1771,
    "v4-240": 2571,
    "v4-480": 4971,
    "v4-960": 9771,
    "v4-1200": 12171,
    "v5-240": 11611,
    "v5-320": 15371,
}


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_have_the_parameters_of_the_paper(name):
    config = LatentConfig(3, 32, 32, 6, synthesis_widths=DECODERS[name])
    assert sum(int(np.prod(shape)) for shape in config.synthesis_shapes()) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("side", "scales"), [(1, 1), (2, 2), (3, 2), (8, 4), (28, 5), (32, 6), (63, 6), (64, 6), (128, 6), (1000, 6)]
)
def test_number_of_scales(side, scales):
    assert num_scales_for(side, side + 1) == scales


@pytest.mark.parametrize(
    ("text", "widths"),
    [("v4-480", (480,)), ("v5-240", (240, 40)), ("v5-320", (320, 40)), ("7", (7,)), ("3,2,1", (3, 2, 1))],
)
def test_names_of_decoders(text, widths):
    assert parse_decoder(text) == widths


@pytest.mark.parametrize("text", ["v4-41", "", "0", "1,", "-1", "70000", ",".join("1" * 9)])
def test_decoders_that_do_not_exist(text):
    with pytest.raises(RddInputError, match="v4-480"):
        parse_decoder(text)


def test_names_of_entropy_networks():
    assert parse_entropy("16x4") == (16, 4)
    assert parse_entropy("8x0") == (8, 0)


@pytest.mark.parametrize("text", ["16", "16x5", "12x2", "16x-1", "x", "16 x 2"])
def test_entropy_networks_that_do_not_exist(text):
    with pytest.raises(RddInputError, match="a depth of"):
        parse_entropy(text)
