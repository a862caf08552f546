import numpy as np
import pytest

from fer_jax.errors import InputError
from fer_jax.evaluation.logits import predict_logits


def faces(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), np.uint8)


def mean_levels(images):
    """A logits function with a known answer: class k's logit is (k + 1) times the image's mean."""
    return images.mean(axis=(1, 2, 3))[:, None] * np.arange(1, 8)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
def test_logits_do_not_depend_on_the_batch_size(count):
    images = faces(count)
    expected = mean_levels(images[..., None] / 255)
    logits = predict_logits(mean_levels, images, batch_size=4)
    assert logits.dtype == np.float32 and logits.shape == (count, 7)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)


def test_every_batch_has_the_same_shape_and_the_models_range():
    seen = []

    def logits_fn(images):
        seen.append((images.shape, images.dtype, images.min(), images.max()))
        return np.zeros((len(images), 7), np.float32)

    predict_logits(logits_fn, np.full((5, 48, 48), 255, np.uint8), batch_size=4)
    assert seen == [((4, 48, 48, 1), np.float32, 1, 1), ((4, 48, 48, 1), np.float32, 0, 1)]


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (np.zeros((2, 48, 48), np.float32), r"float32 \[2, 48, 48\]"),
        (np.zeros((48, 48), np.uint8), r"uint8 \[48, 48\]"),
        (np.zeros((2, 48, 48, 1), np.uint8), r"uint8 \[2, 48, 48, 1\]"),
        (np.zeros((2, 64, 64), np.uint8), r"uint8 \[2, 64, 64\]"),
        ([[1, 2], [3, 4]], r"list \[2, 2\]"),
    ],
)
def test_other_images_are_refused_with_what_was_received(images, received):
    with pytest.raises(InputError, match=received):
        predict_logits(mean_levels, images)
