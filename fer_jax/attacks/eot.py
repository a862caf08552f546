"""Random defences, attacked in expectation: the network's mean answer over draws of its noise.

    noisy = lambda key, images: logits_fn(images + 0.1 * jax.random.normal(key, images.shape))
    hacked = autoattack(key, averaged(noisy, jax.random.key(1)), images, labels, eps=8 / 255)

Expectation over transformation (EOT): Athalye et al., "Obfuscated Gradients Give a False Sense of
Security", ICML 2018, section 4.2, https://arxiv.org/abs/1802.00420. Judge the outcome on draws that
the attack has not seen: `transferred(attack, averaged(noisy, one_key))` on another key's.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from fer_jax.attacks.loop import traced
from fer_jax.types import Images, Logits

RandomLogitsFn = Callable[[jax.Array, Images], Logits]  # (key, images) -> logits


def averaged(random_logits_fn: RandomLogitsFn, key: jax.Array, samples: int = 20) -> Partial:
    """Return a function of images alone, as attacks take it: the mean logits over `samples` draws.

    The objective is taken of the mean logits (by Athalye et al. of each draw's): an attack that
    keeps its best image would otherwise keep a lucky draw. Keys are folded with a number made of
    the batch's bits: draws change from step to step, but what is judged twice is judged alike.
    Each of the `samples` is a pass of the network, all at once in memory; AutoAttack takes 20.
    """
    return Partial(_mean_logits, traced(random_logits_fn), jax.random.split(key, samples))


@jax.jit
def _mean_logits(random_logits_fn: RandomLogitsFn, keys: jax.Array, images: jax.Array) -> jax.Array:
    number = _number(jax.lax.stop_gradient(images))
    draw = lambda key: random_logits_fn(jax.random.fold_in(key, number), images)
    return jax.vmap(draw)(keys).mean(axis=0)


def _number(images: jax.Array) -> jax.Array:
    """Return the sum of each pixel's bits, times an odd number of its own, modulo 2^32."""
    bits = jax.lax.bitcast_convert_type(images.astype(jnp.float32).ravel(), jnp.uint32)
    odd = (2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1) * jnp.uint32(2654435761)
    return (bits * odd).sum(dtype=jnp.uint32)
