"""Minimum-norm attacks against the smallest perturbation of a linear network, which is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.attacks import cw, ddn, deepfool, fab_targeted, fmn, l2, linf

DUAL = {"linf": 1, "l2": 2}
METHODS = {
    "ddn": (functools.partial(ddn, steps=100, radius=0.1), l2),
    "fmn-l2": (functools.partial(fmn, steps=100, step_size=0.1), l2),
    "fmn-linf": (functools.partial(fmn, steps=100, norm=linf, step_size=0.01), linf),
    "deepfool-l2": (deepfool, l2),
    "deepfool-linf": (functools.partial(deepfool, norm=linf), linf),
    "cw": (functools.partial(cw, steps=200, searches=9, step_size=0.002), l2),
    "fab-l2": (functools.partial(fab_targeted, eps=np.inf, steps=10, norm=l2), l2),
    "fab-linf": (functools.partial(fab_targeted, eps=np.inf, steps=10), linf),
}


def assert_smallest(network, attack, norm):
    hacked = attack(jax.random.key(0), network.logits_fn, network.images, network.labels)
    assert (network.logits_fn(hacked).argmax(axis=1) != network.labels).all()
    assert hacked.min() >= 0 and hacked.max() <= 1
    smallest, ours = (
        network.distances(DUAL[norm.name]).min(axis=1),
        np.asarray(norm.size(hacked - network.images)),
    )
    assert (ours >= 0.999 * smallest).all()
    assert (ours <= 1.05 * smallest).all()


@pytest.mark.parametrize("name", METHODS)
def test_within_five_percent_of_the_smallest(binary, name):
    assert_smallest(binary, *METHODS[name])


@pytest.mark.slow  # nearly all of it is compiling
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("shape", "images"), [((4, 6, 3), 3), ((7, 5, 1), 1)], ids=["colour", "one"]
)
def test_images_may_have_any_shape_and_be_any_number(make_linear, name, shape, images):
    assert_smallest(make_linear(shape=shape, images=images, classes=2), *METHODS[name])


@pytest.mark.parametrize("name", ["deepfool-l2", "deepfool-linf", "fab-l2", "fab-linf"])
def test_the_nearest_of_seven_classes_is_found(linear, name):
    """The others climb towards the likeliest class, which need not be the nearest."""
    assert_smallest(linear, *METHODS[name])


ONE_STEP = {
    "ddn": (functools.partial(ddn, steps=1, radius=2.0), l2),
    "fmn-l2": (functools.partial(fmn, steps=1, step_size=9.0), l2),
    "fmn-linf": (functools.partial(fmn, steps=1, norm=linf, step_size=9.0), linf),
    "deepfool-l2": (functools.partial(deepfool, steps=1), l2),
    "deepfool-linf": (functools.partial(deepfool, steps=1, norm=linf), linf),
    "cw": (functools.partial(cw, steps=1, searches=1, step_size=1.0), l2),
    "fab-l2": (functools.partial(fab_targeted, eps=np.inf, steps=1, norm=l2), l2),
    "fab-linf": (functools.partial(fab_targeted, eps=np.inf, steps=1), linf),
}


@pytest.mark.parametrize("name", ONE_STEP)
def test_where_a_single_step_lands_is_looked_at(binary, name):
    attack, norm = ONE_STEP[name]
    hacked = attack(jax.random.key(0), binary.logits_fn, binary.images, binary.labels)
    assert (binary.logits_fn(hacked).argmax(axis=1) != binary.labels).all()
    assert (norm.size(hacked - binary.images) > 0).all()


def test_a_step_of_size_zero_goes_nowhere(binary):
    hacked = fmn(
        jax.random.key(0), binary.logits_fn, binary.images, binary.labels, steps=3, step_size=0.0
    )
    np.testing.assert_array_equal(hacked, binary.images)


@pytest.mark.parametrize("name", ["ddn", "fmn-l2", "fmn-linf", "deepfool-l2", "cw"])
def test_targets_are_reached(linear, name):
    attack, _ = METHODS[name]
    targets = (linear.labels + 1) % 7
    hacked = attack(jax.random.key(0), linear.logits_fn, linear.images, targets, targeted=True)
    np.testing.assert_array_equal(linear.logits_fn(hacked).argmax(axis=1), targets)


@pytest.mark.parametrize("name", METHODS)
def test_an_unreachable_goal_gives_the_image_back(name):
    stubborn = lambda images: (
        jnp.tile(jnp.eye(7)[0], (len(images), 1)) + 0 * images.sum(axis=(1, 2, 3))[:, None]
    )
    images = jnp.full((2, 4, 4, 1), 0.3)
    attack, _ = METHODS[name]
    np.testing.assert_array_equal(
        attack(jax.random.key(0), stubborn, images, jnp.zeros(2, int)), images
    )


def test_fab_keeps_its_finds_within_eps(linear):
    smallest = linear.distances(1).min(axis=1)
    eps = float(np.median(smallest))
    hacked = fab_targeted(
        jax.random.key(0), linear.logits_fn, linear.images, linear.labels, eps=eps, steps=10
    )
    assert (linf.size(hacked - linear.images) <= eps + 1e-6).all()
    fooled = linear.logits_fn(hacked).argmax(axis=1) != linear.labels
    np.testing.assert_array_equal(fooled[smallest < 0.97 * eps], True)
    np.testing.assert_array_equal(fooled[smallest > eps], False)
