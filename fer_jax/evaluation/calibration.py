"""Probabilities that mean what they say: one temperature, fitted where the weights were selected.

temperature = fit_temperature(holdout_logits, holdout_labels)
probabilities = softmax(logits / temperature, axis=1)
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from fer_jax.types import TEMPERATURES


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in `TEMPERATURES` that minimises the mean cross-entropy of softmax(logits /
    temperature).

    Rounded to four decimals. It changes no prediction. The cross-entropy is convex in 1 /
    temperature: one minimum. Source: Guo et al., "On Calibration of Modern Neural Networks", ICML
    2017, section 4.2.

    Args:
        logits: float [N, C], N >= 1.
        labels: int [N] in 0..C-1.
    """
    logits, rows = np.asarray(logits, np.float64), np.arange(len(labels))

    def cross_entropy(scale: float) -> float:
        return -log_softmax(logits * scale, axis=1)[rows, labels].mean()

    low, high = TEMPERATURES
    return round(
        1 / float(minimize_scalar(cross_entropy, bounds=(1 / high, 1 / low), method="bounded").x), 4
    )
