import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as oracle

from fer_jax import metrics

CLASSES = range(7)
rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@settings(max_examples=50, deadline=None)
@given(rows)
def test_agrees_with_scikit_learn_also_where_classes_are_absent(pairs):
    labels, predictions = np.array(pairs).T
    matrix = metrics.confusion(labels, predictions)
    np.testing.assert_array_equal(matrix, oracle.confusion_matrix(labels, predictions, labels=CLASSES))
    expected = oracle.precision_recall_fscore_support(labels, predictions, labels=CLASSES, zero_division=0)
    for ours, theirs in zip(metrics.per_class(matrix), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert metrics.accuracy(labels, predictions) == pytest.approx(oracle.accuracy_score(labels, predictions))
    macro = oracle.f1_score(labels, predictions, labels=CLASSES, average="macro", zero_division=0)
    assert metrics.macro_f1(matrix) == pytest.approx(macro)
    # balanced_accuracy_score warns about predicted classes without a label; its definition is this macro recall.
    present = np.unique(labels)
    recall = oracle.recall_score(labels, predictions, labels=present, average="macro", zero_division=0)
    assert metrics.balanced_accuracy(matrix) == pytest.approx(recall)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 10), (5024, 7178)])
def test_wilson_agrees_with_scipy(successes, n, confidence):
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert metrics.wilson(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_trials_excludes_nothing():
    assert metrics.wilson(0, 0) == (0.0, 1.0)
