"""3x3 convolutions with 2.25 times fewer multiplications, for the CPU: Winograd's F(2x2, 3x3).

    y = convolve(x, kernel)   # x [B, H, W, C], kernel [3, 3, C, O] -> [B, H, W, O]

Every 2x2 patch of y depends on a 4x4 tile of x. Tile and kernel are transformed by sums and
differences, multiplied in 16 places, and the products transformed back: Lavin & Gray, "Fast
Algorithms for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308, section 4.1. In
each place that is a matrix product over all tiles. So is the kernel's gradient, from the tiles of x
and the patches of y's gradient.

A side of 5 is a patch of 2 and one of 3 (F(3, 3)), from a tile of 5 in 5 places: 4 of them are
those of the smaller patch, whose kernel is the same. Results differ from XLA's by less than 8 units
in the last place of the largest, with patches of 3 by less than 40.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fer_jax.models.convolution import Pair, chunks

Places = list[list[jax.Array]]  # rows of places, each [C, O] or [tiles, channels]
Forms = tuple[Callable, Callable]  # with patches of 2 and of 3

# The algebra along one side: from a tile to its places, from the products in them to the result,
# and the transpose of the latter. Places are a polynomial's values at 0, 1, -1, infinity and 2.
TILE: Forms = (
    lambda a, b, c, d: (a - c, b + c, c - b, b - d),
    lambda a, b, c, d, e: (
        a - c + (d - b) / 2,
        2 * b + c - d,
        c - (2 * b + d) / 3,
        2 * b - c - 2 * d + e,
        d - b,
    ),
)
RESULT: Forms = (
    lambda a, b, c, d: (a + b + c, b - c - d),
    lambda a, b, c, d, e: (a + b + c + e, b - c + 2 * e, b + c + d + 4 * e),
)
PATCH: Forms = (
    lambda a, b: (a, a + b, a - b, -b),
    lambda a, b, c: (a, a + b + c, a - b + c, c, a + 2 * b + 4 * c),
)


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return `convolution.plain(x, kernel)`, to rounding."""
    return _multiply(x, _transform_kernel(kernel, x.shape))


def _backward(residuals: Pair, gradient: jax.Array) -> Pair:
    """Convolve the gradient with the kernel turned round, inputs for outputs, to get that of x."""
    x, kernel = residuals
    turned = _transform_kernel(kernel, x.shape, turned=True)
    # transposed within the matrix products: copying the kernel transposed takes longer than they do
    towards_x = _multiply(gradient, [[place.T for place in row] for row in turned])
    return towards_x, _kernel_gradient(x, gradient)


convolve.defvjp(lambda x, kernel: (convolve(x, kernel), (x, kernel)), _backward)


def _multiply(x: jax.Array, transformed: Places) -> jax.Array:
    """Return the convolution of x with a transformed kernel."""
    parts = []
    for chunk in chunks(x, transformed[0][0].shape[1]):
        products = jax.tree.map(jnp.matmul, _places(x[chunk], 1, TILE), transformed)
        parts.append(_untile(products, x[chunk].shape[:3]))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def _kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """Return [3, 3, C, O] from x and the gradient of the convolution's result."""
    parts = []
    for chunk in chunks(x, gradient.shape[3]):
        pairs = _places(x[chunk], 1, TILE), _places(gradient[chunk], 0, PATCH)
        parts.append(jax.tree.map(lambda tile, patch: tile.T @ patch, *pairs))
    places = jax.tree.map(lambda *products: functools.reduce(jnp.add, products), *parts)
    columns = zip(*map(_kernel_back, places), strict=True)
    rows = zip(*map(_kernel_back, columns), strict=True)
    return jnp.stack([jnp.stack(row) for row in rows])


def _divide(side: int) -> tuple[int, int]:
    """Return how many patches of 2 and of 3 cover a side; a side of 1 takes one of 2."""
    threes = side % 2 if side > 1 else 0
    return (side + 1 - 3 * threes) // 2, threes


def _transform_kernel(kernel: jax.Array, shape: tuple[int, ...], turned: bool = False) -> Places:
    """Return the kernel's places, or those of it turned by 180 degrees, for images of `shape`."""
    order = slice(None, None, -1 if turned else 1)
    down, across = (_divide(side)[1] for side in shape[1:3])
    rows = _kernel_places(*list(kernel)[order], fifth=down)
    return [_kernel_places(*list(row)[order], fifth=across) for row in rows]


def _places(x: jax.Array, border: int, forms: Forms) -> Places:
    """Return the places of x in tiles, which reach `border` pixels beyond their patches."""
    beyond = [(border, border + (side == 1)) for side in x.shape[1:3]]
    padded = jnp.pad(x, ((0, 0), *beyond, (0, 0)))
    rows = _places_along(padded, 1, x.shape[1], forms)
    columns = [_places_along(row, 2, x.shape[2], forms) for row in rows]
    return [[place.reshape(-1, x.shape[3]) for place in row] for row in columns]


def _places_along(x: jax.Array, axis: int, side: int, forms: Forms) -> list[jax.Array]:
    """Return the 4 or, where a patch of 3 is among them, 5 places of what covers a side of x."""
    twos, threes = _divide(side)
    border = x.shape[axis] - 2 * twos - 3 * threes
    every_second = lambda at, count: jax.lax.slice_in_dim(x, at, at + 2 * count - 1, 2, axis)
    found = []
    if twos:
        found.append(forms[0](*(every_second(i, twos) for i in range(2 + border))))
    if threes:
        found.append(forms[1](*(every_second(2 * twos + i, 1) for i in range(3 + border))))
    if len(found) == 1:
        return list(found[0])
    return [jnp.concatenate(pair, axis) for pair in zip(*found, strict=False)] + [found[1][4]]


def _untile(products: Places, shape: tuple[int, ...]) -> jax.Array:
    """Return the result for a `shape` of B, H and W from its places."""
    batch, height, width = shape
    down, across = _divide(height), _divide(width)
    rows = []
    for i, row in enumerate(products):
        count = sum(down) if i < 4 else down[1]
        grid = [place.reshape(batch, count, -1, place.shape[1]) for place in row]
        rows.append(_back(grid, 2, *across))
    return _back(rows, 1, *down)[:, :height, :width]


def _back(places: list[jax.Array], axis: int, twos: int, threes: int) -> jax.Array:
    """Return the patches, one after the other along `axis`, from their places."""
    parts = []
    if twos:
        own = (jax.lax.slice_in_dim(place, 0, twos, 1, axis) for place in places[:4])
        pairs = jnp.stack(RESULT[0](*own), axis + 1)
        parts.append(pairs.reshape(*pairs.shape[:axis], 2 * twos, *pairs.shape[axis + 2 :]))
    if threes:
        shared = (jax.lax.slice_in_dim(place, twos, twos + 1, 1, axis) for place in places[:4])
        parts += RESULT[1](*shared, *places[4:])
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis)


def _kernel_places(a: jax.Array, b: jax.Array, c: jax.Array, fifth: int) -> list[jax.Array]:
    places = [a, (a + b + c) / 2, (a - b + c) / 2, c]
    return [*places, (a + 2 * b + 4 * c) / 6] if fifth else places


def _kernel_back(places: Sequence[jax.Array]) -> list[jax.Array]:
    """Return the transpose of `_kernel_places`."""
    a, b, c, d, *fifth = places
    taps = [a + (b + c) / 2, (b - c) / 2, (b + c) / 2 + d]
    if not fifth:
        return taps
    return [tap + power * fifth[0] / 6 for tap, power in zip(taps, (1, 2, 4), strict=True)]
