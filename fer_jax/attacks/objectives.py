"""What an attack ascends: numbers that are large where a network is wrong, one per image.

    goal = Goal(cross_entropy, targeted=True)
    goal.value(logits, labels), goal.reached(logits, labels)

An objective takes logits float32 [B, C] and labels int [B] to values [B].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.types import Labels, Logits

Objective = Callable[[Logits, Labels], jax.Array]


class Goal(NamedTuple):
    """What is ascended, and when it is reached."""

    objective: Objective
    targeted: bool = False

    def value(self, logits: Logits, labels: Labels) -> jax.Array:
        """Return what is to be ascended, [B]."""
        value = self.objective(logits, labels)
        return -value if self.targeted else value

    def reached(self, logits: Logits, labels: Labels) -> jax.Array:
        """Return where the class is another, or with `targeted` the label; not if not finite."""
        right = logits.argmax(axis=-1) == labels
        return (right if self.targeted else ~right) & jnp.isfinite(logits).all(axis=-1)


def cross_entropy(logits: Logits, labels: Labels) -> jax.Array:
    """Return -log softmax(logits)[label], in nats; where the network is sure, it is flat."""
    return -of_class(jax.nn.log_softmax(logits), labels)


def margin(logits: Logits, labels: Labels) -> jax.Array:
    """Return the largest other logit less the label's: positive where the label has lost.

    Carlini & Wagner, S&P 2017, f6, https://arxiv.org/abs/1608.04644
    """
    own = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    return jnp.where(own, -jnp.inf, logits).max(axis=-1) - of_class(logits, labels)


def dlr(logits: Logits, labels: Labels) -> jax.Array:
    """Return the margin in units of the largest less the third largest logit; C >= 3.

    Shifts and scales of the logits do not change it, so no network hides its gradient by large
    ones. Croce & Hein, ICML 2020, equation 6, https://arxiv.org/abs/2003.01690
    """
    ordered = jnp.sort(logits, axis=-1)
    return margin(logits, labels) / (ordered[..., -1] - ordered[..., -3] + 1e-12)


def targeted_dlr(logits: Logits, labels: Labels, targets: Labels) -> jax.Array:
    """Return how far `targets` are ahead of the true `labels`, scaled like `dlr`; C >= 3.

    Equation 7 of the same paper. Its scale needs a fourth logit; of three classes the third stands
    in for it, which gives the scale of `dlr`.
    """
    ordered = jnp.sort(logits, axis=-1)
    fourth = ordered[..., -min(4, logits.shape[-1])]
    scale = ordered[..., -1] - (ordered[..., -3] + fourth) / 2 + 1e-12
    return (of_class(logits, targets) - of_class(logits, labels)) / scale


def of_class(values: jax.Array, labels: Labels) -> jax.Array:
    """Return the entry of each row of values [B, C] that belongs to its label, [B]."""
    return jnp.take_along_axis(values, jnp.asarray(labels)[..., None], axis=-1)[..., 0]
