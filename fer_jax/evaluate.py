"""Batched evaluation of a logits function, and what to say about the outcome.

logits = predict_logits(lambda images: model.apply(variables, images, train=False), faces)
summary(logits, labels)["accuracy"]
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax
from tqdm import tqdm

from fer_jax import metrics
from fer_jax.attacks import NORMS, Counted, Goal, Norm, margin
from fer_jax.attacks.loop import steps_so_far
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS, NUM_CLASSES, VALENCE, index
from fer_jax.types import IMAGE_SIZE, Attack, LogitsFn


def predict_logits(
    logits_fn: LogitsFn, images: np.ndarray, batch_size: int = 256, progress: bool = False, classes: int = NUM_CLASSES
) -> np.ndarray:
    """Logits, float32 [N, C], of images, uint8 [N, 48, 48].

    `logits_fn` sees batches of exactly `batch_size` (the last one padded with zeros, whose logits are dropped), so a
    jitted one is compiled once; it must treat the rows of a batch independently. `progress` draws a bar on a terminal;
    `classes` is C where there are no images.

    Raises:
        InputError: the images have another dtype or shape.
    """
    check_images(images)
    return _predict(logits_fn, images, batch_size, progress, classes)


def _predict(
    logits_fn: LogitsFn, images: np.ndarray, batch_size: int, progress: bool = False, classes: int = NUM_CLASSES
) -> np.ndarray:
    """As `predict_logits`, also of float images [N, 48, 48, 1] in [0, 1]."""
    logits = []
    starts = range(0, len(images), batch_size)
    for start in tqdm(starts, desc="predicting", unit="batch", leave=False, disable=None if progress else True):
        rows = images[start : start + batch_size]
        batch = np.zeros((batch_size, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
        batch[: len(rows)] = rows if rows.ndim == 4 else rows[..., None] / np.float32(255)
        logits.append(np.asarray(logits_fn(batch), np.float32)[: len(rows)])
    return np.concatenate(logits) if logits else np.empty((0, classes), np.float32)


def check_images(images: np.ndarray) -> None:
    """Raise an `InputError` unless `images` is a uint8 array [N, 48, 48]."""
    received = f"{getattr(images, 'dtype', type(images).__name__)} {list(np.shape(images))}"
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise InputError(f"faces must be a numpy array of uint8 grey levels in 0..255, received {received}")
    if images.ndim != 3 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise InputError(f"faces must have shape [N, {IMAGE_SIZE}, {IMAGE_SIZE}], received {received}")


_SHRUNK = (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)  # shares of a perturbation that are tried when it is rounded


class Attacked(NamedTuple):
    """What an attack achieved, as the evaluator found it, one entry per image.

    Attributes:
        images: uint8 [N, 48, 48], rounded to 8 bits: what can be saved.
        before, after: float32 [N, C], logits of the original and of the rounded images.
        reached: bool [N], whether the goal was reached before rounding.
        reached_8bit: bool [N], and whether the rounded image, which lies within eps too, reaches it.
        norms: "l0" (pixels changed), "l1", "l2", "linf" of the rounded perturbation, the last three in 8-bit levels, [N].
        ssim: [N], of original and rounded image.
        iterations: int [N], steps that the attack made on the batch that the image was in, over all restarts, targets and
            stages; 0 for an attack that makes none by `attacks.loop.repeat`.
        passes: "forward" and "backward" passes of the network that the attack took for each image, float [N]; None where
            they were not counted.
    """

    images: np.ndarray
    before: np.ndarray
    after: np.ndarray
    reached: np.ndarray
    reached_8bit: np.ndarray
    norms: dict[str, np.ndarray]
    ssim: np.ndarray
    iterations: np.ndarray
    passes: dict[str, np.ndarray] | None = None


def attacked(
    attack: Attack,
    logits_fn: LogitsFn,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    key: jax.Array,
    norm: Norm | None = None,
    eps: float = np.inf,
    targeted: bool = False,
    batch_size: int = 64,
    count: bool = False,
) -> Attacked:
    """Run an attack and believe nothing that it says: its images are clipped to the box and the ball and judged anew.

    Args:
        images: uint8 [N, 48, 48].
        labels: int [N], the true ones, or with `targeted` where the attack is to lead.
        key: random numbers; every batch gets its own.
        norm, eps: of the ball that the attack promises to stay in; without a norm only the box is enforced.
        logits_fn: in evaluation mode, as for `predict_logits`.
        count: also count passes; the programs are then compiled anew in every process, see `attacks.passes`.

    Raises:
        ValueError: the attack returned values that are not finite.
    """
    check_images(images)
    floats, iterations, passes = _run(attack, logits_fn, images, labels, key, batch_size, count)
    floats = _inside(floats, images, norm, eps)
    rounded = _rounded(floats, images, norm, eps)
    before, after = (predict_logits(logits_fn, each, batch_size) for each in (images, rounded))
    exact = _predict(logits_fn, floats, batch_size)
    goal = Goal(margin, targeted)
    delta = (rounded.astype(np.float32) - images)[..., None]
    sizes = {name: np.asarray(each.size(jnp.asarray(delta))) for name, each in NORMS.items()}
    sizes["l0"] = (delta != 0).sum(axis=(1, 2, 3))
    reached, reached_8bit = (np.asarray(goal.reached(jnp.asarray(z), labels)) for z in (exact, after))
    similar = metrics.ssim(images / 255, rounded / 255)
    return Attacked(rounded, before, after, reached, reached_8bit, sizes, similar, iterations, passes if count else None)


def attacked_at(
    attack_at: Callable[[float], Attack],
    logits_fn: LogitsFn,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    key: jax.Array,
    norm: Norm,
    eps: Sequence[float],
    targeted: bool = False,
    batch_size: int = 64,
    count: bool = False,
) -> dict[float, Attacked]:
    """`attacked` for several eps, in rising order.

    Each eps stands for itself: where an image is lost at a small eps and saved at a larger one, the attack has failed.

    Args:
        attack_at: eps -> the attack for it; the rest as for `attacked`.
    """
    options = {"norm": norm, "targeted": targeted, "batch_size": batch_size, "count": count}
    found = {}
    for number, level in enumerate(sorted(set(eps))):
        level_key = jax.random.fold_in(key, number)
        found[level] = attacked(attack_at(level), logits_fn, images, labels, key=level_key, eps=level, **options)
    return found


def broken_by(
    stages: Mapping[str, Attack],
    logits_fn: LogitsFn,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    key: jax.Array,
    norm: Norm,
    eps: float,
    batch_size: int = 64,
) -> np.ndarray:
    """Which of several attacks, each run on what those before left right, changes each image's class first.

    Args:
        stages: the attacks by name, in order; untargeted, within eps.
        images, labels: uint8 [N, 48, 48] and their true labels int [N]; the rest as for `attacked`.

    Returns:
        int [N]: the number of the stage, -1 where the clean image is wrong already, len(stages) where none succeeds. Judged
        on the images as floats: rounding to 8 bits would only hide successes.
    """
    right = predict_logits(logits_fn, images, batch_size).argmax(axis=1) == labels
    broken = np.where(right, len(stages), -1)
    for number, attack in enumerate(stages.values()):
        rows = np.flatnonzero(broken == len(stages))
        if not len(rows):
            break
        stage_key, options = jax.random.fold_in(key, number), {"norm": norm, "eps": eps, "batch_size": batch_size}
        found = attacked(attack, logits_fn, images[rows], labels[rows], key=stage_key, **options)
        broken[rows[found.reached]] = number
    return broken


def accuracy_curve(
    stages: Callable[[float], Mapping[str, Attack]],
    logits_fn: LogitsFn,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    key: jax.Array,
    norm: Norm,
    eps: Sequence[float],
    batch_size: int = 64,
) -> list[dict[str, float]]:
    """Accuracy against eps, falling by construction: what a smaller eps breaks is broken at every larger one.

    That holds because the smaller ball lies in the larger, and spares attacking such an image again.

    Args:
        stages: eps -> the attacks for it by name, in order, as for `broken_by`.
        images, labels: uint8 [N, 48, 48] and their true labels int [N], N >= 1.
        eps: sizes above 0, in any order.

    Returns:
        For eps 0, which is the clean accuracy, and each other in rising order: "eps", "robust" (images still right), "n",
        "accuracy", and "low" and "high", a 95 % Wilson interval.
    """
    right = predict_logits(logits_fn, images, batch_size).argmax(axis=1) == labels
    least = np.where(right, np.inf, 0.0)  # the smallest eps that breaks each image
    levels = sorted(set(eps))
    for number, level in enumerate(levels):
        rows, attacks, options = np.flatnonzero(np.isinf(least)), stages(level), {"norm": norm, "batch_size": batch_size}
        level_key = jax.random.fold_in(key, number)
        broken = broken_by(attacks, logits_fn, images[rows], labels[rows], key=level_key, eps=level, **options)
        least[rows[broken < len(attacks)]] = level
    return [_robust(level, least > level) for level in (0.0, *levels)]


def _robust(eps: float, right: np.ndarray) -> dict[str, float]:
    robust, n = int(right.sum()), len(right)
    low, high = metrics.wilson(robust, n)
    return {"eps": eps, "robust": robust, "n": n, "accuracy": robust / n, "low": low, "high": high}


def _rounded(floats: np.ndarray, images: np.ndarray, norm: Norm | None, eps: float) -> np.ndarray:
    """uint8 [N, 48, 48], within eps: where rounding would leave the ball, by a little, the change is shrunk first."""
    delta = 255 * floats[..., 0] - images
    best = images + np.trunc(delta)  # towards the original: smaller in every norm
    for share in _SHRUNK:
        tried = np.clip(np.rint(images + share * delta), 0, 255)
        size = norm.size(jnp.asarray((tried - images)[..., None] / 255, jnp.float32)) if norm else np.zeros(len(images))
        best = np.where((np.asarray(size) <= eps + 1e-6)[:, None, None], tried, best)
    return best.astype(np.uint8)


def _run(attack, logits_fn, images, labels, key, batch_size, count) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The attack's images, float32 [N, 48, 48, 1], and of each its iterations and, with `count`, its passes."""
    floats, iterations = np.zeros((*images.shape, 1), np.float32), np.zeros(len(images), int)
    passes = {way: np.zeros(len(images)) for way in ("forward", "backward")}
    for start in range(0, len(images), batch_size):
        rows, batch_key = slice(start, start + batch_size), jax.random.fold_in(key, start)
        runner, begun = Counted(attack) if count else attack, steps_so_far()
        floats[rows] = _attack_batch(runner, logits_fn, images[rows], labels[rows], batch_key, batch_size)
        iterations[rows] = steps_so_far() - begun
        if isinstance(runner, Counted):
            passes["forward"][rows] = runner.forward / runner.images
            passes["backward"][rows] = runner.backward / runner.images
    return floats, iterations, passes


