"""Classification metrics on the host, from labels and predictions or from a confusion matrix.

    matrix = confusion(labels, predictions)
    calibration_error(reliability(labels, probabilities))
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
    """One value per class: precision, recall and F1 in [0, 1] (float64 [C]), support in rows (int64
    [C]).
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


class Reliability(NamedTuple):
    """One value per bin: mean confidence and accuracy in [0, 1] (float64 [bins]), rows (int64
    [bins]).
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    rows: np.ndarray


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """The share of rows predicted right, in [0, 1]; labels and predictions are int [N], N >= 1."""
    return float(np.mean(np.asarray(labels) == np.asarray(predictions)))


def confusion(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int = NUM_CLASSES
) -> np.ndarray:
    """Counts, int64 [C, C]: the row is the true class, the column the predicted one."""
    cells = np.asarray(labels, np.int64) * num_classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(matrix: np.ndarray) -> PerClass:
    """Precision, recall, F1 and support of each class of a confusion matrix [C, C]."""
    hits, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    return PerClass(
        _ratio(hits, predicted),
        _ratio(hits, support),
        _ratio(2 * hits, support + predicted),
        support,
    )


def macro_f1(matrix: np.ndarray) -> float:
    """The plain mean of the classes' F1: a rare class weighs as much as a common one."""
    return float(per_class(matrix).f1.mean())


def balanced_accuracy(matrix: np.ndarray) -> float:
    """The mean recall of the classes that occur among the labels."""
    scores = per_class(matrix)
    return float(scores.recall[scores.support > 0].mean())


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval that holds a success rate with the given confidence, after `successes` in `n`
    independent trials.

    Wilson's score interval (Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", JASA 22, 1927), which unlike the normal approximation stays in [0, 1] and keeps its
    coverage near 0 and 1 (Brown, Cai & DasGupta, "Interval Estimation for a Binomial Proportion",
    Statistical Science 16, 2001). No trial: (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared error of the probabilities [N, C], summed over classes: in [0, 2], 1 - 1/C for a
    uniform guess.

    Source: Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather
    Review 78, 1950.
    """
    return float(
        np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(axis=1).mean()
    )


def negative_log_likelihood(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -log of the probability [N, C] given to the true class, in nats."""
    return float(
        -np.log(
            np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float32).tiny)
        ).mean()
    )


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> Reliability:
    """How often predictions made with a like confidence are right.

    Rows are sorted by confidence, the largest of their probabilities [N, C], and cut into bins of
    equal mass (sizes differ by one at most; fewer rows than bins: one bin per row).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence)))
    confidences, accuracies = (
        [values[part].mean() for part in parts] for values in (confidence, correct)
    )
    return Reliability(
        np.array(confidences), np.array(accuracies), np.array([len(part) for part in parts])
    )


def calibration_error(bins: Reliability) -> float:
    """Mean distance between confidence and accuracy over rows, in [0, 1].

    Source: Nguyen & O'Connor, "Posterior calibration and exploratory analysis for natural language
    processing models", EMNLP 2015 (equal-mass bins); with bins of equal width it would be the ECE
    of Guo et al., ICML 2017.
    """
    return float((bins.rows * np.abs(bins.confidence - bins.accuracy)).sum() / bins.rows.sum())


def grouped_accuracy(labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray) -> float:
    """Accuracy after merging classes: class k belongs to `groups[k]`, a group's probability is its
    classes' sum.
    """
    sums = np.stack(
        [probabilities[:, groups == group].sum(axis=1) for group in np.unique(groups)], axis=1
    )
    return float((np.unique(groups)[sums.argmax(axis=1)] == groups[labels]).mean())


def pair_accuracy(labels: np.ndarray, probabilities: np.ndarray, first: int, second: int) -> float:
    """Accuracy on the rows of two classes when only these two are asked about; 0 without such rows."""
    rows = np.isin(labels, (first, second))
    answers = np.where(probabilities[rows, first] >= probabilities[rows, second], first, second)
    return float((answers == labels[rows]).mean()) if rows.any() else 0.0


def ssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Structural similarity of grey images float [N, H, W] in [0, 1], at least 11 pixels a side:
    [N], 1 where equal.

    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
    IEEE TIP 13, 2004: Gaussian windows of 1.5 pixels, cut to 11 x 11, K1 = 0.01, K2 = 0.03; the
    mean over windows that lie inside.
    """
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)

    def local_mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, radius=5, axes=(1, 2))[:, 5:-5, 5:-5]

    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x, variance_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean(
        axis=(1, 2)
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)
