"""Networks whose smallest perturbations are known: linear ones, logits = images . W + b."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial


def linear_logits(weights, bias, images):
    return images.reshape(len(images), -1) @ weights + bias[None]


class Linear:
    """Images that it gets right, grey enough for the box [0, 1] to be out of reach; of its `logits`
    the first `classes` can win, by default all."""

    def __init__(self, seed=0, shape=(8, 8, 1), images=16, logits=7, classes=None):
        random = np.random.default_rng(seed)
        self.weights = jnp.asarray(random.normal(size=(np.prod(shape), logits)), jnp.float32)
        self.bias = 0.1 * jnp.asarray(
            random.normal(size=logits), jnp.float32
        ) - 0.5 * self.weights.sum(axis=0)
        if classes is not None:
            self.weights = self.weights.at[:, classes:].set(0.0)
            self.bias = self.bias.at[classes:].set(-1e3)
        self.logits_fn = Partial(linear_logits, self.weights, self.bias)
        self.images = jnp.asarray(random.uniform(0.47, 0.53, (20 * images, *shape)), jnp.float32)
        self.labels = self.logits_fn(self.images).argmax(axis=1)
        # far enough for rounding not to matter
        clearest = np.argsort(-self.distances(2).min(axis=1))[:images]
        self.images, self.labels = self.images[clearest], self.labels[clearest]

    def distances(self, dual):
        """[B, logits]: the size, in the norm whose dual this is, of the smallest perturbation that
        makes each class win over the label; infinite for the label."""
        logits = np.asarray(self.logits_fn(self.images))
        rows = np.arange(len(logits))
        gaps = logits[rows, self.labels][:, None] - logits
        weights = np.asarray(self.weights)
        slopes = np.linalg.norm(
            weights[:, None, :] - weights[:, np.asarray(self.labels)][:, :, None], dual, axis=0
        )
        return np.where(gaps == 0, np.inf, gaps / np.maximum(slopes, 1e-12))


@pytest.fixture(scope="session")
def linear():
    return Linear()


@pytest.fixture(scope="session")
def binary():
    """Five of the seven classes never win: the way to the nearest boundary is the way to the
    likeliest other class.
    """
    return Linear(classes=2)


@pytest.fixture(scope="session")
def make_linear():
    return Linear
