"""Auto-PGD: projected gradient ascent that chooses its own step size.

Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, algorithm 1, https://arxiv.org/abs/2003.01690. Steps start at
2 eps with momentum; at checkpoints ever closer together a step is halved, and the search goes back
to its best point, where the objective rose too seldom or has gained nothing since the last one.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from fer_jax.attacks.gradient import Best, better
from fer_jax.attacks.loop import prepared, repeat, value_and_gradient
from fer_jax.attacks.norms import Norm, choose, linf, per_image
from fer_jax.attacks.objectives import Goal, Objective, cross_entropy, targeted_dlr
from fer_jax.types import Images, LogitsFn

_MOMENTUM = 0.75  # share of the new step, alpha in the paper
_RISES = 0.75  # share of steps that must raise the objective, rho in the paper


class _Point(NamedTuple):
    images: jax.Array
    values: jax.Array  # [B]
    gradient: jax.Array


class _State(NamedTuple):
    now: _Point
    before: jax.Array  # the images before
    peak: _Point  # of the highest value
    best: Best
    step_size: jax.Array  # [B]
    rises: jax.Array  # [B], steps since the last checkpoint that raised the value
    halved: jax.Array  # bool [B], at the last checkpoint
    peak_then: jax.Array  # [B], the highest value at the last checkpoint


def apgd(
    key,
    logits_fn,
    images,
    labels,
    /,
    *,
    eps: ArrayLike,
    steps: int = 100,
    norm: Norm = linf,
    objective: Objective = cross_entropy,
    targeted: bool = False,
    restarts: int = 1,
) -> Images:
    """Run APGD-CE, or with `objective=dlr` APGD-DLR; for Linf and L2.

    A step costs one forward and one backward pass, the start another. Of the `restarts`, from
    random points on the ball's surface, the best is kept per image.
    """
    key, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    goal = Goal(objective, targeted)
    run = lambda k: _run(k, logits_fn, images, labels, None, eps, steps, norm, goal)
    return functools.reduce(better, map(run, jax.random.split(key, restarts))).images


def apgd_targeted(
    key, logits_fn, images, labels, /, *, eps: ArrayLike, steps=100, norm=linf, targets=0
) -> Images:
    """Run APGD-T: targeted DLR towards each other class in turn, the likeliest first.

    For Linf and L2, and three classes or more. Any other class than the label is a success;
    `targets` says how many are tried, 0: all.
    """
    key, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    ranked = ranked_targets(logits_fn, images, labels)
    keys = jax.random.split(key, targets or ranked.shape[1])
    options = (eps, steps, norm, Goal(cross_entropy))
    run = lambda k, towards: _run(k, logits_fn, images, labels, towards, *options)
    return functools.reduce(better, map(run, keys, ranked.T)).images


@jax.jit
def ranked_targets(logits_fn: LogitsFn, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Return every class but the label, the one of the largest logit first: int [B, C - 1]."""
    logits = logits_fn(images)
    own = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
    return jnp.argsort(-jnp.where(own, -jnp.inf, logits), axis=1)[:, :-1]


def checkpoints(steps: int) -> np.ndarray:
    """Return for each step 0, or at a checkpoint the number of steps since the one before."""
    period, least, fewer = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    due = np.zeros(steps, np.int32)
    since = 0
    for i in range(steps):
        since += 1
        if since == period:
            due[i], since = period, 0
            period = max(period - fewer, least)
    return due


def _run(key, logits_fn, images, labels, targets, eps, steps, norm, goal) -> Best:
    """Ascend the goal, or where there are `targets` [B] the DLR from the labels to them."""
    static = {"norm": norm, "goal": goal}
    state = _begin(key, logits_fn, images, labels, targets, eps, **static)
    due = jnp.asarray(checkpoints(steps))
    arguments = (logits_fn, images, labels, targets, eps, due)
    return repeat(_step, steps, state, *arguments, **static).best


@functools.partial(jax.jit, static_argnames=("norm", "goal"))
def _begin(key, logits_fn, images, labels, targets, eps, *, norm: Norm, goal: Goal) -> _State:
    radius = per_image(eps, images)
    start = norm.random_start(key, images.shape, jnp.ones(()))
    start = jnp.clip(images + radius * start / per_image(norm.size(start), images), 0, 1)
    start = jnp.where(radius > 0, start, images)
    now, best = _look(logits_fn, start, labels, targets, goal)
    nothing = jnp.zeros(len(images))
    size = 2 * jnp.broadcast_to(jnp.asarray(eps, jnp.float32), nothing.shape)
    return _State(now, start, now, best, size, nothing, nothing > 0, now.values)


def _look(logits_fn, images, labels, targets, goal: Goal) -> tuple[_Point, Best]:
    if targets is None:
        value = lambda logits: goal.value(logits, labels)
    else:
        value = lambda logits: targeted_dlr(logits, labels, targets)
    logits, values, gradient = value_and_gradient(logits_fn, images, value)
    return _Point(images, values, gradient), Best(images, goal.reached(logits, labels), values)


@functools.partial(jax.jit, static_argnames=("norm", "goal"))
def _step(
    i, state: _State, logits_fn, images, labels, targets, eps, due, *, norm: Norm, goal: Goal
) -> _State:
    inside = lambda x: jnp.clip(images + norm.project(x - images, eps), 0, 1)
    now = state.now
    ahead = inside(now.images + per_image(state.step_size, images) * norm.steepest(now.gradient))
    share = jnp.where(i > 0, _MOMENTUM, 1.0)
    drift = (1 - share) * (now.images - state.before)
    moved = inside(now.images + share * (ahead - now.images) + drift)
    new, met = _look(logits_fn, moved, labels, targets, goal)
    state = state._replace(
        now=new,
        before=now.images,
        peak=choose(new.values > state.peak.values, new, state.peak),
        best=better(state.best, met),
        rises=state.rises + (new.values > now.values),
    )
    return jax.lax.cond(due[i] > 0, lambda s: _checkpoint(s, due[i]), lambda s: s, state)


def _checkpoint(state: _State, length: jax.Array) -> _State:
    stuck = ~state.halved & (state.peak_then >= state.peak.values)
    halve = (state.rises <= _RISES * length) | stuck
    return state._replace(
        now=choose(halve, state.peak, state.now),
        step_size=jnp.where(halve, state.step_size / 2, state.step_size),
        rises=jnp.zeros_like(state.rises),
        halved=halve,
        peak_then=state.peak.values,
    )
