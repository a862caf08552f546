import json

import jax
import numpy as np
import pandas as pd
import pytest

from fer_jax import data, models
from fer_jax.data import Split, fer2013
from fer_jax.evaluation.attacked import broken_by
from fer_jax.evaluation.logits import predict_logits
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.robustness import bench, masking

ARCHITECTURE = {"family": "vgg", "stages": [[4], [8]], "dropout": 0.0}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    module = models.create(ARCHITECTURE)
    variables = jax.device_get(
        module.init(jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32), train=False)
    )
    path = tmp_path_factory.mktemp("model") / "model.pkl"
    model_file.save(path, ModelFile(ARCHITECTURE, variables, {"protocol": "train-only"}))
    return path


@pytest.fixture
def run(run_script, model_path, monkeypatch, tmp_path):
    """Run the script on 100 noise images labelled as the model sees nine tenths of them."""
    images = np.random.default_rng(0).integers(0, 256, (100, 48, 48), np.uint8)
    model = model_file.load(model_path)
    apply = jax.jit(models.create(ARCHITECTURE).apply)
    labels = (
        predict_logits(lambda x: apply(model.variables, x), images).argmax(axis=1).astype(np.int32)
    )
    labels[:10] = (labels[:10] + 1) % 7
    half = Split(images[:50], labels[:50]), Split(images[50:], labels[50:])
    monkeypatch.setattr(
        data, "load", lambda directory: fer2013.bundle(Split(images[:7], labels[:7]), *half)
    )

    def call(*arguments):
        common = ["--model", model_path, "--n", 100, "--out", tmp_path / "out"]
        return run_script("attack_bench", *common, *arguments)

    return call


def test_accuracy_falls_with_eps_and_stage(run, tmp_path, capsys):
    assert run("--attack", "autoattack", "--eps", "8/255", "0.3", "--steps", 5, "--queries", 5) == 0
    table = pd.read_csv(tmp_path / "out" / "robustness.csv")
    assert list(table["stage"]) == ["clean", "apgd-ce", "apgd-t", "fab-t", "square"] * 2
    assert (table["accuracy"][table["stage"] == "clean"] == 0.9).all()
    small, large = (rows["robust"].tolist() for _, rows in table.groupby("eps"))
    assert 0 < small[-1] < 90 and large[-1] == 0
    # what each eps broke by itself, before the table carries it over
    raw = pd.read_csv(tmp_path / "out" / "found.csv")
    for eps, robust in ((8 / 255, small), (0.3, large)):
        broken = raw["broken"][np.isclose(raw["eps"], eps)]
        assert (broken == -1).sum() == 10 and (broken >= 0).sum() == 90
        assert (broken == 4).sum() == robust[-1]
    assert ((table["low"] <= table["accuracy"]) & (table["accuracy"] <= table["high"])).all()
    told = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert (
        told["attack"] == "autoattack" and len(told["model"]) == 64 and len(told["results"]) == 10
    )
    assert "linf 8/255    square" in capsys.readouterr().out


def test_a_stopped_run_goes_on_and_another_command_is_refused(run, tmp_path, monkeypatch, capsys):
    assert run("--attack", "fgsm", "--eps", "2/255") == 0
    first = (tmp_path / "out" / "robustness.csv").read_text()
    found = pd.read_csv(tmp_path / "out" / "found.csv")
    found[:50].to_csv(tmp_path / "out" / "found.csv", index=False)
    seen = []
    monkeypatch.setattr(
        bench,
        "broken_by",
        lambda *args, **options: seen.append(len(args[2])) or broken_by(*args, **options),
    )
    assert run("--attack", "fgsm", "--eps", "2/255") == 0
    assert seen == [50]
    assert (tmp_path / "out" / "robustness.csv").read_text() == first
    assert run("--attack", "noise", "--eps", "2/255") == 2
    assert "holds what was found with another attack" in capsys.readouterr().err
    assert run("--attack", "fgsm", "--eps", "2/255", "--n", 90) == 2
    assert "holds what was found with another n;" in capsys.readouterr().err


