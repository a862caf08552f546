"""The training loop, on stripes."""

import json
import shutil
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from fer_jax import config as configs
from fer_jax import models
from fer_jax.config import Adversary, Augment, EarlyStopping, Optimizer
from fer_jax.data import Digest
from fer_jax.errors import InputError
from fer_jax.evaluation.logits import predict_logits
from fer_jax.evaluation.summary import summary
from fer_jax.models import model_file
from fer_jax.training import loop as train


def test_the_loop_learns(splits, tmp_path, tiny):
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


def test_the_model_file_is_that_model_to_half_precision(finished, tiny):
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


def test_a_resumed_run_ends_bit_identical(finished, splits, tmp_path, monkeypatch, tiny):
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


def test_a_workdir_with_a_run_is_not_overwritten(finished, splits, tiny):
    with pytest.raises(InputError, match="already holds a run"):
        train.fit(tiny(), splits, finished[1])
    with pytest.raises(InputError, match="other values of epochs, seed"):
        train.fit(tiny(epochs=4, seed=1), splits, finished[1], resume=True)
    with pytest.raises(
        InputError, match=r"run\.json: the run was started on other data, sha256 d1\.\.\., now d2"
    ):
        train.fit(tiny(), splits, finished[1], resume=True, digest=Digest("d2"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", r"^\S*config\.json: must be JSON"),
        (
            "config.json",
            '{"optimizer": {"schedule": "cosine"}}',
            r"^\S*config\.json: config key opt",
        ),
        ("run.json", "", r"run\.json: must be JSON"),
        ("run.json", "{}", r"run\.json: the run was started on other data"),
        (
            "history.csv",
            "",
            r"history\.csv: a training log needs numbers in columns epoch: No columns",
        ),
        ("history.csv", "epoch\n1\n2\n", r"history\.csv: must have a row for each of the 3 epochs"),
    ],
)
def test_a_damaged_workdir_is_not_resumed(finished, splits, tmp_path, name, content, words, tiny):
    workdir = shutil.copytree(finished[1], tmp_path / "w")
    (workdir / name).write_text(content)
    with pytest.raises(InputError, match=words):
        train.fit(tiny(), splits, workdir, resume=True, digest=Digest("d1"))


def test_a_run_goes_on_after_an_update_that_added_config_keys(finished, splits, tiny):
    path = finished[1] / "config.json"
    old = json.loads(path.read_text())
    old.pop("adversary")
    path.write_text(json.dumps(old))
    train.fit(tiny(), splits, finished[1], resume=True, digest=Digest("d1"))
    assert json.loads(path.read_text())["adversary"]["method"] == "none"


def robust_run(tiny, **early_stopping):
    adversary = Adversary(method="fgsm", eps=8 / 255, step_size=1.25)
    return tiny(
        adversary=adversary,
        early_stopping=EarlyStopping(monitor="robust_accuracy", **early_stopping),
    )


def test_adversarial_training_keeps_the_most_robust_epoch(splits, tmp_path, tiny):
    result = train.fit(robust_run(tiny), splits, tmp_path / "w")
    robust_accuracy = result.history["holdout_robust_accuracy"]
    assert result.model.metadata["best_epoch"] == robust_accuracy.argmax() + 1
    assert (robust_accuracy <= result.history["holdout_accuracy"] + 1e-6).all()


def test_a_run_ends_when_it_overfits_catastrophically(splits, tmp_path, monkeypatch, capsys, tiny):
    values = iter([0.4, 0.1])
    monkeypatch.setattr(train.losses, "robust_accuracy", lambda *_: next(values))
    result = train.fit(robust_run(tiny), splits, tmp_path / "w")
    assert len(result.history) == 2 and result.model.metadata["best_epoch"] == 1
    assert (
        "early stopping: robust accuracy collapsed from 40.0% to 10.0%" in capsys.readouterr().out
    )
    # and does not go on when resumed
    again = train.fit(robust_run(tiny), splits, tmp_path / "w", resume=True)
    assert len(again.history) == 2


def test_a_loss_that_is_not_finite_stops_the_run_in_words(splits, tmp_path, tiny):
    wild = tiny(optimizer=Optimizer(learning_rate=100.0, weight_decay=1.0, warmup=0.0), epochs=30)
    with pytest.raises(
        InputError, match=r"training diverged: the .* in epoch \d+, step \d+; .* lower"
    ):
        train.fit(wild, splits, tmp_path / "w")


