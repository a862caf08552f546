"""AutoAttack: four attacks without a parameter to tune, each on what the ones before left right.

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
from fer_jax.attacks.gradient import judge
from fer_jax.attacks.loop import prepared
from fer_jax.attacks.norms import Norm, linf
from fer_jax.attacks.objectives import Goal, dlr, margin
from fer_jax.attacks.square import square
from fer_jax.types import Attack, Images


def stages(
    eps: float, norm=linf, steps=100, queries=5000, targeted=False, version="standard"
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
    key,
    logits_fn,
    images,
    labels,
    /,
    *,
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
    key, logits_fn, images, goals = prepared(key, logits_fn, images, labels)
    labels = np.asarray(goals)
    hacked = np.array(images, np.float32)
    done = np.zeros(len(labels), bool)

    def run(number: int, attack: Attack, rows: np.ndarray) -> np.ndarray:
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            # filled up by its first row again and again, which does no harm
            batch = np.append(batch, np.full(batch_size - len(batch), batch[0]))
            batch_key = jax.random.fold_in(jax.random.fold_in(key, number), start)
            own = jnp.asarray(labels[batch])
            found = attack(batch_key, logits_fn, jnp.asarray(hacked[batch]), own)
            won = np.asarray(judge(logits_fn, found, own, goal=Goal(margin, targeted)).reached)
            hacked[batch[won]] = np.asarray(found)[won]
            done[batch[won]] = True
        return done[rows]

    nothing = lambda key, logits_fn, images, labels: images
    waiting = ~run(0, nothing, np.arange(len(labels)))
    in_turn(stages(eps, norm, steps, queries, targeted, version), waiting, run)
    return jnp.asarray(hacked)
