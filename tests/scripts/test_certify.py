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
from fer_jax.robustness import bench, smoothing

ARCHITECTURE = {"family": "vgg", "stages": [[2], [3]], "dropout": 0.0}


def save(path, seed, bias=None, **metadata):
    module = models.create(ARCHITECTURE)
    variables = jax.device_get(
        module.init(jax.random.key(seed), np.zeros((1, 48, 48, 1), np.float32), train=False)
    )
    if bias is not None:
        variables["params"]["logits"]["bias"] = np.array(bias, np.float32)
    model_file.save(
        path, ModelFile(ARCHITECTURE, variables, {"protocol": "train-only", **metadata})
    )
    return path


@pytest.fixture
def run(run_script, monkeypatch, tmp_path):
    """Run the script in this process on 6 of 20 noise images."""
    images = np.random.default_rng(0).integers(0, 256, (20, 48, 48), np.uint8)
    halves = (
        Split(images[part], np.arange(10, dtype=np.int32) % 7)
        for part in (slice(10), slice(10, 20))
    )
    fer = fer2013.bundle(Split(images[:7], np.arange(7, dtype=np.int32)), *halves)
    monkeypatch.setattr(data, "load", lambda directory: fer)
    model = save(tmp_path / "model.pkl", 0, sigma=0.1)

    def call(*arguments):
        settings = ("--images", 6, "--n", 20, "--n0", 5, "--alpha", 0.1)
        folders = ("--model", model, "--out", tmp_path / "out")
        return run_script("certify", *folders, *settings, *arguments)

    return call


def test_a_stopped_run_goes_on_and_never_mixes(run, tmp_path, monkeypatch, capsys):
    out, seen = tmp_path / "out", []
    one = smoothing.certify
    count = lambda *args, **options: seen.append(1) or one(*args, **options)
    monkeypatch.setattr(smoothing, "certify", count)
    assert run() == 0
    first = {file.name: file.read_bytes() for file in out.iterdir()}
    found = pd.read_csv(out / "found.csv")
    assert len(seen) == 6 and found["row"].is_unique and (found["broken"] == -1).all()
    found[:2].to_csv(out / "found.csv", index=False)
    assert run() == 0
    assert len(seen) == 10
    assert {file.name: file.read_bytes() for file in out.iterdir()} == first
    told = json.loads(first["certified.json"])
    assert (
        told["sigma"] == 0.1
        and len(told["model"]) == 64
        and told["abstained"] == (found["prediction"] == -1).sum()
    )
    other = save(tmp_path / "other.pkl", 1)
    for changed in (("--sigma", 0.2), ("--n", 30), ("--images", 7), ("--model", other)):
        assert run(*changed) == 2
        assert "holds what was found with another" in capsys.readouterr().err
    assert pd.read_csv(out / "found.csv").equals(found)


def test_certificates_are_attacked(run, tmp_path, capsys):
    assert run("--pgd", 2) == 0
    found = pd.read_csv(tmp_path / "out" / "found.csv")
    certified = found["prediction"] >= 0
    assert certified.any() and (found["broken"] == np.where(certified, 0, -1)).all()
    printed = capsys.readouterr().out
    assert (
        f"broke 0 of {certified.sum()} certificates" in printed
        and printed.count("certified accuracy at L2") == 4
    )


def test_an_attack_breaks_certificates_that_claim_too_much(run, tmp_path, monkeypatch, capsys):
    """Surprised by every image but by a black one, which is sad: all of them within a radius of 40,
    which none has.
    """
    dark_is_sad = save(tmp_path / "dark.pkl", 0, bias=[0, 0, 0, 0, 1.5, 0, 0], sigma=0.1)
    honest = smoothing.certify
    claim = lambda *args, **options: honest(*args, **options)._replace(radius=40.0)
    monkeypatch.setattr(smoothing, "certify", claim)
    assert run("--model", dark_is_sad, "--images", 2, "--pgd", 30) == 0
    found = pd.read_csv(tmp_path / "out" / "found.csv")
    assert (found["prediction"] == 5).all() and (found["broken"] == 1).all()
    assert "broke 2 of 2 certificates" in capsys.readouterr().out


def test_abstentions_and_wrong_predictions_count_as_errors():
    columns = {"label": [1, 1, 2, 2], "prediction": [1, -1, 2, 3], "radius": [0.5, 0.0, 0.2, 0.9]}
    table = bench.certified_accuracy(pd.DataFrame(columns), np.array([0.0, 0.2, 0.5, 0.51]))
    assert table["certified"].tolist() == [2, 2, 1, 0] and table["accuracy"].tolist() == [
        0.5,
        0.5,
        0.25,
        0,
    ]
    assert [(row.low, row.high) for row in table.itertuples()] == [
        metrics.wilson(k, 4) for k in (2, 2, 1, 0)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--sigma", "0"),
            "sigma must be above 0 and at most 1 (pixels lie in [0, 1]), received 0.0",
        ),
        (
            ("--sigma", "25"),
            "sigma must be above 0 and at most 1 (pixels lie in [0, 1]), received 25.0",
        ),
        (
            ("--n", "3", "--alpha", "0.1"),
            "n must be at least 4 to certify anything with alpha 0.1, received 3",
        ),
        (
            ("--images", "21"),
            "--images must be in 1..20, the rows that the model reports on, received 21",
        ),
    ],
)
def test_settings_out_of_range_are_one_line(run, tmp_path, capsys, arguments, message):
    assert run(*arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n" and not (tmp_path / "out").exists()
