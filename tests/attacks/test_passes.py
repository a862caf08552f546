import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.attacks import Counted, apgd, deepfool, pgd, square
from fer_jax.attacks.gradient import _step
from fer_jax.attacks.loop import steps_so_far


@pytest.mark.parametrize(
    ("attack", "forward", "backward", "iterations"),
    [
        (functools.partial(pgd, eps=0.01, step_size=0.002, steps=5, restarts=2), 12, 10, 10),
        (functools.partial(apgd, eps=0.01, steps=4), 5, 5, 4),
        (functools.partial(square, eps=0.01, queries=7), 7, 0, 6),
        # a backward pass per class, which `jax.vmap` hides
        (functools.partial(deepfool, steps=2), 3, 14, 2),
    ],
    ids=["pgd", "apgd", "square", "deepfool"],
)
def test_passes_are_those_that_the_attacks_promise(linear, attack, forward, backward, iterations):
    counted, begun = Counted(attack), steps_so_far()
    hacked = counted(jax.random.key(0), linear.logits_fn, linear.images, linear.labels)
    assert steps_so_far() - begun == iterations
    plain = attack(jax.random.key(0), linear.logits_fn, linear.images, linear.labels)
    np.testing.assert_allclose(hacked, plain, atol=1e-6)
    assert (counted.forward / counted.images, counted.backward / counted.images) == (
        forward,
        backward,
    )
    counted(jax.random.key(1), linear.logits_fn, linear.images, linear.labels)
    assert (counted.images, counted.forward) == (32, 32 * forward)


def test_another_count_compiles_nothing_anew(linear):
    attack = functools.partial(pgd, eps=0.01, step_size=0.002, steps=2)
    Counted(attack)(jax.random.key(0), linear.logits_fn, linear.images, linear.labels)
    compiled = _step._cache_size()
    Counted(attack)(jax.random.key(0), linear.logits_fn, jnp.flip(linear.images), linear.labels)
    assert _step._cache_size() == compiled
