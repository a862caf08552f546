"""Square: an attack that asks only for the network's answers, and changes one random square at a time.

    hacked = square(key, logits_fn, images, labels, eps=8 / 255, queries=5000)

Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial attack via random search", ECCV 2020,
algorithms 1 to 3. Because it needs no gradient it exposes networks that hide theirs.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks.loop import repeat, traced
from fer_jax.attacks.norms import Norm, l2, linf, per_image, require_plain
from fer_jax.attacks.objectives import Goal, margin
from fer_jax.types import Images, Labels, LogitsFn

_HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries of 10,000 at which the squares' area is halved


class _State(NamedTuple):
    images: jax.Array
    values: jax.Array  # [B]
    reached: jax.Array  # bool [B]


def square(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    /,
    *,
    eps: float,
    norm: Norm = linf,
    queries: int = 5000,
    share: float = 0.8,
    targeted: bool = False,
) -> Images:
    """Ascend the margin by random squares, within Linf or L2.

    Args:
        queries: forward passes; images that reach the goal are left alone, but computed on.
        share: of the image's area that the first squares cover.
    """
    require_plain(norm, "square")
    images, logits_fn, goal = jnp.asarray(images), traced(logits_fn), Goal(margin, targeted)
    start_key, key = jax.random.split(key)
    start = (_stripes if norm is linf else _tiles)(start_key, images, eps)
    state = _look(logits_fn, start, labels, goal=goal)
    sides = jnp.asarray(square_sides(queries, share, images.shape[1]), jnp.int32)
    return repeat(_step, queries - 1, state, key, logits_fn, images, labels, eps, sides, norm=norm, goal=goal).images


def square_sides(queries: int, share: float, side: int) -> np.ndarray:
    """The side in pixels of the square of each query."""
    at = np.arange(queries) * 10_000 / queries
    shares = share / 2.0 ** np.searchsorted(_HALVED_AT, at, side="left")
    return np.clip(np.rint(np.sqrt(shares) * side), 1, side - 1).astype(np.int32)


@functools.partial(jax.jit, static_argnames="goal")
def _look(logits_fn, images, labels, *, goal: Goal) -> _State:
    logits = logits_fn(images).astype(jnp.float32)
    return _State(images, goal.value(logits, labels), goal.reached(logits, labels))


@functools.partial(jax.jit, static_argnames=("norm", "goal"))
def _step(i, state: _State, key, logits_fn, images, labels, eps, sides, *, norm: Norm, goal: Goal) -> _State:
    change = _change_linf if norm is linf else _change_l2
    tried = change(jax.random.fold_in(key, i), state.images, images, eps, sides[i])
    logits = logits_fn(tried).astype(jnp.float32)
    values, reached = goal.value(logits, labels), goal.reached(logits, labels)
    take = ~state.reached & (reached | (values > state.values))
    choose = lambda new, old: jnp.where(per_image(take, new), new, old)  # noqa: E731
    return _State(choose(tried, state.images), choose(values, state.values), choose(reached, state.reached))


def _stripes(key: jax.Array, images: jax.Array, eps: float) -> jax.Array:
    """Each column up or down by eps."""
    signs = jax.random.rademacher(key, (images.shape[0], 1, *images.shape[2:]), jnp.float32)
    return jnp.clip(images + eps * signs, 0, 1)


def _window(key: jax.Array, shape: tuple[int, ...], side: jax.Array) -> jax.Array:
    """bool [B, H, W, 1]: a square somewhere in each image."""
    batch, height, width = shape[:3]
    top, left = (jax.random.uniform(k, (batch, 1, 1)) for k in jax.random.split(key))
    top, left = jnp.floor(top * (height - side + 1)), jnp.floor(left * (width - side + 1))
    row, column = jnp.arange(height)[None, :, None], jnp.arange(width)[None, None, :]
    return ((row >= top) & (row < top + side) & (column >= left) & (column < left + side))[..., None]


def _change_linf(key, now: jax.Array, images: jax.Array, eps, side: jax.Array) -> jax.Array:
    """Up or down by eps, one sign for the whole square."""
    place_key, sign_key = jax.random.split(key)
    inside = _window(place_key, images.shape, side)
    signs = jax.random.rademacher(sign_key, (images.shape[0], 1, 1, images.shape[3]), jnp.float32)
    return jnp.clip(jnp.where(inside, images + eps * signs, now), 0, 1)


def _bump(distance_down: jax.Array, distance_right: jax.Array, side: jax.Array) -> jax.Array:
    """A pyramid-like hill over a square: larger towards the middle, zero outside; after the paper's eta."""
    middle = (side - 1) / 2
    ring = jnp.maximum(jnp.abs(distance_down - middle), jnp.abs(distance_right - middle))
    return jnp.where(ring <= middle + 0.25, 1 / (ring + 1) ** 2, 0.0)


def _tiles(key: jax.Array, images: jax.Array, eps: float) -> jax.Array:
    """Hills of random sign on a 5 x 5 grid, scaled to norm eps."""
    batch, height, width, channels = images.shape
    tile = max(height // 5, 1)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    hills = _bump(row % tile, column % tile, jnp.asarray(tile))[None, :, :, None]
    signs = jax.random.rademacher(key, (batch, -(-height // tile), -(-width // tile), channels), jnp.float32)
    signs = jnp.repeat(jnp.repeat(signs, tile, axis=1), tile, axis=2)[:, :height, :width]
    return jnp.clip(images + per_image(eps, images) * l2.steepest(hills * signs), 0, 1)


def _change_l2(key, now: jax.Array, images: jax.Array, eps, side: jax.Array) -> jax.Array:
    """Wipe one square, and spend what norm is then left, together with a second one's, on a hill in the first."""
    first_key, second_key, sign_key = jax.random.split(key, 3)
    first, second = (_window(k, images.shape, side) for k in (first_key, second_key))
    delta = now - images
    kept = jnp.where(first | second, 0.0, delta)
    budget = jnp.sqrt(jnp.maximum(jnp.square(jnp.asarray(eps)) - jnp.square(l2.size(kept)), 0))
    top = jnp.argmax(first.any(axis=2), axis=1)[:, :, None, None]
    left = jnp.argmax(first.any(axis=1), axis=1)[:, :, None, None]
    row, column = jnp.arange(images.shape[1])[None, :, None, None], jnp.arange(images.shape[2])[None, None, :, None]
    hill = jnp.where(first, _bump(row - top, column - left, side), 0.0)
    signs = jax.random.rademacher(sign_key, (images.shape[0], 1, 1, images.shape[3]), jnp.float32)
    old = jnp.where(first, delta, 0.0)
    way = l2.steepest(l2.steepest(old) + signs * l2.steepest(hill))
    fresh = per_image(budget, images) * l2.steepest(jnp.where(first, way, 0.0))
    return jnp.clip(images + l2.project(kept + fresh, eps), 0, 1)
