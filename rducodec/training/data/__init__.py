"""Labelled images to distil and to test on, and the value spaces of samples."""

from rducodec.training.data.arrays import from_arrays, from_torch_dataset
from rducodec.training.data.check import check_enough, check_split
from rducodec.training.data.labelled import DataSplit, LabelledImages
from rducodec.training.data.load import NAMES, load_data
from rducodec.training.data.real import RealImages
from rducodec.training.data.space import SampleSpace, fit_space, load_zca, pixel_space, sample_space, save_zca

__all__ = [
    "NAMES",
    "DataSplit",
    "LabelledImages",
    "RealImages",
    "SampleSpace",
    "check_enough",
    "check_split",
    "fit_space",
    "from_arrays",
    "from_torch_dataset",
    "load_data",
    "load_zca",
    "pixel_space",
    "sample_space",
    "save_zca",
]
