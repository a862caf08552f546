"""DeepFool: step after step over the nearest boundary of the linearised network.

Moosavi-Dezfooli et al., "DeepFool: a simple and accurate method to fool deep neural networks", CVPR
2016, algorithm 2, https://arxiv.org/abs/1511.04599; with a target, over the boundary to that class.
"""

import functools

import jax
import jax.numpy as jnp

from fer_jax.attacks.loop import prepared, repeat
from fer_jax.attacks.norms import TINY, Norm, l2, per_image, require_plain
from fer_jax.attacks.objectives import Goal, margin
from fer_jax.attacks.smallest import DUAL, last_look, nothing_yet, smaller
from fer_jax.types import Images

_OVERSHOOT = 0.02  # share by which every step goes further than the boundary


def deepfool(key, logits_fn, images, labels, /, *, steps=50, norm=l2, targeted=False) -> Images:
    """Return the smallest change that was found, or the image itself where none was.

    Made for L2 and Linf. A step costs one forward pass and a backward pass per class; an image that
    has crossed makes no more.
    """
    require_plain(norm, "DeepFool")
    _, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    goal = Goal(margin, targeted)
    own = logits_fn(images).argmax(axis=1) if targeted else labels
    state = (images, nothing_yet(images))
    arguments = (logits_fn, images, labels, own, _OVERSHOOT)
    moved, best = repeat(_step, steps, state, *arguments, norm=norm, goal=goal)
    return last_look(best, logits_fn, moved, images, labels, goal=goal, norm=norm).images


@functools.partial(jax.jit, static_argnames=("norm", "goal"))
def _step(i, state, logits_fn, images, labels, own, overshoot, *, norm: Norm, goal: Goal):
    moved, best = state
    logits, pull_back = jax.vjp(lambda x: logits_fn(x).astype(jnp.float32), moved)
    reached = goal.reached(logits, labels)
    best = smaller(best, moved, norm.size(moved - images), reached)
    batch, classes = logits.shape
    rows = jnp.arange(batch)
    of_class = lambda one_hot: pull_back(jnp.tile(one_hot[None], (batch, 1)))[0]
    gradients = jax.vmap(of_class)(jnp.eye(classes))  # [C, B, ...]
    slopes = jnp.moveaxis(gradients, 0, 1) - gradients[own, rows][:, None]  # [B, C, ...]
    gaps = logits[rows, own][:, None] - logits
    sizes = jnp.stack([DUAL[norm.name].size(slopes[:, c]) for c in range(classes)], axis=1)
    admitted = jax.nn.one_hot(labels, classes, dtype=bool)
    admitted = admitted if goal.targeted else ~admitted
    distances = jnp.where(admitted, jnp.abs(gaps) / jnp.maximum(sizes, TINY), jnp.inf)
    nearest = distances.argmin(axis=1)
    way = norm.steepest(slopes[rows, nearest])
    length = (1 + overshoot) * distances[rows, nearest] + 1e-5
    ahead = jnp.clip(moved + per_image(length, moved) * way, 0, 1)
    return jnp.where(per_image(reached, moved), moved, ahead), best
