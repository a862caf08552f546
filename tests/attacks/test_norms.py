import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from fer_jax.attacks import NORMS, fab_targeted, l1, l2, linf, masked, pgd, smooth, square

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


MASK = np.arange(64).reshape(8, 8, 1) % 3 == 0


@pytest.mark.parametrize(("norm", "dual"), [(linf, 1), (l2, 2)], ids=["linf", "l2"])
@pytest.mark.parametrize(("factor", "expected"), [(0.97, False), (1.03, True)])
def test_a_masked_attack_succeeds_exactly_where_eps_exceeds_the_smallest_masked_perturbation(
    binary, norm, dual, factor, expected
):
    way = np.asarray(binary.weights[:, 1] - binary.weights[:, 0])
    logits = binary.logits_fn(binary.images)
    needed = np.abs(logits[:, 1] - logits[:, 0]) / np.linalg.norm(way[MASK.ravel()], dual)
    eps = jnp.asarray(factor * needed, jnp.float32)
    options = {"eps": eps, "step_size": eps / 8, "steps": 40, "norm": masked(norm, MASK)}
    hacked = pgd(jax.random.key(0), binary.logits_fn, binary.images, binary.labels, **options)
    np.testing.assert_array_equal(
        binary.logits_fn(hacked).argmax(axis=1) != binary.labels, expected
    )
    assert not (hacked - binary.images)[:, ~MASK].any()
    assert (norm.size(hacked - binary.images) <= eps + 1e-6).all()


def test_equal_masks_give_equal_norms():
    assert masked(l2, MASK) == masked(l2, MASK.copy()) and hash(masked(l2, MASK)) == hash(
        masked(l2, MASK.copy())
    )
    assert masked(l2, MASK) != masked(l2, ~MASK) and masked(l2, MASK) != masked(linf, MASK)
    assert smooth(l2, 1.5) == smooth(l2, 1.5) != smooth(l2, 2.0)
    with pytest.raises(ValueError, match=r"shape \[H, W, 1\] or \[H, W, C\], received \[8, 8\]"):
        masked(l2, MASK[..., 0])


def low_passed(delta, sigma):
    return gaussian_filter(
        np.asarray(delta, np.float64), sigma, mode="constant", truncate=8, axes=(1, 2)
    )


def test_smooth_steps_are_filtered_by_a_gaussian():
    gradient = jax.random.normal(jax.random.key(3), (2, 12, 9, 1)).at[1].set(0.0)
    step = low_passed(low_passed(gradient, 1.5), 1.5)[0]
    ours = smooth(l2, 1.5).steepest(gradient)
    np.testing.assert_allclose(ours[0], step / np.linalg.norm(step), atol=1e-5)
    assert not ours[1].any()
    step = low_passed(np.sign(low_passed(gradient, 1.5)), 1.5)[0]
    np.testing.assert_allclose(
        smooth(linf, 1.5).steepest(gradient)[0], step / np.abs(step).max(), atol=1e-5
    )


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_smooth_steps_climb_and_starts_stay_inside(norm):
    gradient = jax.random.normal(jax.random.key(4), (3, 12, 12, 1))
    step = smooth(norm, 1.0).steepest(gradient)
    np.testing.assert_allclose(norm.size(step), 1, rtol=1e-5)
    assert ((gradient * step).sum(axis=(1, 2, 3)) > 0).all()
    roughness = lambda d: np.square(np.diff(d, axis=1)).sum() / np.square(d).sum()
    assert roughness(step) < 0.5 * roughness(norm.steepest(gradient))
    start = smooth(norm, 1.0).random_start(jax.random.key(5), gradient.shape, 0.5)
    assert (norm.size(start) <= 0.5 + 1e-6).all() and start.any()


def test_a_smooth_attack_succeeds_and_is_smooth(binary):
    options = {"eps": 0.3, "step_size": 0.05, "steps": 20}
    hacked = [
        pgd(jax.random.key(0), binary.logits_fn, binary.images, binary.labels, norm=norm, **options)
        for norm in (linf, smooth(linf, 1.0))
    ]
    assert all((binary.logits_fn(each).argmax(axis=1) != binary.labels).all() for each in hacked)
    rough, soft = (np.abs(np.diff(each - binary.images, axis=1)).mean() for each in hacked)
    assert soft < 0.6 * rough


@pytest.mark.parametrize("attack", [square, fab_targeted], ids=["square", "fab-t"])
def test_attacks_with_a_geometry_of_their_own_refuse_other_norms(linear, attack):
    with pytest.raises(ValueError, match="is made for linf and l2, received masked linf"):
        attack(
            jax.random.key(0),
            linear.logits_fn,
            linear.images,
            linear.labels,
            eps=0.1,
            norm=masked(linf, MASK),
        )
