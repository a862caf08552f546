"""Balls of perturbations: where an attack starts, which way is steepest, and how it is brought back
inside.

delta = l2.project(delta + step_size * l2.steepest(gradient), eps)

Perturbations are float32 [B, H, W, C] in pixel units of [0, 1]; eps is a scalar or [B]. A zero
gradient gives a zero step. `masked(linf, mask)` keeps to some pixels, `smooth(linf, 1.5)` to
changes without sharp edges.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TINY = 1e-12  # a gradient shorter than this has no direction


class Norm(NamedTuple):
    """One norm's geometry.

    Attributes:
        size: perturbations -> [B], their norms.
        random_start: (key, shape, eps) -> perturbations drawn uniformly from the ball of radius
            eps.
        steepest: gradients -> perturbations of norm 1 along which the objective rises fastest
            (Linf, L2), or nearly so (L1).
        project: (perturbations, eps) -> the nearest ones in the ball, by Euclidean distance.
    """

    name: str
    size: Callable[[jax.Array], jax.Array]
    random_start: Callable[[jax.Array, tuple[int, ...], jax.Array | float], jax.Array]
    steepest: Callable[[jax.Array], jax.Array]
    project: Callable[[jax.Array, jax.Array | float], jax.Array]


def per_image(values: jax.Array | float, like: jax.Array) -> jax.Array:
    """A scalar, or [B], in a shape that multiplies `like` [B, ...]."""
    values = jnp.asarray(values)
    return (
        values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values
    )


def flat(images: jax.Array) -> jax.Array:
    """[B, ...] as [B, pixels]."""
    return images.reshape(images.shape[0], -1)


def _linf_start(key: jax.Array, shape: tuple[int, ...], eps: jax.Array | float) -> jax.Array:
    noise = jax.random.uniform(key, shape, minval=-1.0)
    return per_image(eps, noise) * noise


def _linf_project(delta: jax.Array, eps: jax.Array | float) -> jax.Array:
    eps = per_image(eps, delta)
    return jnp.clip(delta, -eps, eps)


def _l2_size(delta: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(flat(delta)).sum(axis=1))


def _unit(delta: jax.Array, size: jax.Array) -> jax.Array:
    """`delta` divided by its `size` [B]; zero where that is no more than `TINY`."""
    size = per_image(size, delta)
    return jnp.where(size > TINY, delta / jnp.maximum(size, TINY), 0.0)


def _l2_start(key: jax.Array, shape: tuple[int, ...], eps: jax.Array | float) -> jax.Array:
    """A normal direction and a radius whose d-th power is uniform (Muller 1959)."""
    direction_key, radius_key = jax.random.split(key)
    direction = jax.random.normal(direction_key, shape)
    pixels = flat(direction).shape[1]
    radius = jax.random.uniform(radius_key, (shape[0],)) ** (1 / pixels)
    return (
        per_image(eps, direction)
        * per_image(radius, direction)
        * _unit(direction, _l2_size(direction))
    )


def _l2_project(delta: jax.Array, eps: jax.Array | float) -> jax.Array:
    size, eps = per_image(_l2_size(delta), delta), per_image(eps, delta)
    return delta * jnp.where(size > eps, eps / jnp.maximum(size, TINY), 1.0)


def _l1_size(delta: jax.Array) -> jax.Array:
    return jnp.abs(flat(delta)).sum(axis=1)


def _l1_start(key: jax.Array, shape: tuple[int, ...], eps: jax.Array | float) -> jax.Array:
    """Signed exponential variables over their sum and one more: uniform in the ball (Barthe et al.
    2005).
    """
    size_key, sign_key, rest_key = jax.random.split(key, 3)
    sizes = jax.random.exponential(size_key, shape)
    total = flat(sizes).sum(axis=1) + jax.random.exponential(rest_key, (shape[0],))
    signs = jax.random.rademacher(sign_key, shape, jnp.float32)
    return per_image(eps, sizes) * signs * sizes / per_image(total, sizes)


def _l1_steepest(gradient: jax.Array, share: float = 0.01) -> jax.Array:
    """Equal steps along the largest hundredth of the gradient's entries.

    The single largest entry would be steepest, but moves one pixel a step (Tramer & Boneh,
    "Adversarial Training and Robustness for Multiple Perturbations", NeurIPS 2019, section 4.3).
    """
    sizes = jnp.abs(flat(gradient))
    count = max(1, round(share * sizes.shape[1]))
    least = jax.lax.top_k(sizes, count)[0][:, -1:]
    chosen = (sizes >= least) & (sizes > TINY)
    step = jnp.sign(flat(gradient)) * chosen / jnp.maximum(chosen.sum(axis=1, keepdims=True), 1)
    return step.reshape(gradient.shape)


def _l1_project(delta: jax.Array, eps: jax.Array | float) -> jax.Array:
    """Soft thresholding by the one threshold that brings the sum to eps (Duchi et al., ICML 2008),
    found by sorting.
    """
    sizes = jnp.abs(flat(delta))
    eps = jnp.broadcast_to(jnp.asarray(eps), sizes.shape[:1])[:, None]
    falling = -jnp.sort(-sizes, axis=1)
    excess = falling.cumsum(axis=1) - eps
    count = jnp.arange(1, sizes.shape[1] + 1)[None]
    kept = jnp.maximum((falling * count > excess).sum(axis=1, keepdims=True), 1)
    threshold = jnp.take_along_axis(excess, kept - 1, axis=1) / kept
    shrunk = jnp.sign(flat(delta)) * jnp.maximum(sizes - threshold, 0)
    return jnp.where(sizes.sum(axis=1, keepdims=True) > eps, shrunk, flat(delta)).reshape(
        delta.shape
    )


linf = Norm(
    "linf", lambda delta: jnp.abs(flat(delta)).max(axis=1), _linf_start, jnp.sign, _linf_project
)
l2 = Norm(
    "l2", _l2_size, _l2_start, lambda gradient: _unit(gradient, _l2_size(gradient)), _l2_project
)
l1 = Norm("l1", _l1_size, _l1_start, _l1_steepest, _l1_project)
NORMS = {norm.name: norm for norm in (linf, l2, l1)}


def require_plain(norm: Norm, attack: str) -> None:
    """Raise a ValueError unless `norm` is Linf or L2 itself, for an attack that works out their
    geometry by hand.
    """
    if norm not in (linf, l2):
        raise ValueError(f"{attack} is made for linf and l2, received {norm.name}")


def masked(norm: Norm, mask: np.ndarray) -> Norm:
    """The same ball within those pixels where `mask`, bool [H, W, 1] or [H, W, C], is true: all
    others stay as they are.

    Steps and projection are exact; random starts lie in the ball, in L1 and L2 nearer its middle
    than evenly spread. Equal masks give equal norms, so that nothing is compiled anew.
    """
    mask = np.asarray(mask, bool)
    if mask.ndim != 3:
        raise ValueError(
            f"a mask must have shape [H, W, 1] or [H, W, C], received {list(mask.shape)}"
        )
    return _masked(norm, mask.shape, mask.tobytes())


@functools.lru_cache(maxsize=64)
def _masked(norm: Norm, shape: tuple[int, ...], data: bytes) -> Norm:
    mask = np.frombuffer(data, bool).reshape(1, *shape)
    cut = lambda delta: jnp.where(mask, delta, 0.0)
    return Norm(
        f"masked {norm.name}",
        norm.size,
        lambda key, shape, eps: cut(norm.random_start(key, shape, eps)),
        lambda gradient: cut(norm.steepest(cut(gradient))),
        lambda delta, eps: norm.project(cut(delta), eps),
    )


@functools.lru_cache(maxsize=64)
def smooth(norm: Norm, sigma: float) -> Norm:
    """The same ball, with steps that are low-passed by a Gaussian of `sigma` pixels: noise becomes
    soft shades.

    A step is G s(G g), where G is the filter and s(g) the norm's steepest step for the gradient g,
    and is scaled to norm 1. As G is symmetric this climbs, and it is the steepest among the
    filtered steps G u with u in the ball. The projection is the norm's own: it keeps the ball,
    while only the steps keep the perturbation smooth.
    """

    def steepest(gradient: jax.Array) -> jax.Array:
        step = _low_passed(norm.steepest(_low_passed(gradient, sigma)), sigma)
        return _unit(step, norm.size(step))

    def random_start(key: jax.Array, shape: tuple[int, ...], eps: jax.Array | float) -> jax.Array:
        return norm.project(_low_passed(norm.random_start(key, shape, eps), sigma), eps)

    return Norm(f"smooth {norm.name}", norm.size, random_start, steepest, norm.project)


def _low_passed(delta: jax.Array, sigma: float) -> jax.Array:
    """[B, H, W, C] filtered along H and W, zero beyond the edges: repeating edge pixels would not
    be symmetric.
    """
    for axis in (1, 2):
        place = np.arange(delta.shape[axis])
        reach = np.arange(-np.ceil(8 * sigma), np.ceil(8 * sigma) + 1)
        weights = (
            np.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
            / np.exp(-0.5 * (reach / sigma) ** 2).sum()
        )
        filtered = jnp.tensordot(
            delta, weights.astype(np.float32), axes=(axis, 0), precision="highest"
        )
        delta = jnp.moveaxis(filtered, -1, axis)
    return delta
