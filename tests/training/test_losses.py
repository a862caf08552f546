"""Losses against optax, and adversarial ones on networks whose gradient is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fer_jax.config import Adversary
from fer_jax.training import losses

WEIGHTS = jax.random.normal(jax.random.key(1), (16, 3))
STATS = {"mean": jnp.zeros(())}


def apply(variables, images, *, train, mutable=(), rngs=None):
    """A linear network on centred pixels; its statistics are the mean that it saw last. Evaluation
    turns its sign around.
    """
    flat = images.reshape(len(images), -1) - 0.5
    logits = (flat if train else -flat) @ variables["params"]["kernel"]
    return (logits, {"batch_stats": {"mean": images.mean()}}) if mutable else logits


@pytest.fixture
def images():
    return jax.random.uniform(jax.random.key(2), (5, 4, 4, 1), minval=0.3, maxval=0.7)


@pytest.fixture
def targets():
    return jax.nn.one_hot(jnp.array([0, 1, 2, 0, 1]), 3)


def logits_fn(images):
    return apply({"params": {"kernel": WEIGHTS}}, images, train=False)


def loss_of(settings, images, targets, params=None):
    params = {"kernel": WEIGHTS} if params is None else params
    return losses.make_loss(apply, settings)(params, STATS, jax.random.key(3), images, targets)


@pytest.mark.parametrize("method", ["fgsm", "pgd", "trades"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_crafted_images_are_harder_and_stay_in_the_ball_and_the_box(method, norm, images, targets):
    settings = Adversary(method=method, norm=norm, eps=0.2, step_size=0.5, steps=4)
    crafted = losses.craft(jax.random.key(0), logits_fn, images, targets, settings)
    sizes = {
        "linf": jnp.abs(crafted - images).max(),
        "l2": jnp.sqrt(jnp.square(crafted - images).sum(axis=(1, 2, 3))).max(),
    }
    assert sizes[norm] <= 0.2 + 1e-6
    assert crafted.min() >= 0 and crafted.max() <= 1
    clean = jax.nn.softmax(logits_fn(images))
    assert (losses.divergence(logits_fn(crafted), clean) > 0.01).all()
    if method != "trades":
        harder = losses.cross_entropy(logits_fn(crafted), targets) > losses.cross_entropy(
            logits_fn(images), targets
        )
        assert harder.all()


@pytest.mark.parametrize("method", ["fgsm", "pgd", "trades", "smoothadv"])
def test_crafted_images_keep_to_the_box(method, targets):
    # any way but one leaves it
    images = jax.random.bernoulli(jax.random.key(6), shape=(5, 4, 4, 1)).astype(jnp.float32)
    settings = Adversary(method=method, norm="l2", eps=0.5, step_size=0.5, steps=3, sigma=1e-9)
    crafted = losses.craft(jax.random.key(0), logits_fn, images, targets, settings)
    assert crafted.min() >= -1e-7 and crafted.max() <= 1 + 1e-7
    assert jnp.abs(crafted - images).max() > 0.05


def test_one_full_step_on_two_classes_ends_in_the_corner(images):
    weights = WEIGHTS[:, :2]
    targets = jax.nn.one_hot(jnp.zeros(5, int), 2)
    # from anywhere in the ball, past its side
    settings = Adversary(method="fgsm", eps=0.1, step_size=2.0, steps=1)
    crafted = losses.craft(
        jax.random.key(0), lambda x: x.reshape(5, -1) @ weights, images, targets, settings
    )
    corner = images + 0.1 * jnp.sign(weights[:, 1] - weights[:, 0]).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(crafted, corner, atol=1e-6)


@pytest.mark.parametrize("method", ["fgsm", "pgd", "trades"])
def test_no_room_is_no_adversary(method, images, targets):
    settings = Adversary(method=method, eps=0.0, steps=3)
    loss, (stats, logits) = loss_of(settings, images, targets)
    plain, (plain_stats, plain_logits) = loss_of(Adversary(), images, targets)
    np.testing.assert_allclose(loss, plain, rtol=1e-5)
    np.testing.assert_allclose(logits, plain_logits, rtol=1e-6)
    np.testing.assert_allclose(stats["mean"], plain_stats["mean"], rtol=1e-6)


def test_crafting_sees_evaluation_mode_and_training_the_crafted_images(images, targets):
    """In evaluation the network's sign is turned: what fools it there helps it in training."""
    settings = Adversary(method="pgd", eps=0.2, step_size=0.5, steps=4)
    loss, (stats, logits) = loss_of(settings, images, targets)
    assert loss < loss_of(Adversary(), images, targets)[0]
    crafted = losses.craft(
        jax.random.split(jax.random.key(3))[0], logits_fn, images, targets, settings
    )
    np.testing.assert_allclose(stats["mean"], crafted.mean(), rtol=1e-6)
    np.testing.assert_allclose(logits, -logits_fn(crafted), rtol=1e-5)


