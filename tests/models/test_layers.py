from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import models
from fer_jax.models import layers


class Plain(nn.Module):
    """What BatchNormRelu replaces."""

    train: bool

    @nn.compact
    def __call__(self, x):
        return nn.relu(
            nn.BatchNorm(use_running_average=not self.train, momentum=0.9, epsilon=layers.EPSILON)(
                x
            )
        )


@pytest.fixture
def setting():
    keys = jax.random.split(jax.random.key(0), 4)
    x = 2 + 3 * jax.random.normal(keys[0], (8, 6, 6, 5))
    params = {"scale": jax.random.normal(keys[1], (5,)), "bias": jax.random.normal(keys[2], (5,))}
    stats = {"mean": jnp.arange(5.0), "var": 1 + jnp.arange(5.0)}
    return x, params, stats, jax.random.normal(keys[3], x.shape)


def run(module, variables, x, weights):
    def loss(params, x):
        y, updates = module.apply({"params": params, **variables[1]}, x, mutable=["batch_stats"])
        return (y * weights).sum(), (y, updates["batch_stats"])

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables[0], x)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_relu_equals_flax_in_value_statistics_and_gradients(setting, train):
    x, params, stats, weights = setting
    ours = run(layers.BatchNormRelu(not train), (params, {"batch_stats": stats}), x, weights)
    wrapped = ({"BatchNorm_0": params}, {"batch_stats": {"BatchNorm_0": stats}})
    plain = run(Plain(train=train), wrapped, x, weights)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("train", [True, False])
def test_elsewhere_than_on_a_cpu_the_network_is_flaxs_own(monkeypatch, train):
    """The same weights give the same logits; what is called shows which layers ran."""
    model = models.create({"family": "vgg", "stages": [[4, 4], [6]], "crop": 40})
    images = jax.random.uniform(jax.random.key(0), (5, 48, 48, 1))
    variables = model.init(jax.random.key(1), images)
    tuned = model.apply(variables, images, train=train, mutable=["batch_stats"])
    monkeypatch.setattr(layers, "on_cpu", lambda: False)
    monkeypatch.setattr(layers, "normalised_relu", None)
    monkeypatch.setattr(layers, "_affine", None)
    plain = model.apply(variables, images, train=train, mutable=["batch_stats"])
    for a, b in zip(*map(jax.tree.leaves, (tuned, plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_initialising_leaves_the_running_statistics_alone():
    x = jnp.full((4, 2, 2, 3), 7.0)
    variables = layers.BatchNormRelu(False).init(jax.random.key(0), x)
    assert (variables["batch_stats"]["mean"] == 0).all()
    assert (variables["batch_stats"]["var"] == 1).all()


def test_a_constant_channel_has_finite_gradients():
    x = jnp.full((4, 2, 2, 3), 7.0)
    gradient = jax.grad(lambda x: layers.normalised_relu(x, jnp.ones(3), jnp.ones(3))[0].sum())(x)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, 0, atol=1e-4)  # the output does not depend on a constant


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 5), (2, 9)])
def test_max_pool_equals_flax_in_value_and_gradient(height, width):
    key, weight_key = jax.random.split(jax.random.key(1))
    # no ties: there the gradients differ by design
    x = jax.random.normal(key, (3, height, width, 4))
    weights = jax.random.normal(weight_key, (3, height // 2, width // 2, 4))
    pools = [layers.max_pool, lambda x: nn.max_pool(x, (2, 2), (2, 2))]
    ours, plain = (
        jax.value_and_grad(lambda x, pool=pool: (pool(x) * weights).sum())(x) for pool in pools
    )
    np.testing.assert_array_equal(layers.max_pool(x), nn.max_pool(x, (2, 2), (2, 2)))
    np.testing.assert_allclose(ours[1], plain[1], atol=1e-6)


def test_among_tied_maxima_the_first_takes_the_gradient_as_flaxs_does():
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (5, 9, 8, 4)), jnp.float32)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(5, 4, 4, 4)), jnp.float32)
    pools = [layers.max_pool, lambda x: nn.max_pool(x, (2, 2), (2, 2))]
    ours, plain = (jax.grad(lambda x, pool=pool: (pool(x) * weights).sum())(x) for pool in pools)
    np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_each_window_passes_on_its_whole_gradient_once(dtype):
    """The bias's gradient of the sum of maxima is the number of those that the rectifier lets."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 12, 12, 8)), jnp.float32)

    def total(bias, x):
        z = layers.normalised_relu(x.astype(dtype), jnp.ones(8), bias)[0]
        pooled = layers.max_pool(z).astype(jnp.float32)
        return pooled.sum(), (pooled > 0).sum(axis=(0, 1, 2))

    found, passed = jax.jit(jax.grad(total, has_aux=True))(jnp.zeros(8), x)
    np.testing.assert_array_equal(found, passed)


def test_channel_sums_accumulate_in_float32():
    x = jnp.ones((4096, 3), jnp.bfloat16)  # bfloat16 cannot count past 256
    np.testing.assert_array_equal(layers.channel_sums(lambda x: x, x), [4096.0] * 3)


@pytest.mark.parametrize("images", [1, 7, 24, 64])
def test_channel_sums_are_sums_whatever_the_batch(images):
    x, y = np.random.default_rng(0).normal(size=(2, images, 3, 2, 5)).astype(np.float32)
    found = layers.channel_sums(lambda x, y: x * y, jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(found, (x * y).sum(axis=(0, 1, 2)), atol=1e-4)


class Block(nn.Module):
    """A convolution, batch norm with rectifier and pooling: ours, or plain flax."""

    plain: bool
    dtype: Any

    @nn.compact
    def __call__(self, x, train):
        if self.plain:
            x = nn.Conv(16, (3, 3), use_bias=False, name="conv")(x)
            x = nn.BatchNorm(not train, momentum=0.9, epsilon=layers.EPSILON, name="norm")(x)
            return nn.max_pool(nn.relu(x), (2, 2), (2, 2))
        x = layers.convolve(x.astype(self.dtype), 16, self.dtype, "conv")
        return layers.max_pool(layers.batch_norm_relu(x, train, self.dtype, "norm"))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("channels", [1, 12])
def test_in_bfloat16_a_block_is_flaxs_in_float32_to_its_precision(train, channels):
    """Value, statistics and gradients of images, kernel, scale and bias, by their mean error."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(8, 10, 10, channels)), jnp.float32)
    weights = jnp.asarray(random.normal(size=(8, 5, 5, 16)), jnp.float32)
    variables = Block(True, None).init(jax.random.key(0), x, train=train)

    def outcome(block):
        def loss(params, x):
            state = {**variables, "params": params}
            y, updates = block.apply(state, x, train=train, mutable=["batch_stats"])
            return (y.astype(jnp.float32) * weights).mean(), (y, updates)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(variables["params"], x)

    ours, plain = outcome(Block(False, jnp.bfloat16)), outcome(Block(True, None))
    assert ours[0][1][0].dtype == jnp.bfloat16
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        # some values are equal in bfloat16 that are not in float32
        assert np.abs(a - b).mean() < 0.1 * max(np.abs(b).mean(), 1e-3)
