import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_jax.attacks import fgsm, l1, l2, linf, uniform, universal
from fer_jax.evaluation.attacked import attacked, broken_by
from fer_jax.evaluation.logits import predict_logits


def brightness(images):
    """Class 1 for faces whose mean is above one half, else class 0."""
    level = images.mean(axis=(1, 2, 3))
    return jnp.stack([0.5 - level, level - 0.5, *[jnp.full_like(level, -9.0)] * 5], axis=1)


def brighten(by):
    return lambda key, logits_fn, images, labels: images + by


def test_an_attack_is_brought_back_into_ball_and_box_before_it_is_judged():
    images = np.full((3, 48, 48), 120, np.uint8)
    images[2] = 126
    found = attacked(
        brighten(0.9),
        brightness,
        images,
        np.zeros(3, int),
        key=jax.random.key(0),
        norm=linf,
        eps=4 / 255,
        batch_size=2,
    )
    assert (found.images.astype(int) - images == 4).all()  # it claimed more than its eps
    np.testing.assert_array_equal(found.reached_8bit, [False, False, True])
    np.testing.assert_array_equal(found.norms["linf"], [4, 4, 4])
    np.testing.assert_array_equal(found.norms["l0"], [48 * 48] * 3)
    np.testing.assert_allclose(found.norms["l1"], [4 * 48 * 48] * 3)
    np.testing.assert_allclose(found.norms["l2"], [4 * 48] * 3)
    assert (found.before.argmax(axis=1) == 0).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from([linf, l2, l1]), st.floats(0, 2), st.floats(1e-3, 10), st.integers(0, 2**16))
def test_whatever_an_attack_returns_is_in_the_ball_and_judged_anew(norm, eps, force, seed):
    """Of an attack that keeps to no bound; the judge's flags are those of its images."""
    random = np.random.default_rng(seed)
    images, labels = random.integers(0, 256, (3, 48, 48)).astype(np.uint8), random.integers(0, 2, 3)
    wild = lambda key, logits_fn, images, labels: images + force * random.normal(size=images.shape)
    options = {"key": jax.random.key(seed), "norm": norm, "eps": eps, "batch_size": 3}
    found = attacked(wild, brightness, images, labels, **options)
    delta = (found.images.astype(np.float32) - images)[..., None] / 255
    assert (norm.size(jnp.asarray(delta)) <= eps + 1e-4).all()
    np.testing.assert_allclose(
        found.norms["l1"], 255 * np.abs(delta).sum(axis=(1, 2, 3)), rtol=1e-4
    )
    assert (found.norms["l0"] <= found.norms["l1"] + 1e-3).all() and (
        found.norms["linf"] <= found.norms["l2"] + 1e-3
    ).all()
    said = predict_logits(brightness, found.images, 3).argmax(axis=1)
    np.testing.assert_array_equal(found.reached_8bit, said != labels)
    if eps == 0:
        np.testing.assert_array_equal(found.images, images)


def test_what_rounding_undoes_is_no_success():
    images = np.full((1, 48, 48), 127, np.uint8)
    found = attacked(
        brighten(0.6 / 255), brightness, images, np.zeros(1, int), key=jax.random.key(0)
    )
    assert found.reached[0] and found.reached_8bit[0]  # 127.6 rounds to 128, above the half
    found = attacked(
        brighten(0.49 / 255), brightness, images + 0, np.zeros(1, int), key=jax.random.key(0)
    )
    assert not found.reached_8bit[0] and (found.images == 127).all()
    assert found.ssim[0] == pytest.approx(1)


def test_a_target_is_reached_only_by_that_class():
    images, to_one = np.full((2, 48, 48), 120, np.uint8), np.array([1, 3])
    found = attacked(
        brighten(0.2), brightness, images, to_one, key=jax.random.key(0), targeted=True
    )
    np.testing.assert_array_equal(found.reached_8bit, [True, False])


def test_an_attack_that_returns_nan_is_no_success_but_an_error():
    images = np.full((1, 48, 48), 120, np.uint8)
    with pytest.raises(ValueError, match="not finite"):
        attacked(
            brighten(float("nan")), brightness, images, np.zeros(1, int), key=jax.random.key(0)
        )


def scattered(size):
    """A perturbation of exactly this L2 norm, which rounding would make longer."""
    noise = np.random.default_rng(0).normal(size=(1, 48, 48, 1))
    return lambda key, logits_fn, images, labels: (
        images + (size * noise / np.linalg.norm(noise)).astype(np.float32)
    )


def test_rounding_does_not_leave_the_ball():
    images = np.full((1, 48, 48), 120, np.uint8)
    found = attacked(
        scattered(0.5),
        brightness,
        images,
        np.zeros(1, int),
        key=jax.random.key(0),
        norm=l2,
        eps=0.5,
    )
    assert 0.47 < found.norms["l2"][0] / 255 <= 0.5


def test_a_batch_is_filled_up_with_its_own_images():
    """Zeros labelled 0 would pull a perturbation for all images the wrong way."""
    images, labels = np.full((2, 48, 48), 130, np.uint8), np.ones(2, int)
    attack = functools.partial(universal, eps=4 / 255, step_size=2 / 255, steps=3)
    found = attacked(attack, brightness, images, labels, key=jax.random.key(0), batch_size=8)
    assert (found.images == 126).all() and found.reached_8bit.all()


def test_the_first_stage_that_breaks_an_image_is_named():
    images = np.full((4, 48, 48), 100, np.uint8)
    images[1], images[2] = 120, 126
    dark = lambda x: jax.numpy.stack(
        [0.5 - x.mean(axis=(1, 2, 3)), x.mean(axis=(1, 2, 3)) - 0.5], axis=1
    )
    logits_fn = lambda x: jax.numpy.pad(dark(x), ((0, 0), (0, 5)), constant_values=-9.0)
    eps = 9 / 255
    stages = {
        "weak": lambda key, f, x, y: fgsm(key, f, x, y, eps=eps / 5),
        "noise": lambda key, f, x, y: uniform(key, f, x, y, eps=eps),
        "strong": lambda key, f, x, y: fgsm(key, f, x, y, eps=eps),
    }
    labels = np.array([0, 0, 0, 1])
    broken = broken_by(
        stages, logits_fn, images, labels, key=jax.random.key(0), norm=linf, eps=eps, batch_size=4
    )
    np.testing.assert_array_equal(broken, [3, 2, 0, -1])
