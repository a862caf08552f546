"""Networks that a run starts from or is taught by."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import config as configs
from fer_jax import files, models
from fer_jax.data import Digest
from fer_jax.errors import InputError
from fer_jax.models import model_file
from fer_jax.training import starts, step
from fer_jax.training.loop import fit


def test_training_starts_from_a_model_file(finished, splits, tiny):
    path = str(finished[1] / "model.pkl")
    changed = tiny(init_from=path, model={**tiny().model, "dropout": 0.5})  # has no weights
    source = starts.read(path, changed, Digest("d1"))
    optimizer = step.make_optimizer(changed, 9, 3)
    state = step.make_state(changed, optimizer, jnp.asarray(splits.targets), source)
    jax.tree.map(np.testing.assert_array_equal, state.ema, model_file.load(path).variables)
    other = tiny(init_from=path, model={"family": "vgg", "stages": [[4]], "dropout": 0.1})
    with pytest.raises(InputError, match="its weights fit"):
        step.make_state(other, optimizer, jnp.asarray(splits.targets), source)


def test_a_start_of_other_classes_gives_all_but_the_last_layer(finished, tiny):
    path = str(finished[1] / "model.pkl")
    config = tiny(model={**tiny().model, "classes": 8})
    fresh = models.create(config.model).init(jax.random.key(0), np.zeros((1, 48, 48, 1)))
    source = starts.read(path, config, Digest("d1"))
    weights, given = starts.weights(source, fresh, config), source.model.variables
    assert given["params"]["logits"]["kernel"].shape == (8, 7)
    expected = given | {"params": given["params"] | {"logits": fresh["params"]["logits"]}}
    jax.tree.map(np.testing.assert_array_equal, weights, expected)


@pytest.mark.parametrize(
    ("changes", "digest", "words"),
    [
        ({"seed": 1}, "d1", "was trained on other data, seed 0 and holdout 0.1"),
        ({"holdout": 0.2}, "d1", "with data d1..., seed 0 and holdout 0.2"),
        ({}, "d2", "with data d2"),
    ],
)
def test_a_start_that_saw_the_hold_out_is_refused(
    finished, splits, tmp_path, changes, digest, words, tiny
):
    config = tiny(init_from=str(finished[1] / "model.pkl"), **changes)
    with pytest.raises(InputError, match=words):
        fit(config, splits, tmp_path / "w", digest=Digest(digest))
    assert not (tmp_path / "w").exists()


def test_a_start_that_was_selected_on_what_is_reported_is_refused(finished, splits, tmp_path, tiny):
    model = model_file.load(finished[1] / "model.pkl")
    kaggle = dataclasses.replace(model, metadata={**model.metadata, "protocol": "kaggle"})
    model_file.save(tmp_path / "kaggle.pkl", kaggle)
    with pytest.raises(InputError, match="must be of protocol train-only, too, is of kaggle"):
        fit(
            tiny(init_from=str(tmp_path / "kaggle.pkl")),
            splits,
            tmp_path / "w",
            digest=Digest("d1"),
        )


def test_a_start_may_have_been_trained_on_the_same_pictures_without_votes(
    finished, splits, tmp_path, tiny
):
    config = tiny(init_from=str(finished[1] / "model.pkl"), epochs=1)
    assert len(fit(config, splits, tmp_path / "w", digest=Digest("d1", "votes")).history) == 1


def test_a_run_is_resumed_without_the_model_that_it_started_from(finished, splits, tmp_path, tiny):
    start = Path(shutil.copy(finished[1] / "model.pkl", tmp_path))
    config = tiny(init_from=str(start), holdout=0.05)
    fit(config, splits, tmp_path / "w", digest=Digest("d1"))
    metadata = json.loads((tmp_path / "w" / "run.json").read_text())
    assert metadata["init_sha256"] == files.digest(start)
    start.unlink()
    assert len(fit(config, splits, tmp_path / "w", resume=True, digest=Digest("d1")).history) == 3


def test_a_teacher_must_fit_and_must_not_have_seen_the_hold_out(finished, splits, tmp_path, tiny):
    path = str(finished[1] / "model.pkl")
    taught = tiny(teachers=(path,), teaching=0.5)
    with pytest.raises(InputError, match="some of its rows would be held out"):
        fit(dataclasses.replace(taught, holdout=0.2), splits, tmp_path / "w", digest=Digest("d1"))
    narrow = dataclasses.replace(
        taught, model={**taught.model, "crop": 40}, resolutions=((0.0, 40),)
    )
    with pytest.raises(
        InputError, match="must have the crop of the network that it teaches, 40, received 48"
    ):
        fit(narrow, splits, tmp_path / "w", digest=Digest("d1"))
    assert not (tmp_path / "w").exists()
    result = fit(dataclasses.replace(taught, epochs=1), splits, tmp_path / "w", digest=Digest("d1"))
    assert result.model.metadata["teachers_sha256"] == [files.digest(Path(path))]


def test_a_run_is_not_resumed_with_other_teachers(finished, splits, tmp_path, tiny):
    teacher = Path(shutil.copy(finished[1] / "model.pkl", tmp_path))
    taught = tiny(teachers=(str(teacher),), teaching=0.5, epochs=1)
    fit(taught, splits, tmp_path / "w", digest=Digest("d1"))
    assert len(fit(taught, splits, tmp_path / "w", resume=True, digest=Digest("d1")).history) == 1
    model_file.save(teacher, dataclasses.replace(model_file.load(teacher), temperature=2.0))
    with pytest.raises(
        InputError,
        match=r"run\.json: the run was started with other teachers than .*model\.pkl are now",
    ):
        fit(taught, splits, tmp_path / "w", resume=True, digest=Digest("d1"))


@pytest.mark.parametrize("name", ["vgg_smoothadv"])
def test_the_weights_that_an_experiment_starts_from_fit_it(name, root, monkeypatch):
    monkeypatch.chdir(root)
    config = configs.load(f"experiments/{name}.py")
    earlier = files.read_json(root / "results" / "robust" / "smooth" / "run.json")
    source = starts.read(config.init_from, config, Digest.parse(earlier["data_digest"]))
    init = models.create(config.model).init
    shapes = jax.eval_shape(init, jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32))
    fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    weights = starts.weights(source, fresh, config)
    assert jax.tree.map(np.shape, weights) == jax.tree.map(np.shape, fresh)


def test_the_teachers_of_an_experiment_fit_it(root, monkeypatch):
    monkeypatch.chdir(root)
    config = configs.load("experiments/vgg_balanced.py")
    earlier = files.read_json(root / "results" / "robust" / "robust_model" / "run.json")
    digest = Digest.parse(earlier["data_digest"])
    teachers = [starts.read_teacher(path, config, digest) for path in config.teachers]
    assert [teacher.sha256 for teacher in teachers] == earlier["teachers_sha256"]
