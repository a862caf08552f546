import json
import pickle

import jax
import numpy as np
import pytest

from fer_jax import data, faces, models
from fer_jax.data import Split, fer2013
from fer_jax.evaluation import metrics
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.predict import Predictor

SHIPPED = "image0.png"


@pytest.fixture
def run(run_script, monkeypatch, tmp_path, root):
    """Run the script in a folder with the shipped faces, without data; return its exit code."""
    (tmp_path / "results").mkdir()
    faces_folder = "results/preprocessing_test"
    (tmp_path / faces_folder).symlink_to(root / faces_folder)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_script("hack_the_cnn", "--out", tmp_path / "out", *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--method", "pgd"),
        ("--method", "mifgsm", "--steps", 10),
        ("--method", "apgd", "--norm", "l2", "--eps", 0.7, "--steps", 10),
        ("--method", "ddn", "--steps", 30),
    ],
    ids=["pgd", "mifgsm", "apgd-l2", "ddn"],
)
def test_the_file_that_was_saved_still_is_sad_and_little_changed(run, tmp_path, capsys, arguments):
    assert run(*arguments) == 0
    out = tmp_path / "out"
    told = json.loads((out / "hack.json").read_text())
    original, hacked = (faces.read_image(out / f"{name}_image.png") for name in ("input", "hacked"))
    before, after = Predictor()(np.stack([original, hacked]))
    assert before[3] > 0.9
    assert after.argmax() == 4
    np.testing.assert_allclose(list(told["after"].values()), after, atol=1e-5)
    delta = hacked.astype(int) - original
    if told["norm"] == "linf":
        assert np.abs(delta).max() <= told["eps"] * 255 + 1e-3
    else:
        assert np.linalg.norm(delta / 255) <= told["eps"] + 1e-6
    assert told["norms"]["linf"] == np.abs(delta).max()
    assert told["ssim"] == pytest.approx(metrics.ssim(original[None] / 255, hacked[None] / 255)[0])
    assert (out / "adversarial_attack.png").stat().st_size > 10_000
    assert f"{told['after']['sad']:.1%}" in capsys.readouterr().out


def test_failure_says_so_and_exits_with_one(run, tmp_path, capsys):
    assert run("--method", "fgsm", "--eps", "0.01/255") == 1
    assert "fgsm found no change of" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.fixture
def happy_test_set(monkeypatch, root):
    """Row 0 is not happy, row 1 is happy but unclear, row 2 is the shipped face."""
    face = faces.read_image(root / "results" / "preprocessing_test" / SHIPPED)
    grey = np.full_like(face, 128)
    split = Split(np.stack([face, grey, face]), np.array([4, 3, 3], np.int32))
    halves = [Split(split.images[part], split.labels[part]) for part in (slice(2), slice(2, 3))]
    fer = fer2013.bundle(split, *halves)
    monkeypatch.setattr(data, "load", lambda directory: fer)


def test_the_first_happy_test_image_that_the_network_is_sure_of_is_taken(
    run, happy_test_set, tmp_path
):
    assert run("--method", "pgd") == 0
    assert json.loads((tmp_path / "out" / "hack.json").read_text())["image"] == "test row 2"


def test_a_universal_perturbation_is_fitted_to_training_images_and_tried_on_others(
    run, happy_test_set, tmp_path, capsys
):
    assert run("--method", "universal", "--eps", "8/255", "--steps", 10) == 0
    out = tmp_path / "out"
    told = json.loads((out / "hack.json").read_text())
    assert told["image"] == "test row 2"
    expected = {"fitted_to": "2 training images labelled happy", "held_out": 1}
    expected |= {"worked": 1, "rate": 1.0}
    assert {key: told["universal"][key] for key in expected} == expected
    original, hacked = (faces.read_image(out / f"{name}_image.png") for name in ("input", "hacked"))
    assert Predictor()(hacked[None])[0].argmax() == 4
    assert np.abs(hacked.astype(int) - original).max() <= 8
    text = "works on 1 of 1 test images of which the network is sure, 100.0%"
    assert text in capsys.readouterr().out


def test_without_data_it_is_fitted_to_shipped_faces_which_is_said(run, tmp_path, capsys):
    assert run("--method", "universal", "--eps", "12/255", "--steps", 10) == 0
    told = json.loads((tmp_path / "out" / "hack.json").read_text())
    assert told["universal"]["fitted_to"].endswith("shipped faces that the network calls happy")
    assert told["universal"]["held_out"] == 0
    assert "and tried on no others" in capsys.readouterr().out


