"""3x3 convolutions with 2.25 times fewer multiplications, for the CPU: Winograd's F(2x2, 3x3), and
F(3, 3) for odd sides.

    y = convolve(x, kernel)     # nn.Conv(O, (3, 3), use_bias=False): x [B, H, W, C], kernel [3, 3,
    C, O] -> [B, H, W, O]

Every 2x2 patch of y depends on a 4x4 tile of x. Tile and kernel are transformed by sums and
differences, multiplied in 16 places, and the products transformed back: Lavin & Gray, "Fast
Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1. In each of the 16 places that
is a matrix product over all tiles, which XLA runs as fast as its convolutions. So is the kernel's
gradient, from the tiles of x and the patches of y's gradient.

A side of 5 is a patch of 2 and one of 3, from a tile of 5 in 5 places: 4 of them are those of the
smaller patch, whose kernel is the same. Along a side the places are the values of a polynomial at
0, 1, -1, infinity and, in patches of 3, at 2. Results differ from XLA's by rounding: by less than 8
units in the last place of the largest, with patches of 3 by less than 40
(tests/models/test_winograd.py).
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

# Numbers of an input or a result whose tiles are made at once: more leave the processor's cache,
# and the gain is gone.
CHUNK = 1_638_400


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The correlation of x [B, H, W, C], bordered with zeros, with kernel [3, 3, C, O] -> [B, H, W,
    O].
    """
    return _multiply(x, _transform_kernel(kernel, x.shape))


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel), (x, kernel)


