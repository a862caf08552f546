import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.models import layers, winograd


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 5), (1, 1, 1), (2, 4, 7), (winograd.CHUNK + 1, 2, 3)])
def test_convolution_and_gradients_are_xlas_own(shape):
    """In float64, where a wrong place or sign cannot hide behind rounding; the batch of the last crosses a chunk."""
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(random.normal(size=size)) for size in ((*shape, 3), (3, 3, 3, 4)))
        y, pull_back = jax.vjp(winograd.convolve, x, kernel)
        plain, plain_pull_back = jax.vjp(winograd.plain, x, kernel)
        weights = jnp.asarray(random.normal(size=y.shape))
        np.testing.assert_allclose(y, plain, atol=1e-12)
        for ours, xlas in zip(pull_back(weights), plain_pull_back(weights), strict=True):
            np.testing.assert_allclose(ours, xlas, atol=1e-11)


def test_in_float32_it_rounds_no_worse_than_a_few_units_in_the_last_place():
    random = np.random.default_rng(1)
    x, kernel = random.normal(size=(4, 10, 10, 128)), random.normal(size=(3, 3, 128, 96))
    with jax.enable_x64(True):
        exact = np.asarray(winograd.plain(jnp.asarray(x), jnp.asarray(kernel)))
    found = winograd.convolve(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    assert np.abs(found - exact).max() < 16 * np.finfo(np.float32).eps * np.abs(exact).max()


class Network(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return layers.convolve(x, self.width, jnp.float32, "conv")


class Plain(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.width, (3, 3), use_bias=False, kernel_init=layers.KERNEL_INIT, name="conv")(x)


@pytest.mark.parametrize(
    ("shape", "width", "quick"),
    [
        ((8, 10, 10, 96), 64, True),
        ((7, 10, 10, 96), 64, False),  # too few images
        ((8, 10, 10, 32), 32, False),  # too few channels
        ((128, 20, 20, 96), 96, False),  # too much for the cache
    ],
)
def test_a_layer_takes_it_where_it_pays_and_is_flaxs_in_variables_and_value(monkeypatch, shape, width, quick):
    used = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *args: used.append(True) or convolve(*args))
    x = jax.random.normal(jax.random.key(0), shape)
    variables, plain = (network(width).init(jax.random.key(1), x[:1]) for network in (Network, Plain))
    jax.tree.map(np.testing.assert_array_equal, variables, plain)
    outputs = [jax.eval_shape(network(width).apply, variables, x) for network in (Network, Plain)]
    assert bool(used) == quick
    assert outputs[0] == outputs[1]
    if quick:
        found, expected = (network(width).apply(variables, x) for network in (Network, Plain))
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_elsewhere_than_on_a_cpu_it_is_flaxs_own(monkeypatch):
    monkeypatch.setattr(layers, "on_cpu", lambda: False)
    monkeypatch.setattr(layers, "WinogradConv", None)
    x = jnp.ones((8, 4, 4, 96))
    Network(64).init_with_output(jax.random.key(0), x)
