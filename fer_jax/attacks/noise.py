"""Noise that knows nothing of the network: what any attack must beat by far."""

import jax.numpy as jnp

from fer_jax.attacks.loop import prepared
from fer_jax.attacks.norms import linf
from fer_jax.types import Images


def uniform(key, logits_fn, images, labels, /, *, eps: float, norm=linf) -> Images:
    """Return the images plus noise drawn uniformly from the ball of radius eps."""
    key, _, images, _ = prepared(key, logits_fn, images, labels)
    return jnp.clip(images + norm.random_start(key, images.shape, eps), 0, 1)
