import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.attacks import l2, linf, universal, universal_perturbation
from fer_jax.attacks.universal import _step


@pytest.mark.parametrize("norm", [linf, l2], ids=["linf", "l2"])
def test_on_two_linear_classes_it_is_the_way_from_one_to_the_other(binary, norm):
    """All images of a class need the same direction, whichever of them are drawn."""
    rows = np.flatnonzero(binary.labels == 0)
    # too small to finish anything
    eps = 0.1 * float(binary.distances({"linf": 1, "l2": 2}[norm.name]).min())
    options = {"eps": eps, "step_size": eps / 3, "steps": 10, "norm": norm, "batch_size": 2}
    delta = universal_perturbation(
        jax.random.key(0), binary.logits_fn, binary.images[rows], binary.labels[rows], **options
    )
    way = (binary.weights[:, 1] - binary.weights[:, 0]).reshape(1, 8, 8, 1)
    expected = jnp.sign(way) if norm is linf else way / jnp.linalg.norm(way)
    assert delta.dtype == jnp.float32
    np.testing.assert_allclose(delta, eps * expected, atol=1e-6)


def test_one_perturbation_leads_all_images_to_the_target(binary):
    rows = np.flatnonzero(binary.labels == 0)
    eps = 1.5 * float(binary.distances(1)[rows].min(axis=1).max())
    attack = functools.partial(
        universal, eps=eps, step_size=eps / 5, steps=20, batch_size=4, targeted=True
    )
    ones = jnp.ones(len(rows), int)
    hacked = attack(jax.random.key(0), binary.logits_fn, binary.images[rows], ones)
    assert (binary.logits_fn(hacked).argmax(axis=1) == 1).all()
    deltas = hacked - binary.images[rows]
    assert (linf.size(deltas) <= eps + 1e-6).all()
    # no pixel met the box
    np.testing.assert_allclose(deltas, jnp.broadcast_to(deltas[:1], deltas.shape), atol=1e-6)
    compiled = _step._cache_size()
    attack(jax.random.key(1), binary.logits_fn, binary.images[rows], ones)
    assert _step._cache_size() == compiled


def tug(images):
    level = 40 * images.mean(axis=(1, 2, 3)) - 20
    return jnp.stack([level, jnp.zeros_like(level), *[jnp.full_like(level, -99.0)] * 5], axis=1)


def test_what_is_won_already_does_not_outweigh_the_rest():
    """Three images of class 0 that are lost by ten logits pull down, one that still has to rise
    pulls up.
    """
    images = jnp.broadcast_to(
        jnp.array([0.25, 0.25, 0.25, 0.48])[:, None, None, None], (4, 8, 8, 1)
    )
    labels = jnp.array([0, 0, 0, 1])
    hacked = universal(jax.random.key(0), tug, images, labels, eps=0.05, step_size=0.01, steps=10)
    assert (tug(hacked).argmax(axis=1) != labels).all()


def test_eps_zero_is_no_perturbation(binary):
    options = {"eps": 0.0, "step_size": 0.1, "steps": 2}
    delta = universal_perturbation(
        jax.random.key(0), binary.logits_fn, binary.images, binary.labels, **options
    )
    np.testing.assert_array_equal(delta, jnp.zeros((1, 8, 8, 1)))
