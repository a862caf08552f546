"""Run every Python block of docs/extending.md; the sections give what the page says of them."""

import re
import sys

import numpy as np
import pytest

from fer_jax import labels, models
from fer_jax.attacks import ATTACKS
from fer_jax.data import sources
from fer_jax.faces.detectors import DETECTORS
from fer_jax.predict import Predictor
from fer_jax.robustness import hack


@pytest.fixture
def run_section(root, tmp_path, monkeypatch):
    """Run a section's blocks, in order, in an empty folder: the names that they leave behind.

    What they register is forgotten after the test.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "READERS", sources.READERS)
    for table, name in [
        (models.FAMILIES, "perceptron"),
        (ATTACKS, "corners"),
        (DETECTORS, "whole"),
        (labels.LABEL_SETS, "glasses"),
    ]:
        monkeypatch.setitem(table, name, None)

    def run(title):
        names = {"__name__": __name__}
        [section] = [part for part in sections(root) if part.startswith(title)]
        for code in blocks(section):
            exec(compile(code, "docs/extending.md", "exec"), names)
        return names

    return run


def sections(root):
    return (root / "docs" / "extending.md").read_text().split("\n## ")[1:]


def blocks(section):
    return re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def test_no_section_is_left_out(root):
    titles = [section.splitlines()[0] for section in sections(root) if blocks(section)]
    assert titles == [
        "Attack your own network",
        "Add a network",
        "Add an attack",
        "Add a face detector",
        "Add a data set",
    ]


def test_attack_your_own_network(run_section):
    names = run_section("Attack your own network")
    images, logits_fn = names["images"], names["logits_fn"]
    for hacked, eps in [("hacked", 8), ("stronger", 1), ("strongest", 1)]:
        change = names[hacked] - images
        assert change.shape == (8, 32, 32, 3) and abs(change).max() <= eps / 255 + 1e-6
    right = lambda images: (logits_fn(images).argmax(axis=1) == names["labels"]).mean()
    assert right(names["hacked"]) < 0.5
    assert right(names["strongest"]) <= right(names["stronger"]) < 1


def test_add_a_network(run_section):
    names = run_section("Add a network")
    assert len(names["result"].history) == 1
    probabilities = Predictor("runs/perceptron/model.pkl")(names["images"][:3])
    assert probabilities.shape == (3, 7) and np.allclose(probabilities.sum(axis=1), 1)


def test_add_an_attack(run_section, load_script, monkeypatch):
    names = run_section("Add an attack")
    assert abs(names["outcome"].images.astype(int) - names["faces"]).max() <= 32
    assert names["outcome"].reached.any()
    monkeypatch.setattr(sys, "argv", ["attack_bench.py", "--attack", "corners", "--norm", "l2"])
    assert load_script("scripts/attack_bench.py").parse_arguments().attack == "corners"
    settings = hack.settings_for("corners", None, None, None, 1, 0)
    assert settings.method == "corners" and settings.norm == "linf"
    assert hack.make_attack(settings, 0.1).keywords["targeted"]


def test_add_a_face_detector(run_section, load_script, monkeypatch):
    names = run_section("Add a face detector")
    assert names["face"][:4] == (0, 0, 100, 120)
    assert names["crop"].shape == (48, 48) and names["crop"].dtype == np.uint8
    monkeypatch.setattr(sys, "argv", ["predict.py", "--detector", "whole"])
    assert load_script("scripts/predict.py").parse_arguments().detector == "whole"


@pytest.mark.filterwarnings("ignore::fer_jax.data.DataWarning")  # its splits have 14 rows
def test_add_a_data_set(run_section):
    names = run_section("Add a data set")
    assert names["sources"].find(names["folder"]).files[0].name == "Training.npz"
    assert names["result"].model.labels == "glasses"
    assert Predictor("runs/glasses/model.pkl").emotions == ("without", "with")
