"""What is committed under results/ belongs to the model that is committed with it."""

import json

import numpy as np
import pandas as pd
import pytest

from fer_jax import config, faces
from fer_jax.models import describe
from fer_jax.predict import Predictor, load_model


@pytest.fixture(scope="module")
def shipped():
    return load_model()


@pytest.fixture
def results(root):
    return root / "results" / "model"


def test_the_architecture_text_has_the_models_own_table(shipped, results):
    assert describe.layer_table(shipped.architecture) in (results / "my_own_model_architecture.txt").read_text()


def test_the_log_is_of_the_run_that_made_the_model(shipped, results):
    run = json.loads((results / "run.json").read_text())
    for key in ("name", "protocol", "data_digest", "best_epoch"):
        assert run[key] == shipped.metadata[key]
    assert config.from_dict(run["config"]) == config.from_dict(shipped.metadata["config"])
    history = pd.read_csv(results / "history.csv").set_index("epoch")
    best = shipped.metadata["best"]
    assert history.loc[best["epoch"], "holdout_accuracy"] == pytest.approx(best["holdout_accuracy"], abs=1e-5)


def test_the_metrics_are_the_models(shipped, results):
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["model"] == shipped.metadata
    assert metrics["data"] == shipped.metadata["data_digest"]
    assert metrics["accuracy"]["all"]["rows"] == 7178


def test_the_hacked_face_was_hacked_on_the_model(shipped, root):
    folder = root / "results" / "hack_cnn"
    told = json.loads((folder / "hack.json").read_text())
    pictures = np.stack([faces.read_image(folder / name) for name in ("input_image.png", "hacked_image.png")])
    before, after = Predictor(shipped)(pictures)
    np.testing.assert_allclose(list(told["before"].values()), before, atol=1e-4)
    np.testing.assert_allclose(list(told["after"].values()), after, atol=1e-4)
    assert before[3] > 0.9 and after.argmax() == 4


def test_the_experiment_file_still_is_the_models_config(shipped, root):
    written = config.load(root / "experiments" / f"{shipped.metadata['name']}.py")
    assert config.to_dict(written) == config.to_dict(config.from_dict(shipped.metadata["config"]))


def test_the_model_is_small_enough_to_ship(results):
    assert (results / "my_own_model.pkl").stat().st_size <= 25 * 2**20