def test_another_eps_is_attacked_anew_and_another_model_in_the_same_file_is_refused(
    run, model_path, tmp_path, monkeypatch, capsys
):
    own = model_file.load(model_path)
    path, seen = tmp_path / "again.pkl", []
    model_file.save(path, own)
    monkeypatch.setattr(
        bench,
        "broken_by",
        lambda *args, eps, **rest: seen.append(eps) or broken_by(*args, eps=eps, **rest),
    )
    options = ["--model", path, "--attack", "fgsm", "--eps"]
    assert run(*options, "2/255") == run(*options, "3/255", "2/255") == run(*options, "3/255") == 0
    assert seen == [2 / 255, 3 / 255]
    assert set(pd.read_csv(tmp_path / "out" / "robustness.csv")["eps"].round(6)) == {
        round(3 / 255, 6)
    }
    model_file.save(
        path,
        ModelFile(ARCHITECTURE, own.variables, {"protocol": "train-only", "name": "trained again"}),
    )
    assert run(*options, "2/255") == 2
    assert "holds what was found with another model;" in capsys.readouterr().err


def test_masked_gradients_are_looked_for(run, monkeypatch, capsys):
    figures = {
        "n": 90,
        "eps": 2 / 255,
        "steps": 20,
        "queries": 200,
        "by_eps": {2 / 255: 0.5},
        "unbounded": 0.0,
    }
    figures |= {
        "one_step": 0.6,
        "restarted": 0.5,
        "white_box": 0.5,
        "black_box": 0.2,
        "noise": 0.99,
        "flat": 0.0,
    }
    found = masking.Measured(**figures, transfer=None)
    asked = []
    monkeypatch.setattr(
        masking,
        "measure",
        lambda *args, **options: asked.append((len(args[1]), options["eps"])) or found,
    )
    monkeypatch.setattr(masking, "telling_eps", lambda *args, largest, **options: largest / 4)
    options = ["--steps", 3, "--eps", "4/255", "2/255", "--check-masking"]
    assert run("--attack", "pgd", *options) == 0
    said = capsys.readouterr().out.splitlines()
    assert asked == [(100, 0.5 / 255)]  # from the smallest eps down
    assert said[-2] == "masked gradients, looked for at eps 0.00784 in 90 images:"
    assert said[-1].startswith("Square, which sees no gradient, leaves 20.0% accuracy")


def test_a_transfer_is_made_on_the_surrogate_and_judged_on_the_model(
    run, model_path, tmp_path, monkeypatch, capsys
):
    own, other = model_file.load(model_path), tmp_path / "other.pkl"
    turned = {**own.variables, "params": jax.tree.map(lambda leaf: -leaf, own.variables["params"])}
    model_file.save(other, ModelFile(ARCHITECTURE, turned, own.metadata))
    seen = []
    monkeypatch.setattr(
        bench,
        "broken_by",
        lambda *args, **options: seen.append(args[:2]) or broken_by(*args, **options),
    )
    assert run("--attack", "fgsm", "--eps", "2/255", "--surrogate", other) == 0
    assert seen
    for attacks, victim in seen:
        surrogate = attacks["fgsm"].args[1]
        weights = [jax.tree.leaves(network.args[0]["params"]) for network in (surrogate, victim)]
        assert all((a == -b).all() for a, b in zip(*weights, strict=True))
    assert run("--attack", "fgsm", "--eps", "2/255") == 2
    assert "holds what was found with another" in capsys.readouterr().err


def test_more_images_than_there_are_and_a_wrong_norm_are_refused(run, capsys):
    assert run("--n", 101) == 2
    assert (
        "--n must be in 1..100, the rows that the model reports on, received 101"
        in capsys.readouterr().err
    )
    for arguments, rule in {
        ("--attack", "fgsm", "--norm", "l2"): "--attack fgsm is made for linf, not for l2",
        (
            "--eps",
            "0.5",
            "1.5",
        ): "--eps must be at most 1 for linf, pixels being in [0, 1], received 1.5",
        ("--steps", "0"): "--steps, --restarts and --queries must be at least 1",
    }.items():
        with pytest.raises(SystemExit):
            run(*arguments)
        assert rule in capsys.readouterr().err
