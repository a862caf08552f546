"""PGD and its kin on networks where the truth is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from fer_jax import attacks
from fer_jax.attacks import apgd, apgd_targeted, bim, fgsm, l1, l2, linf, mifgsm, pgd, uniform
from fer_jax.attacks.apgd import checkpoints

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
SCALE = {"linf": 0.01, "l2": 0.08, "l1": 0.4}  # perturbations of about the same force
EVERY = {
    "fgsm": lambda eps: functools.partial(fgsm, eps=eps),
    "fgsm-rs": lambda eps: functools.partial(fgsm, eps=eps, random_start=True),
    "bim": lambda eps: functools.partial(bim, eps=eps, step_size=eps / 4, steps=10),
    "mifgsm": lambda eps: functools.partial(mifgsm, eps=eps, step_size=eps / 4, steps=10),
    "pgd": lambda eps: functools.partial(pgd, eps=eps, step_size=eps / 4, steps=20, restarts=2),
    "pgd-l2": lambda eps: functools.partial(pgd, eps=8 * eps, step_size=2 * eps, steps=20, norm=l2),
    "pgd-l1": lambda eps: functools.partial(
        pgd, eps=40 * eps, step_size=10 * eps, steps=20, norm=l1
    ),
    "apgd": lambda eps: functools.partial(apgd, eps=eps, steps=20),
    "apgd-l2": lambda eps: functools.partial(apgd, eps=8 * eps, steps=20, norm=l2),
    "apgd-t": lambda eps: functools.partial(apgd_targeted, eps=eps, steps=20),
    "uniform": lambda eps: functools.partial(uniform, eps=eps),
}
NORM_OF = {"pgd-l2": (l2, 8), "apgd-l2": (l2, 8), "pgd-l1": (l1, 40)}


def hack(linear, attack, **options):
    return attack(jax.random.key(0), linear.logits_fn, linear.images, linear.labels, **options)


def wrong(linear, images):
    return np.asarray(linear.logits_fn(images).argmax(axis=1) != linear.labels)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.3])
def test_every_attack_stays_in_ball_and_box(linear, name, eps):
    norm, scale = NORM_OF.get(name, (linf, 1))
    hacked = hack(linear, EVERY[name](eps))
    assert hacked.shape == linear.images.shape and hacked.dtype == jnp.float32
    assert jnp.isfinite(hacked).all() and hacked.min() >= 0 and hacked.max() <= 1
    assert (norm.size(hacked - linear.images) <= scale * eps + 1e-5).all()
    if eps == 0:
        np.testing.assert_array_equal(hacked, linear.images)


@pytest.mark.parametrize("norm", [linf, l2], ids=["linf", "l2"])
@pytest.mark.parametrize("method", ["pgd", "apgd"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("factor", "expected"), [(0.97, False), (1.03, True)])
def test_success_exactly_where_eps_exceeds_the_smallest_perturbation(
    binary, norm, method, targeted, factor, expected
):
    eps = jnp.asarray(factor * binary.distances(DUAL[norm.name]).min(axis=1), jnp.float32)
    labels = 1 - binary.labels if targeted else binary.labels
    attack = functools.partial(pgd, step_size=eps / 8) if method == "pgd" else apgd
    hacked = attack(
        jax.random.key(0),
        binary.logits_fn,
        binary.images,
        labels,
        eps=eps,
        steps=40,
        norm=norm,
        targeted=targeted,
    )
    np.testing.assert_array_equal(wrong(binary, hacked), expected)


@pytest.mark.parametrize("norm", [linf, l2, l1], ids=["linf", "l2", "l1"])
@pytest.mark.parametrize(
    ("shape", "images"),
    [((4, 6, 3), 3), pytest.param((7, 5, 1), 1, marks=pytest.mark.slow)],
    ids=["colour", "one"],
)
def test_images_may_have_any_shape_and_be_any_number(make_linear, norm, shape, images):
    network = make_linear(shape=shape, images=images, classes=2)
    needed = network.distances(DUAL[norm.name]).min(axis=1)
    run = functools.partial(pgd, norm=norm, steps=100, objective=attacks.margin)
    for factor, expected in ((0.97, False), (1.05, True)):
        eps = jnp.asarray(factor * needed, jnp.float32)
        np.testing.assert_array_equal(
            wrong(network, hack(network, run, eps=eps, step_size=eps / 20)), expected
        )


@pytest.mark.slow
@pytest.mark.parametrize("norm", [linf, l2], ids=["linf", "l2"])
def test_so_may_apgds(make_linear, norm):
    network = make_linear(shape=(7, 5, 1), images=1, classes=2)
    needed = network.distances(DUAL[norm.name]).min(axis=1)
    for factor, expected in ((0.97, False), (1.03, True)):
        eps = jnp.asarray(factor * needed, jnp.float32)
        np.testing.assert_array_equal(
            wrong(network, hack(network, apgd, eps=eps, steps=40, norm=norm)), expected
        )


@pytest.mark.parametrize(("factor", "expected"), [(0.97, False), (1.03, True)])
def test_apgd_t_finds_the_nearest_of_seven_classes(linear, factor, expected):
    eps = jnp.asarray(factor * linear.distances(1).min(axis=1), jnp.float32)
    np.testing.assert_array_equal(
        wrong(linear, hack(linear, apgd_targeted, eps=eps, steps=30)), expected
    )


def test_l1_pgd_comes_close_to_the_smallest_perturbation(binary):
    needed = binary.distances(np.inf).min(axis=1)
    attack = functools.partial(pgd, norm=l1, steps=100, objective=attacks.margin)
    below, above = (jnp.asarray(factor * needed, jnp.float32) for factor in (0.97, 1.05))
    said = [hack(binary, attack, eps=eps, step_size=eps / 20) for eps in (below, above)]
    assert not wrong(binary, said[0]).any()
    assert wrong(binary, said[1]).all()


def test_fgsm_and_bim_are_what_their_formulas_say(linear):
    images, labels, eps = linear.images, linear.labels, 0.02

    def ascent(at, step):
        loss = lambda x: attacks.cross_entropy(linear.logits_fn(x), labels).sum()
        return jnp.clip(at + step * jnp.sign(jax.grad(loss)(at)), 0, 1)

    np.testing.assert_allclose(
        fgsm(jax.random.key(0), linear.logits_fn, images, labels, eps=eps),
        ascent(images, eps),
        atol=1e-6,
    )
    expected = images
    for _ in range(7):
        expected = jnp.clip(ascent(expected, 0.005), images - eps, images + eps)
    ours = pgd(
        jax.random.key(0),
        linear.logits_fn,
        images,
        labels,
        eps=eps,
        step_size=0.005,
        steps=7,
        random_start=False,
        keep_best=False,
    )
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def quirky_logits(images):
    """Right up to a ripple: the last step of an ascent may land where an earlier one was already
    wrong.
    """
    level = images.mean(axis=(1, 2, 3))
    return jnp.stack(
        [jnp.cos(40 * level), jnp.zeros_like(level), *[jnp.full_like(level, -9.0)] * 5], axis=1
    )


def test_the_best_image_is_kept_not_the_last():
    images, labels = jnp.full((1, 4, 4, 1), 0.02), jnp.array([0])
    run = functools.partial(pgd, eps=0.2, step_size=0.08, steps=2, random_start=False)
    kept, last = (
        run(jax.random.key(0), quirky_logits, images, labels, keep_best=keep)
        for keep in (True, False)
    )
    said = [int(quirky_logits(found).argmax()) for found in (kept, last)]
    assert said == [1, 0]


def test_success_counts_before_value(linear):
    """With cross-entropy a still-right image can have the larger value: a restart must not trade
    success for it.
    """
    from fer_jax.attacks.gradient import Best, better

    images = jnp.stack([jnp.zeros((2, 2, 1)), jnp.ones((2, 2, 1))])
    fooled = Best(images, jnp.array([True, False]), jnp.array([0.1, 0.9]))
    other = Best(images + 2, jnp.array([False, True]), jnp.array([0.8, 0.2]))
    merged = better(fooled, other)
    np.testing.assert_array_equal(merged.images[:, 0, 0, 0], [0, 3])
    assert merged.reached.all()


def test_a_zero_gradient_moves_and_breaks_nothing():
    blind = lambda images: jnp.tile(jnp.arange(7.0), (len(images), 1))
    images, labels = jnp.full((3, 4, 4, 1), 0.5), jnp.full(3, 6)
    for attack in (
        functools.partial(bim, eps=0.1, step_size=0.05, steps=3),
        functools.partial(mifgsm, eps=0.1, step_size=0.05, steps=3),
        functools.partial(pgd, eps=0.1, step_size=0.05, steps=3, norm=l2, random_start=False),
    ):
        np.testing.assert_array_equal(attack(jax.random.key(0), blind, images, labels), images)
    assert jnp.isfinite(apgd(jax.random.key(0), blind, images, labels, eps=0.1, steps=5)).all()


def test_success_grows_with_eps(linear):
    levels = (0.0, 0.001, 0.002, 0.004, 0.5)
    shares = [
        wrong(linear, hack(linear, pgd, eps=eps, step_size=eps / 4, steps=10)).mean()
        for eps in levels
    ]
    assert shares == sorted(shares)
    assert shares[0] == 0 and shares[-1] == 1


def test_a_step_goes_no_further_than_its_size(binary):
    eps = jnp.asarray(1.1 * binary.distances(1).min(axis=1), jnp.float32)
    run = functools.partial(pgd, eps=eps, step_size=eps / 4, random_start=False)
    shares = [wrong(binary, hack(binary, run, steps=steps)).mean() for steps in (1, 3, 4)]
    assert shares == [0, 0, 1]


def slopes_of_two_heights(images):
    """Right in the middle and all the way down, wrong at the top: who starts below the middle
    climbs the wrong way.
    """
    away = images.mean(axis=(1, 2, 3)) - 0.5
    return jnp.stack(
        [jnp.zeros_like(away), jnp.where(away > 0, 10, -5) * away - 1.5, jnp.full_like(away, -9.0)],
        axis=1,
    )


@pytest.mark.parametrize(
    "attack", [functools.partial(pgd, step_size=0.05), apgd], ids=["pgd", "apgd"]
)
def test_another_start_finds_what_the_first_missed(attack):
    images, labels = jnp.full((128, 1, 1, 1), 0.5), jnp.zeros(128, int)
    run = functools.partial(attack, eps=0.2, steps=8, objective=attacks.margin)
    found = [
        run(jax.random.key(0), slopes_of_two_heights, images, labels, restarts=restarts)
        for restarts in (1, 5)
    ]
    once, often = (slopes_of_two_heights(each) for each in found)
    assert 0.3 < (once.argmax(axis=1) == 1).mean() < 0.7  # one start in two
    assert (often.argmax(axis=1) == 1).mean() > 0.9  # 31 in 32


def test_noise_does_far_less_than_an_attack(binary):
    eps = float(np.quantile(binary.distances(1).min(axis=1), 0.9))
    attacked = wrong(binary, hack(binary, EVERY["pgd"](eps))).mean()
    noisy = wrong(binary, hack(binary, uniform, eps=eps)).mean()
    assert attacked > 0.8
    assert noisy < attacked / 2


def test_momentum_survives_a_gradient_of_any_scale(linear):
    scaled = Partial(
        lambda weights, bias, images: (
            1e-6 * (images.reshape(len(images), -1) @ weights + bias[None])
        )
    )
    scaled = Partial(scaled.func, linear.weights, linear.bias)
    options = {"eps": 0.02, "step_size": 0.005, "steps": 5}
    np.testing.assert_allclose(
        mifgsm(
            jax.random.key(0),
            scaled,
            linear.images,
            linear.labels,
            objective=attacks.margin,
            **options,
        ),
        hack(linear, mifgsm, objective=attacks.margin, **options),
        atol=1e-6,
    )


def test_new_weights_compile_nothing_anew(linear):
    from fer_jax.attacks.gradient import _step

    hack(linear, pgd, eps=0.01, step_size=0.002, steps=2)
    compiled = _step._cache_size()
    other = Partial(linear.logits_fn.func, linear.weights + 1, linear.bias)
    pgd(jax.random.key(0), other, linear.images, linear.labels, eps=0.02, step_size=0.003, steps=5)
    assert _step._cache_size() == compiled


def test_apgds_checkpoints_are_the_papers():
    due = checkpoints(100)
    assert list(np.flatnonzero(due) + 1)[:4] == [22, 41, 57, 70]
    assert list(due[due > 0])[:4] == [22, 19, 16, 13]
    assert due[due > 0].min() == 6
    assert list(checkpoints(1)) == [1]


def test_apgd_needs_no_step_size_where_pgd_has_a_poor_one(binary):
    eps = jnp.asarray(1.02 * binary.distances(2).min(axis=1), jnp.float32)
    poor = hack(binary, pgd, eps=eps, step_size=eps / 200, steps=40, norm=l2)
    tuned = hack(binary, apgd, eps=eps, steps=40, norm=l2)
    assert wrong(binary, tuned).all()
    assert wrong(binary, poor).mean() < 0.9
