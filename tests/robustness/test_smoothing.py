import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.stats import binom, binomtest, norm

from fer_jax.errors import InputError
from fer_jax.robustness import smoothing

SIGMA = 0.25
SHAPE = (8, 8, 1)


def halfspaces(weights, offset, images):
    """Two classes on either side of a plane: smoothed by any noise, the classifier and its distance
    stay what they are.
    """
    side = (images * weights[None]).sum(axis=(1, 2, 3))[:, None] + offset
    return jnp.concatenate([side, -side], axis=1)


def plane(distance):
    """A model and an image of class 0 at that distance from its plane."""
    rng = np.random.default_rng(0)
    weights, image = (
        rng.normal(size=SHAPE).astype(np.float32),
        rng.uniform(0.3, 0.7, SHAPE).astype(np.float32),
    )
    offset = distance * np.linalg.norm(weights) - (weights * image).sum()
    return Partial(halfspaces, jnp.asarray(weights), jnp.float32(offset)), image


def test_the_bound_is_scipys_and_none_for_no_success():
    for count, n, alpha in ((1, 10, 0.05), (60, 100, 0.001), (9_990, 10_000, 0.001), (10, 10, 0.5)):
        told = (
            binomtest(count, n, alternative="greater").proportion_ci(1 - alpha, method="exact").low
        )
        assert smoothing.lower_bound(count, n, alpha) == pytest.approx(told, rel=1e-9)
    assert smoothing.lower_bound(0, 10, 0.05) == 0
    assert smoothing.lower_bound(10_000, 10_000, 0.001) == pytest.approx(0.001 ** (1 / 10_000))


@pytest.mark.parametrize(
    ("alpha", "p"), [(0.001, 0.5), (0.001, 0.99), (0.5, 0.5), (0.125, 0.5), (0.9, 0.5)]
)
def test_the_smallest_n_is_the_first_that_shows_anything(alpha, p):
    n = smoothing.smallest_n(alpha, p)
    assert smoothing.lower_bound(n, n, alpha) > p
    assert n == 1 or smoothing.lower_bound(n - 1, n - 1, alpha) <= p + 1e-12


def test_the_largest_radius_is_the_one_of_the_paper():
    # Cohen et al., section 3.2.2
    assert smoothing.largest_radius(1.0, 100_000, 0.001) == pytest.approx(3.81, abs=0.005)


def test_votes_are_those_of_the_noise_batch_by_batch():
    logits_fn, image = plane(0.1)
    key, drawn = jax.random.key(1), []
    for i in range(3):
        noise = jax.random.normal(jax.random.fold_in(key, i), (40, *SHAPE))
        drawn.append(np.asarray(logits_fn(image[None] + SIGMA * noise)).argmax(axis=1))
    counts = smoothing.votes(key, logits_fn, image, SIGMA, 100, batch_size=40)
    np.testing.assert_array_equal(counts, np.bincount(np.concatenate(drawn)[:100], minlength=2))


def test_claims_exceed_the_true_radius_no_more_often_than_alpha():
    runs, alpha, true = 300, 0.1, 0.2
    logits_fn, image = plane(true)
    options = {"sigma": SIGMA, "n0": 20, "n": 200, "alpha": alpha}
    keys = (jax.random.fold_in(jax.random.key(2), run) for run in range(runs))
    found = [smoothing.certify(key, logits_fn, image, **options) for key in keys]
    radii = np.array([said.radius for said in found if said.prediction == 0])
    assert len(radii) == runs
    wrong = int((radii > true).sum())
    # neither unsafe nor useless
    assert binom.ppf(0.001, runs, alpha / 2) <= wrong <= binom.ppf(0.999, runs, alpha)
    claimed = [SIGMA * norm.ppf(smoothing.lower_bound(said.count, 200, alpha)) for said in found]
    np.testing.assert_allclose(radii, claimed, rtol=1e-6)


def test_without_a_clear_lead_it_abstains():
    logits_fn, image = plane(0.0)
    said = smoothing.certify(jax.random.key(3), logits_fn, image, sigma=SIGMA, n0=20, n=200)
    assert said.prediction == smoothing.ABSTAIN and said.radius == 0 and 50 < said.count < 150


def test_logits_that_are_not_finite_certify_nothing():
    said = smoothing.certify(jax.random.key(4), blind, np.zeros(SHAPE), sigma=SIGMA, n0=20, n=200)
    assert said == (smoothing.ABSTAIN, 0.0, 0)


def blind(images):
    return jnp.full((len(images), 3), jnp.nan)


def test_an_attack_within_the_radius_fails_and_beyond_the_true_one_succeeds():
    logits_fn, image = plane(0.2)
    options = {"sigma": SIGMA, "n0": 20, "n": 200}
    said = smoothing.certify(jax.random.key(5), logits_fn, image, **options)
    assert said.prediction == 0 and said.radius > 0.05
    for claim, expected in ((said, False), (said._replace(radius=0.5), True)):
        hacked = smoothing.attack(
            jax.random.key(6), logits_fn, image, claim, sigma=SIGMA, steps=10, copies=8
        )
        assert 0.9 * claim.radius < np.linalg.norm(hacked - image) < claim.radius
        assert hacked.min() >= 0 and hacked.max() <= 1
        again = smoothing.certify(jax.random.key(7), logits_fn, hacked, **options).prediction
        assert (again not in (claim.prediction, smoothing.ABSTAIN)) is expected
        assert (logits_fn(hacked[None]).argmax() != 0) == expected


@pytest.mark.parametrize(
    ("metadata", "sigma"),
    [
        ({}, 0.25),
        ({"sigma": 0.12}, 0.12),
        ({"config": {"adversary": {"method": "noise", "sigma": 0.5}}}, 0.5),
        ({"config": {"adversary": {"method": "smoothadv", "sigma": 0.5}}}, 0.5),
        ({"config": {"adversary": {"method": "pgd", "sigma": 0.5}}}, 0.25),
        ({"config": {"adversary": {"method": "noise"}}}, None),
        ({"config": {"adversary": {"method": "pgd"}}, "sigma": 0.12}, 0.12),
        ({"config": ["adversary"]}, 0.25),
        ({"config": None}, 0.25),
    ],
)
def test_the_noise_of_the_training_is_read_from_the_model_file(metadata, sigma):
    assert smoothing.trained_sigma(metadata) == sigma
    without = smoothing.noise_settings(metadata) is None
    assert without == (sigma == smoothing.DEFAULT_SIGMA)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, "sigma must be above 0 and at most 1 .*, received 0.0"),
        ({"sigma": 1.5}, "sigma must be above 0 and at most 1 .*, received 1.5"),
        ({"sigma": float("nan")}, "sigma must be above 0"),
        ({"sigma": "0.25"}, "received '0.25'"),
        ({"n": 9}, "n must be at least 10 to certify anything with alpha 0.001, received 9"),
        ({"n0": 0}, "n0 must be at least 1, received 0"),
        ({"alpha": 1.0}, "alpha must be between 0 and 1, received 1.0"),
    ],
)
def test_settings_that_certify_nothing_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        smoothing.certify(jax.random.key(0), blind, np.zeros(SHAPE), **{"sigma": SIGMA, **settings})
