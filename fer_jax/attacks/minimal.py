"""The smallest perturbation that reaches the goal, with no bound set beforehand: DeepFool, C&W,
DDN, FMN.

    hacked = ddn(key, logits_fn, images, labels, steps=100)
    sizes = l2.size(hacked - images)

All take (key, logits_fn, images, labels, /) like the other attacks; where the goal was never
reached the image itself comes back. The L2 methods minimise L2; `fmn` and `deepfool` take a norm.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fer_jax.attacks.loop import repeat, traced, value_and_gradient
from fer_jax.attacks.norms import TINY, Norm, flat, l2, linf, per_image, require_plain
from fer_jax.attacks.objectives import Goal, cross_entropy, margin
from fer_jax.types import Images, Labels, LogitsFn

# size of a gradient, by the norm of the step
_DUAL = {"linf": lambda g: jnp.abs(flat(g)).sum(axis=1), "l2": l2.size}


class Smallest(NamedTuple):
    """The smallest perturbed images that reach the goal so far, and their sizes [B], infinite where
    there is none.
    """

    images: jax.Array
    sizes: jax.Array


def _nothing_yet(images: jax.Array) -> Smallest:
    return Smallest(images, jnp.full(len(images), jnp.inf))


def _smaller(best: Smallest, images: jax.Array, sizes: jax.Array, reached: jax.Array) -> Smallest:
    wins = reached & (sizes < best.sizes)
    return Smallest(
        jnp.where(per_image(wins, images), images, best.images), jnp.where(wins, sizes, best.sizes)
    )


def _cosine(i: jax.Array, steps: jax.Array, first: float, last: float) -> jax.Array:
    return last + (first - last) * (1 + jnp.cos(jnp.pi * i / steps)) / 2


@functools.partial(jax.jit, static_argnames=("goal", "norm"))
def _last_look(
    best: Smallest, logits_fn, moved, images, labels, *, goal: Goal, norm: Norm
) -> Smallest:
    return _smaller(best, moved, norm.size(moved - images), goal.reached(logits_fn(moved), labels))


class _Ddn(NamedTuple):
    delta: jax.Array
    radius: jax.Array  # [B]
    best: Smallest


def ddn(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    /,
    *,
    steps: int = 100,
    radius: float = 1.0,
    gamma: float = 0.05,
    targeted: bool = False,
) -> Images:
    """Decoupled direction and norm: steps along the gradient, then onto a sphere that shrinks after
    success and else grows.

    Rony et al., "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks
    and Defenses", CVPR 2019.

    Args:
        steps: one forward and one backward pass each.
        radius: of the first sphere, L2 in pixel units.
        gamma: share by which the radius changes at a step.
    """
    images, logits_fn, goal = jnp.asarray(images), traced(logits_fn), Goal(cross_entropy, targeted)
    state = _Ddn(jnp.zeros_like(images), jnp.full(len(images), radius), _nothing_yet(images))
    state = repeat(
        _ddn_step, steps, state, logits_fn, images, labels, float(steps), gamma, goal=goal
    )
    return _last_look(
        state.best, logits_fn, images + state.delta, images, labels, goal=goal, norm=l2
    ).images


@functools.partial(jax.jit, static_argnames="goal")
def _ddn_step(i, state: _Ddn, logits_fn, images, labels, steps, gamma, *, goal: Goal) -> _Ddn:
    moved = images + state.delta
    logits, _, gradient = value_and_gradient(logits_fn, moved, lambda z: goal.value(z, labels))
    reached = goal.reached(logits, labels)
    best = _smaller(state.best, moved, l2.size(state.delta), reached)
    delta = state.delta + _cosine(i, steps, 1.0, 0.01) * l2.steepest(gradient)
    radius = state.radius * jnp.where(reached, 1 - gamma, 1 + gamma)
    size = jnp.maximum(l2.size(delta), TINY)
    delta = delta * per_image(radius / size, delta)
    return _Ddn(jnp.clip(images + delta, 0, 1) - images, radius, best)


class _Fmn(NamedTuple):
    delta: jax.Array
    radius: jax.Array  # [B], infinite before the first step
    best: Smallest


def fmn(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    /,
    *,
    steps: int = 100,
    norm: Norm = l2,
    step_size: float | None = None,
    gamma: float = 0.05,
    targeted: bool = False,
) -> Images:
    """Fast minimum-norm: gradient steps inside a ball whose radius follows the estimated distance
    to the boundary.

    Pintor et al., "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints",
    NeurIPS 2021, algorithm 1.

    Args:
        norm: L2 or Linf.
        step_size: of the first step; falls to a hundredth. By default 1 for L2 and 10/255 for Linf.
    """
    require_plain(norm, "FMN")
    images, logits_fn, goal = jnp.asarray(images), traced(logits_fn), Goal(margin, targeted)
    if step_size is None:
        step_size = 10 / 255 if norm is linf else 1.0
    state = _Fmn(jnp.zeros_like(images), jnp.full(len(images), jnp.inf), _nothing_yet(images))
    arguments = (logits_fn, images, labels, float(steps), step_size, gamma)
    state = repeat(_fmn_step, steps, state, *arguments, norm=norm, goal=goal)
    return _last_look(
        state.best, logits_fn, images + state.delta, images, labels, goal=goal, norm=norm
    ).images


@functools.partial(jax.jit, static_argnames=("norm", "goal"))
def _fmn_step(
    i, state: _Fmn, logits_fn, images, labels, steps, step_size, gamma, *, norm: Norm, goal: Goal
) -> _Fmn:
    moved = images + state.delta
    logits, values, gradient = value_and_gradient(logits_fn, moved, lambda z: goal.value(z, labels))
    reached, size = goal.reached(logits, labels), norm.size(state.delta)
    best = _smaller(state.best, moved, size, reached)
    share = _cosine(i, steps, gamma, 1e-4)
    # just across the estimated boundary
    beyond = 1.01 * jnp.abs(values) / jnp.maximum(_DUAL[norm.name](gradient), TINY)
    known = jnp.isfinite(best.sizes)
    outside = jnp.where(known, state.radius * (1 + share), size + beyond)
    radius = jnp.where(reached, jnp.minimum(state.radius, best.sizes) * (1 - share), outside)
    delta = state.delta + _cosine(i, steps, step_size, step_size / 100) * norm.steepest(gradient)
    delta = norm.project(delta, radius)
    return _Fmn(jnp.clip(images + delta, 0, 1) - images, radius, best)


def deepfool(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    /,
    *,
    steps: int = 50,
    norm: Norm = l2,
    overshoot: float = 0.02,
    targeted: bool = False,
) -> Images:
    """Step after step over the nearest boundary of the linearised network, for L2 or Linf.

    Moosavi-Dezfooli et al., "DeepFool: a simple and accurate method to fool deep neural networks",
    CVPR 2016, algorithm 2; with `targeted`, over the boundary to the target class alone.

    Args:
        steps: at most so many; each costs one forward pass and a backward pass per class.
        overshoot: by which every step goes further than the boundary.
    """
    require_plain(norm, "DeepFool")
    images, logits_fn, goal = jnp.asarray(images), traced(logits_fn), Goal(margin, targeted)
    own = logits_fn(images).argmax(axis=1) if targeted else jnp.asarray(labels)
    state = (images, _nothing_yet(images))
    arguments = (logits_fn, images, labels, own, overshoot)
    moved, best = repeat(_deepfool_step, steps, state, *arguments, norm=norm, goal=goal)
    return _last_look(best, logits_fn, moved, images, labels, goal=goal, norm=norm).images


@functools.partial(jax.jit, static_argnames=("norm", "goal"))
def _deepfool_step(i, state, logits_fn, images, labels, own, overshoot, *, norm: Norm, goal: Goal):
    moved, best = state
    logits, pull_back = jax.vjp(lambda x: logits_fn(x).astype(jnp.float32), moved)
    reached = goal.reached(logits, labels)
    best = _smaller(best, moved, norm.size(moved - images), reached)
    classes = logits.shape[1]
    rows = jnp.arange(len(moved))
    # [C, B, ...]
    gradients = jax.vmap(lambda c: pull_back(jnp.tile(c[None], (len(moved), 1)))[0])(
        jnp.eye(classes)
    )
    slopes = jnp.moveaxis(gradients, 0, 1) - gradients[own, rows][:, None]  # [B, C, ...]
    gaps = logits[rows, own][:, None] - logits
    sizes = jnp.stack([_DUAL[norm.name](slopes[:, c]) for c in range(classes)], axis=1)
    admitted = jax.nn.one_hot(labels, classes, dtype=bool)
    admitted = admitted if goal.targeted else ~admitted
    distances = jnp.where(admitted, jnp.abs(gaps) / jnp.maximum(sizes, TINY), jnp.inf)
    nearest = distances.argmin(axis=1)
    way = norm.steepest(slopes[rows, nearest])
    length = (1 + overshoot) * distances[rows, nearest] + 1e-5
    ahead = jnp.clip(moved + per_image(length, moved) * way, 0, 1)
    return jnp.where(per_image(reached, moved), moved, ahead), best


class _Carlini(NamedTuple):
    free: jax.Array  # tanh(free) spans the box
    adam: optax.OptState
    best: Smallest
    fooled: jax.Array  # bool [B], in this round


def cw(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    /,
    *,
    steps: int = 200,
    searches: int = 6,
    step_size: float = 0.01,
    weight: float = 1.0,
    confidence: float = 0.0,
    targeted: bool = False,
) -> Images:
    """Squared L2 size plus weight times the margin by which the goal is missed, by Adam over
    tanh-space.

    Carlini & Wagner, "Towards Evaluating the Robustness of Neural Networks", S&P 2017, section VI.
    The weight is searched per image: halved towards the largest that failed after a success, else
    doubled.

    Args:
        steps: of Adam in each of `searches` rounds; one forward and one backward pass each, and a
            forward pass a round.
        weight: of the first round.
        confidence: the margin, in logits, that is asked for.
    """
    images, logits_fn, goal = jnp.asarray(images), traced(logits_fn), Goal(margin, targeted)
    best, low, high = _nothing_yet(images), jnp.zeros(len(images)), jnp.full(len(images), jnp.inf)
    weights = jnp.full(len(images), weight)
    start = jnp.arctanh(jnp.clip(2 * images - 1, -1 + 1e-6, 1 - 1e-6))
    for _ in range(searches):
        state = _Carlini(start, _ADAM.init(start), best, jnp.zeros(len(images), bool))
        arguments = (logits_fn, images, labels, weights, step_size, confidence)
        state = repeat(_cw_step, steps, state, *arguments, goal=goal)
        state = _cw_last_look(state, logits_fn, images, labels, confidence, goal=goal)
        best = state.best
        low, high = jnp.where(state.fooled, low, weights), jnp.where(state.fooled, weights, high)
        weights = jnp.where(jnp.isfinite(high), (low + high) / 2, 2 * weights)
    return best.images


_ADAM = optax.scale_by_adam()


def _spanned(free: jax.Array) -> jax.Array:
    return (jnp.tanh(free) + 1) / 2


@functools.partial(jax.jit, static_argnames="goal")
def _cw_step(
    i, state: _Carlini, logits_fn, images, labels, weights, step_size, confidence, *, goal: Goal
) -> _Carlini:
    def cost(free: jax.Array) -> tuple:
        moved = _spanned(free)
        logits = logits_fn(moved).astype(jnp.float32)
        missed = jnp.maximum(confidence - goal.value(logits, labels), 0)
        return (jnp.square(flat(moved - images)).sum(axis=1) + weights * missed).sum(), logits

    gradient, logits = jax.grad(cost, has_aux=True)(state.free)
    state = _cw_judged(state, logits, images, labels, confidence, goal)
    updates, adam = _ADAM.update(gradient, state.adam)
    return state._replace(free=state.free - step_size * updates, adam=adam)


@functools.partial(jax.jit, static_argnames="goal")
def _cw_last_look(
    state: _Carlini, logits_fn, images, labels, confidence, *, goal: Goal
) -> _Carlini:
    logits = logits_fn(_spanned(state.free)).astype(jnp.float32)
    return _cw_judged(state, logits, images, labels, confidence, goal)


def _cw_judged(state: _Carlini, logits, images, labels, confidence, goal: Goal) -> _Carlini:
    moved = _spanned(state.free)
    reached = goal.reached(logits, labels) & (goal.value(logits, labels) >= confidence)
    best = _smaller(state.best, moved, l2.size(moved - images), reached)
    return state._replace(best=best, fooled=state.fooled | reached)
