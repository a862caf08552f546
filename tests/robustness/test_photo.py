"""Photographs hacked at full size: the crop as a matrix, and boxes that move while their photograph
is attacked.
"""

import functools
import math

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial
from scipy.special import softmax

from fer_jax import attacks, faces
from fer_jax.faces.framing import YUNET_FRAMING, Face
from fer_jax.robustness import photo

NOISE = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
SMOOTH = cv2.GaussianBlur(NOISE, (0, 0), 3)
STRIPES = np.where(
    np.indices((150, 200)).sum(axis=0)[..., None] % 2 == 0, np.uint8(255), np.uint8([0, 10, 200])
)


def tilted(box, roll):
    return box._replace(roll=roll, framing=YUNET_FRAMING)


def assert_one_level(image, box):
    ours = np.rint(photo.crop_matrix(image.shape, box) @ photo.grey_levels(image).ravel())
    difference = ours.reshape(48, 48) - faces.crop(image, box)
    assert np.abs(difference).max() <= 1, box


@settings(max_examples=40, deadline=None)
@given(
    image=st.sampled_from([NOISE, SMOOTH, STRIPES, NOISE[..., 1]]),
    middle=st.tuples(st.integers(0, 199), st.integers(0, 149)),
    size=st.tuples(st.integers(2, 260), st.integers(2, 260)),
    roll=st.none() | st.floats(-math.pi, math.pi),
)
def test_the_matrix_is_opencvs_crop_within_one_level(image, middle, size, roll):
    box = Face(middle[0] - size[0] // 2, middle[1] - size[1] // 2, *size)
    assert_one_level(image, box if roll is None else tilted(box, roll))


@pytest.mark.parametrize(
    "box", [Face(96, 48, 96, 96), Face(0, 0, 30, 30), Face(-40, -60, 200, 200, 0.3, YUNET_FRAMING)]
)
def test_its_rows_are_means(box):
    matrix = photo.crop_matrix((150, 200), box)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
    assert matrix.data.min() >= 0


def test_the_matrix_of_a_single_pixel():
    assert_one_level(np.full((1, 1, 3), 77, np.uint8), Face(0, 0, 1, 1))


def test_the_matrix_of_a_photographs_faces(astronaut):
    for box in (
        Face(172, 72, 104, 104),
        Face(170, 60, 96, 120, -0.12, YUNET_FRAMING),
        Face(430, 430, 140, 150, 0.5, YUNET_FRAMING),
    ):
        assert_one_level(astronaut, box)


@pytest.fixture
def astronaut():
    skimage = pytest.importorskip("skimage.data")
    return cv2.cvtColor(skimage.astronaut(), cv2.COLOR_RGB2BGR)


def striped(pattern, images):
    """Two classes; the second is seen where grey levels differ from 128 along the pattern by more
    than two on average.
    """
    score = jnp.einsum("bijc,j->b", 255 * images - 128, pattern) / 48**2
    return jnp.stack([4 - score, score], axis=1)


class Judge:
    """In place of a `Predictor`: a linear network that looks for upright stripes, 9 pixels wide."""

    pattern = np.sign(np.sin(np.arange(48) * math.pi / 9 + 0.1))
    logits_fn = staticmethod(Partial(striped, jnp.asarray(pattern, jnp.float32)))

    def __call__(self, crops):
        return softmax(np.asarray(self.logits_fn(crops[..., None] / np.float32(255))), axis=1)


class Nervous:
    """A detector whose box moves by `step` pixels for every look at a photograph that it has not
    seen yet.
    """

    def __init__(self, original, step, roll=None):
        self.seen, self.step, self.roll = [original], step, roll

    def __call__(self, image):
        number = next(
            (k for k, seen in enumerate(self.seen) if np.array_equal(seen, image)), len(self.seen)
        )
        if number == len(self.seen):
            self.seen.append(image)
        box = Face(60 + self.step * min(number, 2), 40, 70, 70)
        return [box if self.roll is None else tilted(box, self.roll * min(number, 2))]


PLAIN = np.full((150, 200, 3), 128, np.uint8)


def pgd(eps):
    return functools.partial(attacks.pgd, eps=eps, step_size=eps / 4, steps=10, targeted=True)


def hack(image, detector, eps=6 / 255):
    return photo.hack(image, Judge(), detector, 1, pgd(eps), eps, jax.random.key(0))


@pytest.mark.parametrize(
    ("step", "roll"),
    [(0, None), (1, None), (9, None), (1, 0.1)],
    ids=["still", "moves", "jumps", "turns"],
)
def test_the_pipeline_sees_the_target_though_the_box_moves(step, roll):
    detector = Nervous(PLAIN, step, roll)
    hacked = hack(PLAIN, detector)
    assert hacked is not None and hacked.dtype == np.uint8 and hacked.shape == PLAIN.shape
    assert (len(detector.seen) > 2) == (step > 1)  # what was found for the first box was not enough
    seen = photo.look(hacked, Judge(), detector)
    assert seen is not None and seen.probabilities.argmax() == 1
    np.testing.assert_array_equal(seen.crop, faces.crop(hacked, seen.face))
    change = np.abs(hacked.astype(int) - PLAIN)
    assert 0 < change.max() <= 6
    # the crops' surroundings are left alone
    assert not change[:25].any() and not change[125:].any()
    assert not change[:, :45].any() and not change[:, 165:].any()


def test_grey_photographs_stay_grey():
    hacked = hack(PLAIN[..., 0], Nervous(PLAIN[..., 0], 1))
    assert (
        hacked is not None
        and hacked.shape == (150, 200)
        and np.abs(hacked.astype(int) - 128).max() <= 6
    )


def test_too_small_an_eps_and_a_detector_that_loses_the_face_give_none():
    assert hack(PLAIN, Nervous(PLAIN, 0), eps=0.9 / 255) is None  # less than a level
    assert (
        hack(PLAIN, lambda image: [Face(60, 40, 70, 70)] if np.array_equal(image, PLAIN) else [])
        is None
    )


def test_an_attack_that_leaves_its_ball_is_brought_back():
    greedy = lambda key, logits_fn, images, labels: jnp.ones_like(images)
    hacked = photo._attacked(
        PLAIN, [Face(60, 40, 70, 70)] * 5, Judge.logits_fn, 1, greedy, 3.5 / 255, jax.random.key(0)
    )
    assert set(np.unique(hacked)) == {128, 131}


def test_a_photograph_without_a_face_is_refused():
    assert photo.look(PLAIN, Judge(), lambda image: []) is None
    with pytest.raises(ValueError, match="there must be a face in the image"):
        hack(PLAIN, lambda image: [])


def test_what_is_written_is_read_back_whole(tmp_path):
    faces.write_png(tmp_path / "new" / "noise.png", NOISE)
    np.testing.assert_array_equal(faces.read_image(tmp_path / "new" / "noise.png"), NOISE)
