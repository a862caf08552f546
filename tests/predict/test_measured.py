import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fer_jax import data, files
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS
from fer_jax.predict import Predictor
from fer_jax.predict.measured import measure, report


def split(labels, marks):
    """Faces whose corner pixel says what `oracle` is to predict."""
    images = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 48, 48), np.uint8)
    images[:, 0, 0] = marks
    return SimpleNamespace(images=images, labels=np.array(labels, np.int32))


@pytest.fixture
def fer():
    """Five test rows: 0 (PublicTest), 4 (PrivateTest) occur in training; 0, 1, 3 prove right."""
    train, public = split([1, 2], [0, 0]), split([0, 3, 3], [0, 3, 6])
    private = split([4, 5, 5, 6], [4, 0, 0, 0])
    private.images, private.labels = private.images[:2], private.labels[:2]
    train.images[0], train.images[1] = public.images[0], private.images[1]
    images, labels = [public.images, private.images], [public.labels, private.labels]
    test = SimpleNamespace(images=np.concatenate(images), labels=np.concatenate(labels))
    return SimpleNamespace(
        train=train, public_test=public, private_test=private, test=test, digest="abc"
    )


class Oracle:
    """A predictor that reads the corner pixel."""

    def __init__(self, protocol="train-only", labels="fer2013"):
        metadata = {"protocol": protocol}
        self.model = SimpleNamespace(metadata=metadata, temperature=2.0, labels=labels)
        self.emotions, self.tta = EMOTIONS, False
        self.probabilities = Predictor.probabilities

    def logits(self, faces, progress=False):
        return 5 * np.eye(7, dtype=np.float32)[None, faces[:, 0, 0]]


def test_the_first_line_is_the_floored_accuracy_and_subsets_are_apart(fer, capsys):
    results = measure(Oracle(), fer, Path())
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "Accuracy on test set: 60%" and not err
    counts = {name: (row["correct"], row["rows"]) for name, row in results["accuracy"].items()}
    assert counts == {
        "all": (3, 5),
        "PublicTest": (2, 3),
        "PrivateTest": (1, 2),
        "all without rows whose pixels occur in training": (2, 3),
        "PublicTest without them": (1, 2),
        "PrivateTest without them": (1, 1),
    }
    assert results["model"] == {"protocol": "train-only"} and results["data"] == "abc"


@pytest.mark.parametrize(
    ("correct", "rows", "percent"), [(29, 100, 29), (2, 3, 66), (199, 200, 99), (3, 3, 100)]
)
# int(100 * 0.29) is 28
def test_the_percentage_is_floored_and_exact(fer, capsys, correct, rows, percent):
    fer.test = fer.public_test = split([0] * rows, [0] * correct + [1] * (rows - correct))
    measure(Oracle(), fer, Path())
    assert capsys.readouterr().out.startswith(f"Accuracy on test set: {percent}%\n")


def test_a_model_that_public_test_chose_is_reported_on_private_test_alone(fer, capsys):
    fer.train.labels = np.array([1, 2])
    results = measure(Oracle("kaggle"), fer, Path())
    assert list(results["accuracy"]) == [
        "PrivateTest",
        "PrivateTest without rows whose pixels occur in training",
    ]
    assert capsys.readouterr().out.startswith("Accuracy on test set: 50%")


def test_the_temperature_is_reported_before_and_after(fer, capsys):
    results = measure(Oracle(), fer, Path())
    unscaled, scaled = results["unscaled"], results["scaled"]
    assert unscaled["negative_log_likelihood"] > scaled["negative_log_likelihood"]
    printed = capsys.readouterr().out
    assert f"{unscaled['brier']:.4f}" in printed and f"{scaled['brier']:.4f}" in printed


def test_figures_and_confusion_matrix_are_written(fer, model_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda directory: fer)
    pictures = {name: tmp_path / f"{name}.png" for name in ("confusion", "reliability")}
    report(Path(), model_path, False, json=tmp_path / "metrics.json", **pictures)
    results = files.read_json(tmp_path / "metrics.json")
    whole = results["accuracy"]["all"]
    first = rf"Accuracy on test set: {100 * whole['correct'] // 5}%\n\nemotion "
    assert re.match(first, capsys.readouterr().out)
    assert np.sum(results["confusion_matrix"]) == 5
    assert all(min(cv2.imread(str(file)).shape[:2]) > 500 for file in pictures.values())


def test_a_model_of_something_else_is_refused_in_one_line(fer, capsys):
    rule = "a model reported on FER-2013 must know its emotions"
    with pytest.raises(InputError, match=f"^{rule}, received one with the labels of mnist$"):
        measure(Oracle(labels="mnist"), fer, Path())
    assert not capsys.readouterr().out
