"""Per-example losses: logits and targets in, one number per row out; the caller takes the mean.

cross_entropy(logits, smooth(jax.nn.one_hot(labels, 7), 0.1)).mean()
"""

import jax
import jax.numpy as jnp

from fer_jax.types import Images, Logits, LogitsFn


def smooth(targets: jax.Array, smoothing: float) -> jax.Array:
    """Return targets, float32 [B, C], of which a share `smoothing` is spread over all classes.

    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7
    (https://arxiv.org/abs/1512.00567).
    """
    return (1 - smoothing) * targets + smoothing / targets.shape[-1]


def cross_entropy(logits: Logits, targets: jax.Array) -> jax.Array:
    """Return -sum_k targets_k log softmax(logits)_k in nats, [B]; targets [B, C] add up to 1."""
    return -(targets * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(axis=-1)


def blend(targets: jax.Array, beliefs: jax.Array, share: jax.Array | float) -> jax.Array:
    """Return targets, float32 [B, C], a share of which are `beliefs`: a network's probabilities.

    Source: Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets", ICCV
    2021, equation 4 (https://arxiv.org/abs/2006.12000).
    """
    return (1 - share) * targets + share * beliefs


def smoothed_log(logits_fn: LogitsFn, images: Images, noise: jax.Array) -> Logits:
    """Return the log of the mean probabilities, [B, C], of images [B, ...] with each of M noises.

    Args:
        noise: [M, B, ...], or [M, 1, ...] for the same on every image; all go through the network
            as one batch.
    """
    noisy = images[None] + noise
    logits = logits_fn(noisy.reshape(-1, *images.shape[1:])).astype(jnp.float32)
    logs = jax.nn.log_softmax(logits).reshape(*noisy.shape[:2], -1)
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(len(noise))