def test_trades_is_the_clean_loss_and_beta_times_the_divergence(images, targets):
    settings = Adversary(method="trades", eps=0.1, step_size=0.5, steps=2, beta=3.0)
    loss, (stats, logits) = loss_of(settings, images, targets)
    crafted = losses.craft(
        jax.random.split(jax.random.key(3))[0], logits_fn, images, targets, settings
    )
    p, q = jax.nn.softmax(-logits_fn(images)), jax.nn.softmax(-logits_fn(crafted))
    apart = (p * jnp.log(p / q)).sum(axis=1).mean()
    np.testing.assert_allclose(
        loss, losses.cross_entropy(logits, targets).mean() + 3 * apart, rtol=1e-4
    )
    np.testing.assert_allclose(logits, -logits_fn(images), rtol=1e-6)
    np.testing.assert_allclose(stats["mean"], images.mean(), rtol=1e-6)  # the clean pass comes last


def test_noise_has_its_standard_deviation_and_is_not_clipped():
    images = jnp.full((200, 4, 4, 1), 0.9)
    settings = Adversary(method="noise", sigma=0.25)
    noise = (
        losses.craft(jax.random.key(0), logits_fn, images, jnp.zeros((200, 3)), settings) - images
    )
    assert noise.std() == pytest.approx(0.25, rel=0.03)
    assert abs(noise.mean()) < 0.02 and noise.max() > 0.2


def test_smoothadv_fools_the_mean_over_its_noises_within_the_ball_and_adds_the_first(
    images, targets
):
    settings = Adversary(
        method="smoothadv", norm="l2", eps=0.3, step_size=0.5, steps=4, sigma=0.25, draws=5
    )
    noise = 0.25 * jax.random.normal(jax.random.key(4), (5, *images.shape))
    crafted = losses.craft(jax.random.key(4), logits_fn, images, targets, settings) - noise[0]
    assert jnp.sqrt(jnp.square(crafted - images).sum(axis=(1, 2, 3))).max() <= 0.3 + 1e-6
    assert crafted.min() >= -1e-6 and crafted.max() <= 1 + 1e-6

    def risk(x):
        return -jnp.log(
            jnp.mean(jnp.stack([jax.nn.softmax(logits_fn(x + each)) for each in noise]), axis=0)
        )

    known = targets.astype(bool)
    assert (risk(crafted)[known] > risk(images)[known] + 0.01).all()
    np.testing.assert_allclose(
        losses.smoothed_log(logits_fn, images, noise), -risk(images), rtol=1e-5
    )


def test_the_judge_of_a_smoothed_network_is_an_attack_and_its_noise(images, targets):
    settings = Adversary(method="smoothadv", norm="l2", eps=0.3, steps=1, sigma=0.25)
    hacked = losses.judge(settings)(
        jax.random.key(5), jax.tree_util.Partial(logits_fn), images, targets.argmax(axis=1)
    )
    stronger = dataclasses.replace(settings, steps=10, step_size=0.25)
    np.testing.assert_allclose(
        hacked, losses.craft(jax.random.key(5), logits_fn, images, targets, stronger), atol=1e-5
    )


