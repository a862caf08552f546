"""What to say about predictions: figures as builtins, and as lines for the terminal.

summary(logits, labels)["accuracy"]
print(describe(report(labels, predictions, {"all": rows})))
"""

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from fer_jax.evaluation import calibration, metrics
from fer_jax.labels import EMOTIONS, VALENCE, index


def summary(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the mean cross-entropy in nats, accuracy, and macro-averaged precision, recall and F1.

    Logits are float [N, C], N >= 1; log-probabilities serve too.
    """
    labels = np.asarray(labels)
    predictions = logits.argmax(axis=1)
    scores = metrics.per_class(metrics.confusion(labels, predictions, logits.shape[1]))
    return {
        "loss": float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()),
        "accuracy": float((labels == predictions).mean()),
        "precision": float(scores.precision.mean()),
        "recall": float(scores.recall.mean()),
        "f1": float(scores.f1.mean()),
    }


def report(
    labels: np.ndarray, predictions: np.ndarray, subsets: dict[str, np.ndarray], emotions=EMOTIONS
) -> dict:
    """Return all that we publish about predictions, indices into `emotions`, ready for JSON.

    Each of the `subsets`, bool [N], that takes a row gets an accuracy with its 95 % Wilson
    interval. Rows of the confusion matrix are true classes.
    """
    matrix = metrics.confusion(labels, predictions, len(emotions))
    columns = metrics.per_class(matrix)
    taken = {name: rows for name, rows in subsets.items() if rows.any()}
    accuracies = {name: _accuracy((labels == predictions)[rows]) for name, rows in taken.items()}
    return {
        "accuracy": accuracies,
        "per_class": pd.DataFrame(columns._asdict(), index=emotions).to_dict("index"),
        "macro_f1": metrics.macro_f1(matrix),
        "balanced_accuracy": metrics.balanced_accuracy(matrix),
        "confusion_matrix": matrix.tolist(),
    }


def probability_report(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return how good the probabilities, float [N, C], of labels int [N] in 0..C-1 are.

    "brier", "negative_log_likelihood", "calibration_error" (of 15 bins of equal mass), and the
    accuracy of two simpler questions: "happy_against_sad", asked of the rows that are either, and
    "valence" (positive, negative or neutral; see `labels.VALENCE`).
    """
    bins = calibration.reliability(labels, probabilities)
    pair = index("happy"), index("sad")
    groups = np.array(VALENCE[: probabilities.shape[1]])
    return {
        "brier": calibration.brier(labels, probabilities),
        "negative_log_likelihood": calibration.negative_log_likelihood(labels, probabilities),
        "calibration_error": calibration.calibration_error(bins),
        "happy_against_sad": metrics.pair_accuracy(labels, probabilities, *pair),
        "valence": metrics.grouped_accuracy(labels, probabilities, groups),
    }


def describe_probabilities(before: dict[str, float], after: dict[str, float]) -> str:
    """Describe two `probability_report`s, before and after temperature scaling, in lines."""
    names = {
        "brier": "mean squared error of the probabilities (Brier)",
        "negative_log_likelihood": "negative log-likelihood (nats)",
        "calibration_error": "calibration error (15 equal-mass bins)",
    }
    lines = [f"{'':48}{'unscaled':>9}{'scaled':>9}"]
    lines += [f"{name:48}{before[key]:9.4f}{after[key]:9.4f}" for key, name in names.items()]
    simpler = f"positive, negative or neutral {after['valence']:.1%}"
    lines += ["", f"happy against sad {after['happy_against_sad']:.1%}; {simpler}"]
    return "\n".join(lines)


def describe(results: dict) -> str:
    """Describe a `report` as a table for the terminal, figures in percent."""
    lines = [f"{'emotion':10}{'precision':>10}{'recall':>8}{'F1':>8}{'support':>9}"]
    for emotion, row in results["per_class"].items():
        percents = f"{row['precision']:>10.1%}{row['recall']:>8.1%}{row['f1']:>8.1%}"
        lines.append(f"{emotion:10}{percents}{row['support']:>9,}")
    balanced = f"balanced accuracy {results['balanced_accuracy']:.1%}"
    lines += ["", f"macro F1 {results['macro_f1']:.1%}, {balanced}", ""]
    width = max(map(len, results["accuracy"]))
    for name, row in results["accuracy"].items():
        interval = f"95% interval {row['low']:.2%} to {row['high']:.2%}  ({row['rows']:,} rows)"
        lines.append(f"accuracy on {name:{width}} {row['accuracy']:7.2%}  {interval}")
    return "\n".join(lines)


def _accuracy(right: np.ndarray) -> dict:
    rows, correct = len(right), int(right.sum())
    low, high = metrics.wilson(correct, rows)
    return {"rows": rows, "correct": correct, "accuracy": correct / rows, "low": low, "high": high}
