"""AutoAttack: four attacks without a parameter to tune, each on the images that the ones before
left right.

    hacked = autoattack(key, logits_fn, images, labels, eps=8 / 255)
    hacked = autoattack(key, logits_fn, images, targets, eps=8 / 255, targeted=True)

Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020: APGD on cross-entropy, APGD and FAB towards every other class,
and Square with 5,000 queries. An image counts as robust only if none of them changes its class. The
published ensemble knows no target; ours climbs, with `targeted`, the target's cross-entropy and its
margin by APGD, then by Square.

    drawn = averaged(random_logits_fn, defence_key, samples=20)
    hacked = autoattack(key, drawn, images, labels, eps=8 / 255, version="rand")

For defences that draw random numbers the authors' second ensemble, "rand", is APGD on cross-entropy
and on DLR, with the gradient averaged over 20 draws.
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
from fer_jax.attacks.objectives import Goal, dlr, margin
from fer_jax.attacks.square import square
from fer_jax.types import Attack, Images, Labels, LogitsFn

VERSIONS = ("standard", "rand")


def stages(
    eps: float,
    norm: Norm = linf,
    steps: int = 100,
    queries: int = 5000,
    targeted: bool = False,
    version: str = "standard",
) -> dict[str, Attack]:
    """A version's attacks by name, in order; for Linf or L2."""
    if version not in VERSIONS:
        raise ValueError(
            f"AutoAttack's version must be one of {', '.join(VERSIONS)}, received {version!r}"
        )
    climb = functools.partial(apgd, eps=eps, steps=steps, norm=norm, targeted=targeted)
    if version == "rand":
        name, objective = ("apgd-margin", margin) if targeted else ("apgd-dlr", dlr)
        return {"apgd-ce": climb, name: functools.partial(climb, objective=objective)}
    if targeted:
        search = functools.partial(square, eps=eps, norm=norm, queries=queries, targeted=True)
        return {
            "apgd-ce": climb,
            "apgd-margin": functools.partial(climb, objective=margin),
            "square": search,
        }
    return {
        "apgd-ce": climb,
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
    targeted: bool = False,
    version: str = "standard",
    batch_size: int = 64,
    told: Callable[[str, int], None] | None = None,
) -> Images:
    """The ensemble, for 3 classes and more. Runs on the host: which images go on depends on what
    was found.

    Args:
        images: float32 [N, H, W, C] in [0, 1]; those that the network gets wrong already come back
            as they are.
        labels: int [N], the true ones, or with `targeted` where to go.
        version: "standard", or "rand" for a random defence that `eot.averaged` made a function of
            images alone.
        batch_size: of what is attacked together; the last batch is filled up, so that one program
            serves all.
        told: called after each stage with its name and the number of images that have not reached
            the goal.
    """
    logits_fn, hacked, labels = traced(logits_fn), np.array(images, np.float32), np.asarray(labels)
    goal = Goal(margin, targeted)
    missing = ~_reached(logits_fn, hacked, labels, goal, batch_size)
    for number, (name, attack) in enumerate(
        stages(eps, norm, steps, queries, targeted, version).items()
    ):
        rows = np.flatnonzero(missing)
        for start, batch in _batches(rows, batch_size):
            batch_key = jax.random.fold_in(jax.random.fold_in(key, number), start)
            found = np.asarray(
                attack(batch_key, logits_fn, jnp.asarray(hacked[batch]), jnp.asarray(labels[batch]))
            )
            reached = _reached(logits_fn, found, labels[batch], goal, batch_size)
            hacked[batch[reached]], missing[batch[reached]] = found[reached], False
        if told is not None:
            told(name, int(missing.sum()))
    return jnp.asarray(hacked)


def _batches(rows: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows in groups of exactly `size`; the last is filled up by repeating its first row, which
    does no harm.
    """
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        yield start, np.concatenate([batch, np.full(size - len(batch), batch[0])])


def _reached(
    logits_fn: LogitsFn, images: np.ndarray, labels: np.ndarray, goal: Goal, size: int
) -> np.ndarray:
    reached = np.zeros(len(images), bool)
    for _, batch in _batches(np.arange(len(images)), size):
        logits = _logits(logits_fn, jnp.asarray(images[batch]))
        reached[batch] = np.asarray(goal.reached(logits, jnp.asarray(labels[batch])))
    return reached


@jax.jit
def _logits(logits_fn: LogitsFn, images: jax.Array) -> jax.Array:
    return logits_fn(images)
