"""C&W: the squared L2 size plus weight times the margin that is missing, by Adam over tanh-space.

Carlini & Wagner, "Towards Evaluating the Robustness of Neural Networks", S&P 2017, section VI,
https://arxiv.org/abs/1608.04644
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fer_jax.attacks.loop import prepared, repeat
from fer_jax.attacks.norms import flat, l2
from fer_jax.attacks.objectives import Goal, margin
from fer_jax.attacks.smallest import Smallest, nothing_yet, smaller
from fer_jax.types import Images

_ADAM = optax.scale_by_adam()


class _State(NamedTuple):
    free: jax.Array  # tanh(free) spans the box
    adam: optax.OptState
    best: Smallest
    fooled: jax.Array  # bool [B], in this round


def cw(
    key,
    logits_fn,
    images,
    labels,
    /,
    *,
    steps: int = 200,
    searches: int = 6,
    step_size: float = 0.01,
    weight: float = 1.0,
    confidence: float = 0.0,
    targeted: bool = False,
) -> Images:
    """Return the smallest change in L2 that was found, or the image itself where none was.

    The weight, at first `weight`, is searched per image: after a success halfway back to the
    largest that failed, else doubled. Each of the `searches` makes `steps` of Adam, a forward and a
    backward pass each, and another forward pass. `confidence` is the margin asked for, in logits.
    """
    _, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    goal = Goal(margin, targeted)
    best = nothing_yet(images)
    low = jnp.zeros(len(images))
    high = jnp.full(len(images), jnp.inf)
    weights = jnp.full(len(images), weight)
    start = jnp.arctanh(jnp.clip(2 * images - 1, -1 + 1e-6, 1 - 1e-6))
    for _ in range(searches):
        state = _State(start, _ADAM.init(start), best, jnp.zeros(len(images), bool))
        arguments = (logits_fn, images, labels, weights, step_size, confidence)
        state = repeat(_step, steps, state, *arguments, goal=goal)
        state = _last_look(state, logits_fn, images, labels, confidence, goal=goal)
        best = state.best
        low = jnp.where(state.fooled, low, weights)
        high = jnp.where(state.fooled, weights, high)
        weights = jnp.where(jnp.isfinite(high), (low + high) / 2, 2 * weights)
    return best.images


def _spanned(free: jax.Array) -> jax.Array:
    return (jnp.tanh(free) + 1) / 2


@functools.partial(jax.jit, static_argnames="goal")
def _step(
    i, state: _State, logits_fn, images, labels, weights, step_size, confidence, *, goal: Goal
) -> _State:
    def cost(free: jax.Array) -> tuple:
        moved = _spanned(free)
        logits = logits_fn(moved).astype(jnp.float32)
        missed = jnp.maximum(confidence - goal.value(logits, labels), 0)
        return (jnp.square(flat(moved - images)).sum(axis=1) + weights * missed).sum(), logits

    gradient, logits = jax.grad(cost, has_aux=True)(state.free)
    state = _judged(state, logits, images, labels, confidence, goal)
    updates, adam = _ADAM.update(gradient, state.adam)
    return state._replace(free=state.free - step_size * updates, adam=adam)


@functools.partial(jax.jit, static_argnames="goal")
def _last_look(state: _State, logits_fn, images, labels, confidence, *, goal: Goal) -> _State:
    logits = logits_fn(_spanned(state.free)).astype(jnp.float32)
    return _judged(state, logits, images, labels, confidence, goal)


def _judged(state: _State, logits, images, labels, confidence, goal: Goal) -> _State:
    moved = _spanned(state.free)
    reached = goal.reached(logits, labels) & (goal.value(logits, labels) >= confidence)
    best = smaller(state.best, moved, l2.size(moved - images), reached)
    return state._replace(best=best, fooled=state.fooled | reached)
