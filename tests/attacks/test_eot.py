"""A random defence whose expectation is a linear network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from fer_jax.attacks import auto, autoattack, averaged, l2, linf, margin, pgd

STRENGTH = 4.0


def shaken_logits(weights, bias, key, images):
    """Each pixel times 1 + 4 N(0, 1): one draw's gradient tells little, their mean is the linear
    network's.
    """
    noise = 1 + STRENGTH * jax.random.normal(key, images.shape)
    return (images * noise).reshape(len(images), -1) @ weights + bias[None]


@pytest.fixture(scope="module")
def shaken(linear):
    return Partial(shaken_logits, linear.weights, linear.bias)


def test_the_mean_tends_to_the_expectation(linear, shaken):
    many = averaged(shaken, jax.random.key(1), 400)
    error = np.asarray(many(linear.images) - linear.logits_fn(linear.images))
    deviation = (
        STRENGTH
        * jnp.linalg.norm(linear.images.reshape(16, -1, 1) * linear.weights[None], axis=1)
        / 400**0.5
    )
    assert np.abs(error / deviation).max() < 5
    assert np.std(error / deviation) == pytest.approx(1, abs=0.3)


def test_draws_are_new_for_every_other_batch_and_the_same_for_the_same(linear, shaken):
    drawn, images = averaged(shaken, jax.random.key(1), 2), linear.images
    first = drawn(images)
    np.testing.assert_array_equal(drawn(images), first)
    other = drawn(images.at[3, 4, 5].add(1e-7))
    assert (jnp.abs(other - first) > 1e-3).all()
    assert (jnp.abs(averaged(shaken, jax.random.key(2), 2)(images) - first) > 1e-3).all()


@pytest.mark.parametrize(("samples", "low", "high"), [(1, 0.05, 0.5), (64, 0.8, 1.0)])
def test_the_gradient_is_the_mean_of_the_draws(binary, samples, low, high):
    """A draw's gradient is the true one plus 4 times as much noise: its cosine is 1 / sqrt(1 + 16 /
    samples).
    """
    drawn = averaged(
        Partial(shaken_logits, binary.weights, binary.bias), jax.random.key(1), samples
    )
    options = {"eps": 0.1, "step_size": 0.1, "steps": 1, "norm": l2, "objective": margin}
    options |= {"random_start": False, "keep_best": False}
    step = pgd(jax.random.key(0), drawn, binary.images, binary.labels, **options) - binary.images
    way = binary.weights[:, 1] - binary.weights[:, 0]
    cosine = jnp.abs(step.reshape(16, -1) @ way) / (0.1 * jnp.linalg.norm(way))
    assert low < cosine.mean() < high


def dithered_logits(weights, bias, key, images):
    return (images + 0.02 * jax.random.normal(key, images.shape)).reshape(
        len(images), -1
    ) @ weights + bias[None]


def test_autoattacks_rand_finds_what_the_expected_network_has(linear):
    smallest = linear.distances(1).min(axis=1)
    drawn = averaged(Partial(dithered_logits, linear.weights, linear.bias), jax.random.key(1), 8)
    for eps, expected in ((0.9 * smallest.min(), False), (1.6 * smallest.max(), True)):
        attack = functools.partial(autoattack, eps=eps, steps=5, version="rand")
        hacked = attack(jax.random.key(0), drawn, linear.images, linear.labels, batch_size=16)
        np.testing.assert_array_equal(
            linear.logits_fn(hacked).argmax(axis=1) != linear.labels, expected
        )
        assert (linf.size(hacked - linear.images) <= eps + 1e-6).all()
    assert list(auto.stages(0.1, version="rand")) == ["apgd-ce", "apgd-dlr"]


def test_another_version_is_refused(linear):
    with pytest.raises(ValueError, match="one of standard, rand, received 'plus'"):
        autoattack(
            jax.random.key(0),
            linear.logits_fn,
            linear.images,
            linear.labels,
            eps=0.1,
            version="plus",
        )
