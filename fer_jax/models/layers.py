"""Layers that give what flax's give, in a form that XLA runs faster on a CPU; elsewhere they are
flax's.

x = convolve(x, 64, dtype=jnp.float32, name="conv1")   # nn.Conv(64, (3, 3), use_bias=False,
name="conv1")(x) x = batch_norm_relu(x, train=True, name="norm1")   #
nn.relu(nn.BatchNorm(use_running_average=False, name="norm1")(x)) x = max_pool(x)
# nn.max_pool(x, (2, 2), (2, 2))
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from fer_jax.models import shifted, winograd

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
EPSILON = 1e-5
MOMENTUM = 0.9
# Where Winograd's convolution is faster than XLA's (benchmarks/convolution.py): with fewer channels
# or images its transforms cost more than it saves; with more activations there would be too many
# chunks to compile.
MIN_WEIGHTS, MIN_IMAGES, MAX_ACTIVATIONS = 32 * 96, 8, 2**23


def on_cpu() -> bool:
    """Whether the forms below apply: accelerators run flax's own faster, and compute their
    statistics in float32.
    """
    return jax.default_backend() == "cpu"


def convolve(x: jax.Array, width: int, dtype: Any, name: str) -> jax.Array:
    """A 3x3 convolution to `width` channels without bias, within a module that is `nn.compact`; its
    kernel is `nn.Conv`'s.

    x: [B, H, W, C] -> [B, H, W, width], bordered with zeros.
    """
    settings = {"use_bias": False, "dtype": dtype, "kernel_init": KERNEL_INIT, "name": name}
    # among several devices the chunks of images would be sent around
    if on_cpu() and jax.device_count() == 1:
        if x.shape[3] == 1:
            return CpuConv(width, (3, 3), form=shifted.convolve, **settings)(x)
        if _winograd_pays(x.shape, width):
            return CpuConv(width, (3, 3), form=winograd.convolve, **settings)(x)
    return nn.Conv(width, (3, 3), **settings)(x)


def _winograd_pays(shape: tuple[int, ...], width: int) -> bool:
    images, activations = shape[0], math.prod(shape[:3]) * max(shape[3], width)
    return (
        shape[3] * width >= MIN_WEIGHTS and images >= MIN_IMAGES and activations <= MAX_ACTIVATIONS
    )


class CpuConv(nn.Conv):
    """`nn.Conv` for 3x3 kernels, stride 1 and a border of zeros, computed by `form`."""

    form: Callable[[jax.Array, jax.Array], jax.Array] = winograd.plain

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        shape = (3, 3, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        inputs, kernel = promote_dtype(inputs, kernel, dtype=self.dtype)
        return self.form(inputs, kernel)


def batch_norm_relu(x: jax.Array, train: bool, dtype: Any, name: str) -> jax.Array:
    """Batch normalisation and a rectifier, within a module that is `nn.compact`; its variables are
    `nn.BatchNorm`'s.
    """
    if on_cpu():
        return BatchNormRelu(train=train, dtype=dtype, name=name)(x)
    settings = {"momentum": MOMENTUM, "epsilon": EPSILON, "dtype": dtype, "name": name}
    return nn.relu(nn.BatchNorm(use_running_average=not train, **settings)(x))


def column_sums(x: jax.Array) -> jax.Array:
    """Sum of x [..., C] over all axes but the last, in float32 -> [C].

    As a matrix product with ones: on the CPU XLA's own reduction over leading axes runs at a
    fraction of its speed.
    """
    rows = x.reshape(-1, x.shape[-1])
    ones = jnp.ones((1, rows.shape[0]), rows.dtype)
    return jnp.dot(ones, rows, preferred_element_type=jnp.float32)[0]


def _affine(x: jax.Array, rate: jax.Array, offset: jax.Array) -> jax.Array:
    """x * rate + offset per channel, in x's type."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    return x * rate.astype(x.dtype).reshape(shape) + offset.astype(x.dtype).reshape(shape)


@jax.custom_vjp
def normalised_relu(
    x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """relu(scale * (x - mean) / sqrt(var + 1e-5) + bias) with the batch's own statistics.

    Args:
        x: [..., C]; scale, bias: float32 [C].

    Returns:
        The activations, shaped as x, and the biased mean and variance, float32 [C], which take no
        gradient.
    """
    return _normalised_relu_forward(x, scale, bias)[0]


def _normalised_relu_forward(x, scale, bias):
    n = x.size // x.shape[-1]
    mean = column_sums(x) / n
    var = jnp.maximum(column_sums(jnp.square(x)) / n - jnp.square(mean), 0.0)
    rate = scale * jax.lax.rsqrt(var + EPSILON)
    y = jax.nn.relu(_affine(x, rate, bias - mean * rate))
    return (y, mean, var), (x, y, scale, mean, var)


def _normalised_relu_backward(residuals, cotangents):
    """Ioffe & Szegedy, "Batch Normalization", ICML 2015, section 3, through the rectifier."""
    x, y, scale, mean, var = residuals
    n = x.size // x.shape[-1]
    inverse = jax.lax.rsqrt(var + EPSILON)
    gradient = jnp.where(y > 0, cotangents[0], 0)
    dbias = column_sums(gradient)
    dscale = (column_sums(gradient * x) - mean * dbias) * inverse
    rate = scale * inverse
    slope = rate * inverse * dscale / n  # of the part along x
    offset = rate * dbias / n - slope * mean
    dx = _affine(gradient, rate, -offset) - _affine(x, slope, jnp.zeros_like(slope))
    return dx, dscale, dbias


normalised_relu.defvjp(_normalised_relu_forward, _normalised_relu_backward)


class BatchNormRelu(nn.Module):
    """Batch normalisation and a rectifier in one pass, named and shaped as `nn.BatchNorm`'s
    variables are.
    """

    train: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if not self.train:
            rate = scale * jax.lax.rsqrt(var.value + EPSILON)
            return nn.relu(_affine(x, rate, bias - mean.value * rate))
        y, batch_mean, batch_var = normalised_relu(x, scale, bias)
        if not self.is_initializing():
            mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * batch_mean
            var.value = MOMENTUM * var.value + (1 - MOMENTUM) * batch_var
        return y


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum with stride 2, [B, H, W, C] -> [B, H // 2, W // 2, C]; an odd last row or column
    is dropped.

    The maximum of four strided views: the gradient of `nn.max_pool` (select-and-scatter) is several
    times slower on the CPU. Where values tie, the gradient is shared among them rather than given
    to the first.
    """
    if not on_cpu():
        return nn.max_pool(x, (2, 2), (2, 2))
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :h, :w]
    corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return functools.reduce(jnp.maximum, corners)
