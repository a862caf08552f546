"""scripts/train.py as typed, on a few synthetic rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
from fer_jax.config import Config
config = Config(
    name="tiny",
    model={"family": "vgg", "stages": [[4], [16]], "dropout": 0.0},
    epochs=2,
    batch_size=16,
    holdout=0.2,
)
"""


@pytest.fixture
def folder(tmp_path):
    """A config, and data as a prepared .npz."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, copies in (("train", 10), ("public_test", 2), ("private_test", 2)):
        arrays[f"{split}_labels"] = np.tile(np.arange(7, dtype=np.int32), copies)
        arrays[f"{split}_images"] = random.integers(0, 256, (7 * copies, 48, 48), np.uint8)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "fer2013.npz", allow_pickle=False, **arrays)
    (tmp_path / "tiny.py").write_text(CONFIG)
    return tmp_path


def train(folder, *arguments):
    command = [
        sys.executable,
        "scripts/train.py",
        "--config",
        str(folder / "tiny.py"),
        "--data",
        str(folder / "data"),
    ]
    command += ["--workdir", str(folder / "run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_run_and_its_resumption(folder):
    first = train(folder)
    assert first.returncode == 0, first.stderr
    assert "70" not in first.stdout.splitlines()[0]  # the hold-out has left the 70 rows
    assert first.stdout.splitlines()[-1].startswith("best epoch ")
    assert {"config.json", "history.csv", "run.json", "model.pkl"} <= {
        p.name for p in (folder / "run").iterdir()
    }
    model = (folder / "run" / "model.pkl").read_bytes()
    assert train(folder).returncode == 2
    again = train(folder, "--resume")
    assert again.returncode == 0, again.stderr
    assert (folder / "run" / "model.pkl").read_bytes() == model  # nothing was left to do


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "epoch=3"], "unknown config key epoch"),
        (["--set", "batch_size=500"], "batch_size must be at most the"),
        (["--data", "nowhere"], "nowhere"),
        (["--config", "none.py"], "none.py: no such config file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, arguments, words):
    done = train(folder, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "run" / "model.pkl").exists()


def test_a_wrong_model_is_refused_before_the_data_are_read(folder):
    done = train(folder, "--data", str(folder / "none"), "--set", "model.family=nope")
    line = "error: unknown model family 'nope': expected one of vgg\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert not (folder / "run").exists()
