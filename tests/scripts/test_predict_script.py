import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fer_jax import cli, data, models, runtime
from fer_jax.labels import EMOTIONS
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.predict import Predictor

ROOT = Path(__file__).parents[2]
ARCHITECTURE = {"family": "vgg", "stages": [[2], [3]], "dropout": 0.0}
cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("scripts/predict.py")


@pytest.fixture
def run(script, monkeypatch):
    """Run the script in this process; its exit code."""
    # it must come before jax, which is imported here
    monkeypatch.setattr(runtime, "configure", lambda: None)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
        return cli.run(script.main)

    return call


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    module = models.create(ARCHITECTURE)
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32), train=False)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(1, 0.3, leaf.shape).astype(np.float32), shapes)
    path = tmp_path_factory.mktemp("model") / "model.pkl"
    model_file.save(path, ModelFile(ARCHITECTURE, variables, {"protocol": "train-only"}))
    return path


def split(labels, marks):
    """Faces whose corner pixel says what `oracle` is to predict."""
    images = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 48, 48), np.uint8)
    images[:, 0, 0] = marks
    return SimpleNamespace(images=images, labels=np.array(labels, np.int32))


@pytest.fixture
def fer():
    """Test rows 0 (PublicTest) and 4 (PrivateTest) of five occur in training; rows 0, 1, 3 are
    predicted right.
    """
    train, public, private = (
        split([1, 2], [0, 0]),
        split([0, 3, 3], [0, 3, 6]),
        split([4, 5, 5, 6], [4, 0, 0, 0]),
    )
    private.images, private.labels = private.images[:2], private.labels[:2]
    train.images[0], train.images[1] = public.images[0], private.images[1]
    images, labels = [public.images, private.images], [public.labels, private.labels]
    test = SimpleNamespace(images=np.concatenate(images), labels=np.concatenate(labels))
    return SimpleNamespace(
        train=train, public_test=public, private_test=private, test=test, digest="abc"
    )


class Oracle:
    """A predictor that reads the corner pixel."""

    def __init__(self, protocol="train-only"):
        self.model = SimpleNamespace(metadata={"protocol": protocol}, temperature=2.0)
        self.emotions, self.tta = EMOTIONS, False
        self.probabilities = Predictor.probabilities

    def logits(self, faces, progress=False):
        return 5 * np.eye(7, dtype=np.float32)[None, faces[:, 0, 0]]


def test_the_first_line_is_the_floored_accuracy_and_subsets_are_apart(script, fer, capsys):
    results = script.measure(Oracle(), fer, ROOT).results
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
def test_the_percentage_is_floored_and_exact(script, fer, capsys, correct, rows, percent):
    fer.test = fer.public_test = split([0] * rows, [0] * correct + [1] * (rows - correct))
    script.measure(Oracle(), fer, ROOT)
    assert capsys.readouterr().out.startswith(f"Accuracy on test set: {percent}%\n")


def test_a_model_that_public_test_chose_is_reported_on_private_test_alone(script, fer, capsys):
    fer.train.labels = np.array([1, 2])
    results = script.measure(Oracle("kaggle"), fer, ROOT).results
    assert list(results["accuracy"]) == [
        "PrivateTest",
        "PrivateTest without rows whose pixels occur in training",
    ]
    assert capsys.readouterr().out.startswith("Accuracy on test set: 50%")


def test_the_temperature_is_reported_before_and_after(script, fer, capsys):
    measured = script.measure(Oracle(), fer, ROOT)
    assert measured.before.max() > measured.after.max()  # a temperature of two softens
    unscaled, scaled = measured.results["unscaled"], measured.results["scaled"]
    assert unscaled["negative_log_likelihood"] > scaled["negative_log_likelihood"]
    printed = capsys.readouterr().out
    assert f"{unscaled['brier']:.4f}" in printed and f"{scaled['brier']:.4f}" in printed