def test_a_full_disk_stops_a_run_before_and_between_epochs(splits, tmp_path, monkeypatch, tiny):
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


def test_a_training_split_smaller_than_a_batch_is_refused(splits, tmp_path, tiny):
    with pytest.raises(InputError, match="batch_size must be at most the 96 training rows, is 97"):
        train.fit(tiny(batch_size=97), splits, tmp_path / "w")


def test_views_larger_than_the_crop_are_refused(splits, tmp_path, tiny):
    cropped = tiny(model={"family": "vgg", "stages": [[4]], "dropout": 0.0, "crop": 40})
    with pytest.raises(InputError, match="must not exceed the network's crop of 40, received 48"):
        train.fit(cropped, splits, tmp_path / "w")


def test_views_grow_as_the_config_says(tiny):
    config = tiny(epochs=10, resolutions=((0.0, 32), (0.5, 40), (0.8, 48)))
    assert [train.side_at(config, epoch) for epoch in range(10)] == [32] * 5 + [40] * 3 + [48] * 2


class Plain(nn.Module):
    """A family without batch norm, dropout or stages, which looks at the image's middle."""

    width: int
    classes: int = 7
    dtype: Any = jnp.float32
    channels, crop, smallest_side = 1, 40, 8

    @nn.compact
    def __call__(self, images, train=False):
        margin = max(0, images.shape[1] - self.crop) // 2
        images = images[:, margin : margin + self.crop, margin : margin + self.crop]
        maps = nn.Conv(self.width, (5, 5), (4, 4), dtype=self.dtype)(images - 0.5)
        return nn.Dense(self.classes, name="logits")(nn.relu(maps).mean(axis=(1, 2)))


@pytest.mark.parametrize("method", ["none", "trades"])
def test_a_family_without_batch_norm_trains_and_resumes(
    splits, tmp_path, monkeypatch, tiny, method
):
    monkeypatch.setitem(models.FAMILIES, "plain", Plain)
    adversary = Adversary(method=method, eps=4 / 255, awp=0.01)
    model = {"family": "plain", "width": 4}
    config = tiny(model=model, epochs=2, resolutions=((0.0, 40),), adversary=adversary)
    result = train.fit(config, splits, tmp_path / "w")
    stored = model_file.load(tmp_path / "w" / "model.pkl").variables["params"]
    assert stored.keys() == result.model.variables["params"].keys() == {"Conv_0", "logits"}
    again = train.fit(config, splits, tmp_path / "w", resume=True)
    jax.tree.map(np.testing.assert_array_equal, again.model.variables, result.model.variables)


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("plain", {}, "must not exceed the network's crop of 40, received 48"),
        ("plain", {"classes": 8}, r"model\.classes must be 7 for protocol train-only, is 8"),
        ("missing", {}, "unknown model family 'missing': expected one of vgg, plain"),
    ],
)
def test_a_family_is_asked_what_it_takes(
    splits, tmp_path, monkeypatch, tiny, family, changes, words
):
    monkeypatch.setitem(models.FAMILIES, "plain", Plain)
    config = tiny(model={"family": family, "width": 4, **changes})
    with pytest.raises(InputError, match=words):
        train.fit(config, splits, tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_views_smaller_than_the_network_takes_are_refused(splits, tmp_path, tiny):
    deep = tiny(model={"family": "vgg", "stages": [[2]] * 5}, resolutions=((0.0, 31),))
    with pytest.raises(InputError, match="at least the network's smallest side, 32, received 31"):
        train.fit(deep, splits, tmp_path / "w")


def test_the_rate_falls_when_the_loss_has_stood_still_for_as_long_as_patience_says(
    splits, tmp_path, tiny
):
    """On a network with batch norm, whose scales are no learning rate's."""
    settings = Optimizer(1e-8, "plateau", momentum=0, plateau_factor=0.5, plateau_patience=2)
    same = {
        "batch_size": 96,
        "augment": Augment(*[0] * 8),
        "model": {**tiny().model, "dropout": 0.0},
    }
    config = tiny(epochs=5, optimizer=settings, **same)  # one step, of all rows, is an epoch
    rates = train.fit(config, splits, tmp_path / "w").history["lr"]
    np.testing.assert_allclose(rates, np.array([1, 1, 0.5, 0.5, 0.25]) * 1e-8, rtol=1e-5)
