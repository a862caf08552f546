"""FMN: gradient steps in a ball whose radius follows the estimated distance to the boundary.

Pintor et al., "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints", NeurIPS
2021, algorithm 1, https://arxiv.org/abs/2102.12827
"""

import functools

import jax
import jax.numpy as jnp

from fer_jax.attacks.loop import prepared, repeat, value_and_gradient
from fer_jax.attacks.norms import TINY, Norm, l2, linf, require_plain
from fer_jax.attacks.objectives import Goal, margin
from fer_jax.attacks.smallest import DUAL, Walk, cosine, last_look, set_out, smaller
from fer_jax.types import Images

_GAMMA = 0.05  # share by which the radius changes at the first step


def fmn(
    key, logits_fn, images, labels, /, *, steps=100, norm=l2, step_size=None, targeted=False
) -> Images:
    """Return the smallest change that was found, or the image itself where none was.

    Made for L2 and Linf. A step costs one forward and one backward pass; its length falls from
    `step_size`, by default 1 or 10/255, to a hundredth.
    """
    require_plain(norm, "FMN")
    _, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    goal = Goal(margin, targeted)
    if step_size is None:
        step_size = 10 / 255 if norm is linf else 1.0
    state = set_out(images, jnp.inf)
    arguments = (logits_fn, images, labels, float(steps), step_size, _GAMMA)
    state = repeat(_step, steps, state, *arguments, norm=norm, goal=goal)
    moved = images + state.delta
    return last_look(state.best, logits_fn, moved, images, labels, goal=goal, norm=norm).images


@functools.partial(jax.jit, static_argnames=("norm", "goal"))
def _step(
    i, state: Walk, logits_fn, images, labels, steps, step_size, gamma, *, norm: Norm, goal: Goal
) -> Walk:
    moved = images + state.delta
    logits, values, gradient = value_and_gradient(logits_fn, moved, lambda z: goal.value(z, labels))
    reached = goal.reached(logits, labels)
    size = norm.size(state.delta)
    best = smaller(state.best, moved, size, reached)
    share = cosine(i, steps, gamma, 1e-4)
    # just across the estimated boundary
    beyond = 1.01 * jnp.abs(values) / jnp.maximum(DUAL[norm.name].size(gradient), TINY)
    known = jnp.isfinite(best.sizes)
    outside = jnp.where(known, state.radius * (1 + share), size + beyond)
    radius = jnp.where(reached, jnp.minimum(state.radius, best.sizes) * (1 - share), outside)
    delta = state.delta + cosine(i, steps, step_size, step_size / 100) * norm.steepest(gradient)
    delta = norm.project(delta, radius)
    return Walk(jnp.clip(images + delta, 0, 1) - images, radius, best)
