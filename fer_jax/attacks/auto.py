"""AutoAttack: four attacks without a parameter to tune, each on what the ones before left right.

    hacked = autoattack(key, logits_fn, images, labels, eps=8 / 255)

Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, https://arxiv.org/abs/2003.01690: APGD on cross-entropy, APGD
and FAB towards every other class, and Square with 5,000 queries. An image counts as robust only if
none of them changes its class. The published ensemble knows no target; ours climbs, with
`targeted`, the target's cross-entropy and its margin by APGD, then by Square.

For defences that draw random numbers, made functions of images alone by `eot.averaged`, the
authors' second ensemble, "rand", is APGD on cross-entropy and on DLR.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks.apgd import apgd, apgd_targeted
from fer_jax.attacks.fab import fab_targeted
from fer_jax.attacks.loop import Given, prepared
from fer_jax.attacks.norms import Norm, linf
from fer_jax.attacks.objectives import Goal, dlr, margin
from fer_jax.attacks.square import square
from fer_jax.types import Attack, Images, LogitsFn


def stages(
    eps: float,
    norm: Norm = linf,
    steps: int = 100,
    queries: int = 5000,
    targeted: bool = False,
    version: str = "standard",
) -> dict[str, Attack]:
    """Return a version's attacks by name, in order; for Linf or L2."""
    if version not in ("standard", "rand"):
        rule = "AutoAttack's version must be one of standard, rand"
        raise ValueError(f"{rule}, received {version!r}")
    ball = {"eps": eps, "norm": norm}
    climb = functools.partial(apgd, **ball, steps=steps, targeted=targeted)
    search = functools.partial(square, **ball, queries=queries, targeted=targeted)
    found = {"apgd-ce": climb}
    if targeted:
        found["apgd-margin"] = functools.partial(climb, objective=margin)
    elif version == "rand":
        found["apgd-dlr"] = functools.partial(climb, objective=dlr)
    else:
        found["apgd-t"] = functools.partial(apgd_targeted, **ball, steps=steps)
        found["fab-t"] = functools.partial(fab_targeted, **ball, steps=steps)
    return found if version == "rand" else found | {"square": search}


def in_turn(
    stages: Mapping[str, Attack],
    waiting: np.ndarray,
    run: Callable[[int, Attack, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Run each attack on the images that those before it left.

    `waiting`, bool [N], says which are attacked at all; `run` takes the stage's number, its attack
    and rows, int [M], to bool [M], whether each reached the goal. Returns int [N], the number of
    the stage that reached it; len(stages) where none did, -1 where none was tried.
    """
    first = np.where(waiting, len(stages), -1)
    for number, attack in enumerate(stages.values()):
        rows = np.flatnonzero(first == len(stages))
        if len(rows):
            first[rows[run(number, attack, rows)]] = number
    return first


def autoattack(
    *given: *Given,
    eps: float,
    norm: Norm = linf,
    steps: int = 100,
    queries: int = 5000,
    targeted: bool = False,
    version: str = "standard",
    batch_size: int = 64,
) -> Images:
    """Run the ensemble, for 3 classes and more; on the host, which picks the images that go on.

    Images that reach the goal already come back as they are.
    """
    key, logits_fn, images, goals = prepared(*given)
    labels = np.asarray(goals)
    goal = Goal(margin, targeted)
    hacked = np.array(images, np.float32)

    def reached(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        logits = _logits(logits_fn, jnp.asarray(images))
        return np.asarray(goal.reached(logits, jnp.asarray(labels)))

    def run(number: int, attack: Attack, rows: np.ndarray) -> np.ndarray:
        for start in range(0, len(rows), batch_size):
            batch = _filled(rows[start : start + batch_size], batch_size)
            batch_key = jax.random.fold_in(jax.random.fold_in(key, number), start)
            given = jnp.asarray(hacked[batch]), jnp.asarray(labels[batch])
            found = np.asarray(attack(batch_key, logits_fn, *given))
            won = reached(found, labels[batch])
            hacked[batch[won]] = found[won]
            done[batch[won]] = True
        return done[rows]

    done = np.zeros(len(labels), bool)
    for start in range(0, len(labels), batch_size):
        batch = _filled(np.arange(start, min(start + batch_size, len(labels))), batch_size)
        done[batch] = reached(hacked[batch], labels[batch])
    in_turn(stages(eps, norm, steps, queries, targeted, version), ~done, run)
    return jnp.asarray(hacked)


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    """Return `size` rows: these, and the first of them again and again, which does no harm."""
    return np.concatenate([rows, np.full(size - len(rows), rows[0])])


@jax.jit
def _logits(logits_fn: LogitsFn, images: jax.Array) -> jax.Array:
    return logits_fn(images)
