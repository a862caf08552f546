"""DDN: steps along the gradient, then onto a sphere whose radius shrinks after each success.

Rony et al., "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and
Defenses", CVPR 2019, https://arxiv.org/abs/1811.09600
"""

import functools

import jax
import jax.numpy as jnp

from fer_jax.attacks.loop import prepared, repeat, value_and_gradient
from fer_jax.attacks.norms import TINY, l2, per_image
from fer_jax.attacks.objectives import Goal, cross_entropy
from fer_jax.attacks.smallest import Walk, cosine, last_look, set_out, smaller
from fer_jax.types import Images

_GAMMA = 0.05  # share by which the radius changes at a step


def ddn(key, logits_fn, images, labels, /, *, steps=100, radius=1.0, targeted=False) -> Images:
    """Return the smallest change in L2 that was found, or the image itself where none was.

    A step costs one forward and one backward pass; `radius` is the first sphere's.
    """
    _, logits_fn, images, labels = prepared(key, logits_fn, images, labels)
    goal = Goal(cross_entropy, targeted)
    state = set_out(images, radius)
    arguments = (logits_fn, images, labels, float(steps), _GAMMA)
    state = repeat(_step, steps, state, *arguments, goal=goal)
    moved = images + state.delta
    return last_look(state.best, logits_fn, moved, images, labels, goal=goal, norm=l2).images


@functools.partial(jax.jit, static_argnames="goal")
def _step(i, state: Walk, logits_fn, images, labels, steps, gamma, *, goal: Goal) -> Walk:
    moved = images + state.delta
    logits, _, gradient = value_and_gradient(logits_fn, moved, lambda z: goal.value(z, labels))
    reached = goal.reached(logits, labels)
    best = smaller(state.best, moved, l2.size(state.delta), reached)
    delta = state.delta + cosine(i, steps, 1.0, 0.01) * l2.steepest(gradient)
    radius = state.radius * jnp.where(reached, 1 - gamma, 1 + gamma)
    size = jnp.maximum(l2.size(delta), TINY)
    delta = delta * per_image(radius / size, delta)
    return Walk(jnp.clip(images + delta, 0, 1) - images, radius, best)
