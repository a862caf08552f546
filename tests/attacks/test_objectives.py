import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fer_jax.attacks import Goal, cross_entropy, dlr, margin, targeted_dlr

LOGITS = jnp.array([[2.0, -1.0, 0.5, 3.0, 0.0, 1.0, -2.0], [1.0, 4.0, 0.0, 0.5, 3.5, -1.0, 2.0]])


def test_cross_entropy_is_optaxs():
    labels = jnp.array([3, 4])
    np.testing.assert_allclose(
        cross_entropy(LOGITS, labels),
        optax.softmax_cross_entropy_with_integer_labels(LOGITS, labels),
        rtol=1e-6,
    )


def test_margins_and_dlr_by_hand():
    labels = jnp.array([3, 4])
    np.testing.assert_allclose(margin(LOGITS, labels), [2 - 3, 4 - 3.5])
    np.testing.assert_allclose(dlr(LOGITS, labels), [-1 / (3 - 1), 0.5 / (4 - 2)], rtol=1e-6)
    np.testing.assert_allclose(
        targeted_dlr(LOGITS, labels, jnp.array([0, 2])),
        [(2 - 3) / (3 - (1 + 0.5) / 2), (0 - 3.5) / (4 - (2 + 1) / 2)],
        rtol=1e-6,
    )


def test_of_three_classes_targeted_dlr_has_the_scale_of_dlr():
    logits = jnp.array([[1.0, 3.0, -1.0]])
    np.testing.assert_allclose(
        targeted_dlr(logits, jnp.array([1]), jnp.array([2])), [(-1 - 3) / (3 + 1)], rtol=1e-6
    )


@pytest.mark.parametrize("objective", [cross_entropy, margin, dlr])
def test_a_positive_margin_means_a_wrong_answer_and_values_order_alike(objective):
    right, wrong = objective(LOGITS, jnp.array([3, 1])), objective(LOGITS, jnp.array([6, 5]))
    assert (wrong > right).all()
    if objective is not cross_entropy:
        assert (right < 0).all() and (wrong > 0).all()


def test_dlr_does_not_depend_on_shift_and_scale():
    labels = jnp.array([0, 1])
    np.testing.assert_allclose(dlr(7 * LOGITS + 3, labels), dlr(LOGITS, labels), rtol=1e-5)


def test_the_margin_keeps_its_gradient_where_cross_entropy_loses_it():
    logits, labels = jnp.array([[200.0, 0, 0, 0, 0, 0, 0]]), jnp.array([0])
    slope = lambda objective: np.abs(jax.grad(lambda z: objective(z, labels).sum())(logits)).max()
    assert slope(cross_entropy) == 0
    assert slope(margin) == 1


def test_goals_turn_round_when_targeted():
    labels = jnp.array([3, 4])
    away, towards = Goal(margin), Goal(margin, targeted=True)
    np.testing.assert_array_equal(away.value(LOGITS, labels), -towards.value(LOGITS, labels))
    np.testing.assert_array_equal(away.reached(LOGITS, labels), [False, True])
    np.testing.assert_array_equal(towards.reached(LOGITS, labels), [True, False])


def test_logits_that_are_not_finite_reach_nothing():
    broken = LOGITS.at[:, 0].set(jnp.nan)
    for targeted in (False, True):
        assert not Goal(margin, targeted).reached(broken, jnp.array([5, 0])).any()
