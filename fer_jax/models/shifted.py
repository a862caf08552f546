"""3x3 convolutions of grey images, for the CPU: nine shifted images, each times its own weight.

    y = convolve(x, kernel)     # nn.Conv(O, (3, 3), use_bias=False): x [B, H, W, 1], kernel [3, 3,
    1, O] -> [B, H, W, O]

With one channel there is no sum over channels, for which XLA's own convolution is made: that takes
several times as long (benchmarks/convolution.py).
"""

import functools

import jax
import jax.numpy as jnp

SHIFTS = [(row, column) for row in range(3) for column in range(3)]


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The correlation of x [B, H, W, 1], bordered with zeros, with kernel [3, 3, 1, O] -> [B, H, W,
    O].
    """
    weights = kernel.reshape(9, 1, 1, 1, -1)
    return functools.reduce(jnp.add, (view * weights[i] for i, view in enumerate(_views(x))))


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel), (x, kernel)


def _backward(
    residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """As two matrix products with the gradient [B * H * W, O]: of the weights, and of the nine
    shifted images.
    """
    x, kernel = residuals
    flat = gradient.reshape(-1, gradient.shape[3])
    views = jnp.stack([view.reshape(-1) for view in _views(x)])
    shifted = (flat @ kernel.reshape(9, -1).T).reshape(*x.shape[:3], 9)
    # each shifted the other way
    back = [view[..., 8 - i] for i, view in enumerate(_views(shifted))]
    return functools.reduce(jnp.add, back)[..., None], (views @ flat).reshape(kernel.shape)


convolve.defvjp(_forward, _backward)


def _views(x: jax.Array) -> list[jax.Array]:
    """x [B, H, W, C] as seen from each of the nine neighbours, zero beyond the border."""
    height, width = x.shape[1:3]
    bordered = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [bordered[:, row : row + height, column : column + width] for row, column in SHIFTS]
