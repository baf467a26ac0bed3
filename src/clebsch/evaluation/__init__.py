"""Judging a potential: accuracy, figures, and what a model is made of."""

from __future__ import annotations

from clebsch.evaluation.accuracy import Accuracy, Comparison, accuracy, compare
from clebsch.evaluation.description import Description, LayerDescription, describe
from clebsch.evaluation.features import feature_sizes, layer_features
from clebsch.evaluation.files import evaluate
from clebsch.evaluation.plots import plot_learning_curve, plot_parity

__all__ = [
    "Accuracy",
    "Comparison",
    "Description",
    "LayerDescription",
    "accuracy",
    "compare",
    "describe",
    "evaluate",
    "feature_sizes",
    "layer_features",
    "plot_learning_curve",
    "plot_parity",
]