def test_a_universal_perturbation_that_fails_on_the_image_says_how_it_does_on_others(
    run, happy_test_set, tmp_path, capsys
):
    assert run("--method", "universal", "--eps", "0.1/255", "--steps", 1) == 1
    out = capsys.readouterr().out
    assert "universal found no change of test row 2 up to linf 0.000392 that makes it sad" in out
    assert "fitted to 2 training images labelled happy, works on 0 of 1 test images" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "fer2013.csv",
        "train.csv",
        "archive.zip",
        "fer2013.tar.gz",
        "fer2013.npz",
        "train/happy/0.png",
    ],
)
def test_damaged_data_are_not_taken_for_none(run, tmp_path, capsys, name):
    (tmp_path / "data" / name).parent.mkdir(parents=True)
    (tmp_path / "data" / name).write_bytes(b"not what it is called\n")
    assert run() == 2
    assert "error: data" in capsys.readouterr().err


def test_a_folder_that_was_never_filled_is_noted(run, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").write_text("where to get FER-2013")
    assert run("--method", "fgsm", "--eps", "0.01/255") == 1
    assert capsys.readouterr().err == "note: data holds no FER-2013: hacking a shipped face\n"
    assert run("--image", 3) == 2
    assert "no FER-2013 data" in capsys.readouterr().err


def test_no_photograph_lands_in_the_folder_that_git_keeps(
    run_script, monkeypatch, tmp_path, capsys, root
):
    """A photograph at the place of its own hack is refused, with the folder's name, before anything
    is done to it.
    """
    monkeypatch.chdir(tmp_path)
    folder = "results/hack_cnn/photo_hacked_photo"
    photo = tmp_path / folder / "hacked_photo.png"
    assert run_script("hack_the_cnn", "--photo", photo, "--detector", "haar") == 2
    assert f"would be replaced by what --out {folder} is to hold" in capsys.readouterr().err
    kept = [line for line in (root / ".gitignore").read_text().splitlines() if "hack_cnn" in line]
    assert kept == ["/results/hack_cnn/*/", "!/results/hack_cnn/photo/"]


def tiny_model(path, classes):
    architecture = {"family": "vgg", "stages": [[4]], "dropout": 0.0, "classes": classes}
    module = models.create(architecture)
    variables = jax.device_get(
        module.init(jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32), train=False)
    )
    labels = "fer2013" if classes == 7 else "ferplus"
    model = ModelFile(architecture, variables, {"protocol": "train-only"}, labels=labels)
    model_file.save(path, model)
    return path


def test_emotions_are_those_of_the_network(run, happy_test_set, tmp_path, capsys):
    seven, eight = (tiny_model(tmp_path / f"{classes}.pkl", classes) for classes in (7, 8))
    assert run("--model", seven, "--target", "contempt") == 2
    assert "unknown emotion 'contempt': the network tells angry, " in capsys.readouterr().err
    assert run("--model", eight, "--source", "contempt") == 2
    assert "error: the test set holds no image that is labelled contempt" in capsys.readouterr().err
    document = pickle.loads(seven.read_bytes())
    other = tmp_path / "animals.pkl"
    other.write_bytes(pickle.dumps(document | {"labels": [*"abcdefg"]}, protocol=4))
    assert run("--model", other) == 2
    assert "animals.pkl: labels must be those of 'fer2013'" in capsys.readouterr().err
    # it knows the name, but is no more than noise
    assert run("--model", eight, "--target", "contempt") == 2
    assert "the test set: the network must say happy with more than 90%" in capsys.readouterr().err


@pytest.fixture
def astronaut(tmp_path):
    """The photograph as a JPEG that a camera held sideways has written: the file's EXIF says to
    turn it.
    """
    image = pytest.importorskip("skimage.data").astronaut()
    picture = pytest.importorskip("PIL.Image").fromarray(image)
    exif = picture.getexif()
    exif[0x0112] = 6  # upright after a quarter turn clockwise
    picture.rotate(90).save(tmp_path / "portrait.jpg", exif=exif, quality=95)
    return tmp_path / "portrait.jpg"


