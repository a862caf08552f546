"""scripts/prepare_data.py, on a few synthetic rows."""

import numpy as np
import pytest

from fer_jax.data import Split, npz
from fer_jax.data.fer2013 import bundle

pytestmark = pytest.mark.filterwarnings("ignore::fer_jax.data.DataWarning")


def test_counts_copies_and_the_npz(run_script, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (14, 48, 48), np.uint8)
    images[3] = images[1]
    splits = [
        Split(images[:7], np.arange(7, dtype=np.int32)),
        Split(images[7:], np.arange(7, dtype=np.int32)),
    ]
    data = bundle(splits[0], splits[1], splits[0])
    npz.save(data, tmp_path / "fer2013.npz")
    assert run_script("prepare_data", "--data", tmp_path, "--npz", tmp_path / "copy.npz") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "all"]
    ]
    assert lines[1].split() == ["Training", *["1"] * 7, "7"]
    assert "surplus copies of an image: 8" in lines
    assert "test rows whose pixels also occur in Training: 7 of 14" in lines
    assert f"digest: {data.digest}" in lines
    assert npz.read(tmp_path / "copy.npz").digest == data.digest
