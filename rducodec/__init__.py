"""rducodec: distilled datasets as small files with bit-exact samples. The format is specified in `spec/`."""

from rducodec.bitstream.header import LevelConfig, RawConfig, Texts, ValueSpace
from rducodec.bitstream.limits import Limits
from rducodec.errors import (
    RddChecksumError,
    RddDigestError,
    RddError,
    RddFormatError,
    RddInputError,
    RddIOError,
    RddLimitError,
    RddTruncatedError,
    RddVersionError,
)
from rducodec.labels import Labels, SoftLabels
from rducodec.model import LatentConfig, LatentSlice, QuantizedTensor
from rducodec.rate import Rate, bpc
from rducodec.reader import Dataset, read
from rducodec.writer import pack_latent, pack_raw

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "Labels",
    "LatentConfig",
    "LatentSlice",
    "LevelConfig",
    "Limits",
    "QuantizedTensor",
    "Rate",
    "RawConfig",
    "RddChecksumError",
    "RddDigestError",
    "RddError",
    "RddFormatError",
    "RddIOError",
    "RddInputError",
    "RddLimitError",
    "RddTruncatedError",
    "RddVersionError",
    "SoftLabels",
    "Texts",
    "ValueSpace",
    "__version__",
    "bpc",
    "pack_latent",
    "pack_raw",
    "read",
]
