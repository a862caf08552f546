"""Training and prediction without the packages that a bare machine or Windows may lack."""

import os
import subprocess
import sys

import numpy as np
import pytest

BLOCK = """
import sys
for name in ("tensorflow_datasets", "array_record", "tensorboardX", "cv2"):
    sys.modules[name] = None  # what Python does for a package that cannot be imported
from fer_jax import runtime
runtime.configure()
"""

TRAIN = """
from pathlib import Path
from fer_jax import config, data
from fer_jax.training import loop as train
folder = Path(sys.argv[1])
faces = data.load(folder)
model = {"family": "vgg", "stages": [[4]], "dropout": 0.0}
settings = config.Config(name="bare", model=model, epochs=1, batch_size=16, holdout=0.3)
splits = data.protocol(faces, "train-only", holdout=0.3)
result = train.fit(settings, splits, folder / "run")
from fer_jax.predict import Predictor
print(Predictor(folder / "run" / "model.pkl")(faces.test.images).shape)
"""


@pytest.fixture
def csv_folder(tmp_path):
    """fer2013.csv with a few rows of each class in each split."""
    random = np.random.default_rng(0)
    with (tmp_path / "fer2013.csv").open("w") as stream:
        stream.write("emotion,pixels,Usage\n")
        for usage, copies in (("Training", 8), ("PublicTest", 1), ("PrivateTest", 1)):
            for label in list(range(7)) * copies:
                pixels = " ".join(map(str, random.integers(0, 256, 2304)))
                stream.write(f"{label},{pixels},{usage}\n")
    return tmp_path


def test_a_bare_machine_trains_and_predicts_from_the_csv(csv_folder):
    command = [sys.executable, "-W", "ignore", "-c", BLOCK + TRAIN, str(csv_folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(14, 7)"
    notes = [line for line in done.stderr.splitlines() if "not installed" in line]
    assert len(notes) == 2  # one for the prepared data, one for TensorBoard
    assert list((csv_folder / "prepared").glob("*.npz"))
