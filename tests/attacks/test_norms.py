import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from fer_jax.attacks import NORMS, fab_targeted, l1, l2, linf, square

SHAPE = (6, 5, 4, 1)
ORDERS = {"l1": 1, "l2": 2, "linf": np.inf}


def perturbations(seed=0, scale=1.0):
    return scale * jax.random.normal(jax.random.key(seed), SHAPE)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_size_is_numpys_norm(norm):
    delta = perturbations()
    expected = np.linalg.norm(np.asarray(delta).reshape(len(delta), -1), ORDERS[norm.name], axis=1)
    np.testing.assert_allclose(norm.size(delta), expected, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("eps", [0.0, 0.5, np.linspace(0.1, 3, 6, dtype=np.float32)])
def test_projection_ends_inside_and_leaves_what_is_inside(norm, eps):
    projected = norm.project(perturbations(), eps)
    assert (norm.size(projected) <= eps + 1e-5).all()
    np.testing.assert_allclose(norm.project(projected, eps), projected, atol=1e-6)
    small = perturbations(scale=1e-4)
    np.testing.assert_array_equal(norm.project(small, 1.0), small)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_projection_is_the_nearest_point_of_the_ball(norm):
    """Against a general solver, on five numbers."""
    delta = np.array([1.5, -0.7, 0.2, -0.1, 0.9])
    inside = {"type": "ineq", "fun": lambda x: 1.0 - np.linalg.norm(x, ORDERS[norm.name])}
    start = delta / np.abs(delta).sum() / 2
    oracle = minimize(
        lambda x: ((x - delta) ** 2).sum(),
        start,
        constraints=inside,
        options={"maxiter": 500, "ftol": 1e-12},
    ).x
    ours = norm.project(jnp.asarray(delta, jnp.float32).reshape(1, 5, 1, 1), 1.0).ravel()
    np.testing.assert_allclose(ours, oracle, atol=2e-3)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_steepest_has_norm_one_and_climbs_and_is_zero_for_a_zero_gradient(norm):
    gradient = perturbations().at[2].set(0.0)
    step = norm.steepest(gradient)
    sizes = np.asarray(norm.size(step))
    np.testing.assert_allclose(sizes[[0, 1, 3, 4, 5]], 1, rtol=1e-5)
    assert sizes[2] == 0
    climbs = np.asarray((gradient * step).sum(axis=(1, 2, 3)))
    # the most that a step of norm one can climb
    dual = {"l1": np.inf, "l2": 2, "linf": 1}[norm.name]
    best = np.linalg.norm(np.asarray(gradient).reshape(6, -1), dual, axis=1)
    # 20 pixels: a hundredth is one, the steepest, for L1 too
    np.testing.assert_allclose(climbs, best, rtol=1e-5)


def test_l1_steps_move_a_hundredth_of_many_pixels():
    gradient = jax.random.normal(jax.random.key(1), (2, 48, 48, 1))
    assert ((l1.steepest(gradient) != 0).sum(axis=(1, 2, 3)) == 23).all()


@pytest.mark.parametrize(
    ("norm", "mean"), [(linf, 0.5), (l2, None), (l1, None)], ids=["linf", "l2", "l1"]
)
def test_random_starts_fill_the_ball_evenly(norm, mean):
    """In two dimensions half of the radius holds a quarter of the area."""
    delta = norm.random_start(jax.random.key(0), (20_000, 2, 1, 1), 3.0)
    sizes = np.asarray(norm.size(delta))
    assert sizes.max() <= 3.0 + 1e-5
    assert (sizes < 1.5).mean() == pytest.approx(0.25, abs=0.02)
    assert np.abs(np.asarray(delta).mean(axis=0)).max() < 0.05


@pytest.mark.parametrize("attack", [square, fab_targeted], ids=["square", "fab-t"])
def test_attacks_with_a_geometry_of_their_own_refuse_other_norms(linear, attack):
    with pytest.raises(ValueError, match="is made for linf and l2, received l1"):
        attack(jax.random.key(0), linear.logits_fn, linear.images, linear.labels, eps=0.1, norm=l1)
