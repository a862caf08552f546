import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as oracle

from fer_jax.evaluation import metrics

CLASSES = range(7)
rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@settings(max_examples=50, deadline=None)
@given(rows)
def test_agrees_with_scikit_learn_also_where_classes_are_absent(pairs):
    labels, predictions = np.array(pairs).T
    matrix = metrics.confusion(labels, predictions)
    np.testing.assert_array_equal(
        matrix, oracle.confusion_matrix(labels, predictions, labels=CLASSES)
    )
    expected = oracle.precision_recall_fscore_support(
        labels, predictions, labels=CLASSES, zero_division=0
    )
    for ours, theirs in zip(metrics.per_class(matrix), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert matrix.trace() / len(labels) == pytest.approx(oracle.accuracy_score(labels, predictions))
    macro = oracle.f1_score(labels, predictions, labels=CLASSES, average="macro", zero_division=0)
    assert metrics.macro_f1(matrix) == pytest.approx(macro)
    # balanced_accuracy_score warns about predicted classes without a label; its definition is this
    # macro recall.
    present = np.unique(labels)
    recall = oracle.recall_score(
        labels, predictions, labels=present, average="macro", zero_division=0
    )
    assert metrics.balanced_accuracy(matrix) == pytest.approx(recall)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 10), (5024, 7178)]
)
def test_wilson_agrees_with_scipy(successes, n, confidence):
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert metrics.wilson(successes, n, confidence) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


def test_wilson_without_trials_excludes_nothing():
    assert metrics.wilson(0, 0) == (0.0, 1.0)


def test_grouped_classes_add_their_probabilities():
    groups = np.array([-1, -1, 1])
    probabilities = np.array([[0.3, 0.3, 0.4], [0.2, 0.2, 0.6]])
    # 0.6 against 0.4, then 0.4 against 0.6
    assert metrics.grouped_accuracy(np.array([1, 0]), probabilities, groups) == 0.5


def test_a_pair_is_judged_on_its_own_rows_only():
    probabilities = np.array([[0.9, 0.04, 0.06], [0.0, 0.7, 0.3], [0.0, 0.2, 0.8]])
    assert metrics.pair_accuracy(np.array([2, 2, 0]), probabilities, 1, 2) == 0.5
    assert metrics.pair_accuracy(np.array([0, 0, 0]), probabilities, 1, 2) == 0.0


@pytest.mark.parametrize("strength", [0.0, 0.02, 0.5])
def test_ssim_is_scikit_images(strength):
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    rng = np.random.default_rng(0)
    one = rng.random((3, 48, 48))
    other = np.clip(one + strength * rng.normal(size=one.shape), 0, 1)
    settings = {
        "data_range": 1.0,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    expected = [structural_similarity(a, b, **settings) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(metrics.ssim(one, other), expected, rtol=1e-6)
