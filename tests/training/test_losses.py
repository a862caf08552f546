import jax
import numpy as np
import optax
import pytest

from fer_jax.training import losses


@pytest.fixture
def batch():
    key, label_key = jax.random.split(jax.random.key(0))
    return 5 * jax.random.normal(key, (16, 7)), jax.random.randint(label_key, (16,), 0, 7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_cross_entropy_equals_optax(batch, smoothing):
    logits, labels = batch
    ours = losses.cross_entropy(logits, losses.smooth(jax.nn.one_hot(labels, 7), smoothing))
    oracle = optax.softmax_cross_entropy(
        logits, optax.smooth_labels(jax.nn.one_hot(labels, 7), smoothing)
    )
    np.testing.assert_allclose(ours, oracle, rtol=1e-5)
