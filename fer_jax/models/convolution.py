"""3x3 convolutions for the CPU, each with gradients in the form that runs fastest there.

    y = turned(x, kernel)   # x [B, H, W, C], kernel [3, 3, C, O] -> [B, H, W, O]

`turned` is for oneDNN in bfloat16, which XLA's own gradients reach in shapes of half the speed.
`shifted` is for one channel in float32, where XLA's sum over channels has nothing to add up.
`benchmarks/convolution.py` measures both, and winograd.py's, against XLA's.
"""

import functools

import jax
import jax.numpy as jnp

Pair = tuple[jax.Array, jax.Array]
SHIFTS = [(row, column) for row in range(3) for column in range(3)]
CHUNK = 1_638_400  # numbers that are taken at once: more leave the processor's cache
SMALL_SIDE = 5  # of images that are taken all together: each chunk costs a kernel's transposition


def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return XLA's own convolution, x bordered with zeros."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def chunks(x: jax.Array, outputs: int) -> list[slice]:
    """Return the images to take together: as many as the cache holds, in equal shares."""
    images, height, width, inputs = x.shape
    most = max(1, CHUNK // (height * width * max(inputs, outputs)))
    size = -(-images // -(-images // most))
    return [slice(start, start + size) for start in range(0, images, size)]


@jax.custom_vjp
def turned(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return `plain(x, kernel)`; the gradient of x is a convolution with the turned kernel."""
    return plain(x, kernel)


def _turned_backward(residuals: Pair, gradient: jax.Array) -> Pair:
    x, kernel = residuals
    towards_x = plain(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    # that of the kernel is added up in float32 over chunks of images
    small = max(x.shape[1:3]) <= SMALL_SIDE
    parts = [
        jax.vjp(lambda k, at=at: plain(x[at], k), kernel)[1](gradient[at])[0]
        for at in ([slice(x.shape[0])] if small else chunks(x, gradient.shape[3]))
    ]
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    total = functools.reduce(jnp.add, (part.astype(wide) for part in parts))
    return towards_x, total.astype(kernel.dtype)


turned.defvjp(lambda x, kernel: (plain(x, kernel), (x, kernel)), _turned_backward)


@jax.custom_vjp
def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return `plain(x, kernel)` of grey images: nine shifted ones, times their weights, added."""
    weights = kernel.reshape(9, 1, 1, 1, -1)
    return functools.reduce(jnp.add, (view * weights[i] for i, view in enumerate(_views(x))))


def _shifted_backward(residuals: Pair, gradient: jax.Array) -> Pair:
    """Multiply the gradient [B * H * W, O] by the weights and by the nine images."""
    x, kernel = residuals
    rows = gradient.reshape(-1, kernel.shape[3])
    views = jnp.stack([view.reshape(-1) for view in _views(x)])
    each = (rows @ kernel.reshape(9, -1).T).reshape(*x.shape[:3], 9)
    height, width = x.shape[1:3]
    padded = jnp.pad(each, ((0, 0), (1, 1), (1, 1), (0, 0)))
    back = (
        padded[:, 2 - row : 2 - row + height, 2 - column : 2 - column + width, i]
        for i, (row, column) in enumerate(SHIFTS)
    )
    return functools.reduce(jnp.add, back)[..., None], (views @ rows).reshape(kernel.shape)


shifted.defvjp(lambda x, kernel: (shifted(x, kernel), (x, kernel)), _shifted_backward)


def _views(x: jax.Array) -> list[jax.Array]:
    """Return the nine shifted copies of x [B, H, W, 1], with zeros from beyond the border."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, row : row + height, column : column + width] for row, column in SHIFTS]
