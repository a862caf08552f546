"""The training loop on a problem that a network of a few hundred weights learns: which of seven
stripes is bright.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from fer_jax import config as configs
from fer_jax import files, models
from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer
from fer_jax.data import Protocol, Split
from fer_jax.errors import InputError
from fer_jax.evaluation.logits import predict_logits
from fer_jax.evaluation.summary import summary
from fer_jax.models import model_file
from fer_jax.training import loop as train
from fer_jax.training.parallel import Devices

EXPERIMENTS = sorted((Path(__file__).resolve().parents[2] / "experiments").glob("*.py"))


def stripes(n, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 7, n).astype(np.int32)
    images = random.integers(0, 60, (n, 48, 48)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * 6 : label * 6 + 6] += 150
    return Split(images, labels)


@pytest.fixture(scope="module")
def splits():
    train = stripes(96, 0)
    return Protocol(
        "train-only",
        train,
        stripes(64, 1),
        stripes(8, 2),
        np.eye(7, dtype=np.float32)[train.labels],
    )


def tiny(**changes):
    base = Config(
        name="tiny",
        model={"family": "vgg", "stages": [[4], [8]], "dropout": 0.1},
        epochs=3,
        batch_size=32,
        ema=0.5,
        augment=Augment(shift=0.0, rotate=2.0, flip=True, erase=0.1),
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def finished(splits, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "w"
    return train.fit(tiny(), splits, workdir, digest="d1"), workdir


def test_the_loop_learns(splits, tmp_path):
    model = {"family": "vgg", "stages": [[8], [16], [16], [16]], "dropout": 0.0}
    plain = Augment(
        flip=True, shift=0.0, scale=0.0, rotate=0.0, contrast=0.0, brightness=0.0, erase=0.0
    )
    learner = tiny(model=model, epochs=12, batch_size=16, augment=plain, ema=0.8)
    result = train.fit(learner, splits, tmp_path / "w")
    assert result.history["train_loss"].iloc[-1] < 0.7 * result.history["train_loss"].iloc[0]
    assert result.history["holdout_accuracy"].max() > 0.6  # chance is 1/7


def test_the_model_is_the_best_epochs(finished, splits):
    model = finished[0].model
    best = model.metadata["best"]
    assert best["holdout_accuracy"] == finished[0].history["holdout_accuracy"].max()
    network = models.create(model.architecture)
    logits = predict_logits(
        lambda images: network.apply(model.variables, images), splits.select.images
    )
    again = summary(logits, splits.select.labels)
    assert again["accuracy"] == pytest.approx(best["holdout_accuracy"])
    assert again["loss"] == pytest.approx(best["holdout_loss"], rel=1e-4)


def test_the_model_file_is_that_model_to_half_precision(finished):
    loaded, model = model_file.load(finished[1] / "model.pkl"), finished[0].model
    for a, b in zip(*map(jax.tree.leaves, (loaded.variables, model.variables)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2**-10, atol=1e-7)
    assert loaded.metadata["data_digest"] == "d1"
    assert configs.from_dict(loaded.metadata["config"]) == tiny()


def test_the_log_has_a_row_per_epoch(finished):
    result, workdir = finished
    log = pd.read_csv(workdir / "history.csv")
    assert list(log["epoch"]) == [1, 2, 3]
    np.testing.assert_allclose(log["holdout_loss"], result.history["holdout_loss"], rtol=1e-5)
    assert (
        json.loads((workdir / "run.json").read_text())["best_epoch"]
        == result.model.metadata["best_epoch"]
    )
    assert list((workdir / "tensorboard").glob("events*"))


def test_a_resumed_run_ends_bit_identical(finished, splits, tmp_path, monkeypatch):
    straight, _ = finished
    save = train.Checkpoints.save

    def stop_after_two(self, epoch, tree):
        save(self, epoch, tree)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.Checkpoints, "save", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            train.fit(tiny(), splits, tmp_path / "w")
    resumed = train.fit(tiny(), splits, tmp_path / "w", resume=True)
    columns = [c for c in straight.history if c not in ("seconds", "step_loss")]
    # the csv rounds
    np.testing.assert_allclose(resumed.history[columns], straight.history[columns], rtol=1e-5)
    for a, b in zip(
        *map(jax.tree.leaves, (straight.model.variables, resumed.model.variables)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_workdir_with_a_run_is_not_overwritten(finished, splits):
    with pytest.raises(InputError, match="already holds a run"):
        train.fit(tiny(), splits, finished[1])
    with pytest.raises(InputError, match="other values of epochs, seed"):
        train.fit(tiny(epochs=4, seed=1), splits, finished[1], resume=True)
    with pytest.raises(
        InputError, match=r"run\.json: the run was started on other data, sha256 d1\.\.\., now d2"
    ):
        train.fit(tiny(), splits, finished[1], resume=True, digest="d2")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", r"config\.json: must be JSON"),
        ("run.json", "", r"run\.json: must be JSON"),
        ("run.json", "{}", r"run\.json: the run was started on other data"),
        ("history.csv", "", r"history\.csv: must be the log of the run: No columns"),
        ("history.csv", "epoch\n1\n2\n", r"history\.csv: must have a row for each of the 3 epochs"),
    ],
)
def test_a_damaged_workdir_is_not_resumed(finished, splits, tmp_path, name, content, words):
    workdir = shutil.copytree(finished[1], tmp_path / "w")
    (workdir / name).write_text(content)
    with pytest.raises(InputError, match=words):
        train.fit(tiny(), splits, workdir, resume=True, digest="d1")


def test_a_run_goes_on_after_an_update_that_added_config_keys(finished, splits):
    path = finished[1] / "config.json"
    old = json.loads(path.read_text())
    old.pop("adversary")
    path.write_text(json.dumps(old))
    train.fit(tiny(), splits, finished[1], resume=True, digest="d1")
    assert json.loads(path.read_text())["adversary"]["method"] == "none"


def robust_run(**early_stopping):
    adversary = Adversary(method="fgsm", eps=8 / 255, step_size=1.25)
    return tiny(
        adversary=adversary,
        early_stopping=EarlyStopping(monitor="robust_accuracy", **early_stopping),
    )


def test_adversarial_training_keeps_the_most_robust_epoch(splits, tmp_path):
    result = train.fit(robust_run(), splits, tmp_path / "w")
    robust_accuracy = result.history["holdout_robust_accuracy"]
    assert result.model.metadata["best_epoch"] == robust_accuracy.argmax() + 1
    assert (robust_accuracy <= result.history["holdout_accuracy"] + 1e-6).all()


def test_a_run_ends_when_it_overfits_catastrophically(splits, tmp_path, monkeypatch, capsys):
    values = iter([0.4, 0.1])
    monkeypatch.setattr(train._Run, "_robust_accuracy", lambda self, state: next(values))
    result = train.fit(robust_run(), splits, tmp_path / "w")
    assert len(result.history) == 2 and result.model.metadata["best_epoch"] == 1
    assert (
        "early stopping: robust accuracy collapsed from 40.0% to 10.0%" in capsys.readouterr().out
    )
    # and does not go on when resumed
    again = train.fit(robust_run(), splits, tmp_path / "w", resume=True)
    assert len(again.history) == 2


def test_a_loss_that_is_not_finite_stops_the_run_in_words(splits, tmp_path):
    wild = tiny(optimizer=Optimizer(learning_rate=100.0, weight_decay=1.0, warmup=0.0), epochs=30)
    with pytest.raises(
        InputError, match=r"training diverged: the .* in epoch \d+, step \d+; .* lower"
    ):
        train.fit(wild, splits, tmp_path / "w")


def test_a_full_disk_stops_a_run_before_and_between_epochs(splits, tmp_path, monkeypatch):
    free = [2**40, 2**40, 5]  # bytes: at the start, after the first epoch, after the second
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, free.pop(0))
    )
    with pytest.raises(InputError, match="needs 1 MiB of free disk space, has 0 MiB"):
        train.fit(tiny(), splits, tmp_path / "w")
    assert len(pd.read_csv(tmp_path / "w" / "history.csv")) == 1
    assert model_file.load(tmp_path / "w" / "model.pkl").metadata["epochs_done"] == 1
    free[:] = [5]
    with pytest.raises(InputError, match="of free disk space"):
        train.fit(tiny(), splits, tmp_path / "other")
    assert not (tmp_path / "other" / "history.csv").exists()


def test_a_training_split_smaller_than_a_batch_is_refused(splits, tmp_path):
    with pytest.raises(InputError, match="batch_size must be at most the 96 training rows, is 97"):
        train.fit(tiny(batch_size=97), splits, tmp_path / "w")


def test_views_larger_than_the_crop_are_refused(splits, tmp_path):
    cropped = tiny(model={"family": "vgg", "stages": [[4]], "dropout": 0.0, "crop": 40})
    with pytest.raises(InputError, match="must not exceed the network's crop of 40, received 48"):
        train.fit(cropped, splits, tmp_path / "w")


def test_training_starts_from_a_model_file(finished, splits, tmp_path):
    path = finished[1] / "model.pkl"
    changed = {**tiny().model, "dropout": 0.5}  # has no weights: need not be the same
    targets, optimizer = jnp.asarray(splits.targets), train.make_optimizer(tiny(), 9, 3)
    start = train.make_state(tiny(init_from=str(path), model=changed), optimizer, targets)
    for a, b in zip(
        *map(jax.tree.leaves, (start.ema, model_file.load(path).variables)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    other = tiny(init_from=str(path), model={"family": "vgg", "stages": [[4]], "dropout": 0.1})
    with pytest.raises(InputError, match="its weights fit"):
        train.make_state(other, optimizer, targets)


@pytest.mark.parametrize(
    ("changes", "digest", "words"),
    [
        ({"seed": 1}, "d1", "was trained on other data, seed 0 and holdout 0.1"),
        ({"holdout": 0.2}, "d1", "with data d1..., seed 0 and holdout 0.2"),
        ({}, "d2", "with data d2"),
    ],
)
def test_a_start_that_saw_the_hold_out_is_refused(
    finished, splits, tmp_path, changes, digest, words
):
    config = tiny(init_from=str(finished[1] / "model.pkl"), **changes)
    with pytest.raises(InputError, match=words):
        train.fit(config, splits, tmp_path / "w", digest=digest)
    assert not (tmp_path / "w").exists()


def test_a_start_that_was_selected_on_what_is_reported_is_refused(finished, splits, tmp_path):
    model = model_file.load(finished[1] / "model.pkl")
    kaggle = dataclasses.replace(model, metadata={**model.metadata, "protocol": "kaggle"})
    model_file.save(tmp_path / "kaggle.pkl", kaggle)
    with pytest.raises(InputError, match="must be of protocol train-only, too, is of kaggle"):
        train.fit(tiny(init_from=str(tmp_path / "kaggle.pkl")), splits, tmp_path / "w", digest="d1")


def test_a_start_may_have_been_trained_on_the_same_pictures_without_votes(
    finished, splits, tmp_path
):
    config = tiny(init_from=str(finished[1] / "model.pkl"), epochs=1)
    assert len(train.fit(config, splits, tmp_path / "w", digest="d1+votes").history) == 1


def test_a_run_is_resumed_without_the_model_that_it_started_from(finished, splits, tmp_path):
    start = Path(shutil.copy(finished[1] / "model.pkl", tmp_path))
    config = tiny(init_from=str(start), holdout=0.05)
    train.fit(config, splits, tmp_path / "w", digest="d1")
    told = json.loads((tmp_path / "w" / "run.json").read_text())
    assert told["init_sha256"] == files.digest(start)
    start.unlink()
    assert len(train.fit(config, splits, tmp_path / "w", resume=True, digest="d1").history) == 3


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_targets_trust_the_teachers_mean_by_their_share(finished, splits, tmp_path, share):
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
        step = train.make_step(
            config, optimizer, 48, 100, devices, train.read_teachers(config, devices)
        )
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


def test_a_teacher_must_fit_and_must_not_have_seen_the_hold_out(finished, splits, tmp_path):
    path = str(finished[1] / "model.pkl")
    taught = tiny(teachers=(path,), teaching=0.5)
    with pytest.raises(InputError, match="some of its rows would be held out"):
        train.fit(dataclasses.replace(taught, holdout=0.2), splits, tmp_path / "w", digest="d1")
    narrow = dataclasses.replace(
        taught, model={**taught.model, "crop": 40}, resolutions=((0.0, 40),)
    )
    with pytest.raises(
        InputError, match="must have the crop of the network that it teaches, 40, received 48"
    ):
        train.fit(narrow, splits, tmp_path / "w", digest="d1")
    assert not (tmp_path / "w").exists()
    result = train.fit(dataclasses.replace(taught, epochs=1), splits, tmp_path / "w", digest="d1")
    assert result.model.metadata["teachers_sha256"] == [files.digest(Path(path))]


def test_a_run_is_not_resumed_with_other_teachers(finished, splits, tmp_path):
    teacher = Path(shutil.copy(finished[1] / "model.pkl", tmp_path))
    taught = tiny(teachers=(str(teacher),), teaching=0.5, epochs=1)
    train.fit(taught, splits, tmp_path / "w", digest="d1")
    assert len(train.fit(taught, splits, tmp_path / "w", resume=True, digest="d1").history) == 1
    model_file.save(teacher, dataclasses.replace(model_file.load(teacher), temperature=2.0))
    with pytest.raises(
        InputError,
        match=r"run\.json: the run was started with other teachers than .*model\.pkl are now",
    ):
        train.fit(taught, splits, tmp_path / "w", resume=True, digest="d1")


def test_beliefs_follow_what_the_network_says_of_the_rows_it_sees(splits):
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
def test_targets_come_to_trust_beliefs_linearly(splits, done, weight):
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


@pytest.mark.parametrize("kind", ["one-cycle", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_almost_nothing(kind):
    schedule = train.make_schedule(
        tiny(optimizer=Optimizer(learning_rate=0.2, schedule=kind, warmup=0.25)), 100
    )
    rates = np.array([float(schedule(i)) for i in range(101)])
    assert rates.argmax() == 25
    assert rates[25] == pytest.approx(0.2)
    assert rates[0] == pytest.approx(0.008)
    assert rates[100] == pytest.approx(2e-5)
    assert (np.diff(rates[:26]) > 0).all()
    assert (np.diff(rates[25:]) < 0).all()


def test_plateau_lowers_the_rate_of_a_loss_that_does_not_fall():
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


def test_decay_spares_scales_and_biases():
    optimizer = train.make_optimizer(tiny(optimizer=Optimizer(weight_decay=0.5)), 10, 5)
    params = {"kernel": jnp.ones((3, 2)), "scale": jnp.ones(3)}
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    assert (updates["kernel"] < 0).all()
    assert (updates["scale"] == 0).all()


def run_of(config, splits, tmp_path):
    return train._Run(config, splits, tmp_path, "", Devices())


def row(epoch, accuracy, lr):
    return {"epoch": epoch, "holdout_accuracy": accuracy, "holdout_loss": 1 - accuracy, "lr": lr}


@pytest.mark.parametrize("monitor", ["accuracy", "loss"])
def test_early_stopping_waits_until_the_rate_is_low_and_keeps_the_best(splits, tmp_path, monitor):
    stopping = EarlyStopping(monitor=monitor, patience=2, min_delta=0.01, rate_below=0.1)
    run = run_of(tiny(epochs=10, early_stopping=stopping), splits, tmp_path)
    state = train.make_state(run.config, run.optimizer, run.targets)
    zero = jnp.int32(0)
    progress = train.Progress(zero, state.ema, jnp.float32(-jnp.inf), zero, zero)
    steps = [
        (0.5, 0.005),
        (0.4, 0.1),
        (0.4, 0.1),
        (0.4, 0.1),
        (0.505, 0.05),
        (0.6, 0.009),
        (0.6, 0.008),
        (0.605, 0.007),
    ]
    stopped = []
    for epoch, (accuracy, lr) in enumerate(steps, 1):
        progress = run._judge(state, progress, row(epoch, accuracy, lr))
        stopped.append(run._stopped(progress, []))
    assert stopped == [""] * 7 + ["no better epoch than 6"]
    assert int(progress.best_epoch) == 6


def test_an_equal_epoch_is_no_better_one(splits, tmp_path):
    run = run_of(tiny(epochs=10, early_stopping=EarlyStopping(patience=2)), splits, tmp_path)
    state = train.make_state(run.config, run.optimizer, run.targets)
    progress = train.Progress(
        jnp.int32(0), state.ema, jnp.float32(-jnp.inf), jnp.int32(0), jnp.int32(0)
    )
    for epoch in (4, 5, 6):
        progress = run._judge(state, progress, row(epoch, 0.7, 0.001))  # which float32 rounds down
    assert (int(progress.best_epoch), run._stopped(progress, [])) == (4, "no better epoch than 4")


def test_the_last_epoch_is_kept_where_nothing_is_to_choose(splits, tmp_path):
    run = run_of(
        tiny(epochs=10, early_stopping=EarlyStopping(monitor="last", patience=1)), splits, tmp_path
    )
    state = train.make_state(run.config, run.optimizer, run.targets)
    progress = train.Progress(
        jnp.int32(0), state.ema, jnp.float32(-jnp.inf), jnp.int32(0), jnp.int32(0)
    )
    for epoch, accuracy in enumerate((0.7, 0.5, 0.6), 1):
        progress = run._judge(state, progress, row(epoch, accuracy, 0.001))
    assert (int(progress.best_epoch), run._stopped(progress, [])) == (3, "")


def test_views_grow_as_the_config_says():
    config = tiny(epochs=10, resolutions=((0.0, 32), (0.5, 40), (0.8, 48)))
    assert [train.side_at(config, epoch) for epoch in range(10)] == [32] * 5 + [40] * 3 + [48] * 2


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_weights_that_an_experiment_starts_from_fit_it(path, root, monkeypatch):
    config = configs.load(path)
    if not config.init_from or not (root / config.init_from).is_file():
        pytest.skip("starts from random weights, or from a model that is not shipped")
    monkeypatch.chdir(root)
    shapes = jax.eval_shape(
        models.create(config.model).init, jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32)
    )
    fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    start = train._read_start(config, fresh)
    assert jax.tree.map(np.shape, start) == jax.tree.map(np.shape, fresh)
