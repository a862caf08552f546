from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.models import convolution, layers, winograd


def assert_is_xlas_own(convolve, shape, inputs):
    """In float64, where a wrong place or sign cannot hide behind rounding: the convolution and both
    its gradients.
    """
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(random.normal(size=size)) for size in ((*shape, inputs), (3, 3, inputs, 4))
        )
        y, pull_back = jax.vjp(convolve, x, kernel)
        plain, plain_pull_back = jax.vjp(convolution.plain, x, kernel)
        weights = jnp.asarray(random.normal(size=y.shape))
        np.testing.assert_allclose(y, plain, atol=1e-12)
        for ours, xlas in zip(pull_back(weights), plain_pull_back(weights), strict=True):
            np.testing.assert_allclose(ours, xlas, atol=1e-11)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 5), (1, 1, 1), (2, 4, 7), (2, 3, 4)])
def test_convolution_and_gradients_are_xlas_own(shape):
    assert_is_xlas_own(winograd.convolve, shape, 3)


def test_what_the_cache_cannot_hold_is_taken_in_chunks(monkeypatch):
    monkeypatch.setattr(convolution, "CHUNK", 200)
    chunks = convolution.chunks(jnp.zeros((5, 4, 5, 3)), 4)
    assert [chunk.indices(5)[:2] for chunk in chunks] == [(0, 2), (2, 4), (4, 5)]
    assert_is_xlas_own(winograd.convolve, (5, 4, 5), 3)


@pytest.mark.parametrize("shape", [(3, 8, 6), (2, 5, 5), (1, 1, 1)])
def test_convolution_of_grey_images_is_xlas_own(shape):
    assert_is_xlas_own(convolution.shifted, shape, 1)


@pytest.mark.parametrize("shape", [(3, 8, 6), (2, 5, 5), (1, 1, 1), (5, 12, 12)])
def test_the_turned_kernels_convolution_is_xlas_own(monkeypatch, shape):
    assert_is_xlas_own(convolution.turned, shape, 3)
    monkeypatch.setattr(convolution, "CHUNK", 200)  # one or a few images at once
    assert_is_xlas_own(convolution.turned, shape, 3)


@pytest.mark.parametrize(("side", "units"), [(10, 8), (5, 40)])  # patches of 3 round worse
def test_in_float32_it_rounds_no_worse_than_by_units_in_the_last_place(side, units):
    random = np.random.default_rng(1)
    x, kernel = random.normal(size=(4, side, side, 128)), random.normal(size=(3, 3, 128, 96))
    with jax.enable_x64(True):
        exact = np.asarray(convolution.plain(jnp.asarray(x), jnp.asarray(kernel)))
    found = winograd.convolve(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    assert np.abs(found - exact).max() < units * np.finfo(np.float32).eps * np.abs(exact).max()


class Network(nn.Module):
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        return layers.convolve(x, self.width, self.dtype, "conv")


class Plain(nn.Module):
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        settings = {"use_bias": False, "dtype": self.dtype, "kernel_init": layers.KERNEL_INIT}
        return nn.Conv(self.width, (3, 3), name="conv", **settings)(x)


@pytest.mark.parametrize(
    ("shape", "width", "dtype", "form"),
    [
        ((8, 10, 10, 96), 64, jnp.float32, "winograd"),
        ((7, 10, 10, 96), 64, jnp.float32, None),  # too few images
        ((8, 10, 10, 32), 32, jnp.float32, None),  # too few channels
        ((256, 20, 20, 96), 96, jnp.float32, None),  # too many chunks
        ((2, 10, 10, 1), 32, jnp.float32, "shifted"),
        ((2, 10, 10, 1), 32, jnp.bfloat16, "turned"),
        ((8, 10, 10, 96), 64, jnp.bfloat16, "turned"),
    ],
)
def test_a_layer_takes_what_pays_and_is_flaxs_in_variables_and_value(
    monkeypatch, shape, width, dtype, form
):
    used = []
    for module, name in ((winograd, "convolve"), (convolution, "shifted"), (convolution, "turned")):
        ours, known = getattr(module, name), "winograd" if module is winograd else name
        counted = lambda *args, known=known, ours=ours: used.append(known) or ours(*args)
        monkeypatch.setattr(module, name, counted)
    networks = [network(width, dtype) for network in (Network, Plain)]
    x = jax.random.normal(jax.random.key(0), shape)
    variables, plain = (network.init(jax.random.key(1), x[:1]) for network in networks)
    jax.tree.map(np.testing.assert_array_equal, variables, plain)
    used.clear()
    outputs = [jax.eval_shape(network.apply, variables, x) for network in networks]
    assert used == ([form] if form else [])
    assert outputs[0] == outputs[1]
    if form:
        values = [np.float32(network.apply(variables, x)) for network in networks]
        np.testing.assert_allclose(*values, atol=2e-5 if dtype == jnp.float32 else 0.05)


def test_elsewhere_than_on_a_cpu_it_is_flaxs_own(monkeypatch):
    monkeypatch.setattr(layers, "on_cpu", lambda: False)
    monkeypatch.setattr(layers, "CpuConv", None)
    for channels in (96, 1):
        Network(64).init_with_output(jax.random.key(0), jnp.ones((8, 4, 4, channels)))
