"""Measure one network for its row of the robustness table.

    for measure in measures(1000):
        values = run(measure, key, Subject(predictor.logits_fn), images, labels, alive)

Every measure gives one number per test image, uint8 [48, 48]: 1 where the network is right in spite
of it, 0 where not, NaN where the question does not arise. So each figure is a mean with an
interval, and work can be stopped and gone on with at any image.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.tree_util import Partial
from scipy.special import softmax

from fer_jax import attacks
from fer_jax.attacks import auto
from fer_jax.evaluation import calibration, metrics
from fer_jax.evaluation.attacked import attacked, broken_by
from fer_jax.evaluation.logits import predict_logits
from fer_jax.labels import index
from fer_jax.robustness import smoothing
from fer_jax.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from fer_jax.robustness.hack import SURE
from fer_jax.types import LogitsFn

HACKED = "happy to sad 4/255"
RADIUS = "certified radius"
# eps, Linf, by the measure's name
AUTOATTACK = {f"AutoAttack {levels}/255": levels / 255 for levels in (2, 4, 8)}
RADII = (0.25, 0.5)  # of the columns of certified accuracy
ALPHA = 0.001  # probability of a wrong certificate
_FOUR = 4 / 255  # eps of the single attacks
_pgd_50 = functools.partial(attacks.ATTACKS["pgd"].build, _FOUR, "linf", steps=50)
COLUMNS = ["measure", "value", "n", "low", "high"]


class Subject(NamedTuple):
    """A network under test; a `constant` one ignores the image: no attack needs to be run."""

    logits_fn: LogitsFn
    temperature: float = 1.0
    constant: bool = False


class Measure(NamedTuple):
    """A column of the table."""

    name: str
    # (key, subject, images [B, 48, 48], labels int [B]) -> float [B]
    outcome: Callable[[jax.Array, Subject, np.ndarray, np.ndarray], np.ndarray]
    images: int  # how many test images it is taken on
    together: int = 128  # of them at once; what is lost when the run is stopped
    smaller: str = ""  # the measure in a smaller ball: what that breaks is not attacked again


def at_once() -> int:
    """Return how many images to attack at once: they fit a CPU's caches or fill an accelerator."""
    return 64 if jax.default_backend() == "cpu" else 128


def kept() -> int:
    """Return how many images to attack between two savings: late stages have some batches, too."""
    return 128 if jax.default_backend() == "cpu" else 1024


def measures(
    n: int, queries: int = 5000, sigma: float | None = None, certify: int = 0, copies: int = 0
) -> list[Measure]:
    """Return the columns of a network: accuracy under attack and corruption, certified radii.

    `n` test images are attacked, with `queries` of Square. With `sigma`, the noise of a smoothed
    network, `certify` test images are certified by `copies` each.
    """
    linf, l2 = attacks.linf, attacks.l2
    noise = functools.partial(attacks.uniform, eps=8 / 255)
    step = functools.partial(attacks.fgsm, eps=_FOUR)
    tried: list[tuple] = [("noise 8/255", {"": noise}, linf, 8 / 255)]
    tried.append(("FGSM 4/255", {"": step}, linf, _FOUR))
    tried.append(("PGD-50 4/255", {"": _pgd_50(restarts=3)}, linf, _FOUR))
    balls = [(name, linf, eps) for name, eps in AUTOATTACK.items()]
    for name, norm, eps in [*balls, ("AutoAttack L2 0.5", l2, 0.5)]:
        tried.append((name, auto.stages(eps, norm, queries=queries), norm, eps))
    smaller = {large: small for small, large in itertools.pairwise(AUTOATTACK)}
    columns = []
    for name, stages, norm, eps in tried:
        outcome = functools.partial(_survived, stages=stages, norm=norm, eps=eps)
        columns.append(Measure(name, outcome, n, kept(), smaller.get(name, "")))
    columns += [Measure(HACKED, _hacked, n, kept()), Measure("corruptions", _corrupted, n, kept())]
    if sigma is not None:
        radius = functools.partial(_radius, sigma=sigma, n=copies, alpha=ALPHA)
        columns.append(Measure(RADIUS, radius, certify, together=1))
    return columns


def constant(priors: np.ndarray) -> Subject:
    """Return the classifier that gives every image the same class frequencies, float [C]."""
    return Subject(Partial(_constant, jnp.log(jnp.asarray(priors, jnp.float32))), constant=True)


def _constant(logits: jax.Array, images: jax.Array) -> jax.Array:
    return jnp.broadcast_to(logits, (len(images), len(logits)))


