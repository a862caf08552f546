"""One perturbation for many images: fitted to some, added to any.

    delta = universal_perturbation(key, logits_fn, images, labels, eps=10 / 255, ...)
    hacked = jnp.clip(others + delta, 0, 1)

That there are such perturbations: Moosavi-Dezfooli et al., "Universal adversarial perturbations",
CVPR 2017, https://arxiv.org/abs/1610.08401. How ours are found, by gradient ascent over
mini-batches: Shafahi et al., "Universal Adversarial Training", AAAI 2020, algorithm 2,
https://arxiv.org/abs/1811.11304.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fer_jax.attacks.loop import prepared, repeat, value_and_gradient
from fer_jax.attacks.norms import Norm, linf
from fer_jax.attacks.objectives import Goal, margin
from fer_jax.types import Images

# logits past the boundary (odds of 7 to 1) beyond which an image asks for nothing more
_ENOUGH = 2.0


def universal_perturbation(
    key,
    logits_fn,
    images,
    labels,
    /,
    *,
    eps: float,
    step_size: float,
    steps: int,
    norm: Norm = linf,
    batch_size: int = 64,
    targeted: bool = False,
) -> jax.Array:
    """Return one perturbation, float32 [1, H, W, C], that raises the mean margin of all images.

    An image that is past its boundary by two logits adds nothing (Shafahi et al. clip each loss).
    Each step draws `batch_size` images, none twice, and costs a forward and a backward pass.
    """
    key, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    arguments = (key, logits_fn, images, labels, eps, step_size)
    static = {"norm": norm, "goal": Goal(margin, targeted), "size": min(batch_size, len(images))}
    return repeat(_step, steps, jnp.zeros_like(images[:1]), *arguments, **static)


# takes the same options
@functools.wraps(universal_perturbation, assigned=())
def universal(key, logits_fn, images, labels, /, **options: Any) -> Images:
    """Return the images with `universal_perturbation`, fitted to them, added to all."""
    delta = universal_perturbation(key, logits_fn, images, labels, **options)
    return jnp.clip(images + delta, 0, 1)


@functools.partial(jax.jit, static_argnames=("norm", "goal", "size"))
def _step(
    i, delta, key, logits_fn, images, labels, eps, step_size, *, norm: Norm, goal: Goal, size: int
) -> jax.Array:
    rows = jax.random.choice(jax.random.fold_in(key, i), len(images), (size,), replace=False)
    batch, own = images[rows], labels[rows]

    def unfinished(logits: jax.Array) -> jax.Array:
        past = goal.value(logits, own)
        return jnp.where(past < _ENOUGH, past, 0.0)

    perturbed = lambda deltas: logits_fn(jnp.clip(batch + deltas, 0, 1))
    deltas = jnp.broadcast_to(delta, batch.shape)
    _, _, gradients = value_and_gradient(perturbed, deltas, unfinished)
    way = norm.steepest(gradients.mean(axis=0, keepdims=True))
    return norm.project(delta + step_size * way, eps)
