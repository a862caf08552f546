import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from fer_jax.evaluation.summary import (
    describe,
    describe_probabilities,
    probability_report,
    report,
    summary,
)


def test_summary_agrees_with_scikit_learn():
    rng = np.random.default_rng(3)
    # class 6 never occurs
    logits, labels = rng.normal(size=(200, 7)).astype(np.float32), rng.integers(0, 6, 200)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = logits.argmax(axis=1)
    macro = {"labels": range(7), "average": "macro", "zero_division": 0}
    expected = {
        "loss": log_loss(labels, probabilities, labels=range(7)),
        "accuracy": np.mean(predictions == labels),
        "precision": precision_score(labels, predictions, **macro),
        "recall": recall_score(labels, predictions, **macro),
        "f1": f1_score(labels, predictions, **macro),
    }
    assert summary(logits, labels) == pytest.approx(expected, abs=1e-6)


def test_report_counts_each_subset_and_is_json():
    labels, predictions = np.array([0, 0, 3, 3]), np.array([0, 1, 3, 3])
    first = np.array([True, True, False, False])
    subsets = {
        "all": np.ones(4, bool),
        "first": first,
        "last": ~first,
        "nothing": np.zeros(4, bool),
    }
    results = json.loads(json.dumps(report(labels, predictions, subsets)))
    counts = {
        name: (row["correct"], row["rows"], row["accuracy"])
        for name, row in results["accuracy"].items()
    }
    assert counts == {"all": (3, 4, 0.75), "first": (1, 2, 0.5), "last": (2, 2, 1.0)}
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in results["accuracy"].values())
    assert results["per_class"]["happy"] == {"precision": 1, "recall": 1, "f1": 1, "support": 2}
    assert results["per_class"]["angry"] == pytest.approx(
        {"precision": 1, "recall": 0.5, "f1": 2 / 3, "support": 2}
    )
    assert results["balanced_accuracy"] == 0.75
    assert np.sum(results["confusion_matrix"]) == 4 and results["confusion_matrix"][0][1] == 1


def test_describe_shows_the_figures_of_the_report():
    labels, predictions = np.array([0, 0, 3, 3]), np.array([0, 1, 3, 3])
    text = describe(report(labels, predictions, {"all": np.ones(4, bool)})).splitlines()
    assert text[0].split() == ["emotion", "precision", "recall", "F1", "support"]
    assert text[1].split() == ["angry", "100.0%", "50.0%", "66.7%", "2"]
    assert "balanced accuracy 75.0%" in text[9]
    assert text[-1].split()[:4] == ["accuracy", "on", "all", "75.00%"]


def test_probability_report_asks_the_simpler_questions():
    labels = np.array([3, 4, 0, 6])  # happy, sad, angry, neutral
    probabilities = np.full((4, 7), 0.02)
    # right; disgust for sad; fear for angry; surprise for neutral
    for row, guess in enumerate([3, 1, 2, 5]):
        probabilities[row, guess] = 0.88
    report = probability_report(labels, probabilities)
    assert report["valence"] == 1.0  # every mistake stays within its group
    # the sad row gives happy and sad the same, and a tie goes to happy
    assert report["happy_against_sad"] == 0.5
    assert report["calibration_error"] == pytest.approx((0.12 + 3 * 0.88) / 4)
    text = describe_probabilities(report, {**report, "brier": 0.25}).splitlines()
    assert text[0].split() == ["unscaled", "scaled"]
    assert text[1].split()[-2:] == [f"{report['brier']:.4f}", "0.2500"]
