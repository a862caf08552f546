"""Measure the accuracy of models on the same test images under every corruption and severity."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import data, files, plots
from fer_jax.evaluation import metrics
from fer_jax.predict import Predictor, default_model_path
from fer_jax.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt


class Request(NamedTuple):
    """What to measure, with the names of `scripts/corruption_bench.py`'s options.

    Attributes:
        model: model files; None: the shipped one.
        n, seed: how many test images, and the seed of their corruptions.
        data, out: folders.
    """

    model: list[Path] | None
    n: int
    seed: int
    data: Path
    out: Path


def run(request: Request) -> None:
    """Measure, then write corruptions.csv, .json and .png, and print the figures."""
    paths = list(dict.fromkeys(request.model or [default_model_path()]))
    predictors = dict(zip(names(paths), map(Predictor, paths), strict=True))
    fer = data.load(request.data)
    rows = []
    total = len(predictors) * (1 + len(CORRUPTIONS) * len(SEVERITIES))
    with tqdm(total=total, desc="corruptions", unit="setting", disable=None) as progress:
        for name, predictor in predictors.items():
            model = predictor.model
            test, _ = data.reported_by(model.metadata, model.labels, fer, request.data)
            sample = data.sample(test, request.n)
            for kind, severity, worse in corrupted(test.images[sample], request.seed):
                right = predictor.logits(worse)[0].argmax(axis=1) == test.labels[sample]
                rows.append((name, kind, severity, int(right.sum()), request.n))
                progress.update()
    table = pd.DataFrame(rows, columns=["model", "corruption", "severity", "correct", "n"])
    table["accuracy"] = table["correct"] / table["n"]
    table[["low", "high"]] = [metrics.wilson(right, request.n) for right in table["correct"]]
    models = {
        name: {"model": files.digest(path), **summary(table.loc[table["model"] == name])}
        for name, path in zip(predictors, paths, strict=True)
    }
    settings = {"n": request.n, "seed": request.seed, "data": fer.digest}
    write(request.out, table, settings | {"models": models})


def names(paths: list[Path]) -> list[str]:
    """Return the files' stems, or where two are alike the paths."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def corrupted(images: np.ndarray, seed: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield (corruption, severity, images) of every setting, the clean one first."""
    yield "clean", 0, images
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            yield name, severity, corrupt(name, images, severity, seed)


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Return one model's clean accuracy, its mean under corruption, and each one's by severity."""
    worse = table.loc[table["severity"] > 0]
    kinds = worse.groupby("corruption", sort=False)
    return {
        "clean": table.loc[table["severity"] == 0, "accuracy"].item(),
        "mean_corruption_accuracy": float(worse["accuracy"].to_numpy().mean()),
        "by_severity": {kind: list(rows["accuracy"]) for kind, rows in kinds},
    }


def write(out: Path, table: pd.DataFrame, report: dict[str, Any]) -> None:
    """Write the table, the report and the figure, and print the report."""
    with files.replacing(out / "corruptions.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    files.write_json(out / "corruptions.json", report)
    figure = plots.corruption_accuracy(table, f"{report['n']:,} test images")
    plots.save(figure, out / "corruptions.png")
    for name, figures in report["models"].items():
        mean = f"mean corruption accuracy {figures['mean_corruption_accuracy']:.2%}"
        print(f"{name}: clean {figures['clean']:.2%}, {mean}")
        for kind, accuracies in figures["by_severity"].items():
            print(f"  {kind:16}" + "".join(f"{accuracy:8.1%}" for accuracy in accuracies))
    print(f"wrote {out}/corruptions.csv, corruptions.json, corruptions.png")
