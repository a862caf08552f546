"""How often the attacks ask the network is what their docstrings promise."""

import functools

import jax
import pytest
from jax.tree_util import Partial

from fer_jax.attacks import apgd, deepfool, pgd, square

PASSES = {"forward": 0, "backward": 0}


def tell(way, logits):
    """Count when the program gets here; a number goes along for `jax.vmap` to make a call each."""

    def add(_):
        PASSES[way] += 1

    jax.debug.callback(add, logits[0, 0])


@jax.custom_vjp
def observed(logits):
    tell("forward", logits)
    return logits


def backward(_, slopes):
    tell("backward", slopes)
    return (slopes,)


observed.defvjp(lambda logits: (observed(logits), None), backward)


def observed_logits(weights, bias, images):
    return observed(images.reshape(len(images), -1) @ weights + bias[None])


@pytest.mark.parametrize(
    ("attack", "forward", "backward"),
    [
        (functools.partial(pgd, eps=0.01, step_size=0.002, steps=5, restarts=2), 12, 10),
        (functools.partial(apgd, eps=0.01, steps=4), 5, 5),
        (functools.partial(square, eps=0.01, queries=7), 7, 0),
        # a backward pass per class, which `jax.vmap` hides
        (functools.partial(deepfool, steps=2), 3, 14),
    ],
    ids=["pgd", "apgd", "square", "deepfool"],
)
def test_passes_are_those_that_the_attacks_promise(linear, attack, forward, backward):
    PASSES.update(forward=0, backward=0)
    network = Partial(observed_logits, linear.weights, linear.bias)
    jax.block_until_ready(attack(jax.random.key(0), network, linear.images, linear.labels))
    jax.effects_barrier()
    assert {"forward": forward, "backward": backward} == PASSES
