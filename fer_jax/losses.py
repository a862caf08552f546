"""Per-example losses: logits and targets in, one number per row out; the caller takes the mean.

cross_entropy(logits, smooth(jax.nn.one_hot(labels, 7), 0.1)).mean()
"""

import jax
import jax.numpy as jnp

from fer_jax.types import Logits


def smooth(targets: jax.Array, smoothing: float) -> jax.Array:
    """Targets float32 [B, C] of which a share `smoothing` is spread over all classes.

    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7.
    """
    return (1 - smoothing) * targets + smoothing / targets.shape[-1]


def cross_entropy(logits: Logits, targets: jax.Array) -> jax.Array:
    """-sum_k targets_k log softmax(logits)_k in nats, [B]; targets are probabilities float32 [B, C]."""
    return -(targets * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(axis=-1)


def blend(targets: jax.Array, beliefs: jax.Array, share: jax.Array | float) -> jax.Array:
    """Targets float32 [B, C] that trust the network's own `beliefs` [B, C] (probabilities) by `share` in [0, 1].

    Source: Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets", ICCV 2021, equation 4.
    """
    return (1 - share) * targets + share * beliefs
