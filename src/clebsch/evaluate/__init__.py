"""Judging a potential: accuracy, figures, and what a model is made of."""

from __future__ import annotations

from clebsch.evaluate.accuracy import Accuracy, Comparison, accuracy, compare, evaluate
from clebsch.evaluate.description import Description, LayerDescription, describe
from clebsch.evaluate.features import feature_sizes
from clebsch.evaluate.files import evaluate_files
from clebsch.evaluate.plots import plot_learning_curve, plot_parity

__all__ = [
    "Accuracy",
    "Comparison",
    "Description",
    "LayerDescription",
    "accuracy",
    "compare",
    "describe",
    "evaluate",
    "evaluate_files",
    "feature_sizes",
    "plot_learning_curve",
    "plot_parity",
]
