import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.attacks import auto, autoattack, l2, linf, pgd, square
from fer_jax.attacks.square import _change_l2, _tiles, eta, square_sides


@pytest.mark.parametrize(("norm", "dual"), [(linf, 1), (l2, 2)], ids=["linf", "l2"])
def test_square_stays_in_its_ball_and_loses_to_the_gradient(linear, norm, dual):
    smallest = linear.distances(dual).min(axis=1)
    eps = float(3 * np.median(smallest))
    hacked = square(
        jax.random.key(0),
        linear.logits_fn,
        linear.images,
        linear.labels,
        eps=eps,
        norm=norm,
        queries=300,
    )
    assert (
        (norm.size(hacked - linear.images) <= eps + 1e-5).all()
        and hacked.min() >= 0
        and hacked.max() <= 1
    )
    black = np.asarray(linear.logits_fn(hacked).argmax(axis=1) != linear.labels)
    assert not black[smallest > eps].any()
    options = {"eps": eps, "step_size": eps / 4, "steps": 20, "norm": norm}
    white = pgd(jax.random.key(0), linear.logits_fn, linear.images, linear.labels, **options)
    assert 0.3 < black.mean() <= (linear.logits_fn(white).argmax(axis=1) != linear.labels).mean()


def test_squares_shrink_as_the_paper_says():
    sides = square_sides(10_000, 0.8, (48, 48), linf)
    assert sides[0] == sides[10] == round(np.sqrt(0.8) * 48)
    assert sides[11] == round(np.sqrt(0.4) * 48)
    assert sides[-1] == round(np.sqrt(0.8 / 512) * 48)
    assert (np.diff(sides) <= 0).all() and sides.min() >= 1


def test_autoattacks_five_thousand_queries_keep_the_schedule_and_fewer_hurry():
    full, standard, few = (
        square_sides(queries, 0.8, (48, 48), linf) for queries in (10_000, 5000, 200)
    )
    np.testing.assert_array_equal(standard, full[:5000])
    np.testing.assert_array_equal(few, full[::50])


def test_squares_of_l2_have_a_middle_pixel():
    sides = square_sides(5000, 0.8, (48, 48), l2)
    assert (sides % 2 == 1).all() and sides.min() == 5 and sides[0] == 43
    assert square_sides(10_000, 0.8, (15, 15), l2)[-1] == 3
    assert square_sides(1, 0.8, (4, 4), l2)[0] == 4  # no room for five


def nested_rectangles(height, width):
    """The paper's definition, rectangle by rectangle."""
    hill = np.zeros((height, width))
    for k in range(max(height // 2, width // 2) + 1):
        rows, columns = (
            slice(max(side // 2 - k, 0), side // 2 + k + 1) for side in (height, width)
        )
        hill[rows, columns] += 1 / (k + 1) ** 2
    return hill / np.linalg.norm(hill)


compiled_eta = jax.jit(eta)


@pytest.mark.parametrize("side", [2, 3, 5, 9, 14])
def test_eta_is_a_hill_beside_a_valley(side):
    pixels = np.arange(-2, 16)
    down, right = jnp.asarray(pixels)[None, :, None, None], jnp.asarray(pixels)[None, None, :, None]
    expected = np.zeros((18, 18))
    halves = nested_rectangles(side // 2, side), -nested_rectangles(side - side // 2, side)
    expected[2 : 2 + side, 2 : 2 + side] = np.concatenate(halves) / np.sqrt(2)
    drawn, turned = (
        compiled_eta(*given, side)[0, :, :, 0] for given in ((down, right), (right, down))
    )
    np.testing.assert_allclose(drawn, expected, atol=1e-6)
    np.testing.assert_allclose(turned, expected.T, atol=1e-6)


def test_l2_starts_from_tiles_of_eta_and_spends_all_of_eps_at_every_step():
    images = jnp.full((3, 17, 15, 2), 0.5)
    start = _tiles(jax.random.key(0), images, 0.3)
    np.testing.assert_allclose(l2.size(start - images), 0.3, rtol=1e-5)
    # five tiles of three rows, and one row on either side
    assert (start[:, 0] == 0.5).all() and (start[:, -1] == 0.5).all()
    tile = (start - images)[0, 1:4, :3, 0]
    turns = [nested_rectangles(1, 3), -nested_rectangles(2, 3)]
    turns = [
        sign * turned
        for sign in (1, -1)
        for each in [np.concatenate(turns)]
        for turned in (each, each.T)
    ]
    assert any(
        np.allclose(tile / jnp.linalg.norm(tile), turned / np.sqrt(2), atol=1e-5)
        for turned in turns
    )
    changed = jax.jit(_change_l2)(jax.random.key(1), start, images, 0.3, jnp.asarray(5))
    np.testing.assert_allclose(l2.size(changed - images), 0.3, rtol=1e-5)
    moved = jnp.abs(changed - start).max(axis=3) > 1e-6
    # within two squares of 25 pixels
    assert ((moved.sum(axis=(1, 2)) > 0) & (moved.sum(axis=(1, 2)) <= 50)).all()


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


def test_autoattack_is_the_worst_case_of_its_stages(linear, monkeypatch):
    smallest = linear.distances(1).min(axis=1)
    eps = float(np.median(smallest))
    outcomes = []

    def in_turn(stages, *given):
        outcomes.append(auto_in_turn(stages, *given))
        assert list(stages) == ["apgd-ce", "apgd-t", "fab-t", "square"]
        return outcomes[0]

    auto_in_turn = auto.in_turn
    monkeypatch.setattr(auto, "in_turn", in_turn)
    attack = functools.partial(autoattack, eps=eps, steps=10, queries=20, batch_size=5)
    hacked = attack(jax.random.key(0), linear.logits_fn, linear.images, linear.labels)
    robust = np.asarray(linear.logits_fn(hacked).argmax(axis=1) == linear.labels)
    np.testing.assert_array_equal(robust, smallest > eps)
    assert (linf.size(hacked - linear.images) <= eps + 1e-6).all()
    # what can be found APGD-T finds, with a target each
    np.testing.assert_array_equal(outcomes[0] <= 1, ~robust)
    np.testing.assert_array_equal(outcomes[0] == 4, robust)


# most of it is compiling
@pytest.mark.parametrize("classes", [3, pytest.param(4, marks=pytest.mark.slow), 10])
def test_autoattack_serves_three_to_ten_classes(make_linear, classes):
    network = make_linear(logits=classes, images=6)
    smallest = network.distances(1).min(axis=1)
    eps = float(np.sort(smallest)[2:4].mean())
    options = {"eps": eps, "steps": 8, "queries": 3, "batch_size": 6}
    hacked = autoattack(
        jax.random.key(0), network.logits_fn, network.images, network.labels, **options
    )
    np.testing.assert_array_equal(
        network.logits_fn(hacked).argmax(axis=1) != network.labels, smallest < eps
    )


def test_autoattack_leaves_alone_what_is_wrong_already(linear):
    wrong = (linear.labels + 1) % 7
    hacked = autoattack(
        jax.random.key(0), linear.logits_fn, linear.images, wrong, eps=0.01, steps=5, queries=5
    )
    np.testing.assert_array_equal(hacked, linear.images)


def test_targeted_autoattack_reaches_the_target(linear):
    targets = (linear.labels + 2) % 7
    options = {"eps": 0.05, "steps": 10, "queries": 5, "targeted": True}
    hacked = autoattack(jax.random.key(0), linear.logits_fn, linear.images, targets, **options)
    np.testing.assert_array_equal(linear.logits_fn(hacked).argmax(axis=1), targets)
