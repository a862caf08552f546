"""AutoAttack: four attacks without a parameter to tune, each on the images that the ones before left right.

    hacked = autoattack(key, logits_fn, images, labels, eps=8 / 255)

Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML 2020:
APGD on cross-entropy, APGD and FAB towards every other class, and Square with 5,000 queries. An image counts as robust only
if none of them changes its class.
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks.apgd import apgd, apgd_targeted
from fer_jax.attacks.fab import fab_targeted
from fer_jax.attacks.loop import traced
from fer_jax.attacks.norms import Norm, linf
from fer_jax.attacks.square import square
from fer_jax.types import Attack, Images, Labels, LogitsFn

STAGES = ("apgd-ce", "apgd-t", "fab-t", "square")


def stages(eps: float, norm: Norm = linf, steps: int = 100, queries: int = 5000) -> dict[str, Attack]:
    """The standard attacks by name, in order; for Linf or L2."""
    return {
        "apgd-ce": functools.partial(apgd, eps=eps, steps=steps, norm=norm),
        "apgd-t": functools.partial(apgd_targeted, eps=eps, steps=steps, norm=norm),
        "fab-t": functools.partial(fab_targeted, eps=eps, steps=steps, norm=norm),
        "square": functools.partial(square, eps=eps, norm=norm, queries=queries),
    }


def autoattack(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    /,
    *,
    eps: float,
    norm: Norm = linf,
    steps: int = 100,
    queries: int = 5000,
    batch_size: int = 64,
    told: Callable[[str, int], None] | None = None,
) -> Images:
    """The standard ensemble, for 4 classes and more. Runs on the host: which images go on depends on what was found.

    Args:
        images: float32 [N, H, W, C] in [0, 1]; those that the network gets wrong already come back as they are.
        batch_size: of what is attacked together; the last batch is filled up, so that one program serves all.
        told: called after each stage with its name and the number of images that are still right.
    """
    logits_fn, hacked, labels = traced(logits_fn), np.array(images, np.float32), np.asarray(labels)
    right = _right(logits_fn, hacked, labels, batch_size)
    for number, (name, attack) in enumerate(stages(eps, norm, steps, queries).items()):
        rows = np.flatnonzero(right)
        for start, batch in _batches(rows, batch_size):
            batch_key = jax.random.fold_in(jax.random.fold_in(key, number), start)
            found = np.asarray(attack(batch_key, logits_fn, jnp.asarray(hacked[batch]), jnp.asarray(labels[batch])))
            still = _right(logits_fn, found, labels[batch], batch_size)
            fooled = batch[~still]
            hacked[fooled], right[fooled] = found[~still], False
        if told is not None:
            told(name, int(right.sum()))
    return jnp.asarray(hacked)


def _batches(rows: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows in groups of exactly `size`; the last is filled up by repeating its first row, which does no harm."""
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        yield start, np.concatenate([batch, np.full(size - len(batch), batch[0])])


def _right(logits_fn: LogitsFn, images: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    right = np.zeros(len(images), bool)
    for _, batch in _batches(np.arange(len(images)), size):
        logits = np.asarray(_logits(logits_fn, jnp.asarray(images[batch])))
        right[batch] = logits.argmax(axis=1) == labels[batch]
    return right


@jax.jit
def _logits(logits_fn: LogitsFn, images: jax.Array) -> jax.Array:
    return logits_fn(images)
