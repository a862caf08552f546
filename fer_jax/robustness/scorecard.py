"""Measure one network for its row of the robustness table.

    subject = Subject(predictor.logits_fn, predictor.model.temperature)
    for measure in attack_measures(1000):
        values = run(measure, key, subject, images, labels, alive)

Every measure gives one number per test image: 1 where the network is right in spite of it, 0 where
not, NaN where the question does not arise. So each figure is a mean with an interval, and work can
be stopped and gone on with at any image.
"""

import functools
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
from fer_jax.types import Attack, LogitsFn

SURE = 0.9  # the probability of Happy that an image to be hacked must have
HACKED = "happy to sad 4/255"
RADIUS = "certified radius"
# eps, Linf, by the measure's name
AUTOATTACK = {f"AutoAttack {levels}/255": levels / 255 for levels in (2, 4, 8)}
RADII = (0.25, 0.5)  # of the columns of certified accuracy
ALPHA = 0.001  # probability of a wrong certificate
_ON_CPU, _ON_ACCELERATOR = 64, 128  # images that are attacked at once
_FOUR = 4 / 255  # eps of the single attacks
_pgd_50 = functools.partial(attacks.ATTACKS["pgd"].build, _FOUR, "linf", steps=50)
_RESAMPLES = 500
COLUMNS = ["measure", "value", "n", "low", "high"]


class Subject(NamedTuple):
    """A network under test; a `constant` one ignores the image: no attack needs to be run."""

    logits_fn: LogitsFn
    temperature: float = 1.0
    constant: bool = False


Outcome = Callable[[jax.Array, Subject, np.ndarray, np.ndarray], np.ndarray]


class Measure(NamedTuple):
    """A column of the table.

    Attributes:
        outcome: (key, subject, images uint8 [B, 48, 48], labels int [B]) -> float [B].
        images: how many test images it is taken on.
        together: of them at once; what is lost when the run is stopped.
        smaller: the same attack's measure in a smaller ball: what it breaks is broken here, too,
            without another attack.
        of_constant: bool [B], where a constant classifier is right -> the outcome.
    """

    name: str
    outcome: Outcome
    images: int
    together: int = 2 * _ON_CPU
    smaller: str = ""
    of_constant: Callable[[np.ndarray], np.ndarray] = lambda right: right.astype(float)


def at_once() -> int:
    """Return how many images to attack at once: they fit a CPU's caches or fill an accelerator."""
    return _ON_CPU if jax.default_backend() == "cpu" else _ON_ACCELERATOR


def kept() -> int:
    """Return how many images to attack between two savings.

    Several batches: AutoAttack's late stages, which have few images left, still fill theirs.
    """
    return 2 * _ON_CPU if jax.default_backend() == "cpu" else 8 * _ON_ACCELERATOR


def attack_measures(n: int, queries: int = 5000) -> list[Measure]:
    """Return the accuracies under attack, and how often Happy becomes Sad."""
    linf, l2 = attacks.linf, attacks.l2
    noise = functools.partial(attacks.uniform, eps=8 / 255)
    step = functools.partial(attacks.fgsm, eps=_FOUR)
    climb = _pgd_50(restarts=3)
    measures = [
        Measure("noise 8/255", _surviving({"": noise}, linf, 8 / 255), n),
        Measure("FGSM 4/255", _surviving({"": step}, linf, _FOUR), n),
        Measure("PGD-50 4/255", _surviving({"": climb}, linf, _FOUR), n),
    ]
    smaller = ""
    for name, eps in AUTOATTACK.items():
        outcome = _surviving(auto.stages(eps, linf, queries=queries), linf, eps)
        measures.append(Measure(name, outcome, n, smaller=smaller))
        smaller = name
    outcome = _surviving(auto.stages(0.5, l2, queries=queries), l2, 0.5)
    measures.append(Measure("AutoAttack L2 0.5", outcome, n))
    unanswered = lambda right: np.full(len(right), np.nan)
    measures.append(Measure(HACKED, _hacked, n, of_constant=unanswered))
    return [measure._replace(together=kept()) for measure in measures]


def corruption_measure(n: int) -> Measure:
    """Return the mean accuracy over all corruptions and severities."""
    return Measure("corruptions", _corrupted, n, together=kept())


def certified_measure(n: int, sigma: float, copies: int, alpha: float = ALPHA) -> Measure:
    """Return certified radii (L2) of the smoothed network, -1 where it errs or abstains."""
    smoothing.check(sigma, 100, copies, alpha)
    outcome = functools.partial(_certified, sigma=sigma, n=copies, alpha=alpha)
    limitless = lambda right: np.where(right, np.inf, -1.0)
    return Measure(RADIUS, outcome, n, together=1, of_constant=limitless)


