"""A problem that a network of a few hundred weights learns: which of seven stripes is bright."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from fer_jax.config import Augment, Config
from fer_jax.data import Digest, Protocol, Split, fer2013, npz
from fer_jax.training.loop import fit


def stripes(n, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 7, n).astype(np.int32)
    images = random.integers(0, 60, (n, 48, 48)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * 6 : label * 6 + 6] += 150
    return Split(images, labels)


@pytest.fixture(scope="session")
def splits():
    train = stripes(96, 0)
    return Protocol(
        "train-only",
        train,
        stripes(64, 1),
        stripes(8, 2),
        np.eye(7, dtype=np.float32)[train.labels],
    )


@pytest.fixture(scope="session")
def tiny():
    """A function of the config's fields that are to differ from those of a tiny network's."""
    base = Config(
        name="tiny",
        model={"family": "vgg", "stages": [[4], [8]], "dropout": 0.1},
        epochs=3,
        batch_size=32,
        ema=0.5,
        augment=Augment(shift=0.0, rotate=2.0, flip=True, erase=0.1),
    )
    return lambda **changes: dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def finished(splits, tiny, tmp_path_factory):
    """A finished run: what `fit` returned, and its folder."""
    workdir = tmp_path_factory.mktemp("run") / "w"
    return fit(tiny(), splits, workdir, digest=Digest("d1")), workdir


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A prepared .npz of random faces, as few as the smoke network's batches allow."""
    rng = np.random.default_rng(0)

    def split(n):
        labels = (np.arange(n) % 7).astype(np.int32)
        return Split(rng.integers(0, 256, (n, 48, 48)).astype(np.uint8), labels)

    folder = tmp_path_factory.mktemp("data")
    npz.save(fer2013.bundle(split(300), split(30), split(30)), folder / "fer2013.npz")
    return folder


@pytest.fixture
def train(faces, root, tmp_path, usual_signals):
    """Start scripts/train.py in the workdir "run"; what is still there at the end is killed."""
    begun = []

    def start(*arguments):
        script = [sys.executable, "scripts/train.py", "--config", "experiments/smoke.py"]
        options = ["--data", faces, "--workdir", tmp_path / "run", "--set", "epochs=10000"]
        process = subprocess.Popen(
            [*script, *map(str, [*options, "--set", "early_stopping.patience=10000", *arguments])],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()
