"""The table's bookkeeping, on a network without training and measures that cost nothing."""

import json
import shlex

import jax
import numpy as np
import pandas as pd
import pytest

from fer_jax import data, files, models
from fer_jax.data import Split, fer2013
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.robustness import masking, scorecard

ARCHITECTURE = {"family": "vgg", "stages": [[4]], "dropout": 0.0}
EPS = 2 / 255
HONEST = masking.Measured(
    n=30,
    eps=EPS,
    steps=20,
    queries=200,
    by_eps={EPS: 0.4},
    unbounded=0.0,
    one_step=0.5,
    restarted=0.38,
    white_box=0.38,
    black_box=0.6,
    noise=0.97,
    flat=0.0,
    transfer=None,
)


def save_model(path, **metadata):
    variables = models.create(ARCHITECTURE).init(
        jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32)
    )
    model_file.save(path, ModelFile(ARCHITECTURE, jax.device_get(variables), metadata))
    return path


@pytest.fixture(scope="module")
def fer():
    rng = np.random.default_rng(0)
    half = [
        Split(rng.integers(0, 256, (20, 48, 48), np.uint8), rng.integers(0, 7, 20).astype(np.int32))
        for _ in range(3)
    ]
    return fer2013.bundle(*half)


@pytest.fixture
def asked():
    return []


