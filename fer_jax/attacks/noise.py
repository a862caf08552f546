"""Noise that knows nothing of the network: what any attack must beat by far.

noisy = uniform(key, logits_fn, images, labels, eps=8 / 255)
"""

import jax
import jax.numpy as jnp

from fer_jax.attacks.norms import Norm, linf
from fer_jax.types import Images, Labels, LogitsFn


def uniform(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    /,
    *,
    eps: float,
    norm: Norm = linf,
) -> Images:
    """Return the images plus noise drawn uniformly from the ball of radius eps."""
    images = jnp.asarray(images)
    return jnp.clip(images + norm.random_start(key, images.shape, eps), 0, 1)