def run(measure: Measure, key: jax.Array, subject: Subject, images, labels, alive) -> np.ndarray:
    """Return the outcome, float [B]; `alive`, bool [B]: what the smaller ball left right."""
    if subject.constant:
        right = _right(subject, images, labels)
        if measure.name == RADIUS:
            return np.where(right, np.inf, -1.0)
        return np.full(len(right), np.nan) if measure.name == HACKED else right.astype(float)
    values = np.zeros(len(labels))
    if alive.any():
        values[alive] = measure.outcome(key, subject, images[alive], labels[alive])
    return values


def _right(subject: Subject, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return predict_logits(subject.logits_fn, images, at_once()).argmax(axis=1) == labels


def _survived(key, subject: Subject, images, labels, stages, **ball) -> np.ndarray:
    options = {"key": key, "batch_size": at_once(), **ball}
    return broken_by(stages, subject.logits_fn, images, labels, **options) == len(stages)


def _hacked(key, subject: Subject, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return 1 where PGD-50 makes Sad, in 8 bits, of what is Happy for sure, NaN for others."""
    happy = index("happy")
    logits = predict_logits(subject.logits_fn, images, at_once())
    sure = (labels == happy) & (softmax(logits / subject.temperature, axis=1)[:, happy] > SURE)
    values = np.full(len(labels), np.nan)
    if sure.any():
        goals = np.full(sure.sum(), index("sad"))
        options = {"norm": attacks.linf, "eps": _FOUR, "targeted": True, "batch_size": at_once()}
        given = (subject.logits_fn, images[sure], goals)
        values[sure] = attacked(_pgd_50(targeted=True), *given, key=key, **options).reached_8bit
    return values


def _corrupted(key, subject: Subject, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of corruptions and severities in which each image is still right."""
    worse = (corrupt(name, images, severity) for name in CORRUPTIONS for severity in SEVERITIES)
    return np.mean([_right(subject, each, labels) for each in worse], axis=0)


def _radius(key, subject: Subject, images: np.ndarray, labels: np.ndarray, **options):
    """Return the certified radius (L2) of each image that is predicted right, else -1."""
    radii = []
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        given = (jax.random.fold_in(key, place), subject.logits_fn)
        certificate = smoothing.certify(*given, image[..., None] / np.float32(255), **options)
        radii.append(certificate.radius if certificate.prediction == label else -1.0)
    return np.array(radii)


def tabulate(found: pd.DataFrame) -> pd.DataFrame:
    """Return the figures (`COLUMNS`) of outcomes (columns measure, row, value), 95 % intervals."""
    figures = []
    for name, outcomes in found.groupby("measure", sort=False):
        values = outcomes["value"].dropna().to_numpy(float)
        if name == RADIUS:
            certified = [(f"certified L2 {radius:g}", values >= radius) for radius in RADII]
            figures += [_figure(column, right.astype(float)) for column, right in certified]
        else:
            figures.append(_figure(str(name), values))
    return pd.DataFrame(figures, columns=COLUMNS)


def _figure(name: str, values: np.ndarray) -> tuple:
    """Return a mean with Wilson's interval where every value is 0 or 1, else the normal one."""
    n = len(values)
    if not n:
        return name, np.nan, 0, np.nan, np.nan
    if np.isin(values, (0, 1)).all():
        return name, float(values.mean()), n, *metrics.wilson(int(values.sum()), n)
    error = float(values.std(ddof=1)) / n**0.5 if n > 1 else np.nan
    return _normal(name, float(values.mean()), n, error)


def _normal(name: str, value: float, n: int, error: float) -> tuple:
    return name, value, n, max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error)


def of_predictions(subject: Subject, logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Return clean accuracy, macro recall and calibration error of logits [N, C], as `tabulate`.

    The last two are no means over images: their intervals are normal, with the bootstrap's standard
    error. (Its percentiles would not do: drawing rows again makes a calibration error larger.)
    """
    predictions = logits.argmax(axis=1)
    probabilities = softmax(logits / subject.temperature, axis=1)

    def recall(rows: np.ndarray) -> float:
        matrix = metrics.confusion(labels[rows], predictions[rows], logits.shape[1])
        return metrics.balanced_accuracy(matrix)

    def error(rows: np.ndarray) -> float:
        table = calibration.reliability(labels[rows], probabilities[rows])
        return calibration.calibration_error(table)

    figures = [
        _figure("clean", (predictions == labels).astype(float)),
        _bootstrapped("macro recall", recall, len(labels)),
        _bootstrapped("calibration error", error, len(labels)),
    ]
    return pd.DataFrame(figures, columns=COLUMNS)


def _bootstrapped(name: str, statistic: Callable[[np.ndarray], float], n: int) -> tuple:
    """Return a statistic of n rows with its interval (Efron, Annals of Statistics 7, 1979)."""
    rng = np.random.default_rng(0)
    drawn = [statistic(rng.integers(0, n, n)) for _ in range(500)]
    return _normal(name, statistic(np.arange(n)), n, float(np.std(drawn, ddof=1)))