def _attack_batch(attack, logits_fn, images, labels, key, batch_size) -> np.ndarray:
    """The attack's images for up to `batch_size` rows. Every batch is filled up, by its own rows again, so that all compile
    alike, and an attack that looks at all images together sees no others.
    """
    rows = np.arange(batch_size) % len(images)
    padded = images[rows, :, :, None] / np.float32(255)
    goals = np.asarray(labels, np.int32)[rows]
    hacked = np.asarray(attack(key, logits_fn, jnp.asarray(padded), jnp.asarray(goals)), np.float32)[: len(images)]
    if not np.isfinite(hacked).all():
        raise ValueError("the attack returned images that are not finite")
    return hacked


def _inside(hacked: np.ndarray, images: np.ndarray, norm: Norm | None, eps: float) -> np.ndarray:
    original = images[..., None] / np.float32(255)
    if norm is not None:
        hacked = original + np.asarray(norm.project(jnp.asarray(hacked - original), eps))
    return np.clip(hacked, 0, 1)


def summary(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mean cross-entropy in nats, accuracy, and macro-averaged precision, recall and F1 in [0, 1].

    Args:
        logits: float [N, C], unnormalised; log-probabilities serve too.
        labels: int [N] in 0..C-1, N >= 1.
    """
    labels, predictions = np.asarray(labels), logits.argmax(axis=1)
    scores = metrics.per_class(metrics.confusion(labels, predictions, logits.shape[1]))
    return {
        "loss": float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()),
        "accuracy": metrics.accuracy(labels, predictions),
        "precision": float(scores.precision.mean()),
        "recall": float(scores.recall.mean()),
        "f1": float(scores.f1.mean()),
    }


def report(
    labels: np.ndarray, predictions: np.ndarray, subsets: dict[str, np.ndarray], emotions: tuple[str, ...] = EMOTIONS
) -> dict:
    """Everything that we publish about predictions, as builtins (ready for JSON).

    Args:
        labels, predictions: int [N], indices into `emotions`, N >= 1.
        subsets: name -> bool [N], the rows that it takes; an empty subset is left out.

    Returns:
        "accuracy": subset -> {"rows", "correct", "accuracy", "low", "high"}, the last two a 95 % Wilson interval;
        "per_class": emotion -> {"precision", "recall", "f1", "support"}; "macro_f1", "balanced_accuracy"; and
        "confusion_matrix", C x C counts, rows the true class.
    """
    matrix = metrics.confusion(labels, predictions, len(emotions))
    columns = metrics.per_class(matrix)
    return {
        "accuracy": {name: _accuracy(labels[rows], predictions[rows]) for name, rows in subsets.items() if rows.any()},
        "per_class": {
            emotion: {field: values[k].item() for field, values in columns._asdict().items()}
            for k, emotion in enumerate(emotions)
        },
        "macro_f1": metrics.macro_f1(matrix),
        "balanced_accuracy": metrics.balanced_accuracy(matrix),
        "confusion_matrix": matrix.tolist(),
    }


def probability_report(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """How good the probabilities, float [N, C], are: "brier", "negative_log_likelihood" and "calibration_error" (of 15
    bins of equal mass), and the accuracy of two simpler questions, "happy_against_sad" (asked of the rows that are
    either) and "valence" (positive, negative or neutral; see `labels.VALENCE`). Labels are int [N] in 0..C-1, N >= 1.
    """
    return {
        "brier": metrics.brier(labels, probabilities),
        "negative_log_likelihood": metrics.negative_log_likelihood(labels, probabilities),
        "calibration_error": metrics.calibration_error(metrics.reliability(labels, probabilities)),
        "happy_against_sad": metrics.pair_accuracy(labels, probabilities, index("happy"), index("sad")),
        "valence": metrics.grouped_accuracy(labels, probabilities, np.array(VALENCE[: probabilities.shape[1]])),
    }


def describe_probabilities(before: dict[str, float], after: dict[str, float]) -> str:
    """Two `probability_report`s, before and after temperature scaling, as lines for the terminal."""
    names = {
        "brier": "mean squared error of the probabilities (Brier)",
        "negative_log_likelihood": "negative log-likelihood (nats)",
        "calibration_error": "calibration error (15 equal-mass bins)",
    }
    lines = [f"{'':48}{'unscaled':>9}{'scaled':>9}"]
    lines += [f"{name:48}{before[key]:9.4f}{after[key]:9.4f}" for key, name in names.items()]
    lines.append("")
    lines.append(f"happy against sad {after['happy_against_sad']:.1%}; positive, negative or neutral {after['valence']:.1%}")
    return "\n".join(lines)


def describe(results: dict) -> str:
    """A `report` as a table for the terminal, figures in percent."""
    lines = [f"{'emotion':10}{'precision':>10}{'recall':>8}{'F1':>8}{'support':>9}"]
    for emotion, row in results["per_class"].items():
        percents = f"{row['precision']:>10.1%}{row['recall']:>8.1%}{row['f1']:>8.1%}"
        lines.append(f"{emotion:10}{percents}{row['support']:>9,}")
    lines += ["", f"macro F1 {results['macro_f1']:.1%}, balanced accuracy {results['balanced_accuracy']:.1%}", ""]
    width = max(map(len, results["accuracy"]))
    for name, row in results["accuracy"].items():
        interval = f"95% interval {row['low']:.2%} to {row['high']:.2%}"
        lines.append(f"accuracy on {name:{width}} {row['accuracy']:7.2%}  {interval}  ({row['rows']:,} rows)")
    return "\n".join(lines)


def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> dict:
    correct = int((labels == predictions).sum())
    low, high = metrics.wilson(correct, len(labels))
    return {"rows": len(labels), "correct": correct, "accuracy": correct / len(labels), "low": low, "high": high}
