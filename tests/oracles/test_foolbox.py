"""Pixel for pixel against foolbox itself, through its JAXModel."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.predict import Predictor

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("foolbox") is None, reason="needs foolbox, of the extra `oracles`"
    ),
    pytest.mark.filterwarnings("ignore"),  # foolbox and eagerpy use what newer libraries warn of
]


def given(record, inputs, dtype=np.float64):
    arrays = {
        name: jnp.asarray(inputs[name], dtype) for name in ("first", "second", "dense", "images")
    }
    return jax.jit(lambda images: record.small_logits(arrays, images)), arrays["images"]


def goals_of(record, case, labels):
    return (labels + 1) % record.CLASSES if case.targeted else labels


def test_every_pixel_is_equal_in_float64(record, case):
    with jax.enable_x64(True):
        logits_fn, images = given(record, record.small_inputs(seed=2, count=16))
        goals = goals_of(record, case, logits_fn(images).argmax(axis=1))
        ours = record.our_images(case, logits_fn, images, goals)
        theirs = record.foolbox_images(case, logits_fn, images, goals)
    assert ours.dtype == theirs.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def shipped():
    return Predictor().logits_fn


def test_at_most_a_thousandth_of_the_pixels_differ_on_the_shipped_model(record, shipped, case):
    patches = np.random.default_rng(0).uniform(0, 1, (8, 6, 6, 1)).astype(np.float32)
    images = jnp.asarray(patches.repeat(8, axis=1).repeat(8, axis=2))
    goals = goals_of(record, case, shipped(images).argmax(axis=1))
    few = case._replace(steps=min(case.steps, 4))
    ours, theirs = (
        attack(few, shipped, images, goals) for attack in (record.our_images, record.foolbox_images)
    )
    differing = (np.abs(ours - theirs) > 1e-5).mean(axis=(1, 2, 3))
    if case.norm == "l2":
        # Rounding may carry one of the eight over a kink of the network: its whole step turns.
        assert np.abs(ours - theirs).max() < 0.01
        differing = np.sort(differing)[:-1]
    assert differing.mean() <= 0.001


def test_the_record_is_what_foolbox_does(record, case):
    recorded = np.load(record.GRADIENT)
    with jax.enable_x64(True):
        logits_fn, images = given(record, recorded)
        found = record.foolbox_images(
            case, logits_fn, images, goals_of(record, case, jnp.asarray(recorded["labels"]))
        )
    np.testing.assert_allclose(found, recorded[case.name], rtol=0, atol=1e-6)
