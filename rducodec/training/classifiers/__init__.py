"""Networks that are trained on samples: for the losses, and to tell what samples are worth."""

from __future__ import annotations

from rducodec.training.classifiers.base import Classifier, parameter_count
from rducodec.training.classifiers.build import NAMES, build_classifier
from rducodec.training.classifiers.ensemble import Ensemble
from rducodec.training.classifiers.pieces import chunked_features

__all__ = ["NAMES", "Classifier", "Ensemble", "build_classifier", "chunked_features", "parameter_count"]
