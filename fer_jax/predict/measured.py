"""A trained model on FER-2013's test set: its figures, as lines, JSON and pictures."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_jax import data, files, plots
from fer_jax.data import Fer2013
from fer_jax.evaluation import summary
from fer_jax.predict import Predictor


class Outputs(NamedTuple):
    """Files to write; None for none."""

    json: Path | None = None  # the figures
    confusion: Path | None = None  # the confusion matrix, drawn
    reliability: Path | None = None  # confidence against accuracy, drawn


class Measured(NamedTuple):
    """The figures, ready for JSON, and what they are computed from."""

    results: dict
    labels: np.ndarray  # int [N]
    before: np.ndarray  # probabilities [N, C] before temperature scaling
    after: np.ndarray  # and after it


def report(folder: Path, model: Path | None, tta: bool, outputs: Outputs) -> None:
    """Measure a model file on the test set in a folder, print the figures and write the outputs."""
    fer = data.load(folder)  # before the model: what is missing is said at once
    predictor = Predictor(model, tta)
    results, labels, before, after = measure(predictor, fer, folder)
    if outputs.json:
        files.write_json(outputs.json, results)
    if outputs.confusion:
        matrix = np.array(results["confusion_matrix"])
        plots.save(plots.confusion_matrix(matrix, predictor.emotions), outputs.confusion)
    if outputs.reliability:
        plots.save(plots.reliability_diagram(labels, before, after), outputs.reliability)


def measure(predictor: Predictor, fer: Fer2013, folder: Path) -> Measured:
    """Predict the rows that the model's protocol reports on, and print the figures.

    Args:
        predictor: of the model.
        fer: the data.
        folder: where they come from; FER+'s votes lie there too.
    """
    metadata, temperature = predictor.model.metadata, predictor.model.temperature
    test, subsets = data.reported_by(metadata, fer, folder)
    logits = predictor.logits(test.images, progress=True)
    before = predictor.probabilities(logits, 1.0)
    after = predictor.probabilities(logits, temperature)
    results = summary.report(test.labels, after.argmax(axis=1), subsets, predictor.emotions)
    results["unscaled"] = summary.probability_report(test.labels, before)
    results["scaled"] = summary.probability_report(test.labels, after)
    whole = next(iter(results["accuracy"].values()))
    print(f"Accuracy on test set: {100 * whole['correct'] // whole['rows']}%\n")
    print(summary.describe(results) + "\n")
    print(summary.describe_probabilities(results["unscaled"], results["scaled"]))
    results["test_time_augmentation"] = predictor.tta
    results |= {"temperature": temperature, "data": fer.digest, "model": metadata}
    return Measured(results, test.labels, before, after)
