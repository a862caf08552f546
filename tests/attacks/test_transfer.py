import functools

import jax
import numpy as np

from fer_jax.attacks import pgd, transferred


def test_the_victim_is_never_asked(linear, binary):
    def victim(images):
        raise AssertionError("a transferred attack must not ask the victim")

    attack = functools.partial(pgd, eps=0.02, step_size=0.005, steps=3)
    hacked = transferred(attack, binary.logits_fn)(
        jax.random.key(0), victim, linear.images, linear.labels
    )
    made = attack(jax.random.key(0), binary.logits_fn, linear.images, linear.labels)
    np.testing.assert_array_equal(hacked, made)
