"""Networks whose smallest perturbations are known: linear ones, logits = images . W + b."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial


def linear_logits(weights, bias, images):
    return images.reshape(len(images), -1) @ weights + bias[None]


class Linear:
    """Seven classes; images that it gets right, grey enough for the box [0, 1] to be out of reach."""

    def __init__(self, seed=0, size=8, images=16, classes=7):
        random = np.random.default_rng(seed)
        self.weights = jnp.asarray(random.normal(size=(size * size, 7)), jnp.float32)
        self.bias = 0.1 * jnp.asarray(random.normal(size=7), jnp.float32) - 0.5 * self.weights.sum(axis=0)
        self.weights = self.weights.at[:, classes:].set(0.0)
        self.bias = self.bias.at[classes:].set(-1e3)
        self.logits_fn = Partial(linear_logits, self.weights, self.bias)
        self.images = jnp.asarray(random.uniform(0.47, 0.53, (20 * images, size, size, 1)), jnp.float32)
        self.labels = self.logits_fn(self.images).argmax(axis=1)
        clearest = np.argsort(-self.distances(2).min(axis=1))[:images]  # far enough for rounding not to matter
        self.images, self.labels = self.images[clearest], self.labels[clearest]

    def distances(self, dual):
        """[B, 7]: the size, in the norm whose dual this is, of the smallest perturbation that makes each class win over
        the label; infinite for the label."""
        logits = np.asarray(self.logits_fn(self.images))
        rows = np.arange(len(logits))
        gaps = logits[rows, self.labels][:, None] - logits
        weights = np.asarray(self.weights)
        slopes = np.linalg.norm(weights[:, None, :] - weights[:, np.asarray(self.labels)][:, :, None], dual, axis=0)
        return np.where(gaps == 0, np.inf, gaps / np.maximum(slopes, 1e-12))


@pytest.fixture(scope="session")
def linear():
    return Linear()


@pytest.fixture(scope="session")
def binary():
    """Five of the seven classes never win: the way to the nearest boundary is the way to the likeliest other class."""
    return Linear(classes=2)
