"""A trained model on FER-2013's test set: its figures, as lines, JSON and pictures."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_jax import data, files, plots
from fer_jax.data import Fer2013
from fer_jax.evaluation import summary
from fer_jax.predict import Predictor


class Outputs(NamedTuple):
    """Files to write: the figures, and the confusion matrix and the reliability as pictures."""

    json: Path | None = None
    confusion: Path | None = None
    reliability: Path | None = None


def report(folder: Path, model: Path | None, tta: bool, outputs: Outputs) -> None:
    """Measure a model file, by default the shipped one, on the data in a folder."""
    fer = data.load(folder)  # before the model: what is missing is said at once
    measure(Predictor(model, tta), fer, folder, outputs)


def measure(predictor: Predictor, fer: Fer2013, folder: Path, outputs: Outputs) -> dict:
    """Predict the rows that the model's protocol reports on; print, write and return the figures.

    Args:
        predictor: of the model.
        fer: the data.
        folder: where they lie, and FER+'s votes.
        outputs: what to write.
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
    if outputs.json:
        files.write_json(outputs.json, results)
    if outputs.confusion:
        matrix = np.array(results["confusion_matrix"])
        plots.save(plots.confusion_matrix(matrix, predictor.emotions), outputs.confusion)
    if outputs.reliability:
        plots.save(plots.reliability_diagram(test.labels, before, after), outputs.reliability)
    return results
