"""Layers equal to flax's in a form that XLA runs faster on a CPU; elsewhere they are flax's.

x = max_pool(batch_norm_relu(convolve(x, 64, dtype, "conv1"), train, dtype, "norm1"))
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from fer_jax import runtime
from fer_jax.models import convolution, winograd

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
EPSILON = 1e-5
MOMENTUM = 0.9
# Where Winograd's convolution is faster (benchmarks/convolution.py): with fewer channels or images
# its transforms cost more than it saves; with more activations chunks are too many to compile.
MIN_WEIGHTS, MIN_IMAGES, MAX_ACTIVATIONS = 32 * 96, 8, 2**23
SLICES = 16  # of a batch that are added element by element before their columns are summed


def on_cpu() -> bool:
    """Return whether the forms below apply: accelerators run flax's own layers faster."""
    return jax.default_backend() == "cpu"


def training_dtype() -> Any:
    """Return the type of activations in training: bfloat16 where the device computes in it."""
    return jnp.float32 if on_cpu() and not runtime.bfloat16() else jnp.bfloat16


def convolve(x: jax.Array, width: int, dtype: Any, name: str) -> jax.Array:
    """Apply `nn.Conv(width, (3, 3), use_bias=False)`: x is bordered with zeros."""
    settings = {"use_bias": False, "dtype": dtype, "kernel_init": KERNEL_INIT, "name": name}
    # among several devices the chunks of images would be sent around
    if on_cpu() and jax.device_count() == 1 and (form := _fastest_form(x.shape, width, dtype)):
        return CpuConv(width, (3, 3), form=form, **settings)(x)
    return nn.Conv(width, (3, 3), **settings)(x)


def _fastest_form(shape: tuple[int, ...], width: int, dtype: Any) -> Callable | None:
    images, channels = shape[0], shape[3]
    if dtype == jnp.bfloat16:
        return convolution.turned
    if channels == 1:
        return convolution.shifted
    few = math.prod(shape[:3]) * max(channels, width) <= MAX_ACTIVATIONS
    pays = channels * width >= MIN_WEIGHTS and images >= MIN_IMAGES and few
    return winograd.convolve if pays else None


