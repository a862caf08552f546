"""Measure how often a sure face can be made to show another emotion, and how much it changes."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import data, files
from fer_jax.attacks import linf
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics
from fer_jax.evaluation.attacked import attacked
from fer_jax.predict import Predictor, default_model_path
from fer_jax.robustness import hack
from fer_jax.robustness.hack_report import SURE, sure_images
from fer_jax.types import LogitsFn

LEVELS = (1, 2, 4, 8)  # eps, of 255
METHODS = ("pgd", "apgd")
TOGETHER = 64  # images attacked at once


class Request(NamedTuple):
    """What to measure, with the names of `benchmarks/hack_rate.py`'s options.

    Attributes:
        images: test images at most.
        source, target: emotions: what the network is sure to see, and what it is to see.
        steps, seed: of the attacks.
        data, model, out: FER-2013's folder, a model file (None: the shipped one), a folder.
    """

    images: int
    source: str
    target: str
    steps: int
    seed: int
    data: Path
    model: Path | None
    out: Path


def run(request: Request) -> None:
    """Attack at every level with every method; write success.csv and success.json, and print.

    Raises:
        InputError: an unknown emotion, or the network is sure of no image.
    """
    path = request.model or default_model_path()
    predictor = Predictor(path)
    source, target = predictor.label(request.source), predictor.label(request.target)
    fer = data.load(request.data)
    model = predictor.model
    test, _ = data.reported_by(model.metadata, model.labels, fer, request.data)
    images = sure_images(predictor, test, source, SURE)
    if not len(images):
        rule = f"the network must be sure of a test image labelled {request.source}"
        raise InputError(f"{request.data}: {rule}, it is of none")
    rows = np.random.default_rng(0).permutation(len(images))[: request.images]
    images = images[np.sort(rows)]
    results = []
    for method in METHODS:
        for level in LEVELS:
            settings = hack.Settings(method, "linf", request.steps, level / 255, seed=request.seed)
            reached, ssim = attack(settings, predictor.logits_fn, images, target)
            n, successes = len(reached), int(reached.sum())
            low, high = metrics.wilson(successes, n)
            row = {"method": method, "eps": f"{level}/255", "images": n, "successes": successes}
            row |= {"rate": successes / n, "low": low, "high": high}
            results.append(row | {"mean_ssim": float(ssim.mean())})
            print(describe(results[-1]), flush=True)
    settings = {name: getattr(request, name) for name in ("source", "target", "steps", "seed")}
    settings |= {"sure": SURE, "norm": "linf"}
    settings |= {"model": files.digest(path), "data": fer.digest, "results": results}
    with files.replacing(request.out / "success.csv") as temporary:
        pd.DataFrame(results).to_csv(temporary, index=False, float_format="%.6g")
    files.write_json(request.out / "success.json", settings)
    print(f"wrote {request.out}/success.csv, success.json")


def attack(
    settings: hack.Settings, logits_fn: LogitsFn, images: np.ndarray, target: int
) -> tuple[np.ndarray, np.ndarray]:
    """Attack images uint8 [N, 48, 48] within `settings.eps`.

    Returns:
        Whether each rounded image is seen as the target, bool [N], and its SSIM, float [N].
    """
    eps, results = settings.eps or 0.0, []
    options = {"norm": linf, "eps": eps, "targeted": True, "batch_size": TOGETHER}
    climb = hack.make_attack(settings, eps)
    starts, name = range(0, len(images), TOGETHER), f"eps {255 * eps:g}/255"
    for start in tqdm(starts, name, unit="batch", leave=False, disable=None):
        chunk = images[start : start + TOGETHER]
        key = jax.random.fold_in(jax.random.key(settings.seed), start)
        goals = np.full(len(chunk), target)
        results.append(attacked(climb, logits_fn, chunk, goals, key=key, **options))
    reached = np.concatenate([result.reached_8bit for result in results])
    return reached, np.concatenate([result.ssim for result in results])


def describe(row: dict[str, Any]) -> str:
    """Return a row of success.csv as a line for the terminal."""
    interval = f"95% interval {row['low']:.1%} to {row['high']:.1%}"
    share = f"{row['successes']:,} of {row['images']:,}, {row['rate']:.1%} ({interval})"
    return f"{row['method']:5} linf {row['eps']:6} {share}, mean SSIM {row['mean_ssim']:.4f}"
