"""What any attack must beat by far: noise that knows nothing of the network.

noisy = uniform(key, logits_fn, images, labels, eps=8 / 255)
"""

import jax
import jax.numpy as jnp

from fer_jax.attacks.norms import Norm, linf, per_image
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
    """Images float32 [B, H, W, C] in [0, 1] plus noise drawn uniformly from the ball of radius eps."""
    images = jnp.asarray(images)
    return jnp.clip(images + norm.random_start(key, images.shape, eps), 0, 1)


def gaussian(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: Images,
    labels: Labels,
    /,
    *,
    eps: float,
    norm: Norm = linf,
) -> Images:
    """Images plus normal noise, scaled to norm eps."""
    images = jnp.asarray(images)
    noise = jax.random.normal(key, images.shape)
    noise = noise * per_image(eps, noise) / per_image(norm.size(noise), noise)
    return jnp.clip(images + noise, 0, 1)
