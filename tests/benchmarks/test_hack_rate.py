import json
import sys

import jax
import numpy as np
import pandas as pd
import pytest

from fer_jax import cli, data, models
from fer_jax.data import Split, fer2013
from fer_jax.evaluation import metrics
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.predict import Predictor
from fer_jax.robustness import bench

ARCHITECTURE = {"family": "vgg", "stages": [[4]], "dropout": 0.0}


@pytest.fixture
def run(load_script, monkeypatch, tmp_path):
    """Run it on a random network and noise, of which ten images are labelled happy."""
    variables = models.create(ARCHITECTURE).init(
        jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32), train=False
    )
    model_file.save(
        tmp_path / "model.pkl",
        ModelFile(ARCHITECTURE, jax.device_get(variables), {"protocol": "train-only"}),
    )
    images = np.random.default_rng(0).integers(0, 256, (20, 48, 48), np.uint8)
    happy, sad = np.full(10, 3, np.int32), np.full(10, 4, np.int32)
    halves = Split(images[:10], happy), Split(images[10:], sad)
    fer = fer2013.bundle(Split(images[:1], happy[:1]), *halves)
    monkeypatch.setattr(data, "load", lambda directory: fer)
    monkeypatch.setattr(bench, "LEVELS", (1, 64))
    monkeypatch.setattr(bench, "TOGETHER", 4)

    def call(*arguments):
        common = ["--model", tmp_path / "model.pkl", "--out", tmp_path / "out", "--steps", 3]
        monkeypatch.setattr(sys, "argv", ["hack_rate.py", *map(str, [*common, *arguments])])
        return cli.run(load_script("benchmarks/hack_rate.py").main)

    call.happy = Predictor(tmp_path / "model.pkl")(images[:10])[:, 3]
    return call


def test_a_row_per_method_and_eps_counts_the_images_that_the_network_is_sure_of(
    run, monkeypatch, tmp_path
):
    monkeypatch.setattr(bench, "SURE", float(np.sort(run.happy)[3]))  # four of the ten are not
    assert run() == 0
    table = pd.read_csv(tmp_path / "out" / "success.csv")
    assert list(table["method"]) == ["pgd", "pgd", "apgd", "apgd"]
    assert list(table["eps"]) == ["1/255", "64/255"] * 2
    assert (table["images"] == 6).all()
    np.testing.assert_allclose(table["rate"], table["successes"] / 6, atol=1e-5)
    for _, row in table.iterrows():
        np.testing.assert_allclose((row.low, row.high), metrics.wilson(row.successes, 6), atol=1e-5)
    for _, rows in table.groupby("method"):
        weak, strong = rows.itertuples()
        assert weak.successes <= strong.successes == 6 and 1 > weak.mean_ssim > strong.mean_ssim
    told = json.loads((tmp_path / "out" / "success.json").read_text())
    assert told["target"] == "sad" and len(told["results"]) == 4 and len(told["model"]) == 64


def test_it_takes_no_more_than_asked_and_refuses_what_it_cannot_count(
    run, monkeypatch, tmp_path, capsys
):
    assert run() == 2
    text = "the network must be sure of a test image labelled happy, it is of none"
    assert text in capsys.readouterr().err
    assert run("--target", "joy") == 2
    assert "unknown emotion 'joy': the network tells angry, " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("--target", "happy")
    monkeypatch.setattr(bench, "SURE", 0.0)
    monkeypatch.setattr(bench, "HACKED_BY", ("pgd",))
    assert run("--images", 5) == 0
    assert (pd.read_csv(tmp_path / "out" / "success.csv")["images"] == 5).all()
