"""Judging a potential: accuracy, figures, and what a model is made of."""

from __future__ import annotations

from clebsch.evaluate.accuracy import METRICS, Accuracy, Comparison, accuracy, compare
from clebsch.evaluate.description import Description, LayerDescription, describe
from clebsch.evaluate.features import feature_sizes
from clebsch.evaluate.files import evaluate
from clebsch.evaluate.plots import plot_learning_curve, plot_parity

__all__ = [
    "METRICS",
    "Accuracy",
    "Comparison",
    "Description",
    "LayerDescription",
    "accuracy",
    "compare",
    "describe",
    "evaluate",
    "feature_sizes",
    "plot_learning_curve",
    "plot_parity",
]
