"""The judge of attacks, who believes no claim: their images are brought inside and judged anew.

Labels are the true ones, or with `targeted` where the attack is to lead; norm and eps are of the
ball that it promises to stay in; every batch gets a key of its own.

found = attacked(attack, logits_fn, images, labels, key=key, norm=linf, eps=8 / 255)
found.reached_8bit.mean(), found.ssim.mean()
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks import NORMS, Goal, Norm, margin
from fer_jax.attacks.auto import in_turn
from fer_jax.evaluation import metrics
from fer_jax.evaluation.logits import check_images, predict_floats, predict_logits
from fer_jax.types import Attack, LogitsFn

# shares of a perturbation that are tried when it is rounded
_SHRUNK = (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


class Attacked(NamedTuple):
    """What an attack achieved, one entry per image."""

    images: np.ndarray  # uint8 [N, 48, 48], rounded to 8 bits within eps: what can be saved
    before: np.ndarray  # float32 [N, C], logits of the original images
    after: np.ndarray  # and of the rounded ones
    reached: np.ndarray  # bool [N], whether the goal was reached before rounding
    reached_8bit: np.ndarray  # and after
    norms: dict[str, np.ndarray]  # "l0" (pixels), "l1", "l2", "linf" (8-bit levels) after rounding
    ssim: np.ndarray  # [N], of original and rounded image


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
) -> Attacked:
    """Run an attack on uint8 [N, 48, 48], and measure what it achieved, also rounded to 8 bits.

    Without a norm only the box is enforced. Raises a ValueError if the attack returns values that
    are not finite.
    """
    options = {"norm": norm, "eps": eps, "targeted": targeted, "batch_size": batch_size}
    floats, reached = _judged(attack, logits_fn, images, labels, key=key, **options)
    rounded = _rounded(floats, images, norm, eps)
    before = predict_logits(logits_fn, images, batch_size)
    after = predict_logits(logits_fn, rounded, batch_size)
    delta = (rounded.astype(np.float32) - images)[..., None]
    sizes = {name: np.asarray(each.size(jnp.asarray(delta))) for name, each in NORMS.items()}
    sizes["l0"] = (delta != 0).sum(axis=(1, 2, 3))
    reached_8bit = _reached(after, labels, targeted)
    ssim = metrics.ssim(images / 255, rounded / 255)
    return Attacked(rounded, before, after, reached, reached_8bit, sizes, ssim)


def broken_by(
    stages: dict[str, Attack], logits_fn: LogitsFn, images, labels, *, key, norm, eps, batch_size=64
) -> np.ndarray:
    """Return which of several attacks, each run on what those before left, breaks each image.

    Of images uint8 [N, 48, 48]: the stage's number, int [N], -1 where the clean image is wrong
    already, len(stages) where none succeeds. Judged as floats: rounding would hide successes.
    """
    options = {"norm": norm, "eps": eps, "batch_size": batch_size}

    def run(number: int, attack: Attack, rows: np.ndarray) -> np.ndarray:
        stage_key = jax.random.fold_in(key, number)
        return _judged(attack, logits_fn, images[rows], labels[rows], key=stage_key, **options)[1]

    right = predict_logits(logits_fn, images, batch_size).argmax(axis=1) == labels
    return in_turn(stages, right, run)


def _judged(attack, logits_fn, images, labels, key, norm, eps, batch_size, targeted=False) -> tuple:
    """Run an attack; return its images, float32 in ball and box, and which reached the goal."""
    check_images(images)
    original = images[..., None] / np.float32(255)
    floats = np.zeros_like(original)
    for start in range(0, len(images), batch_size):
        # Filled up by its own rows a batch compiles as the others do, and an attack that looks at
        # all images together sees no others.
        count = min(batch_size, len(images) - start)
        rows = start + np.arange(batch_size) % count
        given = jnp.asarray(original[rows]), jnp.asarray(np.asarray(labels, np.int32)[rows])
        hacked = attack(jax.random.fold_in(key, start), logits_fn, *given)
        floats[rows[:count]] = np.asarray(hacked, np.float32)[:count]
    if not np.isfinite(floats).all():
        raise ValueError("the attack returned images that are not finite")
    if norm is not None:
        floats = original + np.asarray(norm.project(jnp.asarray(floats - original), eps))
    floats = np.clip(floats, 0, 1)
    logits = predict_floats(logits_fn, floats, batch_size)
    return floats, _reached(logits, labels, targeted)


def _reached(logits: np.ndarray, labels: np.ndarray, targeted: bool) -> np.ndarray:
    return np.asarray(Goal(margin, targeted).reached(jnp.asarray(logits), labels))


def _rounded(floats: np.ndarray, images: np.ndarray, norm: Norm | None, eps: float) -> np.ndarray:
    """Round to uint8 [N, 48, 48] within eps; a change that would leave the ball is shrunk first."""
    delta = 255 * floats[..., 0] - images
    shrunk = lambda share: np.clip(np.rint(images + share * delta), 0, 255)
    if norm is None:
        return shrunk(1.0).astype(np.uint8)
    best = images + np.trunc(delta)  # towards the original: smaller in every norm
    for tried in map(shrunk, _SHRUNK):
        size = norm.size(jnp.asarray((tried - images)[..., None] / 255, jnp.float32))
        best = np.where((np.asarray(size) <= eps + 1e-6)[:, None, None], tried, best)
    return best.astype(np.uint8)
