"""Balls of perturbations: where an attack starts, which way is steepest, and the way back inside.

    delta = l2.project(delta + step_size * l2.steepest(gradient), eps)

Perturbations are float32 [B, H, W, C] in pixel units of [0, 1]; eps is a scalar or [B]. A zero
gradient gives a zero step.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

T = TypeVar("T")
TINY = 1e-12  # a gradient shorter than this has no direction


class Norm(NamedTuple):
    """One norm's geometry.

    `size` gives the norms [B]; `random_start` draws uniformly from the ball; `steepest` takes
    gradients to perturbations of norm 1 along which the objective rises fastest (for L1 nearly so);
    `project` gives the nearest ones in the ball, by Euclidean distance.
    """

    name: str
    size: Callable[[jax.Array], jax.Array]
    random_start: Callable[[jax.Array, tuple[int, ...], ArrayLike], jax.Array]
    steepest: Callable[[jax.Array], jax.Array]
    project: Callable[[jax.Array, ArrayLike], jax.Array]


def per_image(values: ArrayLike, like: jax.Array) -> jax.Array:
    """Return a scalar, or [B], in a shape that multiplies `like` [B, ...]."""
    values = jnp.asarray(values)
    return values.reshape(-1, *(1,) * (like.ndim - 1)) if values.ndim else values


def choose(rows: jax.Array, one: T, other: T) -> T:
    """Return the arrays, or tuples of arrays, [B, ...], of `one` where `rows`, else of `other`."""
    return jax.tree.map(lambda a, b: jnp.where(per_image(rows, a), a, b), one, other)


def flat(images: jax.Array) -> jax.Array:
    """Return [B, ...] as [B, pixels]."""
    return images.reshape(images.shape[0], -1)


def _linf_start(key: jax.Array, shape: tuple[int, ...], eps: ArrayLike) -> jax.Array:
    noise = jax.random.uniform(key, shape, minval=-1.0)
    return per_image(eps, noise) * noise


def _linf_project(delta: jax.Array, eps: ArrayLike) -> jax.Array:
    eps = per_image(eps, delta)
    return jnp.clip(delta, -eps, eps)


def _l2_steepest(gradient: jax.Array) -> jax.Array:
    size = per_image(l2.size(gradient), gradient)
    return jnp.where(size > TINY, gradient / jnp.maximum(size, TINY), 0.0)


def _l2_start(key: jax.Array, shape: tuple[int, ...], eps: ArrayLike) -> jax.Array:
    """Draw a normal direction and a radius whose d-th power is uniform (Muller 1959)."""
    direction_key, radius_key = jax.random.split(key)
    direction = jax.random.normal(direction_key, shape)
    pixels = flat(direction).shape[1]
    radius = jax.random.uniform(radius_key, (shape[0],)) ** (1 / pixels)
    scale = per_image(eps, direction) * per_image(radius, direction)
    return scale * _l2_steepest(direction)


def _l2_project(delta: jax.Array, eps: ArrayLike) -> jax.Array:
    size = per_image(l2.size(delta), delta)
    eps = per_image(eps, delta)
    return delta * jnp.where(size > eps, eps / jnp.maximum(size, TINY), 1.0)


def _l1_start(key: jax.Array, shape: tuple[int, ...], eps: ArrayLike) -> jax.Array:
    """Divide signed exponential variables by their sum and one more (Barthe et al. 2005)."""
    size_key, sign_key, rest_key = jax.random.split(key, 3)
    sizes = jax.random.exponential(size_key, shape)
    total = flat(sizes).sum(axis=1) + jax.random.exponential(rest_key, (shape[0],))
    signs = jax.random.rademacher(sign_key, shape, jnp.float32)
    return per_image(eps, sizes) * signs * sizes / per_image(total, sizes)


def _l1_steepest(gradient: jax.Array, share: float = 0.01) -> jax.Array:
    """Step equally along the largest hundredth of the gradient's entries.

    The single largest entry would be steepest, but moves one pixel a step (Tramer & Boneh, NeurIPS
    2019, section 4.3, https://arxiv.org/abs/1904.13000).
    """
    sizes = jnp.abs(flat(gradient))
    count = max(1, round(share * sizes.shape[1]))
    least = jax.lax.top_k(sizes, count)[0][:, -1:]
    chosen = (sizes >= least) & (sizes > TINY)
    step = jnp.sign(flat(gradient)) * chosen / jnp.maximum(chosen.sum(axis=1, keepdims=True), 1)
    return step.reshape(gradient.shape)


def _l1_project(delta: jax.Array, eps: ArrayLike) -> jax.Array:
    """Shrink all entries by one threshold, so that they sum to eps (Duchi et al., ICML 2008)."""
    sizes = jnp.abs(flat(delta))
    eps = jnp.broadcast_to(jnp.asarray(eps), sizes.shape[:1])[:, None]
    falling = -jnp.sort(-sizes, axis=1)
    excess = falling.cumsum(axis=1) - eps
    count = jnp.arange(1, sizes.shape[1] + 1)[None]
    kept = jnp.maximum((falling * count > excess).sum(axis=1, keepdims=True), 1)
    threshold = jnp.take_along_axis(excess, kept - 1, axis=1) / kept
    shrunk = jnp.sign(flat(delta)) * jnp.maximum(sizes - threshold, 0)
    inside = sizes.sum(axis=1, keepdims=True) <= eps
    return jnp.where(inside, flat(delta), shrunk).reshape(delta.shape)


_linf_size = lambda delta: jnp.abs(flat(delta)).max(axis=1)
_l2_size = lambda delta: jnp.sqrt(jnp.square(flat(delta)).sum(axis=1))
_l1_size = lambda delta: jnp.abs(flat(delta)).sum(axis=1)
linf = Norm("linf", _linf_size, _linf_start, jnp.sign, _linf_project)
l2 = Norm("l2", _l2_size, _l2_start, _l2_steepest, _l2_project)
l1 = Norm("l1", _l1_size, _l1_start, _l1_steepest, _l1_project)
NORMS = {norm.name: norm for norm in (linf, l2, l1)}


def require_plain(norm: Norm, attack: str) -> None:
    """Raise a ValueError unless `norm` is Linf or L2, whose geometry the attack has built in."""
    if norm not in (linf, l2):
        raise ValueError(f"{attack} is made for linf and l2, received {norm.name}")
