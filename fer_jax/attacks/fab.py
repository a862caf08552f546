"""FAB-T: walk to the nearest point of each other class, along linearised boundaries.

Croce & Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML
2020, algorithm 1 in its targeted form, https://arxiv.org/abs/1907.02044: one run towards each other
class. It does not climb a loss, so it sees through losses that are flat.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from fer_jax.attacks.apgd import ranked_targets
from fer_jax.attacks.loop import prepared, repeat, value_and_gradient
from fer_jax.attacks.norms import TINY, Norm, choose, linf, per_image, require_plain
from fer_jax.attacks.objectives import of_class
from fer_jax.types import Images

# alpha_max, eta and beta of the paper
_MOST_BIAS = 0.1
_EXTRAPOLATE = 1.05
_BACK = 0.9
_HALVINGS = 40  # of an interval that holds the step length: float32 has 24 bits


class _State(NamedTuple):
    now: jax.Array
    best: jax.Array  # the nearest images that are not of the label's class
    size: jax.Array  # [B], their distances, infinite where there is none


def fab_targeted(
    key, logits_fn, images, labels, /, *, eps: ArrayLike, steps=100, norm=linf, targets=0
) -> Images:
    """Return the nearest misclassified images found, or the images themselves beyond eps.

    Made for Linf and L2. A step costs two forward and one backward pass for each of the `targets`;
    0 stands for all classes but the label.
    """
    require_plain(norm, "FAB-T")
    _, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    ranked = ranked_targets(logits_fn, images, labels)
    state = _State(images, images, jnp.full(len(images), jnp.inf))
    for i in range(targets or ranked.shape[1]):
        state = state._replace(now=images)
        state = repeat(_step, steps, state, logits_fn, images, labels, ranked[:, i], norm=norm)
    state = repeat(_refine, 3, state, logits_fn, images, labels, norm=norm)
    return choose(state.size <= eps, state.best, images)


def nearest_on_plane(
    points: jax.Array, slopes: jax.Array, gaps: jax.Array, norm: Norm
) -> jax.Array:
    """Return the smallest d with sum(slopes * d) = gaps, [B], and points + d in [0, 1].

    It moves every pixel by the same amount along its slope's sign (Linf), or by a multiple of its
    slope (L2), until it meets the box; that one number is found by bisection. Where the box is too
    small, everything that helps is moved to its edge.
    """
    slopes = slopes * per_image(jnp.sign(gaps), slopes)
    gaps = jnp.abs(gaps)
    way = jnp.sign(slopes) if norm is linf else slopes

    def moved(length: jax.Array) -> jax.Array:
        return jnp.clip(points + per_image(length, points) * way, 0, 1) - points

    def halve(_, interval: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = interval
        middle = (low + high) / 2
        short = (slopes * moved(middle)).sum(axis=(1, 2, 3)) < gaps
        return jnp.where(short, middle, low), jnp.where(short, high, middle)

    most = jnp.abs(jnp.where(slopes == 0, jnp.inf, way)).min(axis=(1, 2, 3))
    interval = jnp.zeros(len(points)), 1 / jnp.maximum(most, 1e-6)
    return moved(jax.lax.fori_loop(0, _HALVINGS, halve, interval)[1])


@functools.partial(jax.jit, static_argnames="norm")
def _step(i, state: _State, logits_fn, images, labels, targets, *, norm: Norm) -> _State:
    ahead = lambda z: of_class(z, targets) - of_class(z, labels)
    _, values, slopes = value_and_gradient(logits_fn, state.now, ahead)
    from_now = nearest_on_plane(state.now, slopes, -values, norm)
    gap = -values - (slopes * (images - state.now)).sum(axis=(1, 2, 3))
    from_image = nearest_on_plane(images, slopes, gap, norm)
    near = norm.size(from_now)
    bias = near / jnp.maximum(near + norm.size(from_image), TINY)
    bias = per_image(jnp.minimum(bias, _MOST_BIAS), images)
    moved = (1 - bias) * (state.now + _EXTRAPOLATE * from_now)
    moved = jnp.clip(moved + bias * (images + _EXTRAPOLATE * from_image), 0, 1)
    wrong = logits_fn(moved).argmax(axis=1) != labels
    size = norm.size(moved - images)
    back = choose(wrong, images + _BACK * (moved - images), moved)
    return _nearer(state._replace(now=back), moved, size, wrong & (size < state.size))


@functools.partial(jax.jit, static_argnames="norm")
def _refine(i, state: _State, logits_fn, images, labels, *, norm: Norm) -> _State:
    """Go back towards the image by the last few per cent, while the class stays wrong."""
    share = 1 - 0.05 / 2.0**i
    tried = images + share * (state.best - images)
    wins = (logits_fn(tried).argmax(axis=1) != labels) & jnp.isfinite(state.size)
    return _nearer(state, tried, norm.size(tried - images), wins)


def _nearer(state: _State, images: jax.Array, size: jax.Array, wins: jax.Array) -> _State:
    best, size = choose(wins, (images, size), (state.best, state.size))
    return state._replace(best=best, size=size)