class CpuConv(nn.Conv):
    """`nn.Conv` for 3x3 kernels, stride 1 and a border of zeros, computed by `form`."""

    form: Callable[[jax.Array, jax.Array], jax.Array] = convolution.plain

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        shape = (3, 3, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        inputs, kernel = promote_dtype(inputs, kernel, dtype=self.dtype)
        return self.form(inputs, kernel)


def batch_norm_relu(x: jax.Array, train: bool, dtype: Any, name: str) -> jax.Array:
    """Apply `nn.BatchNorm` and a rectifier; `train` normalises by the batch's own statistics."""
    return BatchNormRelu(not train, dtype=dtype, name=name)(x)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def channel_sums(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """Return the sums of an elementwise function of arrays [B, ..., C] by channel: float32 [C].

    Slices of the batch are added element by element, in one pass without a copy in float32, the
    rest by a matrix product with ones: XLA's own reduction runs at a fraction of that speed.
    """
    images = arrays[0].shape[0]
    size = images // math.gcd(images, SLICES)
    starts = range(0, images, size)
    slices = (function(*(_wide(array[i : i + size]) for array in arrays)) for i in starts)
    rows = functools.reduce(jnp.add, slices)
    rows = rows.reshape(-1, rows.shape[-1])
    return (jnp.ones((1, rows.shape[0]), rows.dtype) @ rows)[0]


def _affine(x: jax.Array, rate: jax.Array, offset: jax.Array) -> jax.Array:
    """Return x * rate + offset per channel, computed in float32."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    return _wide(x) * rate.reshape(shape) + offset.reshape(shape)


@jax.custom_vjp
def normalised_relu(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, ...]:
    """Return relu(scale * (x - mean) / sqrt(var + 1e-5) + bias) and the batch's mean and var.

    These are biased, float32 [C] as scale and bias, and take no gradient.
    """
    return _normalised_relu_forward(x, scale, bias)[0]


def _normalised_relu_forward(x, scale, bias):
    n = x.size // x.shape[-1]
    mean = channel_sums(lambda x: x, x) / n
    var = jnp.maximum(channel_sums(jnp.square, x) / n - jnp.square(mean), 0.0)
    rate = scale * jax.lax.rsqrt(var + EPSILON)
    y = jax.nn.relu(_affine(x, rate, bias - mean * rate)).astype(x.dtype)
    return (y, mean, var), (x, y, scale, mean, var)


def _normalised_relu_backward(residuals, cotangents):
    """Ioffe & Szegedy, "Batch Normalization", ICML 2015, section 3, through the rectifier."""
    x, y, scale, mean, var = residuals
    n, slopes = x.size // x.shape[-1], cotangents[0]
    inverse = jax.lax.rsqrt(var + EPSILON)
    passed = lambda y, slopes: jnp.where(y > 0, slopes, 0)
    dbias = channel_sums(passed, y, slopes)
    along = channel_sums(lambda y, slopes, x: passed(y, slopes) * x, y, slopes, x)
    dscale = (along - mean * dbias) * inverse
    rate = scale * inverse
    slope = rate * inverse * dscale / n  # of the part along x
    offset = rate * dbias / n - slope * mean
    dx = _affine(passed(y, slopes), rate, -offset) - _affine(x, slope, jnp.zeros_like(slope))
    return dx.astype(x.dtype), dscale, dbias


normalised_relu.defvjp(_normalised_relu_forward, _normalised_relu_backward)


class BatchNormRelu(nn.BatchNorm):
    """`nn.BatchNorm` and a rectifier as one layer, so that its output is the rectifier's.

    Of the fields `use_running_average`, which must be given, and `dtype` may be set.
    """

    momentum: float = MOMENTUM
    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if not on_cpu():
            return nn.relu(super().__call__(x))
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if self.use_running_average:
            rate = scale * jax.lax.rsqrt(var.value + EPSILON)
            return nn.relu(_affine(x, rate, bias - mean.value * rate)).astype(x.dtype)
        y, batch_mean, batch_var = normalised_relu(x, scale, bias)
        if not self.is_initializing():
            mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * batch_mean
            var.value = MOMENTUM * var.value + (1 - MOMENTUM) * batch_var
        return y


def max_pool(x: jax.Array) -> jax.Array:
    """Return the 2x2 maximum with stride 2, without an odd last row or column.

    The gradient of `nn.max_pool` (select-and-scatter) is several times slower on a CPU.
    """
    return _max_pool(x) if on_cpu() else nn.max_pool(x, (2, 2), (2, 2))


@jax.custom_vjp
def _max_pool(x: jax.Array) -> jax.Array:
    return _maximum(x)[0]


def _maximum(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the maximum of each 2x2 patch, and which of its pixels that is, the first where equal.

    The gradient goes by that number: to compare x with the maximum again would fail wherever XLA
    computes x anew, in another fusion with other rounding.
    """
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    first, *others = (x[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1))
    largest, which = first, jnp.zeros(first.shape, jnp.int8)
    for number, corner in enumerate(others, 1):
        which = jnp.where(corner > largest, jnp.int8(number), which)
        largest = jnp.maximum(largest, corner)
    return largest, which


def _max_pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, tuple[int, ...]]]:
    largest, which = _maximum(x)
    return largest, (which, x.shape[1:3])


def _max_pool_backward(residuals, gradient):
    which, sides = residuals
    numbers = jnp.arange(4, dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    patches_of = lambda values: values[:, :, None, :, None]
    patches = jnp.where(patches_of(which) == numbers, patches_of(gradient), 0)
    images, height, width, channels = which.shape
    whole = patches.reshape(images, 2 * height, 2 * width, channels)
    dropped = [(0, side - 2 * half) for side, half in zip(sides, (height, width), strict=True)]
    return (jnp.pad(whole, ((0, 0), *dropped, (0, 0))),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)