@pytest.mark.parametrize("kind", ["haar", "yunet"])
def test_a_photograph_is_sad_from_the_file_on(run, astronaut, tmp_path, capsys, request, kind):
    model = None
    if kind == "yunet":
        model = request.getfixturevalue("shared") / "models" / faces.YUNET_FILE
        if not model.is_file():
            pytest.skip(f"needs YuNet: {model} (set FER_SHARED)")
    before, detector = astronaut.read_bytes(), faces.detector(kind, model)
    options = ["--detector", kind, *(["--detector-model", model] if model else [])]
    assert run("--photo", astronaut, "--eps", "4/255", "--steps", 10, *options) == 0
    assert astronaut.read_bytes() == before
    told = json.loads((tmp_path / "out" / "hack.json").read_text())
    hacked = faces.read_image(tmp_path / "out" / "hacked_photo.png")
    clean = faces.read_image(astronaut)
    (box, face), *_ = faces.faces_in(hacked, detector)
    after = Predictor()(face[None])[0]
    assert after.argmax() == 4
    np.testing.assert_allclose(list(told["after"].values()), after, atol=1e-5)
    assert told["boxes"]["after"] == list(box[:4])
    assert max(told["before"], key=told["before"].get) != "sad"
    delta = np.abs(hacked.astype(int) - clean)  # the camera's picture, upright
    assert 0 < delta.max() == told["norms"]["linf"] <= 4
    assert not delta[:, :100].any() and not delta[250:].any()  # far from the face
    assert told["norms"]["l0"] == delta.any(axis=2).sum() and told["pixels"] == 512 * 512
    assert 0.9 < told["ssim"] < 1
    assert (tmp_path / "out" / "adversarial_attack.png").stat().st_size > 10_000
    assert f"{told['after']['sad']:.1%}" in capsys.readouterr().out


def test_photographs_that_cannot_be_hacked(run, astronaut, tmp_path, capsys):
    wall = tmp_path / "wall.png"
    faces.write_png(wall, np.full((100, 100, 3), 128, np.uint8))
    haar = "--detector", "haar"
    assert run("--photo", wall, *haar) == 2
    text = "wall.png: the photograph must show a face, but Haar finds none"
    assert text in capsys.readouterr().err
    assert run("--photo", tmp_path / "gone.png", *haar) == 2
    assert "gone.png: cannot be read" in capsys.readouterr().err
    assert run("--photo", astronaut, *haar, "--target", "happy") == 2
    text = "portrait.jpg: the network must not say happy already, it says happy ("
    assert text in capsys.readouterr().err
    assert run("--photo", astronaut, *haar, "--eps", "0.5/255", "--steps", 1) == 1
    out = capsys.readouterr().out
    assert "portrait.jpg: happy (" in out
    assert "pgd found no change up to linf 0.00196 that makes it sad" in out
    assert not (tmp_path / "out").exists()


def test_the_photograph_itself_is_never_replaced(run, tmp_path, capsys):
    path = tmp_path / "out" / "hacked_photo.png"
    faces.write_png(path, np.full((100, 100, 3), 128, np.uint8))
    before = path.read_bytes()
    assert run("--photo", path) == 2
    assert "hacked_photo.png: would be replaced by what --out" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--image", 0), "--image 0 is labelled sad, not happy"),
        (("--image", 1), "test image 1: the network must say happy with more than 90%, it says"),
        (("--image", 3), "--image must be a row of the test set, 0 to 2, received 3"),
        (("--target", "happy"), "--source and --target must differ, both are happy"),
        (("--target", "joy"), "unknown emotion 'joy'"),
    ],
)
def test_what_cannot_be_hacked_is_said_in_one_line(run, happy_test_set, capsys, arguments, message):
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "fgsm", "--norm", "l2"), "--method fgsm is made for linf, not for l2"),
        (
            ("--method", "ddn", "--eps", "0.1"),
            "--method ddn looks for the smallest change: it takes no --eps",
        ),
        (("--method", "magic"), "invalid choice: 'magic' (choose from"),
        (("--eps", "-0.1"), "must be a number above 0 or a fraction such as 2/255, got '-0.1'"),
        (("--eps", "8"), "--eps must be at most 1 in linf: pixels lie in [0, 1], got 8"),
        (
            ("--photo", "a.png", "--method", "universal"),
            "--photo goes with --method fgsm, bim, pgd, mifgsm, apgd and linf",
        ),
        (
            ("--photo", "a.png", "--norm", "l2"),
            "--photo goes with --method fgsm, bim, pgd, mifgsm, apgd and linf",
        ),
        (("--photo", "a.png", "--image", "3"), "and without --image"),
        (("--method", "fgsm", "--steps", "5"), "--method fgsm makes one step, got --steps 5"),
        (("--detector-model", "a.onnx"), "--detector and --detector-model go with --photo"),
        (("--method", "universal", "--seed", "-1"), "--seed must lie in 0 to 4294967295, got -1"),
    ],
)
def test_commands_that_make_no_sense_are_refused(run, capsys, arguments, message):
    try:
        code = run(*arguments)
    except SystemExit as ended:  # of the parser
        code = ended.code
    assert code == 2
    assert message in capsys.readouterr().err
