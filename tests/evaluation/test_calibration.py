import numpy as np
import pytest
from scipy.special import softmax

from fer_jax.evaluation import calibration, metrics
from fer_jax.types import TEMPERATURES


def drawn(n, temperature, seed=0):
    """Logits, and labels drawn from what they say at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, 7))
    chances = softmax(logits / temperature, axis=1)
    return logits, (rng.random((n, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, 6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    logits, labels = drawn(20_000, temperature)
    assert calibration.fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_has_a_lower_cross_entropy():
    logits, labels = drawn(500, 1.7)
    found = calibration.fit_temperature(logits, labels)

    def loss(temperature):
        return metrics.negative_log_likelihood(labels, softmax(logits / temperature, axis=1))

    assert loss(found) <= min(loss(t) for t in np.linspace(0.3, 5, 200)) + 1e-6


def test_scaling_removes_the_calibration_error_of_an_overconfident_network():
    logits, labels = drawn(20_000, 3.0)
    probabilities = [
        softmax(logits / t, axis=1) for t in (1, calibration.fit_temperature(logits, labels))
    ]
    before, after = (
        metrics.calibration_error(metrics.reliability(labels, p)) for p in probabilities
    )
    assert before > 0.1
    assert after < 0.02


def test_hopeless_logits_end_at_the_edge_of_the_range():
    logits = np.eye(7)[np.arange(70) % 7] * 5
    wrong, right = (np.arange(70) + 1) % 7, np.arange(70) % 7
    low, high = TEMPERATURES
    assert calibration.fit_temperature(logits, wrong) == pytest.approx(high, rel=0.01)
    assert low <= calibration.fit_temperature(logits, right) < 1
