"""Evaluation of attacks, whose claims are not believed: their images are clipped and judged anew."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks import NORMS, Counted, Goal, Norm, margin
from fer_jax.attacks.loop import steps_so_far
from fer_jax.evaluation import metrics
from fer_jax.evaluation.logits import check_images, predict_floats, predict_logits
from fer_jax.types import Attack, LogitsFn

# shares of a perturbation that are tried when it is rounded
_SHRUNK = (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


class Attacked(NamedTuple):
    """What an attack achieved, as the evaluator found it, one entry per image.

    Attributes:
        images: uint8 [N, 48, 48], rounded to 8 bits: what can be saved.
        before, after: float32 [N, C], logits of the original and of the rounded images.
        reached: bool [N], whether the goal was reached before rounding.
        reached_8bit: bool [N], and whether the rounded image, which lies within eps too, reaches
            it.
        norms: "l0" (pixels changed), "l1", "l2", "linf" of the rounded perturbation, the last three
            in 8-bit levels, [N].
        ssim: [N], of original and rounded image.
        iterations: int [N], steps that the attack made on the batch that the image was in, over all
            restarts, targets and stages; 0 for an attack that makes none by `attacks.loop.repeat`.
        passes: "forward" and "backward" passes of the network that the attack took for each image,
            float [N]; None where they were not counted.
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
    """Run an attack and believe nothing that it says: its images are clipped to the box and the
    ball and judged anew.

    Args:
        images: uint8 [N, 48, 48].
        labels: int [N], the true ones, or with `targeted` where the attack is to lead.
        key: random numbers; every batch gets its own.
        norm, eps: of the ball that the attack promises to stay in; without a norm only the box is
            enforced.
        logits_fn: in evaluation mode, as for `predict_logits`.
        count: also count passes; the programs are then compiled anew in every process, see
            `attacks.passes`.

    Raises:
        ValueError: the attack returned values that are not finite.
    """
    check_images(images)
    floats, iterations, passes = _run(attack, logits_fn, images, labels, key, batch_size, count)
    floats = _inside(floats, images, norm, eps)
    rounded = _rounded(floats, images, norm, eps)
    before, after = (predict_logits(logits_fn, each, batch_size) for each in (images, rounded))
    exact = predict_floats(logits_fn, floats, batch_size)
    goal = Goal(margin, targeted)
    delta = (rounded.astype(np.float32) - images)[..., None]
    sizes = {name: np.asarray(each.size(jnp.asarray(delta))) for name, each in NORMS.items()}
    sizes["l0"] = (delta != 0).sum(axis=(1, 2, 3))
    reached, reached_8bit = (
        np.asarray(goal.reached(jnp.asarray(z), labels)) for z in (exact, after)
    )
    similar = metrics.ssim(images / 255, rounded / 255)
    return Attacked(
        rounded,
        before,
        after,
        reached,
        reached_8bit,
        sizes,
        similar,
        iterations,
        passes if count else None,
    )


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

    Each eps stands for itself: where an image is lost at a small eps and saved at a larger one, the
    attack has failed.

    Args:
        attack_at: eps -> the attack for it; the rest as for `attacked`.
    """
    options = {"norm": norm, "targeted": targeted, "batch_size": batch_size, "count": count}
    found = {}
    for number, level in enumerate(sorted(set(eps))):
        level_key = jax.random.fold_in(key, number)
        found[level] = attacked(
            attack_at(level), logits_fn, images, labels, key=level_key, eps=level, **options
        )
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
    """Which of several attacks, each run on what those before left right, changes each image's
    class first.

    Args:
        stages: the attacks by name, in order; untargeted, within eps.
        images, labels: uint8 [N, 48, 48] and their true labels int [N]; the rest as for `attacked`.

    Returns:
        int [N]: the number of the stage, -1 where the clean image is wrong already, len(stages)
        where none succeeds. Judged on the images as floats: rounding to 8 bits would only hide
        successes.
    """
    right = predict_logits(logits_fn, images, batch_size).argmax(axis=1) == labels
    broken = np.where(right, len(stages), -1)
    for number, attack in enumerate(stages.values()):
        rows = np.flatnonzero(broken == len(stages))
        if not len(rows):
            break
        stage_key, options = (
            jax.random.fold_in(key, number),
            {"norm": norm, "eps": eps, "batch_size": batch_size},
        )
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
    """Accuracy against eps, falling by construction: what a smaller eps breaks is broken at every
    larger one.

    That holds because the smaller ball lies in the larger, and spares attacking such an image
    again.

    Args:
        stages: eps -> the attacks for it by name, in order, as for `broken_by`.
        images, labels: uint8 [N, 48, 48] and their true labels int [N], N >= 1.
        eps: sizes above 0, in any order.

    Returns:
        For eps 0, which is the clean accuracy, and each other in rising order: "eps", "robust"
            (images still right), "n",
        "accuracy", and "low" and "high", a 95 % Wilson interval.
    """
    right = predict_logits(logits_fn, images, batch_size).argmax(axis=1) == labels
    least = np.where(right, np.inf, 0.0)  # the smallest eps that breaks each image
    levels = sorted(set(eps))
    for number, level in enumerate(levels):
        rows, attacks, options = (
            np.flatnonzero(np.isinf(least)),
            stages(level),
            {"norm": norm, "batch_size": batch_size},
        )
        level_key = jax.random.fold_in(key, number)
        broken = broken_by(
            attacks, logits_fn, images[rows], labels[rows], key=level_key, eps=level, **options
        )
        least[rows[broken < len(attacks)]] = level
    return [_robust(level, least > level) for level in (0.0, *levels)]


def _robust(eps: float, right: np.ndarray) -> dict[str, float]:
    robust, n = int(right.sum()), len(right)
    low, high = metrics.wilson(robust, n)
    return {"eps": eps, "robust": robust, "n": n, "accuracy": robust / n, "low": low, "high": high}


def _rounded(floats: np.ndarray, images: np.ndarray, norm: Norm | None, eps: float) -> np.ndarray:
    """uint8 [N, 48, 48], within eps: where rounding would leave the ball, by a little, the change
    is shrunk first.
    """
    delta = 255 * floats[..., 0] - images
    best = images + np.trunc(delta)  # towards the original: smaller in every norm
    for share in _SHRUNK:
        tried = np.clip(np.rint(images + share * delta), 0, 255)
        size = (
            norm.size(jnp.asarray((tried - images)[..., None] / 255, jnp.float32))
            if norm
            else np.zeros(len(images))
        )
        best = np.where((np.asarray(size) <= eps + 1e-6)[:, None, None], tried, best)
    return best.astype(np.uint8)


def _run(
    attack, logits_fn, images, labels, key, batch_size, count
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The attack's images, float32 [N, 48, 48, 1], and of each its iterations and, with `count`,
    its passes.
    """
    floats, iterations = np.zeros((*images.shape, 1), np.float32), np.zeros(len(images), int)
    passes = {way: np.zeros(len(images)) for way in ("forward", "backward")}
    for start in range(0, len(images), batch_size):
        rows, batch_key = slice(start, start + batch_size), jax.random.fold_in(key, start)
        runner, begun = Counted(attack) if count else attack, steps_so_far()
        floats[rows] = _attack_batch(
            runner, logits_fn, images[rows], labels[rows], batch_key, batch_size
        )
        iterations[rows] = steps_so_far() - begun
        if isinstance(runner, Counted):
            passes["forward"][rows] = runner.forward / runner.images
            passes["backward"][rows] = runner.backward / runner.images
    return floats, iterations, passes


def _attack_batch(attack, logits_fn, images, labels, key, batch_size) -> np.ndarray:
    """The attack's images for up to `batch_size` rows. Every batch is filled up, by its own rows
    again, so that all compile alike, and an attack that looks at all images together sees no
    others.
    """
    rows = np.arange(batch_size) % len(images)
    padded = images[rows, :, :, None] / np.float32(255)
    goals = np.asarray(labels, np.int32)[rows]
    hacked = np.asarray(
        attack(key, logits_fn, jnp.asarray(padded), jnp.asarray(goals)), np.float32
    )[: len(images)]
    if not np.isfinite(hacked).all():
        raise ValueError("the attack returned images that are not finite")
    return hacked


def _inside(hacked: np.ndarray, images: np.ndarray, norm: Norm | None, eps: float) -> np.ndarray:
    original = images[..., None] / np.float32(255)
    if norm is not None:
        hacked = original + np.asarray(norm.project(jnp.asarray(hacked - original), eps))
    return np.clip(hacked, 0, 1)
