import json

import jax
import numpy as np
import pandas as pd
import pytest

from fer_jax import data, models
from fer_jax.data import Split, fer2013
from fer_jax.evaluation import metrics
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.predict import Predictor
from fer_jax.robustness.corruptions import CORRUPTIONS, corrupt

pytest.importorskip("cv2")
ARCHITECTURE = {"family": "vgg", "stages": [[2], [3]], "dropout": 0.0}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two networks with weights of their own, under one name in two folders."""
    module, found = models.create(ARCHITECTURE), []
    for seed in (0, 1):
        variables = jax.device_get(
            module.init(jax.random.key(seed), np.zeros((1, 48, 48, 1), np.float32), train=False)
        )
        found.append(tmp_path_factory.mktemp(f"folder{seed}") / "model.pkl")
        model_file.save(found[-1], ModelFile(ARCHITECTURE, variables, {"protocol": "train-only"}))
    return found


@pytest.fixture
def fer(monkeypatch):
    """Eight test rows, all of them drawn by --n 8."""
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48), np.uint8)
    split = Split(images, np.arange(8, dtype=np.int32) % 7)
    halves = Split(images[:4], split.labels[:4]), Split(images[4:], split.labels[4:])
    fer = fer2013.bundle(Split(images[:7], split.labels[:7]), *halves)
    monkeypatch.setattr(data, "load", lambda directory: fer)
    return split


@pytest.fixture
def run(run_script, fer, tmp_path):
    return lambda *arguments: run_script("corruption_bench", *arguments, "--out", tmp_path / "out")


def test_every_setting_of_every_model_is_what_the_model_says_of_the_corrupted_images(
    run, fer, paths, tmp_path, capsys
):
    assert run("--model", *paths, "--n", 8, "--seed", 3) == 0
    table = pd.read_csv(tmp_path / "out" / "corruptions.csv")
    # one stem: told apart by their paths
    assert list(table["model"].unique()) == [str(path) for path in paths]
    assert (table.groupby("model")["severity"].count() == 1 + 5 * len(CORRUPTIONS)).all()
    predictor = Predictor(paths[1])
    for kind, severity in (("jpeg", 5), ("noise", 2), ("rotation", 4)):
        worse = corrupt(kind, fer.images, severity, seed=3)
        expected = int((predictor(worse).argmax(axis=1) == fer.labels).sum())
        (row,) = table.query(
            "model == @paths[1].as_posix() and corruption == @kind and severity == @severity"
        ).itertuples()
        assert (row.correct, row.n, row.accuracy) == (expected, 8, expected / 8)
        assert (row.low, row.high) == pytest.approx(metrics.wilson(expected, 8), abs=1e-5)
    told = json.loads((tmp_path / "out" / "corruptions.json").read_text())["models"][str(paths[1])]
    own = table[table["model"] == str(paths[1])]
    assert told["clean"] == own.loc[own["severity"] == 0, "accuracy"].item()
    assert told["mean_corruption_accuracy"] == pytest.approx(
        own.loc[own["severity"] > 0, "accuracy"].mean()
    )
    assert len(told["model"]) == 64 and set(told["by_severity"]) == set(CORRUPTIONS)
    assert (
        f"{paths[1]}: clean {told['clean']:.2%}, mean corruption accuracy"
        in capsys.readouterr().out
    )
    assert (tmp_path / "out" / "corruptions.png").stat().st_size > 10_000


def test_more_images_than_there_are_is_one_line(run, paths, tmp_path, capsys):
    assert run("--model", paths[0], "--n", 9) == 2
    expected = "error: --n must be in 1..8, the rows that the model reports on, received 9\n"
    assert capsys.readouterr().err == expected and not (tmp_path / "out").exists()
