"""Certify test images one by one, in a journal that a stopped run goes on with, and report."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import data, files, plots
from fer_jax.evaluation import metrics
from fer_jax.predict import Predictor, default_model_path
from fer_jax.robustness import smoothing
from fer_jax.robustness.journal import Journal
from fer_jax.robustness.smoothing import Certified
from fer_jax.types import LogitsFn

POINTS = (0.0, 0.25, 0.5, 0.75)  # radii that are printed
COLUMNS = ("row", "label", "prediction", "radius", "count", "broken")


class Request(NamedTuple):
    """What to certify, with the names of `scripts/certify.py`'s options.

    Attributes:
        model: a model file; None: the shipped one.
        sigma: None: what the model was trained with.
        n, n0, alpha: as for `smoothing.certify`.
        images: how many test images.
        pgd: steps of an attack on each certificate; 0: none.
        data, out: folders; `out` None: runs/certify/MODEL-SIGMA.
    """

    model: Path | None
    sigma: float | None
    n: int
    n0: int
    alpha: float
    images: int
    pgd: int
    data: Path
    out: Path | None


def run(request: Request) -> None:
    """Certify what the journal does not know yet; write and print the figures.

    Raises:
        InputError: settings that certify nothing, or a journal of other settings.
    """
    path = request.model or default_model_path()
    predictor = Predictor(path)
    metadata = predictor.model.metadata
    sigma = smoothing.trained_sigma(metadata) if request.sigma is None else request.sigma
    smoothing.check(sigma, request.n0, request.n, request.alpha)
    fer = data.load(request.data)
    test, _ = data.reported_by(metadata, predictor.model.labels, fer, request.data)
    rows = data.sample(test, request.images, "--images")
    settings = {"model": files.digest(path), "sigma": sigma}
    settings |= {name: getattr(request, name) for name in ("n", "n0", "alpha", "images", "pgd")}
    settings["data"] = fer.digest
    out = request.out or files.root() / "runs" / "certify" / f"{path.stem}-{sigma:g}"
    journal = Journal(out, settings, COLUMNS)
    left = rows[~np.isin(rows, journal.table["row"])].tolist()
    for row in tqdm(left, desc="certifying", unit="image", disable=None):
        image = test.images[row, :, :, None] / np.float32(255)
        certificate, broken = judge(predictor.logits_fn, image, row, settings)
        values = (row, int(test.labels[row]), *certificate, broken)
        journal.add(**{name: [value] for name, value in zip(COLUMNS, values, strict=True)})
    write(out, settings, journal.table)


def judge(
    logits_fn: LogitsFn, image: np.ndarray, row: int, settings: dict[str, Any]
) -> tuple[Certified, int]:
    """Certify one image float32 [H, W, 1] and, if `settings` say so, attack its certificate.

    Returns:
        The certificate; and 1 where PGD broke it, 0 where it did not, -1 where it was not tried.
    """
    options = {name: settings[name] for name in ("sigma", "n0", "n", "alpha")}
    steps, sigma = settings["pgd"], settings["sigma"]
    key, attack_key, judge_key = jax.random.split(jax.random.fold_in(jax.random.key(0), row), 3)
    certificate = smoothing.certify(key, logits_fn, image, **options)
    if certificate.prediction == smoothing.ABSTAIN or not steps:
        return certificate, -1
    target = (logits_fn, image, certificate)
    attacked = smoothing.attack(attack_key, *target, sigma=sigma, steps=steps)
    broken = smoothing.broken(judge_key, logits_fn, attacked, certificate, **options)
    return certificate, int(broken)


def tabulate(found: pd.DataFrame, radii: np.ndarray) -> pd.DataFrame:
    """Return how many images are predicted right and certified that far, one row per radius."""
    reach = np.where(found["prediction"] == found["label"], found["radius"], -1.0)
    counts, n = (reach >= np.asarray(radii)[:, None]).sum(axis=1), len(found)
    table = pd.DataFrame({"radius": radii, "certified": counts, "n": n, "accuracy": counts / n})
    table[["low", "high"]] = [metrics.wilson(int(count), n) for count in counts]
    return table


def write(out: Path, settings: dict[str, Any], found: pd.DataFrame) -> None:
    """Write certified.csv, certified.json and certified.png, and print the figures."""
    sigma, n, alpha = (settings[name] for name in ("sigma", "n", "alpha"))
    largest = smoothing.largest_radius(sigma, n, alpha)
    curve = tabulate(found, np.arange(round(100 * max(largest, POINTS[-1])) + 2) / 100)
    points = tabulate(found, np.array(POINTS))
    abstained = int(np.count_nonzero(found["prediction"] == smoothing.ABSTAIN))
    attacked, broken = (int(np.count_nonzero(found["broken"] >= least)) for least in (0, 1))
    with files.replacing(out / "certified.csv") as temporary:
        curve.to_csv(temporary, index=False, float_format="%.6g")
    counts = {"abstained": abstained, "attacked": attacked, "broken": broken}
    results = {"largest_radius": largest, **counts, "results": points.to_dict("records")}
    files.write_json(out / "certified.json", settings | results)
    title = f"{len(found):,} test images, sigma {sigma:g}, n {n:,}, alpha {alpha:g}"
    plots.save(plots.certified_accuracy(curve, largest, title), out / "certified.png")
    for _, row in points.iterrows():
        interval = f"95% interval {row.low:.2%} to {row.high:.2%}"
        print(f"certified accuracy at L2 {row.radius:<5g}{row.accuracy:7.2%}  {interval}")
    limit = f"no radius above {largest:.3f} can be certified"
    print(f"abstained on {abstained} of {len(found)} images; {limit}")
    if settings["pgd"]:
        print(f"PGD within the certified radius broke {broken} of {attacked} certificates")
    print(f"wrote {out}/certified.csv, certified.json, certified.png")
