"""Steps along the gradient with a perturbation of at most eps: FGSM, BIM, PGD, MI-FGSM.

All return the image that served the goal best: among those that reach it, else among all, the one
of the highest value.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from fer_jax.attacks.loop import prepared, repeat, value_and_gradient
from fer_jax.attacks.norms import Norm, choose, linf, per_image
from fer_jax.attacks.objectives import Goal, Objective, cross_entropy
from fer_jax.types import Images, LogitsFn


class Best(NamedTuple):
    """The best images met so far, whether they reach the goal [B], and their values [B]."""

    images: jax.Array
    reached: jax.Array
    values: jax.Array


class _State(NamedTuple):
    images: jax.Array
    momentum: jax.Array
    best: Best


def fgsm(
    key, logits_fn, images, labels, /, *, eps: float, targeted=False, random_start=False
) -> Images:
    """Make one step of size eps along the gradient's sign; from a random start, of size 1.25 eps.

    Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015,
    https://arxiv.org/abs/1412.6572; random start: Wong et al., "Fast is better than free", ICLR
    2020, https://arxiv.org/abs/2001.03994
    """
    options = {"eps": eps, "step_size": 1.25 * eps if random_start else eps, "steps": 1}
    options |= {"targeted": targeted, "random_start": random_start}
    return pgd(key, logits_fn, images, labels, **options)


def pgd(
    key,
    logits_fn,
    images,
    labels,
    /,
    *,
    eps: ArrayLike,
    step_size: ArrayLike,
    steps: int,
    norm: Norm = linf,
    objective: Objective = cross_entropy,
    targeted: bool = False,
    random_start: bool = True,
    restarts: int = 1,
    decay: float | None = None,
    keep_best: bool = True,
) -> Images:
    """Ascend the objective by gradient steps, projected onto the ball.

    Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018,
    https://arxiv.org/abs/1706.06083

    Costs steps + 1 forward and `steps` backward passes for each of the `restarts` (one without a
    random start), the best of which is kept per image. `decay` is that of accumulated gradients
    (`mifgsm`). Without `keep_best` the last image comes back, as from most libraries, even where an
    earlier one was better.
    """
    goal = Goal(objective, targeted)
    key, logits_fn, images, labels = prepared(key, logits_fn, images, labels)

    def run(run_key: jax.Array) -> Best:
        start = _start(run_key, images, eps, norm=norm) if random_start else images
        nothing = jnp.zeros(len(images))
        state = _State(start, jnp.zeros_like(images), Best(start, nothing > 0, nothing - jnp.inf))
        static = {"norm": norm, "goal": goal, "decay": decay}
        state = repeat(_step, steps, state, logits_fn, images, labels, eps, step_size, **static)
        last = judge(logits_fn, state.images, labels, goal=goal)
        return better(state.best, last) if keep_best else last

    keys = jax.random.split(key, restarts if random_start else 1)
    return functools.reduce(better, map(run, keys)).images


# FGSM in small steps, from the image itself: Kurakin et al., "Adversarial examples in the physical
# world", 2017, https://arxiv.org/abs/1607.02533
bim = functools.partial(pgd, random_start=False)
# Along the sign of summed gradients, each divided by its mean size beforehand: Dong et al.,
# "Boosting Adversarial Attacks with Momentum", CVPR 2018, https://arxiv.org/abs/1710.06081
mifgsm = functools.partial(pgd, random_start=False, decay=1.0)


def better(one: Best, other: Best) -> Best:
    """Return for each image the one that alone reaches the goal, else the one of higher value."""
    wins = jnp.where(one.reached == other.reached, other.values > one.values, other.reached)
    return choose(wins, other, one)


@functools.partial(jax.jit, static_argnames="norm")
def _start(key: jax.Array, images: jax.Array, eps: jax.Array, norm: Norm) -> jax.Array:
    return jnp.clip(images + norm.random_start(key, images.shape, eps), 0, 1)


@functools.partial(jax.jit, static_argnames="goal")
def judge(logits_fn: LogitsFn, images: jax.Array, labels: jax.Array, goal: Goal) -> Best:
    """Return the images, whether they reach the goal, and their values."""
    logits = logits_fn(images).astype(jnp.float32)
    return Best(images, goal.reached(logits, labels), goal.value(logits, labels))


@functools.partial(jax.jit, static_argnames=("norm", "goal", "decay"))
def _step(
    i, state: _State, logits_fn, images, labels, eps, step_size, *, norm: Norm, goal: Goal, decay
) -> _State:
    value = lambda logits: goal.value(logits, labels)
    logits, values, gradient = value_and_gradient(logits_fn, state.images, value)
    best = better(state.best, Best(state.images, goal.reached(logits, labels), values))
    if decay is not None:
        size = jnp.abs(gradient).mean(axis=(1, 2, 3), keepdims=True)
        gradient = decay * state.momentum + gradient / jnp.maximum(size, 1e-12)
    moved = state.images + per_image(step_size, images) * norm.steepest(gradient)
    moved = jnp.clip(images + norm.project(moved - images, eps), 0, 1)
    return _State(moved, gradient, best)
