import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import models
from fer_jax.models import layers
from fer_jax.models.explain import last_maps
from fer_jax.models.layers import max_pool

ARCHITECTURE = {"family": "vgg", "stages": [[2], [3, 4]], "dropout": 0.5, "crop": 44}


@pytest.mark.parametrize("cpu", [True, False])
def test_the_maps_of_a_vgg_and_their_gradients_are_those_of_its_last_rectifier(monkeypatch, cpu):
    """Also with the layers of an accelerator."""
    jax.clear_caches()
    monkeypatch.setattr(layers, "on_cpu", lambda: cpu)
    model = models.create(ARCHITECTURE)
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 48, 48, 1)), jnp.float32)
    variables = model.init(jax.random.key(0), images, train=False)
    classes = np.array([0, 6, 2])
    _, captured = model.apply(
        variables, images, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    expected = captured["intermediates"]["norm2_2"]["__call__"][-1]

    def logits(maps):
        return max_pool(maps).mean(axis=(1, 2)) @ variables["params"]["logits"]["kernel"]

    maps, gradients = last_maps(model, variables, images, classes)
    assert maps.shape == (3, 22, 22, 4) and float(maps.max()) > float(maps.min()) == 0
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    oracle = jax.grad(lambda maps: logits(maps)[np.arange(3), classes].sum())(expected)
    np.testing.assert_allclose(gradients, oracle, atol=1e-7)
