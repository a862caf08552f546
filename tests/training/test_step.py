"""A step of training, its schedule and its optimiser."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import models
from fer_jax.config import Augment, Optimizer
from fer_jax.models import model_file
from fer_jax.training import step as train
from fer_jax.training.parallel import Devices


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_targets_trust_the_teachers_mean_by_their_share(finished, splits, tmp_path, share, tiny):
    learned = model_file.load(finished[1] / "model.pkl")
    flat = jax.tree.map(np.zeros_like, learned.variables)  # says nothing: each class as likely
    model_file.save(tmp_path / "flat.pkl", dataclasses.replace(learned, variables=flat))
    model_file.save(tmp_path / "warm.pkl", dataclasses.replace(learned, temperature=2.0))
    paths = (str(tmp_path / "warm.pkl"), str(tmp_path / "flat.pkl"))
    # so that the view is the image
    plain = tiny(model={**tiny().model, "dropout": 0.0}, augment=Augment(*[0] * 8))
    optimizer, devices = train.make_optimizer(plain, 100, 3), Devices()
    faces, rows = jnp.asarray(splits.train.images), np.arange(32, dtype=np.int32)

    def loss(config, targets):
        state = train.make_state(config, optimizer, targets)
        teachers = [model_file.load(path) for path in config.teachers]
        step = train.make_step(config, optimizer, 48, 100, devices, teachers)
        return float(step(state, faces, targets, rows)[1])

    logits = models.create(learned.architecture).apply(
        learned.variables, splits.train.images[..., None] / np.float32(255)
    )
    said = (jax.nn.softmax(logits / 2) + 1 / 7) / 2
    labels = jnp.asarray(splits.targets)
    expected = loss(plain, (1 - share) * labels + share * said)
    taught = dataclasses.replace(plain, teachers=paths, teaching=share)
    assert loss(taught, labels) == pytest.approx(expected, rel=1e-5)
    assert abs(expected - loss(plain, labels)) > 1e-3 * expected


def test_beliefs_follow_what_the_network_says_of_the_rows_it_sees(splits, tiny):
    config = tiny(self_distillation=0.5)
    optimizer = train.make_optimizer(config, 100, 3)
    targets, rows = jnp.asarray(splits.targets), np.arange(5, 37, dtype=np.int32)
    state = train.make_state(config, optimizer, targets)
    before = np.asarray(state.beliefs)
    np.testing.assert_array_equal(before, targets)
    state, _ = train.make_step(config, optimizer, 48, 100, Devices())(
        state, jnp.asarray(splits.train.images), targets, rows
    )
    after, unseen = np.asarray(state.beliefs), np.setdiff1d(np.arange(len(targets)), rows)
    np.testing.assert_array_equal(after[unseen], before[unseen])
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-5)
    # the new part must be a distribution, and not the label
    said = (after[rows] - 0.7 * before[rows]) / 0.3
    assert (said > 0).all()
    assert np.abs(said - before[rows]).max() > 0.1


@pytest.mark.parametrize(("done", "weight"), [(0, 0.0), (50, 0.25), (100, 0.5)])
def test_targets_come_to_trust_beliefs_linearly(splits, done, weight, tiny):
    config = tiny(self_distillation=0.5, model={**tiny().model, "dropout": 0.0})
    optimizer = train.make_optimizer(config, 100, 3)
    faces, rows = jnp.asarray(splits.train.images), np.arange(32, dtype=np.int32)

    def loss(config, targets, beliefs):
        state = dataclasses.replace(
            train.make_state(config, optimizer, targets), step=jnp.int32(done)
        )
        if config.self_distillation:
            # the step donates its buffers
            state = dataclasses.replace(state, beliefs=jnp.copy(beliefs))
        return float(
            train.make_step(config, optimizer, 48, 100, Devices())(state, faces, targets, rows)[1]
        )

    targets, others = jnp.asarray(splits.targets), jnp.roll(jnp.asarray(splits.targets), 1, axis=1)
    plain, only_other = (loss(tiny(model=config.model), t, t) for t in (targets, others))
    # beliefs equal to the targets change nothing
    assert loss(config, targets, targets) == pytest.approx(plain, rel=1e-5)
    mixed = (1 - weight) * plain + weight * only_other  # the loss is linear in the targets
    assert loss(config, targets, others) == pytest.approx(mixed, rel=1e-5)


def test_the_rate_rises_to_its_peak_and_falls_to_almost_nothing(tiny):
    schedule = train.make_schedule(tiny(optimizer=Optimizer(learning_rate=0.2, warmup=0.25)), 100)
    rates = np.array([float(schedule(i)) for i in range(101)])
    assert rates.argmax() == 25
    assert rates[25] == pytest.approx(0.2)
    assert rates[0] == pytest.approx(0.008)
    assert rates[100] == pytest.approx(2e-5)
    assert (np.diff(rates[:26]) > 0).all()
    assert (np.diff(rates[25:]) < 0).all()


def test_plateau_lowers_the_rate_of_a_loss_that_does_not_fall(tiny):
    plateau = Optimizer(
        schedule="plateau",
        plateau_factor=0.5,
        plateau_patience=2,
        learning_rate=0.1,
        weight_decay=0.0,
    )
    optimizer = train.make_optimizer(tiny(optimizer=plateau), 100, steps_per_epoch=3)
    params = {"w": jnp.ones((2, 2))}
    state, sizes = optimizer.init(params), []
    for _ in range(30):
        updates, state = optimizer.update(
            {"w": jnp.ones((2, 2))}, state, params, value=jnp.float32(1.0)
        )
        sizes.append(float(-updates["w"][0, 0]))
    assert sizes[-1] < 0.5 * max(sizes)


def test_decay_spares_scales_and_biases(tiny):
    optimizer = train.make_optimizer(tiny(optimizer=Optimizer(weight_decay=0.5)), 10, 5)
    params = {"kernel": jnp.ones((3, 2)), "scale": jnp.ones(3)}
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    assert (updates["kernel"] < 0).all()
    assert (updates["scale"] == 0).all()
