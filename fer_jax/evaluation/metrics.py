"""Classification metrics on the host, from labels and predictions or from a confusion matrix.

    matrix = confusion(labels, predictions)
    macro_f1(matrix), balanced_accuracy(matrix), wilson(successes=matrix.trace(), n=matrix.sum())

A ratio whose denominator is zero counts as 0, as scikit-learn's `zero_division=0` does.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from fer_jax.labels import NUM_CLASSES


class PerClass(NamedTuple):
    """One value per class: precision, recall and F1 in [0, 1], support in rows."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def confusion(
    labels: np.ndarray, predictions: np.ndarray, classes: int = NUM_CLASSES
) -> np.ndarray:
    """Count rows of labels and predictions, int [N]: int64 [C, C], by true and predicted class."""
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: np.ndarray) -> PerClass:
    """Return precision, recall, F1 and support of each class of a confusion matrix [C, C]."""
    hits = matrix.diagonal()
    support, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    precision = _ratio(hits, predicted)
    recall = _ratio(hits, support)
    return PerClass(precision, recall, _ratio(2 * hits, support + predicted), support)


def macro_f1(matrix: np.ndarray) -> float:
    """Return the plain mean of the classes' F1: a rare class weighs as much as a common one."""
    return float(per_class(matrix).f1.mean())


def balanced_accuracy(matrix: np.ndarray) -> float:
    """Return the mean recall of the classes that occur among the labels."""
    scores = per_class(matrix)
    return float(scores.recall[scores.support > 0].mean())


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds a success rate, after `successes` in `n` independent trials.

    Wilson's score interval (Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", JASA 22, 1927), which unlike the normal approximation stays in [0, 1] and keeps its
    coverage near 0 and 1. No trial: (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def grouped_accuracy(labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray) -> float:
    """Return the accuracy after merging each class k into `groups[k]`; probabilities add up."""
    names = np.unique(groups)
    sums = np.stack([probabilities[:, groups == name].sum(axis=1) for name in names], axis=1)
    return float((names[sums.argmax(axis=1)] == groups[labels]).mean())


def pair_accuracy(labels: np.ndarray, probabilities: np.ndarray, first: int, second: int) -> float:
    """Return the accuracy on the rows of two classes, asked between these two; 0 without any."""
    rows = np.isin(labels, (first, second))
    answers = np.where(probabilities[rows, first] >= probabilities[rows, second], first, second)
    return float((answers == labels[rows]).mean()) if rows.any() else 0.0


def ssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the structural similarity of grey images float [N, H, W] in [0, 1]: [N], 1 if equal.

    At least 11 pixels a side. Source: Wang et al., "Image Quality Assessment: From Error Visibility
    to Structural Similarity", IEEE TIP 13, 2004: Gaussian windows of 1.5 pixels, cut to 11 x 11,
    K1 = 0.01, K2 = 0.03; the mean over windows that lie inside.
    """
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)

    def local_mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, radius=5, axes=(1, 2))[:, 5:-5, 5:-5]

    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x = local_mean(x * x) - mean_x**2
    variance_y = local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    largest = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return (likeness / largest).mean(axis=(1, 2))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)