def test_figures_and_confusion_matrix_are_written(
    run, fer, model_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(data, "load", lambda directory: fer)
    files = tmp_path / "metrics.json", tmp_path / "confusion.png", tmp_path / "reliability.png"
    assert (
        run(
            "--model",
            model_path,
            "--json",
            files[0],
            "--confusion",
            files[1],
            "--reliability",
            files[2],
        )
        == 0
    )
    results = json.loads(files[0].read_text())
    whole = results["accuracy"]["all"]
    assert re.match(
        rf"Accuracy on test set: {100 * whole['correct'] // 5}%\n\nemotion ",
        capsys.readouterr().out,
    )
    assert np.sum(results["confusion_matrix"]) == 5
    assert all(min(cv2.imread(str(file)).shape[:2]) > 500 for file in files[1:])


def write(path, image):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_small_grey_pictures_are_classified_as_they_are(run, model_path, tmp_path, capsys):
    from fer_jax.predict import Predictor

    grey = np.random.default_rng(5).integers(0, 256, (48, 48), np.uint8)
    folder = tmp_path / "pictures"
    write(folder / "a.png", grey)
    write(folder / "b.png", np.dstack([grey] * 3))
    (folder / "notes.txt").write_text("no picture")
    assert run("--model", model_path, "--images", folder) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [*EMOTIONS, "emotion", "picture"] and len(rows) == 2
    expected = Predictor(model_path)(grey[None])[0]
    for row, name in zip(rows, ("a.png", "b.png"), strict=True):
        *probabilities, emotion, path = row.split()
        np.testing.assert_allclose(np.array(probabilities, float), expected, atol=6e-4)
        assert emotion == EMOTIONS[expected.argmax()] and path == str(folder / name)


def test_pictures_go_through_face_detection(run, model_path, tmp_path, capsys):
    skimage = pytest.importorskip("skimage.data")
    astronaut = skimage.astronaut()[..., ::-1]
    one = write(tmp_path / "one.png", astronaut)
    two = write(tmp_path / "two.png", np.hstack([astronaut, astronaut]))
    none = write(tmp_path / "none.png", np.full((200, 200, 3), 90, np.uint8))
    assert run("--model", model_path, "--images", one, two, none) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [sum(f"{path} (face at" in row for row in rows) for path in (one, two)] == [1, 2]
    assert [row.split()[:3] for row in rows if str(none) in row] == [["no", "face", "found"]]


def test_an_unreadable_picture_is_reported_after_the_others_with_exit_code_2(
    run, model_path, tmp_path, capsys
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    good = write(tmp_path / "good.png", np.zeros((48, 48), np.uint8))
    assert run("--model", model_path, "--images", broken, tmp_path / "missing.png", good) == 2
    out, err = capsys.readouterr()
    assert str(good) in out.splitlines()[1]
    lines = err.splitlines()
    assert [str(broken) in lines[0], "missing.png" in lines[1], len(lines)] == [True, True, 2]


@pytest.mark.parametrize(
    "arguments", [("--images", "EMPTY"), ("--images", "EMPTY", "--json", "x.json")]
)
def test_a_folder_without_pictures_and_clashing_arguments_are_refused(
    run, model_path, tmp_path, capsys, arguments
):
    assert (
        run("--model", model_path, *(tmp_path if part == "EMPTY" else part for part in arguments))
        == 2
    )
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_from_the_command_line_a_broken_model_is_one_line_and_exit_code_2(tmp_path):
    broken = tmp_path / "broken.pkl"
    broken.write_bytes(b"\x80\x04N.")
    arguments = [
        sys.executable,
        ROOT / "scripts" / "predict.py",
        "--model",
        broken,
        "--images",
        tmp_path / "a.png",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment.pop("FER_JAX_CONFIGURED", None)
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == f"error: {broken}: not a model file of fer_jax: received None\n"


def test_two_models_are_explained_side_by_side(
    script, run, model_path, tmp_path, monkeypatch, capsys
):
    from fer_jax import plots

    face = np.random.default_rng(6).integers(0, 256, (48, 48), np.uint8)
    picture, out = write(tmp_path / "face.png", face), tmp_path / "explained.png"
    drawn, draw = [], plots.explanations
    monkeypatch.setattr(plots, "explanations", lambda *args: drawn.extend(args) or draw(*args))
    assert (
        run("--model", model_path, "--against", model_path, "--images", picture, "--explain", out)
        == 0
    )
    shown, (first, second) = drawn
    np.testing.assert_array_equal(shown, face)
    probabilities = Predictor(model_path)(face[None])[0]
    title = f"model\n{EMOTIONS[probabilities.argmax()]} {probabilities.max():.1%}"
    assert first.title == second.title == title
    assert capsys.readouterr().out.splitlines() == [title.replace("\n", ": ")] * 2 + [
        f"wrote {out}"
    ]
    assert all(each.shape == (48, 48) and np.abs(each).max() > 0 for each in first[1:3])
    assert min(cv2.imread(str(out)).shape[:2]) > 500


def test_the_shipped_face_is_explained_by_default(
    script, run, model_path, tmp_path, monkeypatch, capsys
):
    # as it is: nothing to detect
    assert script.first_face([script.SHIPPED_FACE], lambda image: []).shape == (48, 48)
    monkeypatch.setattr(
        script,
        "SHIPPED_FACE",
        write(tmp_path / "shipped.png", np.full((200, 200, 3), 90, np.uint8)),
    )
    assert run("--model", model_path, "--explain", tmp_path / "out.png") == 2
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path / 'shipped.png'}: must show a face to explain, none was found\n"
    )
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("arguments", [("--explain", "a.png", "--tta"), ("--against", "b.pkl")])
def test_explanations_that_do_not_go_together_are_refused(run, capsys, arguments):
    assert run(*arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
