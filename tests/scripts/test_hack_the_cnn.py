import importlib.util
import json
import sys

import numpy as np
import pytest

from fer_jax import cli, data, faces, metrics, runtime
from fer_jax.data import Split, sources
from fer_jax.predict import Predictor

SHIPPED = "image0.png"


@pytest.fixture(scope="module")
def script(root):
    spec = importlib.util.spec_from_file_location("hack_script", root / "scripts" / "hack_the_cnn.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(script, monkeypatch, tmp_path):
    """Run the script in this process, without data unless told otherwise; its exit code."""
    monkeypatch.setattr(runtime, "configure", lambda: None)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hack_the_cnn.py", "--out", str(tmp_path / "out"), *map(str, arguments)])
        return cli.run(script.main)

    return call


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
    original, hacked = (faces.read_image(out / name) for name in ("input_image.png", "hacked_image.png"))
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
    monkeypatch.setattr(
        data,
        "load",
        lambda directory: sources.bundle(
            split, Split(split.images[:2], split.labels[:2]), Split(split.images[2:], split.labels[2:])
        ),
    )


def test_the_first_happy_test_image_that_the_network_is_sure_of_is_taken(run, happy_test_set, tmp_path):
    assert run("--method", "pgd") == 0
    assert json.loads((tmp_path / "out" / "hack.json").read_text())["image"] == "test row 2"


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


def test_linf_methods_refuse_other_norms(run, capsys):
    with pytest.raises(SystemExit) as ended:
        run("--method", "fgsm", "--norm", "l2")
    assert ended.value.code == 2
    assert "--method fgsm is made for linf, not for l2" in capsys.readouterr().err


def test_methods_that_look_for_the_smallest_change_take_no_eps(run, capsys):
    with pytest.raises(SystemExit):
        run("--method", "ddn", "--eps", "0.1")
    assert "takes no --eps" in capsys.readouterr().err
