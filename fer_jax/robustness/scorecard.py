"""One network's row of the robustness table: what is measured, on how many images, and what came
out.

    for measure in attack_measures(1000):
        values = run(measure, key, Subject(predictor.logits_fn, predictor.model.temperature),
        images, labels, alive)

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
from fer_jax.evaluation import metrics
from fer_jax.evaluation.attacked import attacked, broken_by
from fer_jax.evaluation.logits import predict_logits
from fer_jax.labels import index
from fer_jax.robustness import smoothing
from fer_jax.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from fer_jax.types import LogitsFn

SURE = 0.9  # the probability of Happy that an image to be hacked must have
_ON_CPU, _ON_ACCELERATOR = 64, 128  # images that are attacked at once
HACKED, RADIUS = "happy to sad 4/255", "certified radius"
# Linf, by the measure's name
AUTOATTACK = {f"AutoAttack {levels}/255": levels / 255 for levels in (2, 4, 8)}
RADII = (0.25, 0.5)  # at which certified accuracy is told
ALPHA = 0.001  # probability of a wrong certificate
_RESAMPLES = 500


class Subject(NamedTuple):
    """A network under test. `constant`: it says the same of every image, so that no attack needs to
    be run.
    """

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
        of_constant: bool [B], where a constant classifier is right -> the outcome, which nobody
            needs to compute.
    """

    name: str
    outcome: Outcome
    images: int
    together: int = 2 * _ON_CPU
    smaller: str = ""
    of_constant: Callable[[np.ndarray], np.ndarray] = lambda right: right.astype(float)


def at_once() -> int:
    """Images that are attacked at once: few enough for a CPU's caches, or enough to fill an
    accelerator.
    """
    return _ON_CPU if jax.default_backend() == "cpu" else _ON_ACCELERATOR


def kept() -> int:
    """Images between two savings: several batches, so that AutoAttack's late stages, with few
    images left, fill theirs.
    """
    return 2 * _ON_CPU if jax.default_backend() == "cpu" else 8 * _ON_ACCELERATOR


def attack_measures(n: int, queries: int = 5000) -> list[Measure]:
    """Accuracy under attack: noise, FGSM, PGD and AutoAttack, and how often Happy becomes Sad."""
    linf, l2 = attacks.linf, attacks.l2
    quarter = 4 / 255
    climb = functools.partial(
        attacks.pgd, eps=quarter, step_size=attacks.step_size(quarter, 50), steps=50, restarts=3
    )
    found = [
        Measure(
            "noise 8/255",
            _surviving({"": functools.partial(attacks.uniform, eps=8 / 255)}, linf, 8 / 255),
            n,
        ),
        Measure(
            "FGSM 4/255",
            _surviving({"": functools.partial(attacks.fgsm, eps=quarter)}, linf, quarter),
            n,
        ),
        Measure("PGD-50 4/255", _surviving({"": climb}, linf, quarter), n),
    ]
    smaller = ""
    for name, eps in AUTOATTACK.items():
        outcome = _surviving(auto.stages(eps, linf, queries=queries), linf, eps)
        found.append(Measure(name, outcome, n, smaller=smaller))
        smaller = name
    found.append(
        Measure("AutoAttack L2 0.5", _surviving(auto.stages(0.5, l2, queries=queries), l2, 0.5), n)
    )
    found.append(
        Measure(
            HACKED,
            functools.partial(_hacked, eps=quarter),
            n,
            of_constant=lambda right: np.full(len(right), np.nan),
        )
    )
    return [measure._replace(together=kept()) for measure in found]


def corruption_measure(n: int) -> Measure:
    """Mean accuracy over all corruptions and severities."""
    return Measure("corruptions", _corrupted, n, together=kept())


def certified_measure(n: int, sigma: float, copies: int, alpha: float = ALPHA) -> Measure:
    """The certified radius (L2) of the network smoothed with `sigma`, -1 where it is wrong or
    abstains.
    """
    smoothing.check(sigma, 100, copies, alpha)
    outcome = functools.partial(_certified, sigma=sigma, n=copies, alpha=alpha)
    return Measure(
        RADIUS, outcome, n, together=1, of_constant=lambda right: np.where(right, np.inf, -1.0)
    )


def constant(priors: np.ndarray) -> Subject:
    """The floor: a classifier that gives every image the training set's class frequencies, float
    [C].
    """
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
):
    """The outcome, float [B]; `alive`, bool [B]: what the measure in the smaller ball left."""
    if subject.constant:
        right = _right(subject, images, labels)
        return measure.of_constant(right)
    values = np.zeros(len(labels))
    if alive.any():
        values[alive] = measure.outcome(key, subject, images[alive], labels[alive])
    return values