@pytest.fixture
def run(run_script, fer, monkeypatch, tmp_path, asked):
    """Run the script on 30 of 40 images with two attacks: one that spares the first six of each
    batch, one that spares all.

    Sigma is the radius of every certificate, and only the constant's gradient is flat. The working
    directory, and so the top folder, is a temporary one.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", lambda directory: fer)

    def spare(name, count):
        def outcome(key, subject, images, labels):
            asked.append((name, len(images)))
            return np.arange(len(images)) < count

        return outcome

    def measures(n, queries, sigma, certify, copies):
        radius = lambda key, subject, images, labels: np.full(len(images), sigma)
        certified = scorecard.Measure(scorecard.RADIUS, radius, certify)
        corruptions = scorecard.Measure("corruptions", spare("weather", 5), n)
        return [*attacks, corruptions, *([certified] if sigma is not None else [])]

    def look(logits_fn, images, labels, *, key, eps, surrogate, **options):
        constant = logits_fn.func is scorecard.constant(np.ones(7)).logits_fn.func
        return HONEST._replace(flat=float(constant), transfer=surrogate and 0.5)

    attacks = [
        scorecard.Measure("AutoAttack 2/255", spare("small", 6), 30, together=10),
        scorecard.Measure(
            "AutoAttack 8/255", spare("large", 99), 30, together=10, smaller="AutoAttack 2/255"
        ),
    ]
    monkeypatch.setattr(scorecard, "measures", measures)
    monkeypatch.setattr(masking, "telling_eps", lambda *args, **options: EPS)
    monkeypatch.setattr(masking, "measure", look)

    def call(*models, n=30, certify=4, copies=20, flags=()):
        folders = ["--work", tmp_path / "work", "--out", tmp_path / "out"]
        options = [*folders, "--n", n, "--certify", certify, "--copies", copies, *flags]
        return run_script("robustness_table", "--models", *models, *options)

    return call


def two_models(tmp_path):
    paths = save_model(tmp_path / "a.pkl"), save_model(tmp_path / "b.pkl", name="b")
    return f"one={paths[0]}", f"two={paths[1]}"


def read(tmp_path):
    return pd.read_csv(tmp_path / "out" / "table.csv").set_index(["model", "measure"])


def test_the_table_has_each_network_and_the_floor(run, tmp_path, asked):
    model = save_model(tmp_path / "a.pkl")
    assert run(f"mine={model}") == 0
    table = read(tmp_path)
    small = table.loc[("mine", "AutoAttack 2/255")]
    assert small[["value", "n"]].tolist() == pytest.approx([0.6, 30])
    assert table.loc[("mine", "AutoAttack 8/255"), "value"] == pytest.approx(0.6)
    # what the small ball broke is not attacked again
    assert asked[:6] == [("small", 10)] * 3 + [("large", 6)] * 3
    floor = table.loc["constant"]
    assert floor.loc["AutoAttack 8/255", "value"] == floor.loc["AutoAttack 2/255", "value"] > 0
    assert set(table.loc["mine", "sha256"]) == {files.digest(model)}
    assert set(table.loc["mine", "attacked"]) == {"network"}
    assert set(floor["attacked"]) == {"constant classifier"}
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert (tmp_path / "out" / "robustness.png").stat().st_size > 10_000


def test_the_text_has_figures_intervals_hashes_and_the_command(run, tmp_path):
    (tmp_path / "models").mkdir()
    model = save_model(tmp_path / "models" / "a.pkl")
    assert run(f"mine={model}") == 0
    text = (tmp_path / "out" / "table.md").read_text()
    numbers = "--n 30 --queries 5000 --certify 4 --copies 20"
    command = f"python scripts/robustness_table.py --models mine=models/a.pkl {numbers}"
    assert set(read(tmp_path)["command"]) == {command} and f"Made by `{command}`." in text
    low, high = metrics.wilson(18, 30)
    assert "| 0.600 |" in text and f"| {low:.3f} to {high:.3f}, 30 |" in text
    assert f"| mine | network | {files.digest(model)} |" in text
    assert str(tmp_path) not in text


def test_a_model_from_elsewhere_is_named_by_its_path(run, tmp_path, monkeypatch):
    model = save_model(tmp_path / "a model.pkl")
    monkeypatch.setattr(files, "root", lambda: tmp_path / "checkout")
    assert run(f"mine={model}") == 0
    (command,) = set(read(tmp_path)["command"])
    assert f"mine={model.resolve()}" in shlex.split(command)


def test_every_gradient_is_looked_at_with_images_of_another_network(run, tmp_path, capsys):
    one, two = two_models(tmp_path)
    assert run(one, two) == 0
    said = capsys.readouterr().out
    honest = "no sign of a masked gradient. (PGD at eps 2/255 leaves 40.0% of 30 images"
    assert f"one: {honest}; transfer from two)" in said
    assert f"two: {honest}; transfer from one)" in said
    assert "constant: The gradient of the cross-entropy is zero" in said
    assert "constant: no sign" not in said
    told = json.loads((tmp_path / "out" / "masking.json").read_text())
    assert told["constant"]["flat"] == 1 and told["one"]["flat"] == 0
    assert told["one"]["transfer"] == 0.5
    assert f"- one: {told['one']['says']}\n" in (tmp_path / "out" / "table.md").read_text()


def test_what_a_look_at_the_gradient_cannot_tell_is_said(run, tmp_path, monkeypatch, capsys):
    model = f"mine={save_model(tmp_path / 'a.pkl')}"
    little = HONEST._replace(by_eps={EPS: 0.1}, noise=0.99)
    monkeypatch.setattr(masking, "measure", lambda *args, **options: little)
    assert run(model) == 0
    said = capsys.readouterr().out
    text = "no sign of a masked gradient. So little is left that there is little to compare. (PGD"
    assert f"mine: {text}" in said
    assert "leaves 10.0% of 30 images; no transfer: there is no other network)" in said

    def refuse(*args, **options):
        raise InputError("the network gets none of the 30 images right")

    monkeypatch.setattr(masking, "measure", refuse)
    assert run(f"mine={save_model(tmp_path / 'a.pkl', name='another')}") == 0
    assert (
        "mine: not checked: the network gets none of the 30 images right" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "metadata",
    [
        {"sigma": 0.3, "config": []},
        {"sigma": 0.3},
        {"config": {"adversary": {"method": "noise", "sigma": 0.3}}},
    ],
    ids=["strange config", "sigma", "config"],
)
def test_a_network_trained_with_noise_is_attacked_bare_and_certified_smoothed(
    run, tmp_path, metadata
):
    assert run(f"mine={save_model(tmp_path / 'a.pkl', **metadata)}") == 0
    table = read(tmp_path).loc["mine"]
    assert table.loc["certified L2 0.25", ["value", "n", "attacked"]].tolist() == [
        1,
        4,
        "smoothed classifier",
    ]
    assert table.loc["certified L2 0.5", "value"] == 0
    assert table.loc[["clean", "AutoAttack 2/255"], "attacked"].tolist() == ["base classifier"] * 2


@pytest.mark.parametrize("config", [[], None])
def test_a_strange_config_is_of_a_network_trained_without_noise(run, tmp_path, config):
    assert run(f"mine={save_model(tmp_path / 'a.pkl', config=config)}") == 0
    assert not read(tmp_path).loc["mine"].index.str.startswith("certified").any()


def test_certified_is_the_sample_of_certify_and_no_more_than_was_asked_for(run, fer, tmp_path):
    model = f"mine={save_model(tmp_path / 'a.pkl', sigma=0.3)}"
    assert run(model, certify=12) == 0
    (path,) = (tmp_path / "work").glob("mine-*/found.csv")
    found = pd.read_csv(path)
    assert (
        sorted(found["row"][found["measure"] == scorecard.RADIUS])
        == data.sample(fer.test, 12).tolist()
    )
    assert read(tmp_path).loc[("mine", "certified L2 0.25"), "n"] == 12
    assert run(model, certify=3) == 0
    # of 12 and more that the journal knows
    assert read(tmp_path).loc[("mine", "certified L2 0.25"), "n"] == 3


def test_a_stopped_table_goes_on_and_never_mixes(run, tmp_path, asked, capsys):
    model = save_model(tmp_path / "a.pkl")
    assert run(f"mine={model}") == 0
    first, done = (tmp_path / "out" / "table.csv").read_text(), len(asked)
    (path,) = (tmp_path / "work").glob("mine-*/found.csv")
    # without the last batch of the second attack and the weather
    pd.read_csv(path)[:50].to_csv(path, index=False)
    assert run(f"mine={model}") == 0
    assert asked[done:] == [("large", 6), ("weather", 30)]
    assert (tmp_path / "out" / "table.csv").read_text() == first
    asked.clear()
    other = save_model(tmp_path / "b.pkl", name="other")
    assert run(f"new={other}", f"mine={model}", n=20) == 2
    assert "found with another n; begin in another folder" in capsys.readouterr().err
    assert asked == []  # refused before the new network was attacked
    save_model(model, name="trained again")
    # another network by the same name and file has a folder of its own
    assert run(f"mine={model}") == 0
    assert len(asked) == done and set(read(tmp_path).loc["mine", "sha256"]) == {files.digest(model)}


def test_a_gradient_is_looked_at_once_for_each_pair_of_networks(run, tmp_path, monkeypatch):
    one, two = two_models(tmp_path)
    assert run(one, two) == 0
    before = (tmp_path / "out" / "masking.json").read_text()
    looked, measure = [], masking.measure
    monkeypatch.setattr(
        masking,
        "measure",
        lambda *args, **options: looked.append(options) or measure(*args, **options),
    )
    assert run(one, two) == 0
    assert not looked and (tmp_path / "out" / "masking.json").read_text() == before
    # there is no other network now; the constant still has the first to transfer from
    assert run(one) == 0
    assert len(looked) == 1 and "no transfer" in (tmp_path / "out" / "table.md").read_text()


def test_so_far_tells_what_is_known_and_measures_nothing(run, tmp_path, asked):
    model, new = (
        f"mine={save_model(tmp_path / 'a.pkl')}",
        f"new={save_model(tmp_path / 'b.pkl', name='b')}",
    )
    assert run(model) == 0
    full, done = read(tmp_path), len(asked)
    (said,) = (
        line
        for line in (tmp_path / "out" / "table.md").read_text().splitlines()
        if line.startswith("- mine")
    )
    (path,) = (tmp_path / "work").glob("mine-*/found.csv")
    # all of the small ball, 27 of 30 of the large one, none of the weather
    pd.read_csv(path)[:57].to_csv(path, index=False)
    assert run(model, new, flags=["--so-far"]) == 0
    table = read(tmp_path)
    assert len(asked) == done
    assert table.loc["mine"].index.tolist() == full.loc["mine"].index.drop("corruptions").tolist()
    assert table.loc[("mine", "AutoAttack 8/255"), "n"] == 27
    assert table.loc["new"].index.tolist() == ["clean", "macro recall", "calibration error"]
    assert set(table["command"].str.endswith(" --so-far --work work")) == {True}
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert "- new: not checked yet." in lines and said in lines and "no transfer" in said


@pytest.mark.parametrize(
    ("metadata", "options", "message"),
    [
        ({}, {"n": 41}, "--n must be in 1..40, the rows that the model reports on, received 41"),
        (
            {},
            {"certify": 41},
            "--certify must be in 1..40, the rows that the model reports on, received 41",
        ),
        (
            {},
            {"copies": 5},
            "--copies must be at least 10 to certify anything with alpha 0.001, received 5",
        ),
        (
            {"protocol": "kaggle"},
            {},
            "b.pkl: the table is of the train-only protocol, this model has another",
        ),
        (
            {"sigma": 2.0},
            {},
            "b.pkl: sigma must be above 0 and at most 1 (pixels lie in [0, 1]), received 2.0",
        ),
        ({"config": {"adversary": {"method": "noise"}}}, {}, "b.pkl: sigma must be above 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    run, tmp_path, asked, capsys, metadata, options, message
):
    good, bad = save_model(tmp_path / "a.pkl"), save_model(tmp_path / "b.pkl", **metadata)
    assert run(f"good={good}", f"bad={bad}", **options) == 2
    assert message in capsys.readouterr().err
    assert asked == [] and not (tmp_path / "out").exists() and not (tmp_path / "work").exists()


def test_a_missing_file_is_refused_before_anything_is_measured(run, tmp_path, asked, capsys):
    assert run(f"good={save_model(tmp_path / 'a.pkl')}", f"bad={tmp_path / 'typo.pkl'}") == 2
    assert "typo.pkl: no such model file" in capsys.readouterr().err and asked == []


def test_bad_names_are_refused(run, tmp_path):
    model = tmp_path / "a.pkl"
    for wrong in (
        ["mine"],
        ["=x.pkl"],
        [f"constant={model}"],
        [f"../a={model}"],
        [f"a={model}", f"a={model}"],
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*wrong)
