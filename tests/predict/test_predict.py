import dataclasses

import jax
import numpy as np
import pytest

from fer_jax import models, predict
from fer_jax.errors import InputError
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.predict import Predictor


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(model)


def faces(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), np.uint8)


@pytest.fixture(scope="module")
def averaging(model):
    return Predictor(model, tta=True)


@pytest.fixture(scope="module")
def oracle(model):
    """The network itself, applied to two faces at a time."""
    module = models.create(model.architecture)
    apply = jax.jit(
        lambda images: jax.nn.softmax(module.apply(model.variables, images, train=False))
    )
    return lambda images: np.asarray(apply(images[..., None] / np.float32(255)))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_probabilities_are_the_models_whatever_the_padding(predictor, oracle, count):
    images = faces(2)
    probabilities = predictor(images[:count])
    assert probabilities.dtype == np.float32 and probabilities.shape == (count, 7)
    np.testing.assert_allclose(probabilities, oracle(images)[:count], atol=1e-5)


@pytest.mark.parametrize(
    ("count", "sizes", "backend"),
    [
        *[
            (count, sizes, "cpu")
            for count, sizes in [(1, [1]), (2, [8]), (8, [8]), (9, [64]), (65, [64, 64]), (0, [])]
        ],
        *[(count, sizes, "gpu") for count, sizes in [(9, [64]), (65, [256]), (300, [256, 256])]],
    ],
)
def test_batches_come_in_few_sizes_so_that_few_programs_are_compiled(
    monkeypatch, model, count, sizes, backend
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    predictor, seen = Predictor(model), []
    predictor.logits_fn = lambda images: (
        seen.append(len(images)) or np.zeros((len(images), 7), np.float32)
    )
    assert predictor(faces(count)).shape == (count, 7)
    assert seen == sizes


def test_tta_is_the_mean_over_shifted_and_mirrored_views(averaging, oracle):
    images = faces(2)
    index = np.arange(48)
    views = []
    for down, right in [(0, 0), (-2, 0), (2, 0), (0, -2), (0, 2)]:
        rows, columns = np.clip(index - down, 0, 47), np.clip(index - right, 0, 47)
        shifted = images[:, rows[:, None], columns]
        views += [shifted, np.flip(shifted, axis=2)]
    expected = np.mean([oracle(view) for view in views], axis=0)
    np.testing.assert_allclose(averaging(images), expected, atol=1e-5)


def test_tta_does_not_tell_a_face_from_its_mirror_image(averaging, predictor):
    images, mirrored = faces(2), faces(2)[:, :, ::-1]
    np.testing.assert_allclose(averaging(images), averaging(mirrored), atol=1e-6)
    assert np.abs(predictor(images) - predictor(mirrored)).max() > 1e-6


@pytest.mark.parametrize(
    "images", [np.zeros((48, 48), np.uint8), np.zeros((1, 48, 48)), np.zeros((1, 40, 40), np.uint8)]
)
def test_other_faces_are_refused(predictor, images):
    with pytest.raises(InputError, match="received"):
        predictor(images)


def test_a_path_and_the_default_path_are_loaded(model, tmp_path, monkeypatch):
    path = tmp_path / "model.pkl"
    model_file.save(path, ModelFile(model.architecture, model.variables, {"name": "mine"}))
    assert Predictor(str(path)).model.metadata == {"name": "mine"}
    monkeypatch.setattr(predict, "default_model_path", lambda: path)
    assert Predictor().model.metadata == predict.load_model().metadata == {"name": "mine"}


def test_the_packaged_model_goes_before_the_checkouts(tmp_path, monkeypatch):
    monkeypatch.setattr(predict.resources, "files", lambda package: tmp_path)
    assert predict.default_model_path().parts[-3:] == ("results", "model", "my_own_model.pkl")
    packaged = tmp_path / "assets" / "my_own_model.pkl"
    packaged.parent.mkdir()
    packaged.touch()
    assert predict.default_model_path() == packaged


def test_a_missing_default_model_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "default_model_path", lambda: tmp_path / "none.pkl")
    with pytest.raises(InputError, match=r"none.pkl: .*train\.py"):
        Predictor()


def test_a_temperature_softens_probabilities_and_changes_no_prediction(model, predictor):
    images = faces(20)
    hot = Predictor(dataclasses.replace(model, temperature=4.0))(images)
    logits = predictor.logits(images)
    assert logits.shape == (1, 20, 7)
    np.testing.assert_allclose(hot, jax.nn.softmax(logits[0] / 4), atol=1e-6)
    np.testing.assert_array_equal(hot.argmax(axis=1), predictor(images).argmax(axis=1))
    assert (hot.max(axis=1) < predictor(images).max(axis=1)).all()
