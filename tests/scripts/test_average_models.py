import sys

import jax
import numpy as np
import pytest

from fer_jax import cli, data, evaluate, model_file, models, runtime
from fer_jax import config as configs
from fer_jax.config import Config
from fer_jax.data import Split, protocol, sources
from fer_jax.model_file import ModelFile
from fer_jax.predict import Predictor

ARCHITECTURE = {"family": "vgg", "stages": [[2], [3]], "dropout": 0.0}


@pytest.fixture(scope="module")
def fer():
    rng = np.random.default_rng(0)
    split = lambda n: Split(rng.integers(0, 256, (n, 48, 48), np.uint8), (np.arange(n) % 7).astype(np.int32))  # noqa: E731
    return sources.bundle(split(140), split(10), split(10))


@pytest.fixture
def run(load_script, monkeypatch, fer, tmp_path):
    """Average model files; the exit code."""
    script = load_script("scripts/average_models.py")
    monkeypatch.setattr(runtime, "configure", lambda: None)
    monkeypatch.setattr(data, "load", lambda directory: fer)

    def call(*paths):
        monkeypatch.setattr(sys, "argv", ["average_models.py", *map(str, paths), "--out", str(tmp_path / "average.pkl")])
        return cli.run(script.main)

    return call


def save(path, weights, architecture=ARCHITECTURE, **settings):
    variables = models.create(architecture).init(jax.random.key(weights), np.zeros((1, 48, 48, 1), np.float32))
    config = configs.to_dict(Config(name=path.stem, model=architecture, epochs=1, **settings))
    metadata = {"name": path.stem, "protocol": config["protocol"], "config": config}
    model_file.save(path, ModelFile(architecture, jax.device_get(variables), metadata))
    return path


def test_the_average_is_judged_on_what_no_part_was_trained_on(run, fer, tmp_path, capsys):
    paths = [save(tmp_path / "a.pkl", 1, holdout=0.3), save(tmp_path / "b.pkl", 2, holdout=0.1)]
    assert run(*paths) == 0
    average = model_file.load(tmp_path / "average.pkl")
    first, second = map(model_file.load, paths)
    for found, a, b in zip(*(jax.tree.leaves(model.variables) for model in (average, first, second)), strict=True):
        np.testing.assert_allclose(found, (a + b) / 2, atol=2e-3)  # the file holds kernels in half precision
    select = protocol(fer, holdout=0.1).select  # lies within the larger hold-out
    assert average.metadata["average"]["rows"] == len(select.labels) == 14
    assert [part["name"] for part in average.metadata["averaged"]] == ["a", "b"]
    assert average.metadata["config"] == second.metadata["config"]
    logits = Predictor(average).logits(select.images)[0] / np.float32(average.temperature)
    summary = evaluate.summary(logits, select.labels)
    assert average.metadata["average"]["accuracy"] == pytest.approx(summary["accuracy"])
    assert average.metadata["average"]["loss"] == pytest.approx(summary["loss"], abs=1e-3)
    assert f"{summary['accuracy']:8.2%}  {summary['loss']:6.4f}  average" in capsys.readouterr().out


def test_what_has_no_common_hold_out_or_other_layers_is_refused(run, tmp_path, capsys):
    first = save(tmp_path / "a.pkl", 1, holdout=0.05)
    votes = save(tmp_path / "votes.pkl", 2, protocol="ferplus-majority")
    model_file.save(tmp_path / "stranger.pkl", ModelFile(ARCHITECTURE, model_file.load(first).variables, {}))
    refused = {
        "share no rows": save(tmp_path / "seed.pkl", 2, holdout=0.05, seed=1),
        "must be of one protocol, received train-only, kaggle": save(tmp_path / "kaggle.pkl", 2, protocol="kaggle"),
        "votes.pkl: the protocol must be train-only or kaggle, received ferplus-majority": votes,
        "must have one architecture": save(tmp_path / "wide.pkl", 2, {**ARCHITECTURE, "stages": [[4], [3]]}),
        "stranger.pkl: does not say how it was trained": tmp_path / "stranger.pkl",
    }
    for message, second in refused.items():
        assert run(first, second) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "average.pkl").exists()