def _backward(
    residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Of x: the convolution of the gradient with the kernel turned round, inputs for outputs."""
    x, kernel = residuals
    turned = _transform_kernel(kernel, x.shape, turned=True)
    # Transposed within the matrix products: copying the kernel transposed takes longer than they
    # do.
    towards_x = _multiply(gradient, [[place.T for place in row] for row in turned])
    return towards_x, _kernel_gradient(x, gradient)


convolve.defvjp(_forward, _backward)


def _multiply(x: jax.Array, transformed: list[list[jax.Array]]) -> jax.Array:
    """The convolution of x [B, H, W, C] with a kernel that is `transformed`, row by row of its
    places, each [C, O].
    """
    parts = []
    for chunk in _chunks(x, transformed[0][0].shape[1]):
        pairs = zip(_tiles(x[chunk]), transformed, strict=True)
        products = [[tile @ place for tile, place in zip(*rows, strict=True)] for rows in pairs]
        parts.append(_untile(products, x[chunk].shape[:3]))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def _kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """[3, 3, C, O] from x [B, H, W, C] and the gradient [B, H, W, O] of the convolution's result."""
    parts = []
    for chunk in _chunks(x, gradient.shape[3]):
        pairs = zip(_tiles(x[chunk]), _patches(gradient[chunk]), strict=True)
        parts.append(
            [[tile.T @ patch for tile, patch in zip(*rows, strict=True)] for rows in pairs]
        )
    places = jax.tree.map(lambda *products: functools.reduce(jnp.add, products), *parts)
    columns = [_kernel_back(row) for row in places]
    return jnp.stack(
        [jnp.stack(row) for row in zip(*map(_kernel_back, zip(*columns, strict=True)), strict=True)]
    )


def _chunks(x: jax.Array, outputs: int) -> list[slice]:
    """Images that are taken together: as many as the cache holds, in equal shares."""
    batch, height, width, inputs = x.shape
    most = max(1, CHUNK // (height * width * max(inputs, outputs)))
    size = -(-batch // -(-batch // most))
    return [slice(start, start + size) for start in range(0, batch, size)]


def _divide(side: int) -> tuple[int, int]:
    """How many patches of 2 and of 3 cover a side; a side of 1 takes one of 2."""
    threes = side % 2 if side > 1 else 0
    return (side + 1 - 3 * threes) // 2, threes


def _transform_kernel(
    kernel: jax.Array, shape: tuple[int, ...], turned: bool = False
) -> list[list[jax.Array]]:
    """kernel [3, 3, C, O], or what it is when turned by 180 degrees, for images of `shape`: place
    by place, [C, O].
    """
    order = slice(None, None, -1 if turned else 1)
    down, across = (_divide(side)[1] for side in shape[1:3])
    rows = _kernel_places(*list(kernel)[order], fifth=down)
    return [_kernel_places(*list(row)[order], fifth=across) for row in rows]


def _tiles(x: jax.Array) -> list[list[jax.Array]]:
    """The tiles of x [B, H, W, C], which reach one pixel beyond their patches: place by place,
    [tiles, C].
    """
    return _places(x, 1, _tile_of_two, _tile_of_three)


def _patches(gradient: jax.Array) -> list[list[jax.Array]]:
    """The patches of the result's gradient [B, H, W, O]: place by place, [tiles, O]."""
    return _places(gradient, 0, _patch_of_two, _patch_of_three)


def _places(
    x: jax.Array, border: int, of_two: Callable, of_three: Callable
) -> list[list[jax.Array]]:
    beyond = [(border, border + (side == 1)) for side in x.shape[1:3]]
    padded = jnp.pad(x, ((0, 0), *beyond, (0, 0)))
    rows = _places_along(padded, 1, x.shape[1], of_two, of_three)
    columns = [_places_along(row, 2, x.shape[2], of_two, of_three) for row in rows]
    return [[place.reshape(-1, x.shape[3]) for place in row] for row in columns]


def _places_along(
    x: jax.Array, axis: int, side: int, of_two: Callable, of_three: Callable
) -> list[jax.Array]:
    """The 4 or, where a patch of 3 is among them, 5 places of what covers a side of x."""
    twos, threes = _divide(side)
    border = x.shape[axis] - 2 * twos - 3 * threes
    found = []
    if twos:
        found.append(of_two(*(_strided(x, axis, i, twos) for i in range(2 + border))))
    if threes:
        found.append(of_three(*(_strided(x, axis, 2 * twos + i, 1) for i in range(3 + border))))
    if len(found) == 1:
        return list(found[0])
    return [jnp.concatenate(pair, axis) for pair in zip(*found, strict=False)] + [found[1][4]]


def _strided(x: jax.Array, axis: int, start: int, count: int) -> jax.Array:
    """Every second of x from `start` on along an axis, `count` of them."""
    return jax.lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis)


def _untile(products: list[list[jax.Array]], shape: tuple[int, ...]) -> jax.Array:
    """The result [B, H, W, O] for a `shape` of B, H and W from its places, each [tiles, O]."""
    batch, height, width = shape
    down, across = _divide(height), _divide(width)
    rows = []
    for i, row in enumerate(products):
        count = sum(down) if i < 4 else down[1]
        rows.append(
            _back([place.reshape(batch, count, -1, place.shape[1]) for place in row], 2, *across)
        )
    return _back(rows, 1, *down)[:, :height, :width]


def _back(places: list[jax.Array], axis: int, twos: int, threes: int) -> jax.Array:
    """The patches, one after the other along `axis`, from their places."""
    parts = []
    if twos:
        pairs = _result_of_two(
            *(jax.lax.slice_in_dim(place, 0, twos, 1, axis) for place in places[:4])
        )
        pairs = jnp.stack(pairs, axis + 1)
        parts.append(pairs.reshape(*pairs.shape[:axis], 2 * twos, *pairs.shape[axis + 2 :]))
    if threes:
        shared = (jax.lax.slice_in_dim(place, twos, twos + 1, 1, axis) for place in places[:4])
        parts += _result_of_three(*shared, *places[4:])
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis)


# What follows is the algebra along one side. The places are the values at 0, 1, -1, infinity and,
# in patches of 3, 2.


def _kernel_places(a: jax.Array, b: jax.Array, c: jax.Array, fifth: int) -> list[jax.Array]:
    places = [a, (a + b + c) / 2, (a - b + c) / 2, c]
    return [*places, (a + 2 * b + 4 * c) / 6] if fifth else places


def _tile_of_two(a, b, c, d):
    return a - c, b + c, c - b, b - d


def _tile_of_three(a, b, c, d, e):
    return a - c + (d - b) / 2, 2 * b + c - d, c - (2 * b + d) / 3, 2 * b - c - 2 * d + e, d - b


def _result_of_two(a, b, c, d):
    return a + b + c, b - c - d


def _result_of_three(a, b, c, d, e):
    return a + b + c + e, b - c + 2 * e, b + c + d + 4 * e


# The transposes of the two results and of the kernel's places.


def _patch_of_two(a, b):
    return a, a + b, a - b, -b


def _patch_of_three(a, b, c):
    return a, a + b + c, a - b + c, c, a + 2 * b + 4 * c


def _kernel_back(places: Sequence[jax.Array]) -> list[jax.Array]:
    a, b, c, d, *fifth = places
    taps = [a + (b + c) / 2, (b - c) / 2, (b + c) / 2 + d]
    return (
        [tap + power * fifth[0] / 6 for tap, power in zip(taps, (1, 2, 4), strict=True)]
        if fifth
        else taps
    )
