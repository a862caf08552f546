import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.attacks import autoattack, l2, linf, pgd, square
from fer_jax.attacks.square import square_sides


@pytest.mark.parametrize(("norm", "dual"), [(linf, 1), (l2, 2)], ids=["linf", "l2"])
def test_square_stays_in_its_ball_and_loses_to_the_gradient(linear, norm, dual):
    smallest = linear.distances(dual).min(axis=1)
    eps = float(3 * np.median(smallest))
    hacked = square(jax.random.key(0), linear.logits_fn, linear.images, linear.labels, eps=eps, norm=norm, queries=300)
    assert (norm.size(hacked - linear.images) <= eps + 1e-5).all() and hacked.min() >= 0 and hacked.max() <= 1
    black = np.asarray(linear.logits_fn(hacked).argmax(axis=1) != linear.labels)
    assert not black[smallest > eps].any()
    options = {"eps": eps, "step_size": eps / 4, "steps": 20, "norm": norm}
    white = pgd(jax.random.key(0), linear.logits_fn, linear.images, linear.labels, **options)
    assert 0.3 < black.mean() <= (linear.logits_fn(white).argmax(axis=1) != linear.labels).mean()


def test_squares_shrink_as_the_paper_says():
    sides = square_sides(10_000, 0.8, 48)
    assert sides[0] == round(np.sqrt(0.8) * 48)
    assert sides[11] == round(np.sqrt(0.4) * 48)
    assert sides[-1] == round(np.sqrt(0.8 / 512) * 48)
    assert (np.diff(sides) <= 0).all() and sides.min() >= 1


def masked_logits(weights, bias, images):
    """The linear network behind a staircase: its gradient is zero everywhere."""
    return jnp.floor(1e4 * (images.reshape(len(images), -1) @ weights + bias[None])) / 1e4


def test_square_sees_through_a_gradient_that_is_masked(linear):
    masked = jax.tree_util.Partial(masked_logits, linear.weights, linear.bias)
    eps = float(3 * np.median(linear.distances(1).min(axis=1)))
    options = {"eps": eps, "step_size": eps / 4, "steps": 10, "random_start": False}
    blind = pgd(jax.random.key(0), masked, linear.images, linear.labels, **options)
    assert (masked(blind).argmax(axis=1) == linear.labels).all()
    found = square(jax.random.key(0), masked, linear.images, linear.labels, eps=eps, queries=300)
    assert (masked(found).argmax(axis=1) != linear.labels).mean() > 0.3


def test_autoattack_is_the_worst_case_of_its_stages(linear):
    smallest = linear.distances(1).min(axis=1)
    eps, told = float(np.median(smallest)), []
    attack = functools.partial(autoattack, eps=eps, steps=10, queries=20, batch_size=5)
    tell = lambda *stage: told.append(stage)  # noqa: E731
    hacked = attack(jax.random.key(0), linear.logits_fn, linear.images, linear.labels, told=tell)
    robust = np.asarray(linear.logits_fn(hacked).argmax(axis=1) == linear.labels)
    np.testing.assert_array_equal(robust, smallest > eps)
    assert (linf.size(hacked - linear.images) <= eps + 1e-6).all()
    assert [name for name, _ in told] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    counts = [count for _, count in told]
    assert counts == sorted(counts, reverse=True) and counts[-1] == robust.sum()


def test_autoattack_serves_three_classes(linear):
    three = jax.tree_util.Partial(linear.logits_fn.func, linear.weights[:, :3], linear.bias[:3])
    labels = three(linear.images).argmax(axis=1)
    gaps = np.sort(np.asarray(three(linear.images)), axis=1)
    eps = float(np.quantile(gaps[:, 2] - gaps[:, 1], 0.9)) / 30  # at least about 30 logits a unit of Linf
    hacked = autoattack(jax.random.key(0), three, linear.images, labels, eps=eps, steps=5, queries=5)
    assert (three(hacked).argmax(axis=1) != labels).mean() > 0.5


def test_autoattack_leaves_alone_what_is_wrong_already(linear):
    wrong = (linear.labels + 1) % 7
    hacked = autoattack(jax.random.key(0), linear.logits_fn, linear.images, wrong, eps=0.01, steps=5, queries=5)
    np.testing.assert_array_equal(hacked, linear.images)


def test_targeted_autoattack_reaches_the_target(linear):
    targets = (linear.labels + 2) % 7
    options = {"eps": 0.05, "steps": 10, "queries": 5, "targeted": True}
    hacked = autoattack(jax.random.key(0), linear.logits_fn, linear.images, targets, **options)
    np.testing.assert_array_equal(linear.logits_fn(hacked).argmax(axis=1), targets)