def test_weights_move_uphill_by_a_share_of_each_kernel():
    params = {"a": jnp.full((2, 3), 2.0), "b": jnp.ones((4, 4)), "bias": jnp.ones(3)}
    gradient = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.zeros((4, 4)), "bias": jnp.ones(3)}
    moved = losses.weight_perturbation(params, gradient, 0.01)
    assert float(jnp.linalg.norm(moved["a"])) == pytest.approx(
        0.01 * float(jnp.linalg.norm(params["a"])), rel=1e-5
    )
    np.testing.assert_allclose(
        np.asarray(moved["a"] / moved["a"][0, 1]), np.asarray(gradient["a"]), rtol=1e-5
    )
    np.testing.assert_array_equal(moved["b"], 0)
    np.testing.assert_array_equal(moved["bias"], 0)


def test_weight_perturbation_takes_the_gradient_where_the_weights_would_be(images, targets):
    plain = Adversary(method="pgd", eps=0.1, steps=1)
    loss_fn = lambda settings: lambda params: loss_of(settings, images, targets, params)[0]
    params = {"kernel": WEIGHTS}
    uphill = jax.grad(loss_fn(plain))(params)
    moved = jax.tree.map(jnp.add, params, losses.weight_perturbation(params, uphill, 0.05))
    found = loss_fn(dataclasses.replace(plain, awp=0.05))(params)
    assert found > loss_fn(plain)(params)
    crafted = losses.craft(
        jax.random.split(jax.random.key(3))[0], logits_fn, images, targets, plain
    )
    logits = apply({"params": moved}, crafted, train=True)
    np.testing.assert_allclose(found, losses.cross_entropy(logits, targets).mean(), rtol=1e-5)


def test_the_judge_is_stronger_than_one_step(images, targets):
    settings = Adversary(method="fgsm", eps=0.05)
    labels = targets.argmax(axis=1)
    hacked = losses.judge(settings)(jax.random.key(0), logits_fn, images, labels)
    assert jnp.abs(hacked - images).max() <= 0.05 + 1e-6
    one_step = losses.craft(jax.random.key(0), logits_fn, images, targets, settings)
    losses_of = lambda x: losses.cross_entropy(logits_fn(x), targets).mean()
    assert losses_of(hacked) >= losses_of(one_step) - 1e-6


def test_a_network_without_batch_statistics_has_none_to_update(images, targets):
    def plain(variables, images, *, train, mutable=(), rngs=None):
        logits = (images.reshape(len(images), -1) - 0.5) @ variables["params"]["kernel"]
        return (logits, {}) if mutable else logits

    for method in ("none", "pgd", "trades"):
        loss_fn = losses.make_loss(plain, Adversary(method=method, eps=0.1))
        loss, (stats, _) = loss_fn({"kernel": WEIGHTS}, {}, jax.random.key(3), images, targets)
        assert jnp.isfinite(loss) and stats == {}


def test_robust_accuracy_is_the_share_that_the_judge_leaves_right():
    settings = Adversary(method="fgsm", eps=0.1)
    # one pixel decides: a change of 0.1 breaks the second image and not the first
    images = np.full((2, 48, 48), 128, np.uint8)
    images[:, 0, 0] = (255, 134)
    logits_fn = jax.tree_util.Partial(
        lambda x: jnp.stack([x[:, 0, 0, 0] - 0.5, 0.5 - x[:, 0, 0, 0]], 1)
    )
    assert losses.robust_accuracy(settings, logits_fn, images, np.array([0, 0])) == 0.5


@pytest.fixture
def batch():
    key, label_key = jax.random.split(jax.random.key(0))
    return 5 * jax.random.normal(key, (16, 7)), jax.random.randint(label_key, (16,), 0, 7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_cross_entropy_equals_optax(batch, smoothing):
    logits, labels = batch
    ours = losses.cross_entropy(logits, losses.smooth(jax.nn.one_hot(labels, 7), smoothing))
    oracle = optax.softmax_cross_entropy(
        logits, optax.smooth_labels(jax.nn.one_hot(labels, 7), smoothing)
    )
    np.testing.assert_allclose(ours, oracle, rtol=1e-5)
