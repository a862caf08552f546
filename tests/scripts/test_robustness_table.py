"""The table's bookkeeping, on a network without training and measures that cost nothing."""

import sys

import jax
import numpy as np
import pandas as pd
import pytest

from fer_jax import cli, data, masking, model_file, models, runtime, scorecard
from fer_jax.data import Split, sources
from fer_jax.model_file import ModelFile

ARCHITECTURE = {"family": "vgg", "stages": [[4]], "dropout": 0.0}


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("scripts/robustness_table.py")


def save_model(path, **metadata):
    variables = models.create(ARCHITECTURE).init(jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32))
    model_file.save(path, ModelFile(ARCHITECTURE, jax.device_get(variables), metadata))
    return path


@pytest.fixture
def asked():
    return []


@pytest.fixture
def run(script, monkeypatch, tmp_path, asked):
    """Run the script on 30 images with two attacks: one that spares the first six of each batch, one that spares all."""
    monkeypatch.setattr(runtime, "configure", lambda: None)
    rng = np.random.default_rng(0)
    half = [Split(rng.integers(0, 256, (20, 48, 48), np.uint8), rng.integers(0, 7, 20).astype(np.int32)) for _ in range(3)]
    monkeypatch.setattr(data, "load", lambda directory: sources.bundle(*half))

    def spare(name, count):
        def outcome(key, subject, images, labels):
            asked.append((name, len(images)))
            return np.arange(len(images)) < count

        return outcome

    measures = [
        scorecard.Measure("AutoAttack 2/255", spare("small", 6), 30, together=10),
        scorecard.Measure("AutoAttack 8/255", spare("large", 99), 30, together=10, smaller="AutoAttack 2/255"),
    ]
    monkeypatch.setattr(scorecard, "attack_measures", lambda n, queries: measures)
    monkeypatch.setattr(scorecard, "corruption_measure", lambda n: scorecard.Measure("corruptions", spare("weather", 5), n))
    monkeypatch.setattr(masking, "measure", lambda *args, **options: None)
    monkeypatch.setattr(masking, "suspicions", lambda found: ["Its gradient misleads."])

    def call(*models, n=30):
        common = ["--n", n, "--work", tmp_path / "work", "--out", tmp_path / "out", "--certify", 4, "--copies", 20]
        monkeypatch.setattr(sys, "argv", ["robustness_table.py", "--models", *map(str, [*models, *common])])
        return cli.run(script.main)

    return call


def test_the_table_has_each_network_and_the_floor(run, tmp_path, asked, capsys):
    model = save_model(tmp_path / "a.pkl")
    assert run(f"mine={model}") == 0
    table = pd.read_csv(tmp_path / "out" / "table.csv").set_index(["model", "measure"])
    assert table.loc[("mine", "AutoAttack 2/255"), ["value", "n"]].tolist() == pytest.approx([0.6, 30])
    assert table.loc[("mine", "AutoAttack 8/255"), "value"] == pytest.approx(0.6)
    assert asked[:6] == [("small", 10)] * 3 + [("large", 6)] * 3  # what the small ball broke is not attacked again
    floor = table.loc["constant"]
    assert floor.loc["AutoAttack 8/255", "value"] == floor.loc["AutoAttack 2/255", "value"] > 0
    assert len(set(table.loc["mine", "sha256"])) == 1
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| mine |" in text and "| 60.0 |" in text and f"robustness_table.py --models mine={model.name} --n 30 " in text
    assert str(tmp_path) not in text
    assert (tmp_path / "out" / "robustness.png").stat().st_size > 10_000
    assert "mine: Its gradient misleads." in capsys.readouterr().out


def test_a_stopped_table_goes_on_and_other_settings_are_refused(run, tmp_path, asked, capsys):
    model = save_model(tmp_path / "a.pkl")
    assert run(f"mine={model}") == 0
    first, done = (tmp_path / "out" / "table.csv").read_text(), len(asked)
    assert run(f"mine={model}") == 0
    assert len(asked) == done
    assert (tmp_path / "out" / "table.csv").read_text() == first
    assert run(f"mine={model}", n=20) == 2
    assert "found with another n; begin in another folder" in capsys.readouterr().err
    other = save_model(tmp_path / "b.pkl", name="other")
    assert run(f"mine={other}") == 0  # another network by the same name has a folder of its own
    assert len(asked) == 2 * done


def test_more_images_than_there_are_are_refused(run, tmp_path, capsys):
    assert run(f"mine={save_model(tmp_path / 'a.pkl')}", n=41) == 2
    assert capsys.readouterr().err == "error: --n must be in 1..40, the rows that the model reports on, received 41\n"
    assert not (tmp_path / "out").exists()


def test_networks_of_other_protocols_and_bad_names_are_refused(run, tmp_path, capsys):
    model = save_model(tmp_path / "a.pkl", protocol="kaggle")
    assert run(f"mine={model}") == 2
    assert "a.pkl: the table is of the train-only protocol" in capsys.readouterr().err
    for wrong in ("mine", "=x.pkl", f"constant={model}"):
        with pytest.raises(SystemExit, match="2"):
            run(wrong)
    with pytest.raises(SystemExit, match="2"):
        run(f"a={model}", f"a={model}")
