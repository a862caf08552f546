"""Attacks on a network that is not at hand, by way of one that is.

attack = transferred(functools.partial(pgd, eps=8 / 255, step_size=2 / 255, steps=40),
surrogate_logits_fn) found = evaluate.attacked(attack, victim_logits_fn, images, labels, key=key)
"""

import functools

import jax

from fer_jax.attacks.loop import traced
from fer_jax.types import Attack, Images, Labels, LogitsFn


def transferred(attack: Attack, surrogate_logits_fn: LogitsFn) -> Attack:
    """An attack that is made on the surrogate and never asks the network that it is given.

    Papernot et al., "Transferability in Machine Learning", 2016. The surrogate must have the
    victim's order of classes.
    """
    return functools.partial(_transferred, attack, traced(surrogate_logits_fn))


def _transferred(
    attack: Attack,
    surrogate: LogitsFn,
    key: jax.Array,
    victim: LogitsFn,
    images: Images,
    labels: Labels,
    /,
) -> Images:
    return attack(key, surrogate, images, labels)
