"""What is committed under results/ belongs to the model that is committed with it."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from fer_jax import config, faces, files
from fer_jax.models import describe, model_file
from fer_jax.predict import Predictor, load_model
from fer_jax.robustness import smoothing


@pytest.fixture(scope="module")
def shipped():
    return load_model()


@pytest.fixture
def results(root):
    return root / "results" / "model"


def test_the_architecture_text_has_the_models_own_table(shipped, results):
    text = (results / "my_own_model_architecture.txt").read_text()
    assert describe.layer_table(shipped.architecture) in text


def test_the_log_is_of_the_run_that_made_the_model(shipped, results):
    run = files.read_json(results / "run.json")
    for key in ("name", "protocol", "data_digest", "best_epoch"):
        assert run[key] == shipped.metadata[key]
    assert config.from_dict(run["config"]) == config.from_dict(shipped.metadata["config"])
    history = pd.read_csv(results / "history.csv").set_index("epoch")
    best = shipped.metadata["best"]
    accuracy = history.loc[best["epoch"], "holdout_accuracy"]
    assert accuracy == pytest.approx(best["holdout_accuracy"], abs=1e-5)


def test_the_metrics_are_the_models(shipped, results):
    metrics = files.read_json(results / "metrics.json")
    assert metrics["model"] == shipped.metadata
    assert metrics["data"] == shipped.metadata["data_digest"]
    assert metrics["accuracy"]["all"]["rows"] == 7178


def test_the_hacked_face_was_hacked_on_the_model(shipped, root):
    folder = root / "results" / "hack_cnn"
    log = files.read_json(folder / "hack.json")
    names = ("input_image.png", "hacked_image.png")
    pictures = np.stack([faces.read_image(folder / name) for name in names])
    before, after = Predictor(shipped)(pictures)
    np.testing.assert_allclose(list(log["before"].values()), before, atol=1e-4)
    np.testing.assert_allclose(list(log["after"].values()), after, atol=1e-4)
    assert before[3] > 0.9 and after.argmax() == 4


def test_the_experiment_file_still_is_the_models_config(shipped, root):
    written = config.load(root / "experiments" / f"{shipped.metadata['name']}.py")
    assert config.to_dict(written) == config.to_dict(config.from_dict(shipped.metadata["config"]))


@pytest.mark.parametrize(
    ("model", "log", "recipe"),
    [
        ("robust/robust_model.pkl", "robust/robust_model", "vgg_balanced"),
        ("robust/fgsm_rs.pkl", "robust/fgsm_rs", "vgg_fgsm_rs"),
        ("robust/smooth.pkl", "robust/smooth", "vgg_smoothadv"),
        ("ferplus/model.pkl", "ferplus", "vgg_ferplus"),
    ],
)
def test_each_other_network_has_its_log_and_its_recipe(root, model, log, recipe):
    metadata = model_file.load(root / "results" / model).metadata
    run = files.read_json(root / "results" / log / "run.json")
    history = pd.read_csv(root / "results" / log / "history.csv").set_index("epoch")
    assert len(history) == run["epochs_done"]
    assert run["best_epoch"] == metadata["best_epoch"] == metadata["best"]["epoch"]
    loss = history.loc[run["best_epoch"], "holdout_loss"]
    assert loss == pytest.approx(metadata["best"]["holdout_loss"], abs=1e-5)
    written = config.load(root / "experiments" / f"{recipe}.py")
    assert config.from_dict(run["config"]) == config.from_dict(metadata["config"]) == written


def test_the_robustness_table_is_of_the_networks_beside_it(root):
    table = pd.read_csv(root / "results" / "robustness" / "table.csv").fillna({"sha256": ""})
    networks = {
        "standard": "model/my_own_model.pkl",
        "fgsm_rs": "robust/fgsm_rs.pkl",
        "pgd": "robust/robust_model.pkl",
        "smooth": "robust/smooth.pkl",
    }
    for name, path in networks.items():
        digest = files.digest(root / "results" / path)
        assert set(table[table["model"] == name]["sha256"]) == {digest}
    assert set(table["model"]) == {*networks, "constant"}


def test_the_certificates_are_of_the_network_beside_them_and_none_is_broken(root):
    folder = root / "results" / "robustness" / "certified"
    log = files.read_json(folder / "certified.json")
    found = pd.read_csv(folder / "found.csv")
    network = root / "results" / "robust" / "smooth.pkl"
    assert log["model"] == files.digest(network)
    assert log["sigma"] == smoothing.trained_sigma(model_file.load(network).metadata)
    assert log["broken"] == (found["broken"] > 0).sum() == 0
    assert log["attacked"] == (found["prediction"] >= 0).sum() >= 200
    reach = np.where(found["prediction"] == found["label"], found["radius"], -1)
    for point in log["results"]:
        assert (point["certified"], point["n"]) == ((reach >= point["radius"]).sum(), len(found))
    for row in found[found["prediction"] >= 0].itertuples():
        lower = smoothing.lower_bound(row.count, log["n"], log["alpha"])
        assert row.radius == pytest.approx(log["sigma"] * NormalDist().inv_cdf(lower), abs=1e-9)


def test_the_corruptions_are_of_the_networks_beside_them(root):
    results = root / "results"
    log = files.read_json(results / "robustness" / "corruptions" / "corruptions.json")
    paths = [results / "model" / "my_own_model.pkl"]
    paths += [results / "robust" / f"{name}.pkl" for name in ("fgsm_rs", "robust_model", "smooth")]
    digests = {path.stem: files.digest(path) for path in paths}
    assert {name: model["model"] for name, model in log["models"].items()} == digests


def test_autoattack_ends_where_the_reference_does(root):
    table = pd.read_csv(root / "results" / "robustness" / "oracle.csv")
    apart = (table["fer_jax"] - table["pyautoattack"]).abs()
    assert apart.max() <= 0.015 and apart[table["stage"] == "square"].max() <= 0.005
    assert table.loc[table["stage"] == "square", "pyautoattack"].between(0.3, 0.6).all()
    assert set(table["n"]) == {500}
    paths = {"my_own_model": "model/my_own_model.pkl", "fgsm_rs": "robust/fgsm_rs.pkl"}
    assert set(table["model"]) == set(paths)
    for model, rows in table.groupby("model"):
        assert set(rows["sha256"]) == {files.digest(root / "results" / paths[str(model)])}
        assert set(rows["norm"]) == {"linf", "l2"}


def test_the_model_is_small_enough_to_ship(results):
    assert (results / "my_own_model.pkl").stat().st_size <= 25 * 2**20
    robust = (results.parent / "robust").glob("*.pkl")
    assert sum(path.stat().st_size for path in robust) <= 25 * 2**20
