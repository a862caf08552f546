from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from fer_jax import data, labels
from fer_jax.errors import InputError
from fer_jax.video import hacked


def linear(weights, images):
    return jnp.einsum("bijc,ijk->bk", images, weights)


def test_the_perturbation_is_fitted_to_the_shipped_faces_or_the_training_images(
    monkeypatch, tmp_path, capsys
):
    """Of a linear network the one best perturbation is the sign of the target's weights less the
    strongest other's.
    """
    weights = np.zeros((48, 48, 7), np.float32)
    weights[:, :, 4] = np.where(np.random.default_rng(0).random((48, 48)) < 0.5, -1, 1)
    weights[:, :, 3] = 1.0  # happy if it is bright
    network = SimpleNamespace(logits_fn=Partial(linear, weights), emotions=labels.EMOTIONS)
    folder = tmp_path / "data"
    change = hacked.fit_perturbation(network, "sad", 2 / 255, folder)
    assert "--hack: fitting a perturbation to 21 shipped faces ..." in capsys.readouterr().err
    against = weights[:, :, 4] - weights[:, :, 3]
    assert (np.sign(change) == np.sign(against))[against != 0].all()
    assert np.abs(change).max() <= 2 + 1e-4
    images = np.random.default_rng(0).integers(0, 256, (2100, 48, 48), np.uint8)
    fer = SimpleNamespace(train=SimpleNamespace(images=images))
    monkeypatch.setattr(data, "load", lambda folder: fer)
    folder.mkdir()
    (folder / "fer2013.csv").touch()
    taken, which = hacked.faces_to_fit(folder)
    assert len(taken) == 2000 and which == "training images"
    message = "--hack: unknown emotion 'joy': the network tells angry, "
    with pytest.raises(InputError, match=message):
        hacked.fit_perturbation(network, "joy", 2 / 255, folder)


def test_broken_training_images_are_said_and_not_replaced_by_the_shipped_faces(tmp_path):
    (tmp_path / "README.md").touch()
    assert hacked.faces_to_fit(tmp_path)[1] == "shipped faces"
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n7,0 0 0,Training\n")
    with pytest.raises(InputError, match=r"fer2013\.csv:1: "):
        hacked.faces_to_fit(tmp_path)
