import cv2
import numpy as np
import pytest

from fer_jax import plots
from fer_jax.labels import EMOTIONS
from fer_jax.predict import Predictor, pictures


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_small_grey_pictures_are_classified_as_they_are(run_script, model_path, tmp_path, capsys):
    grey = np.random.default_rng(5).integers(0, 256, (48, 48), np.uint8)
    folder = tmp_path / "pictures"
    write(folder / "a.png", grey)
    write(folder / "b.png", np.dstack([grey] * 3))
    (folder / "notes.txt").write_text("no picture")
    assert run_script("predict", "--model", model_path, "--images", folder) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [*EMOTIONS, "emotion", "picture"] and len(rows) == 2
    expected = Predictor(model_path)(grey[None])[0]
    for row, name in zip(rows, ("a.png", "b.png"), strict=True):
        *probabilities, emotion, path = row.split()
        np.testing.assert_allclose(np.array(probabilities, float), expected, atol=6e-4)
        assert emotion == EMOTIONS[expected.argmax()] and path == str(folder / name)


def test_pictures_go_through_face_detection(run_script, model_path, tmp_path, capsys):
    skimage = pytest.importorskip("skimage.data")
    astronaut = skimage.astronaut()[..., ::-1]
    one = write(tmp_path / "one.png", astronaut)
    two = write(tmp_path / "two.png", np.hstack([astronaut, astronaut]))
    none = write(tmp_path / "none.png", np.full((200, 200, 3), 90, np.uint8))
    assert run_script("predict", "--model", model_path, "--images", one, two, none) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [sum(f"{path} (face at" in row for row in rows) for path in (one, two)] == [1, 2]
    assert [row.split()[:3] for row in rows if str(none) in row] == [["no", "face", "found"]]


def test_an_unreadable_picture_is_reported_after_the_others_with_exit_code_2(
    run_script, model_path, tmp_path, capsys
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    good = write(tmp_path / "good.png", np.zeros((48, 48), np.uint8))
    paths = (broken, tmp_path / "missing.png", good)
    assert run_script("predict", "--model", model_path, "--images", *paths) == 2
    out, err = capsys.readouterr()
    assert str(good) in out.splitlines()[1]
    lines = err.splitlines()
    assert [str(broken) in lines[0], "missing.png" in lines[1], len(lines)] == [True, True, 2]


def test_a_folder_without_pictures_is_refused(run_script, model_path, tmp_path, capsys):
    assert run_script("predict", "--model", model_path, "--images", tmp_path) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_two_models_are_explained_side_by_side(
    run_script, model_path, tmp_path, monkeypatch, capsys
):
    face = np.random.default_rng(6).integers(0, 256, (48, 48), np.uint8)
    picture, out = write(tmp_path / "face.png", face), tmp_path / "explained.png"
    drawn, draw = [], plots.explanations
    monkeypatch.setattr(plots, "explanations", lambda *args: drawn.extend(args) or draw(*args))
    both = ("--model", model_path, "--against", model_path)
    assert run_script("predict", *both, "--images", picture, "--explain", out) == 0
    shown, (first, second) = drawn
    np.testing.assert_array_equal(shown, face)
    probabilities = Predictor(model_path)(face[None])[0]
    title = f"model\n{EMOTIONS[probabilities.argmax()]} {probabilities.max():.1%}"
    assert first[0] == second[0] == title
    said = title.replace("\n", ": ")
    assert capsys.readouterr().out.splitlines() == [said, said, f"wrote {out}"]
    assert len(first[1]) == 3 and all(
        each.shape == (48, 48) and np.abs(each).max() > 0 for each in first[1][:2]
    )
    assert min(cv2.imread(str(out)).shape[:2]) > 500


def test_the_shipped_face_is_explained_by_default(
    run_script, root, model_path, tmp_path, monkeypatch, capsys
):
    shipped = "results/preprocessing_test/image0.png"
    # as it is: nothing to detect
    assert pictures.first_face([root / shipped], lambda image: []).shape == (48, 48)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / shipped, np.full((200, 200, 3), 90, np.uint8))
    assert run_script("predict", "--model", model_path, "--explain", "out.png") == 2
    rule = "must show a face to explain, none was found"
    assert capsys.readouterr().err == f"error: {shipped}: {rule}\n"
    assert not (tmp_path / "out.png").exists()
