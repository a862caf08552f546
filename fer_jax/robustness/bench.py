"""Measure robust accuracy: how often a network is right when each image may change by eps.

What was found is kept image by image, so that a stopped measurement goes on where it was.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import data, files, plots
from fer_jax.attacks import ATTACKS, NORMS, auto, transferred
from fer_jax.data import Split
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics
from fer_jax.evaluation.attacked import broken_by
from fer_jax.predict import Predictor, default_model_path
from fer_jax.robustness import masking, scorecard
from fer_jax.robustness.journal import Journal
from fer_jax.types import Attack, LogitsFn

COLUMNS = ("eps", "row", "broken")
# what findings depend on, apart from the files
SETTINGS = ("attack", "norm", "n", "steps", "restarts", "queries", "seed")


class Request(NamedTuple):
    """What to measure, with the names of `scripts/attack_bench.py`'s options.

    Attributes:
        attack, norm: names of `attacks.ATTACKS` and `attacks.NORMS`.
        eps: largest changes, of pixels in [0, 1].
        n, seed: test images, and the seed of the attack.
        steps, restarts, queries: of the attacks that make some.
        surrogate: a model file, on which the attack is made; None: on the model itself.
        check_masking: also look for signs of masked gradients.
        data, model, out: FER-2013's folder, a model file (None: the shipped one), a folder.
    """

    attack: str
    norm: str
    eps: list[float]
    n: int
    steps: int
    restarts: int
    queries: int
    surrogate: Path | None
    check_masking: bool
    seed: int
    data: Path
    model: Path | None
    out: Path


def run(request: Request) -> None:
    """Attack what is not known yet; write robustness.csv, .json and .png, and print the figures.

    Raises:
        InputError: too few images, a surrogate for other classes, or findings of other settings.
    """
    fer = data.load(request.data)
    path = request.model or default_model_path()
    predictor = Predictor(path)
    settings = {"model": files.digest(path)}
    settings |= {name: getattr(request, name) for name in SETTINGS}
    surrogate = None
    if request.surrogate:
        other = Predictor(request.surrogate)
        if other.emotions != predictor.emotions:
            rule = f"the surrogate must know the model's classes, received {other.emotions}"
            raise InputError(f"{request.surrogate}: {rule}")
        surrogate = other.logits_fn
        settings["surrogate"] = files.digest(request.surrogate)
    model = predictor.model
    test, _ = data.reported_by(model.metadata, model.labels, fer, request.data)
    rows = data.sample(test, request.n)
    settings["data"] = fer.digest
    journal = Journal(request.out, settings, COLUMNS)
    search(request, predictor.logits_fn, surrogate, test, rows, journal)
    table = tabulate(journal.table, list(stages(request, 1.0)), request.eps)
    write(request, settings, table)
    if request.check_masking:
        options = {"key": jax.random.key(request.seed), "norm": NORMS[request.norm]}
        options |= {"surrogate": surrogate, "batch_size": scorecard.at_once()}
        largest = min(request.eps)
        signs = masking.look(predictor.logits_fn, test, rows, largest=largest, **options)
        print(f"masked gradients, looked for at eps {signs.eps:.3g} in {signs.n} images:")
        print(*(masking.suspicions(signs) or ["nothing suspicious"]), sep="\n")


def stages(request: Request, eps: float) -> dict[str, Attack]:
    """Return the attacks at an eps by name: of AutoAttack its stages, otherwise one."""
    if request.attack == "autoattack":
        return auto.stages(eps, NORMS[request.norm], request.steps, request.queries)
    options = {"restarts": request.restarts, "queries": request.queries}
    attack = ATTACKS[request.attack].build(eps, request.norm, request.steps, **options)
    return {request.attack: attack}


def search(
    request: Request,
    logits_fn: LogitsFn,
    surrogate: LogitsFn | None,
    test: Split,
    rows: np.ndarray,
    journal: Journal,
) -> None:
    """Attack the rows that the journal does not know yet, at every eps."""
    options = {"norm": NORMS[request.norm], "batch_size": scorecard.at_once()}
    total = len(rows) * len(request.eps)
    with tqdm(total=total, desc=request.attack, unit="image", disable=None) as bar:
        for eps in request.eps:
            attacks = stages(request, eps)
            if surrogate:
                attacks = {name: transferred(each, surrogate) for name, each in attacks.items()}
            for piece in journal.missing(rows, scorecard.kept(), eps=eps):
                key = jax.random.fold_in(jax.random.key(request.seed), int(piece[0]))
                given = test.images[piece], test.labels[piece]
                broken = broken_by(attacks, logits_fn, *given, key=key, eps=eps, **options)
                journal.add(eps=eps, row=piece, broken=broken)
                bar.update(len(piece))


def tabulate(found: pd.DataFrame, stages: list[str], levels: list[float]) -> pd.DataFrame:
    """Return the accuracy that each stage leaves at each eps, with a 95 % interval.

    Stage "clean" is before all. What a stage breaks within one ball it breaks within every larger
    one, which holds the smaller.
    """
    rows = []
    broken = len(stages)
    for eps in sorted(levels):
        level = found.loc[np.isclose(found["eps"], eps, rtol=1e-9)].sort_values("row")
        broken = np.minimum(broken, level["broken"].to_numpy())
        for number, stage in enumerate(["clean", *stages]):
            n = len(broken)
            robust = int((broken >= number).sum())
            rows.append((eps, stage, robust, n, robust / n, *metrics.wilson(robust, n)))
    return pd.DataFrame(rows, columns=["eps", "stage", "robust", "n", "accuracy", "low", "high"])


def write(request: Request, settings: dict[str, Any], table: pd.DataFrame) -> None:
    """Write the table, the report and the figure, and print the table."""
    out, norm = request.out, request.norm
    with files.replacing(out / "robustness.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    files.write_json(out / "robustness.json", {**settings, "results": table.to_dict("records")})
    title = f"{request.attack}, {norm}, {request.n:,} test images"
    plots.save(plots.robust_accuracy(table, title), out / "robustness.png")
    for _, row in table.iterrows():
        size = f"{row.eps * 255:.3g}/255" if norm == "linf" else f"{row.eps:.3g}"
        interval = f"95% interval {row.low:.2%} to {row.high:.2%}"
        print(f"{norm} {size:8} {row.stage:10} {row.accuracy:7.2%}  {interval}")
    print(f"wrote {out}/robustness.csv, robustness.json, robustness.png")
