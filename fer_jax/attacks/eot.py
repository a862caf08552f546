"""Random defences, attacked in expectation: the network's answer averaged over draws of the
defence's random numbers.

    random_logits_fn = lambda key, images: logits_fn(images + 0.1 * jax.random.normal(key,
    images.shape)) hacked = pgd(key, averaged(random_logits_fn, jax.random.key(1)), images, labels,
    eps=8 / 255, step_size=0.01, steps=40)

Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML 2018, section 4.2:
expectation over transformation (EOT). Judge the outcome on draws that the attack has not seen:

    attack = transferred(functools.partial(pgd, ...), averaged(random_logits_fn, key_of_attacker))
    evaluate.attacked(attack, averaged(random_logits_fn, key_of_judge), images, labels, key=key)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from fer_jax.types import Images, Logits

RandomLogitsFn = Callable[[jax.Array, Images], Logits]  # (key, images) -> logits


def averaged(random_logits_fn: RandomLogitsFn, key: jax.Array, samples: int = 20) -> Partial:
    """A function of images alone, as attacks take it: the mean logits over `samples` draws.

    What is averaged is the logits, and the objective is taken of their mean: where the same class
    is second in every draw the gradient of a margin is exactly the mean of the draws' gradients.
    (The mean of the draws' cross-entropies, Athalye et al.'s choice, would weigh them by how wrong
    each is.) It also makes value and success those of the mean defence; an attack that keeps its
    best image would otherwise keep a lucky draw.

    The draws change from step to step, because their keys are folded with a number made of the
    batch's bits, and stay the same for the same batch, so that what is judged twice is judged
    alike. A step that changes no pixel of the batch sees the same draws again.

    Args:
        random_logits_fn: (key, images [B, H, W, C]) -> logits [B, C]; as a `jax.tree_util.Partial`,
            new weights compile nothing anew; see `loop.traced`.
        samples: draws per pass, each a pass of the network; all at once, so that memory grows by as
            much. 20 is AutoAttack's number.
    """
    network = (
        random_logits_fn if isinstance(random_logits_fn, Partial) else Partial(random_logits_fn)
    )
    return Partial(_mean_logits, network, jax.random.split(key, samples))


@jax.jit
def _mean_logits(random_logits_fn: RandomLogitsFn, keys: jax.Array, images: jax.Array) -> jax.Array:
    number = _number(jax.lax.stop_gradient(images))
    draw = lambda key: random_logits_fn(jax.random.fold_in(key, number), images)
    return jax.vmap(draw)(keys).mean(axis=0)


def _number(images: jax.Array) -> jax.Array:
    """uint32 that a change of any one pixel changes: each pixel's bits times an odd number of its
    own, modulo 2^32.
    """
    bits = jax.lax.bitcast_convert_type(images.astype(jnp.float32).ravel(), jnp.uint32)
    odd = (2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1) * jnp.uint32(2654435761)
    return (bits * odd).sum(dtype=jnp.uint32)