def _right(subject: Subject, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return predict_logits(subject.logits_fn, images, at_once()).argmax(axis=1) == labels


def _surviving(stages: dict, norm: attacks.Norm, eps: float) -> Outcome:
    def outcome(
        key: jax.Array, subject: Subject, images: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        options = {"key": key, "norm": norm, "eps": eps, "batch_size": at_once()}
        return broken_by(stages, subject.logits_fn, images, labels, **options) == len(stages)

    return outcome


def _hacked(
    key: jax.Array, subject: Subject, images: np.ndarray, labels: np.ndarray, eps: float
) -> np.ndarray:
    """1 where a targeted PGD-50 makes Sad of what is Happy for sure, after rounding to 8 bits; NaN
    for other images.
    """
    happy, sad = index("happy"), index("sad")
    logits = predict_logits(subject.logits_fn, images, at_once())
    sure = (labels == happy) & (softmax(logits / subject.temperature, axis=1)[:, happy] > SURE)
    values = np.full(len(labels), np.nan)
    if sure.any():
        attack = functools.partial(
            attacks.pgd, eps=eps, step_size=attacks.step_size(eps, 50), steps=50, targeted=True
        )
        goals = np.full(sure.sum(), sad)
        options = {
            "key": key,
            "norm": attacks.linf,
            "eps": eps,
            "targeted": True,
            "batch_size": at_once(),
        }
        values[sure] = attacked(
            attack, subject.logits_fn, images[sure], goals, **options
        ).reached_8bit
    return values


def _corrupted(
    key: jax.Array, subject: Subject, images: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """The share of corruptions and severities in which each image is still right."""
    worse = (corrupt(name, images, severity) for name in CORRUPTIONS for severity in SEVERITIES)
    return np.mean([_right(subject, each, labels) for each in worse], axis=0)


def _certified(
    key: jax.Array,
    subject: Subject,
    images: np.ndarray,
    labels: np.ndarray,
    sigma: float,
    n: int,
    alpha: float,
) -> np.ndarray:
    """The certified radius of an image that is predicted right, else -1."""
    radii = []
    for place, (image, label) in enumerate(
        zip(images[..., None] / np.float32(255), labels, strict=True)
    ):
        image_key = jax.random.fold_in(key, place)
        said = smoothing.certify(image_key, subject.logits_fn, image, sigma=sigma, n=n, alpha=alpha)
        radii.append(said.radius if said.prediction == label else -1.0)
    return np.array(radii)


def tabulate(found: pd.DataFrame) -> pd.DataFrame:
    """The figures of a table of outcomes (columns measure, row, value): measure, value, n, low,
    high (a 95 % interval).
    """
    rows = []
    for name, outcomes in found.groupby("measure", sort=False):
        values = outcomes["value"].dropna().to_numpy(float)
        if name == RADIUS:
            rows += [
                _figure(f"certified L2 {radius:g}", (values >= radius).astype(float))
                for radius in RADII
            ]
        else:
            rows.append(_figure(str(name), values))
    return pd.DataFrame(rows, columns=["measure", "value", "n", "low", "high"])


def _figure(name: str, values: np.ndarray) -> tuple:
    """A mean with its interval: Wilson's where every value is 0 or 1, else the normal one."""
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
    """Clean accuracy, macro recall and calibration error of the whole test set's logits [N, C], as
    `tabulate` has them.

    The last two are no means over images: their intervals are normal, with the bootstrap's standard
    error, the same at every call. (Its percentiles would not do: drawing rows again makes a small
    calibration error larger.)
    """
    predictions, probabilities = (
        logits.argmax(axis=1),
        softmax(logits / subject.temperature, axis=1),
    )

    def recall(rows: np.ndarray) -> float:
        return metrics.balanced_accuracy(
            metrics.confusion(labels[rows], predictions[rows], logits.shape[1])
        )

    def error(rows: np.ndarray) -> float:
        return metrics.calibration_error(metrics.reliability(labels[rows], probabilities[rows]))

    clean = _figure("clean", (predictions == labels).astype(float))
    figures = [
        _bootstrapped(*each, len(labels))
        for each in (("macro recall", recall), ("calibration error", error))
    ]
    return pd.DataFrame([clean, *figures], columns=["measure", "value", "n", "low", "high"])


def _bootstrapped(name: str, statistic: Callable[[np.ndarray], float], n: int) -> tuple:
    """A statistic of n rows; Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of
    Statistics 7, 1979.
    """
    rng = np.random.default_rng(0)
    drawn = [statistic(rng.integers(0, n, n)) for _ in range(_RESAMPLES)]
    return _normal(name, statistic(np.arange(n)), n, float(np.std(drawn, ddof=1)))
