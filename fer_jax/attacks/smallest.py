"""What attacks that look for the smallest change share: the best image so far, schedules."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.attacks.norms import Norm, choose, l1, l2
from fer_jax.attacks.objectives import Goal

DUAL = {"linf": l1, "l2": l2}  # the norm of a gradient, by that of the step


class Smallest(NamedTuple):
    """The smallest changed images that reach the goal so far."""

    images: jax.Array  # the original where there is none yet
    sizes: jax.Array  # [B], of their changes; infinite where there is none yet


class Walk(NamedTuple):
    """Where an attack is that alternates a step along the gradient and one to a radius."""

    delta: jax.Array
    radius: jax.Array  # [B]; FMN begins with an infinite one
    best: Smallest


def set_out(images: jax.Array, radius: float) -> Walk:
    """Return the walk at the images themselves."""
    return Walk(jnp.zeros_like(images), jnp.full(len(images), radius), nothing_yet(images))


def nothing_yet(images: jax.Array) -> Smallest:
    return Smallest(images, jnp.full(len(images), jnp.inf))


def smaller(best: Smallest, images: jax.Array, sizes: jax.Array, reached: jax.Array) -> Smallest:
    """Return `best`, with each image that reaches the goal by a smaller change."""
    wins = reached & (sizes < best.sizes)
    return choose(wins, Smallest(images, sizes), best)


def cosine(i: jax.Array, steps: jax.Array, first: float, last: float) -> jax.Array:
    """Fall from `first` to `last` along half a cosine."""
    return last + (first - last) * (1 + jnp.cos(jnp.pi * i / steps)) / 2


@functools.partial(jax.jit, static_argnames=("goal", "norm"))
def last_look(
    best: Smallest, logits_fn, moved, images, labels, *, goal: Goal, norm: Norm
) -> Smallest:
    """Return `best` after a look at where the last step led."""
    return smaller(best, moved, norm.size(moved - images), goal.reached(logits_fn(moved), labels))