def constant(priors: np.ndarray) -> Subject:
    """Return the classifier that gives every image the same class frequencies, float [C]."""
    return Subject(Partial(_constant, jnp.log(jnp.asarray(priors, jnp.float32))), constant=True)


def _constant(logits: jax.Array, images: jax.Array) -> jax.Array:
    return jnp.broadcast_to(logits, (len(images), len(logits)))


def run(
    measure: Measure,
    key: jax.Array,
    subject: Subject,
    images: np.ndarray,
    labels: np.ndarray,
    alive: np.ndarray,
) -> np.ndarray:
    """Return the outcome, float [B]; `alive`, bool [B]: what the smaller ball left right."""
    if subject.constant:
        return measure.of_constant(_right(subject, images, labels))
    values = np.zeros(len(labels))
    if alive.any():
        values[alive] = measure.outcome(key, subject, images[alive], labels[alive])
    return values


def _right(subject: Subject, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return predict_logits(subject.logits_fn, images, at_once()).argmax(axis=1) == labels


def _surviving(stages: dict[str, Attack], norm: attacks.Norm, eps: float) -> Outcome:
    def outcome(key, subject, images, labels) -> np.ndarray:
        options = {"key": key, "norm": norm, "eps": eps, "batch_size": at_once()}
        return broken_by(stages, subject.logits_fn, images, labels, **options) == len(stages)

    return outcome


def _hacked(key: jax.Array, subject: Subject, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return 1 where a targeted PGD-50 makes Sad of what is Happy for sure, NaN for other images.

    Judged after rounding to 8 bits.
    """
    happy = index("happy")
    logits = predict_logits(subject.logits_fn, images, at_once())
    sure = (labels == happy) & (softmax(logits / subject.temperature, axis=1)[:, happy] > SURE)
    values = np.full(len(labels), np.nan)
    if sure.any():
        attack = _pgd_50(targeted=True)
        goals = np.full(sure.sum(), index("sad"))
        ball = {"norm": attacks.linf, "eps": _FOUR}
        options = {"key": key, "targeted": True, "batch_size": at_once(), **ball}
        result = attacked(attack, subject.logits_fn, images[sure], goals, **options)
        values[sure] = result.reached_8bit
    return values


def _corrupted(
    key: jax.Array, subject: Subject, images: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return the share of corruptions and severities in which each image is still right."""
    worse = (corrupt(name, images, severity) for name in CORRUPTIONS for severity in SEVERITIES)
    return np.mean([_right(subject, each, labels) for each in worse], axis=0)


def _certified(
    key: jax.Array, subject: Subject, images: np.ndarray, labels: np.ndarray, **options
) -> np.ndarray:
    """Return the certified radius of each image that is predicted right, else -1."""
    floats = images[..., None] / np.float32(255)
    radii = []
    for place, (image, label) in enumerate(zip(floats, labels, strict=True)):
        image_key = jax.random.fold_in(key, place)
        certificate = smoothing.certify(image_key, subject.logits_fn, image, **options)
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
    mean = float(values.mean())
    if np.isin(values, (0, 1)).all():
        return name, mean, n, *metrics.wilson(int(values.sum()), n)
    return _normal(name, mean, n, float(values.std(ddof=1)) / n**0.5 if n > 1 else np.nan)


def _normal(name: str, value: float, n: int, error: float) -> tuple:
    return name, value, n, max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error)


def of_predictions(subject: Subject, logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Return clean accuracy, macro recall and calibration error of logits [N, C], as `tabulate`.

    The last two are no means over images: their intervals are normal, with the bootstrap's standard
    error, the same at every call. (Its percentiles would not do: drawing rows again makes a small
    calibration error larger.)
    """
    predictions = logits.argmax(axis=1)
    probabilities = softmax(logits / subject.temperature, axis=1)

    def recall(rows: np.ndarray) -> float:
        matrix = metrics.confusion(labels[rows], predictions[rows], logits.shape[1])
        return metrics.balanced_accuracy(matrix)

    def error(rows: np.ndarray) -> float:
        return calibration.calibration_error(
            calibration.reliability(labels[rows], probabilities[rows])
        )

    figures = [
        _figure("clean", (predictions == labels).astype(float)),
        _bootstrapped("macro recall", recall, len(labels)),
        _bootstrapped("calibration error", error, len(labels)),
    ]
    return pd.DataFrame(figures, columns=COLUMNS)


def _bootstrapped(name: str, statistic: Callable[[np.ndarray], float], n: int) -> tuple:
    """Return a statistic of n rows with its interval.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7, 1979.
    """
    rng = np.random.default_rng(0)
    drawn = [statistic(rng.integers(0, n, n)) for _ in range(_RESAMPLES)]
    return _normal(name, statistic(np.arange(n)), n, float(np.std(drawn, ddof=1)))
