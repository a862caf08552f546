"""Square: ask only for the network's answers, and change one random square at a time.

Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial attack via random
search", ECCV 2020, algorithms 1 to 3, https://arxiv.org/abs/1912.00049, with the schedule of
AutoAttack. Because it needs no gradient it exposes networks that hide theirs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax.attacks.gradient import Best, judge
from fer_jax.attacks.loop import prepared, repeat
from fer_jax.attacks.norms import TINY, Norm, choose, l2, linf, per_image, require_plain
from fer_jax.attacks.objectives import Goal, margin
from fer_jax.types import Images

_SHARE = 0.8  # of the image's area that the first squares cover
# queries after which the squares' area is halved
_HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_PLANNED = 10_000  # queries that these are made for
_STANDARD = 5000  # queries of AutoAttack's Square, which halves at the same ones


def square(
    key, logits_fn, images, labels, /, *, eps: float, norm=linf, queries=5000, targeted=False
) -> Images:
    """Ascend the margin by random squares, within Linf or L2, in `queries` forward passes.

    Images that reach the goal are left alone, but computed on. With fewer queries than AutoAttack's
    5,000 the squares shrink sooner: they would hardly leave their first sizes.
    """
    require_plain(norm, "square")
    key, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    goal = Goal(margin, targeted)
    start_key, key = jax.random.split(key)
    start = (_stripes if norm is linf else _tiles)(start_key, images, eps)
    state = judge(logits_fn, start, labels, goal=goal)
    sides = jnp.asarray(square_sides(queries, _SHARE, images.shape[1:3], norm), jnp.int32)
    arguments = (key, logits_fn, images, labels, eps, sides)
    return repeat(_step, queries - 1, state, *arguments, norm=norm, goal=goal).images


def square_sides(queries: int, share: float, shape: tuple[int, ...], norm: Norm) -> np.ndarray:
    """Return the side in pixels of each query's square, in images of `shape` (H, W).

    In L2 it is odd, and 3 or more.
    """
    at = np.arange(queries) * (_PLANNED if queries < _STANDARD else queries) // queries
    shares = share / 2.0 ** np.searchsorted(_HALVED_AT, at, side="left")
    sides = np.rint(np.sqrt(shares * np.prod(shape))).astype(np.int32)
    if norm is linf:
        return np.clip(sides, 1, min(shape) - 1)
    return np.minimum(np.maximum(sides, 3) // 2 * 2 + 1, min(shape))


@functools.partial(jax.jit, static_argnames=("norm", "goal"))
def _step(
    i, best: Best, key, logits_fn, images, labels, eps, sides, *, norm: Norm, goal: Goal
) -> Best:
    change = _change_linf if norm is linf else _change_l2
    tried = change(jax.random.fold_in(key, i), best.images, images, eps, sides[i])
    new = judge(logits_fn, tried, labels, goal=goal)
    take = ~best.reached & (new.reached | (new.values > best.values))
    return choose(take, new, best)


@jax.jit
def _stripes(key: jax.Array, images: jax.Array, eps: float) -> jax.Array:
    """Move each column up or down by eps."""
    signs = jax.random.rademacher(key, (images.shape[0], 1, *images.shape[2:]), jnp.float32)
    return jnp.clip(images + eps * signs, 0, 1)


def _place(key: jax.Array, shape: tuple[int, ...], side: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Place a square in each image: rows [B, H, 1, 1] and columns [B, 1, W, 1] from its corner."""
    batch, height, width = shape[:3]
    top, left = (jax.random.uniform(k, (batch, 1, 1, 1)) for k in jax.random.split(key))
    top = jnp.floor(top * (height - side + 1)).astype(jnp.int32)
    left = jnp.floor(left * (width - side + 1)).astype(jnp.int32)
    down, right = _grid(height, width)
    return down - top, right - left


def _grid(height: int, width: int) -> tuple[jax.Array, jax.Array]:
    return jnp.arange(height)[None, :, None, None], jnp.arange(width)[None, None, :, None]


def _inside(down: jax.Array, right: jax.Array, side: jax.Array | int) -> jax.Array:
    return (down >= 0) & (down < side) & (right >= 0) & (right < side)


