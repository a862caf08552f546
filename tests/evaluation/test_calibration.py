import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as oracle

from fer_jax.evaluation import calibration
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
        return calibration.negative_log_likelihood(labels, softmax(logits / temperature, axis=1))

    assert loss(found) <= min(loss(t) for t in np.linspace(0.3, 5, 200)) + 1e-6


def test_scaling_removes_the_calibration_error_of_an_overconfident_network():
    logits, labels = drawn(20_000, 3.0)
    probabilities = [
        softmax(logits / t, axis=1) for t in (1, calibration.fit_temperature(logits, labels))
    ]
    before, after = (
        calibration.calibration_error(calibration.reliability(labels, p)) for p in probabilities
    )
    assert before > 0.1
    assert after < 0.02


def test_hopeless_logits_end_at_the_edge_of_the_range():
    logits = np.eye(7)[np.arange(70) % 7] * 5
    wrong, right = (np.arange(70) + 1) % 7, np.arange(70) % 7
    low, high = TEMPERATURES
    assert calibration.fit_temperature(logits, wrong) == pytest.approx(high, rel=0.01)
    assert low <= calibration.fit_temperature(logits, right) < 1


def probabilities_of(n, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(7) * 0.5, n)


def test_probability_scores_agree_with_scikit_learn():
    labels, probabilities = np.random.default_rng(1).integers(0, 7, 300), probabilities_of(300)
    per_class = [oracle.brier_score_loss(labels == k, probabilities[:, k]) for k in range(7)]
    assert calibration.brier(labels, probabilities) == pytest.approx(sum(per_class))
    assert calibration.negative_log_likelihood(labels, probabilities) == pytest.approx(
        oracle.log_loss(labels, probabilities, labels=range(7))
    )


def test_a_certain_mistake_costs_a_finite_likelihood():
    assert 80 < calibration.negative_log_likelihood(np.array([1]), np.array([[1.0, 0.0]])) < 90


@pytest.mark.parametrize("n", [1, 7, 15, 100])
def test_bins_have_equal_mass_and_rising_confidence(n):
    bins = calibration.reliability(np.zeros(n, int), probabilities_of(n))
    assert bins.rows.sum() == n
    assert bins.rows.max() - bins.rows.min() <= 1
    assert (np.diff(bins.confidence) >= 0).all()


def test_calibration_error_of_known_bins():
    # Fifteen rows at 0.9 of which twelve are right, fifteen at 0.6 of which nine are: |0.9 - 0.8|
    # and 0, halved.
    probabilities = np.array([[0.9, 0.1]] * 15 + [[0.6, 0.4]] * 15)
    labels = np.array([0] * 12 + [1] * 3 + [0] * 9 + [1] * 6)
    assert calibration.calibration_error(
        calibration.reliability(labels, probabilities, bins=2)
    ) == pytest.approx(0.05)
