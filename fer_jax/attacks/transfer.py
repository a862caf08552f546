"""Attacks on a network that is not at hand, by way of one that is.

attack = transferred(ATTACKS["pgd"].build(8 / 255, "linf", steps=40), surrogate_logits_fn)
found = attacked(attack, victim_logits_fn, images, labels, key=key)  # of evaluation
"""

import functools

from fer_jax.attacks.loop import traced
from fer_jax.types import Attack, Images, LogitsFn


def transferred(attack: Attack, surrogate_logits_fn: LogitsFn) -> Attack:
    """Return an attack that is made on the surrogate and never asks the network that it is given.

    The surrogate must have the victim's order of classes. Papernot et al., "Transferability in
    Machine Learning", 2016, https://arxiv.org/abs/1605.07277
    """
    return functools.partial(_transferred, attack, traced(surrogate_logits_fn))


def _transferred(attack: Attack, surrogate: LogitsFn, key, _, images, labels) -> Images:
    return attack(key, surrogate, images, labels)
