"""How far probabilities mean what they say, and one temperature that brings them nearer.

temperature = fit_temperature(holdout_logits, holdout_labels)
probabilities = softmax(logits / temperature, axis=1)
calibration_error(reliability(labels, probabilities))
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from fer_jax.types import TEMPERATURES


class Reliability(NamedTuple):
    """One value per bin: mean confidence and accuracy in [0, 1] (float64), rows (int64)."""

    confidence: np.ndarray
    accuracy: np.ndarray
    rows: np.ndarray


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that minimises the cross-entropy of softmax(logits / temperature).

    In `TEMPERATURES`, rounded to four decimals. The cross-entropy is convex in 1 / temperature.
    Source: Guo et al., ICML 2017, section 4.2, https://arxiv.org/abs/1706.04599
    """
    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(labels))

    def cross_entropy(scale: float) -> float:
        return -log_softmax(logits * scale, axis=1)[rows, labels].mean()

    low, high = TEMPERATURES
    best = minimize_scalar(cross_entropy, bounds=(1 / high, 1 / low), method="bounded")
    return round(1 / float(best.x), 4)


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean squared error of the probabilities [N, C], summed over classes, in [0, 2].

    1 - 1/C for a uniform guess. Source: Brier, Monthly Weather Review 78, 1950.
    """
    errors = probabilities - np.eye(probabilities.shape[1])[labels]
    return float(np.square(errors).sum(axis=1).mean())


def negative_log_likelihood(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean of -log of the probability [N, C] given to the true class, in nats."""
    given = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(given, np.finfo(np.float32).tiny)).mean())


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> Reliability:
    """Return how often predictions made with a like confidence are right.

    Rows are sorted by confidence, the largest of their probabilities [N, C], and cut into bins of
    equal mass (sizes differ by one at most; fewer rows than bins: one bin per row).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence)))
    mean = lambda values: np.array([values[part].mean() for part in parts])
    return Reliability(mean(confidence), mean(correct), np.array([len(part) for part in parts]))


def calibration_error(bins: Reliability) -> float:
    """Return the mean distance between confidence and accuracy over rows, in [0, 1].

    Source: Nguyen & O'Connor, EMNLP 2015 (bins of equal mass), https://arxiv.org/abs/1508.05154;
    with bins of equal width it would be the ECE of Guo et al.
    """
    return float((bins.rows * np.abs(bins.confidence - bins.accuracy)).sum() / bins.rows.sum())