def _change_linf(key, now: jax.Array, images: jax.Array, eps, side: jax.Array) -> jax.Array:
    """Move a square up or down by eps, one sign for all of it."""
    place_key, sign_key = jax.random.split(key)
    inside = _inside(*_place(place_key, images.shape, side), side)
    signs = jax.random.rademacher(sign_key, (images.shape[0], 1, 1, images.shape[3]), jnp.float32)
    return jnp.clip(jnp.where(inside, images + eps * signs, now), 0, 1)


def _unit(change: jax.Array) -> jax.Array:
    """Scale each channel of [B, H, W, C] to L2 norm 1, or leave it at zero."""
    return change / jnp.maximum(jnp.sqrt(jnp.square(change).sum(axis=(1, 2), keepdims=True)), TINY)


def eta(down: jax.Array, right: jax.Array, side: jax.Array | int) -> jax.Array:
    """Return the change, of L2 norm 1, that the paper tries in a square: a hill above a valley.

    Each is a pile of nested rectangles of heights 1, 1/4, 1/9, ..., the smallest first. `down` and
    `right`, from the square's corner, broadcast to [B, H, W, 1]; swapped, they transpose it.
    """
    rows, columns = jnp.broadcast_shapes(down.shape, right.shape)[1:3]
    steps = jnp.asarray(np.cumsum([0, *(1 / np.arange(1, rows + columns + 1) ** 2)]), jnp.float32)
    half = side // 2
    upper = down < half
    height = jnp.where(upper, half, side - half)
    row = jnp.where(upper, down, down - half)
    # the innermost rectangle that holds the pixel
    ring = jnp.maximum(jnp.abs(row - height // 2), jnp.abs(right - half))
    rise = steps[half + 1] - steps[jnp.minimum(ring, rows + columns)]
    hills = jnp.where(_inside(down, right, side), rise, 0.0)
    return _unit(_unit(jnp.where(upper, hills, 0.0)) - _unit(jnp.where(upper, 0.0, hills)))


@jax.jit
def _tiles(key: jax.Array, images: jax.Array, eps: float) -> jax.Array:
    """Fill a 5 x 5 grid by changes `eta` of random signs and directions, of norm eps in all."""
    batch, height, width, channels = images.shape
    tile = max(height // 5, 1)
    rows, columns = height // tile, width // tile
    down, right = _grid(tile, tile)
    spread = lambda change: change.reshape(1, 1, tile, 1, tile, 1)
    sign_key, turn_key = jax.random.split(key)
    signs = jax.random.rademacher(sign_key, (batch, rows, 1, columns, 1, channels), jnp.float32)
    turned = jax.random.bernoulli(turn_key, shape=(batch, rows, 1, columns, 1, 1))
    changes = jnp.where(turned, spread(eta(right, down, tile)), spread(eta(down, right, tile)))
    spare = height - rows * tile, width - columns * tile
    edges = [(0, 0), *((each // 2, each - each // 2) for each in spare), (0, 0)]
    changes = (signs * changes).reshape(batch, rows * tile, columns * tile, channels)
    changes = jnp.pad(changes, edges)
    return jnp.clip(images + per_image(eps, images) * l2.steepest(changes), 0, 1)


def _change_l2(key, now: jax.Array, images: jax.Array, eps, side: jax.Array) -> jax.Array:
    """Wipe two squares; spend their norm, and what eps leaves, on the first's change plus `eta`."""
    place_key, other_key, turn_key, sign_key = jax.random.split(key, 4)
    down, right = _place(place_key, images.shape, side)
    here = _inside(down, right, side)
    there = _inside(*_place(other_key, images.shape, side), side)
    delta = now - images
    turned = jax.random.bernoulli(turn_key, shape=(images.shape[0], 1, 1, 1))
    fresh = eta(jnp.where(turned, right, down), jnp.where(turned, down, right), side)
    signs = jax.random.rademacher(sign_key, (images.shape[0], 1, 1, images.shape[3]), jnp.float32)
    spent = jnp.square(jnp.where(here | there, delta, 0.0)).sum(axis=(1, 2), keepdims=True)
    left = jnp.maximum(jnp.square(eps) - jnp.square(l2.size(delta)), 0) / images.shape[3]
    fresh = _unit(_unit(jnp.where(here, delta, 0.0)) + signs * fresh)
    fresh = fresh * jnp.sqrt(spent + per_image(left, images))
    changed = jnp.where(here, fresh, jnp.where(there, 0.0, delta))
    return jnp.clip(images + eps * l2.steepest(changed), 0, 1)
