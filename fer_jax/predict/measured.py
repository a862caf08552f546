"""A trained model on FER-2013's test set: its figures, as lines, JSON and pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from fer_jax import data, files, plots
from fer_jax.data import Fer2013
from fer_jax.evaluation import summary
from fer_jax.predict import Predictor


def report(folder: Path, model: Path | None, tta: bool, **outputs: Path | None) -> None:
    """Measure a model file, by default the shipped one, on the data in a folder."""
    for name in ("confusion", "reliability"):
        files.require_ending(outputs.get(name), *plots.ENDINGS)
    predictor = Predictor(model, tta)
    measure(predictor, data.load(folder), folder, **outputs)


def measure(
    predictor: Predictor,
    fer: Fer2013,
    folder: Path,
    json: Path | None = None,
    confusion: Path | None = None,
    reliability: Path | None = None,
) -> dict[str, Any]:
    """Predict the rows that the model's protocol reports on; print, write and return the figures.

    FER+'s votes are read from `folder`; `confusion` and `reliability` are pictures to draw.
    """
    model = predictor.model
    test, subsets = data.reported_by(model.metadata, model.labels, fer, folder)
    logits = predictor.logits(test.images, progress=True)
    before = predictor.probabilities(logits, 1.0)
    after = predictor.probabilities(logits, model.temperature)
    results = summary.report(test.labels, after.argmax(axis=1), subsets, predictor.emotions)
    results["unscaled"] = summary.probability_report(test.labels, before)
    results["scaled"] = summary.probability_report(test.labels, after)
    whole = next(iter(results["accuracy"].values()))
    print(f"Accuracy on test set: {100 * whole['correct'] // whole['rows']}%\n")
    print(summary.describe(results) + "\n")
    print(summary.describe_probabilities(results["unscaled"], results["scaled"]))
    results["test_time_augmentation"] = predictor.tta
    results |= {"temperature": model.temperature, "data": fer.digest, "model": model.metadata}
    if json:
        files.write_json(json, results)
    if confusion:
        matrix = np.array(results["confusion_matrix"])
        plots.save(plots.confusion_matrix(matrix, predictor.emotions), confusion)
    if reliability:
        plots.save(plots.reliability_diagram(test.labels, before, after), reliability)
    return results
