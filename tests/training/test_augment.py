import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from fer_jax.config import Augment
from fer_jax.training import augment as module
from fer_jax.training.augment import augment

OFF = {
    "flip": False,
    "shift": 0.0,
    "scale": 0.0,
    "rotate": 0.0,
    "contrast": 0.0,
    "brightness": 0.0,
    "erase": 0.0,
}


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 256, (64, 48, 48), np.uint8)


@pytest.fixture
def targets():
    return jax.nn.one_hot(jnp.arange(64) % 7, 7)


def views(faces, targets, side=48, key=0, field=1.0, **settings):
    return augment(jax.random.key(key), faces, targets, Augment(**{**OFF, **settings}), side, field)


def test_everything_off_changes_nothing(faces, targets):
    images, same = views(faces, targets)
    np.testing.assert_allclose(images[..., 0], faces / 255, atol=1e-5)
    np.testing.assert_array_equal(same, targets)


def test_flip_mirrors_about_half_of_the_images_and_no_other(faces, targets):
    images = np.asarray(views(faces, targets, flip=True)[0][..., 0])
    mirrored = np.isclose(images, faces[:, :, ::-1] / 255, atol=1e-4).all(axis=(1, 2))
    kept = np.isclose(images, faces / 255, atol=1e-4).all(axis=(1, 2))
    assert (mirrored ^ kept).all()
    assert 15 < mirrored.sum() < 49  # 64 fair coins leave this range less than once in 10,000 keys


def test_resampling_equals_scipy_inside_and_beyond_the_border(faces):
    rows, columns = np.random.default_rng(1).uniform(-5, 53, (2, 4, 48, 48)).astype(np.float32)
    images = faces[:4].astype(np.float32) / 255
    ours = module._resample(jnp.asarray(images), jnp.asarray(rows), jnp.asarray(columns))
    oracle = [
        map_coordinates(i, [r, c], order=1, mode="nearest")
        for i, r, c in zip(images, rows, columns, strict=True)
    ]
    np.testing.assert_allclose(ours, oracle, atol=1e-5)


def test_brightness_is_added_and_contrast_stretched_about_the_mean(targets):
    # no relit value leaves [0, 1]
    faces = np.random.default_rng(2).integers(100, 156, (64, 48, 48), np.uint8)
    plain = faces / 255
    for settings, slopes, moves in (
        ({"brightness": 0.2}, (1, 1), (0, 0.2)),
        ({"contrast": 0.5}, (0.5, 1.5), (0, 0)),
    ):
        images = np.asarray(views(faces, targets, **settings)[0][..., 0])
        slope = images.std(axis=(1, 2)) / plain.std(axis=(1, 2))
        move = images.mean(axis=(1, 2)) - plain.mean(axis=(1, 2))
        assert slopes[0] - 1e-3 <= slope.min() and slope.max() <= slopes[1] + 1e-3
        assert np.abs(move).max() <= moves[1] + 1e-3
        drawn, width = (move, 0.4) if moves[1] else (slope, 1.0)
        assert np.ptp(drawn) > 0.8 * width  # 64 draws reach both ends


@pytest.mark.parametrize("settings", [{"rotate": 180.0}, {"scale": 0.5}])
def test_rotation_and_zoom_keep_the_centre_in_place(targets, settings):
    faces = np.zeros((64, 48, 48), np.uint8)
    faces[:, 20:28, 20:28] = 255
    images = np.asarray(views(faces, targets, **settings)[0][..., 0])
    axis = np.arange(48) - 23.5
    mass = images.sum(axis=(1, 2))
    np.testing.assert_allclose((images * axis[:, None]).sum(axis=(1, 2)) / mass, 0, atol=0.05)
    np.testing.assert_allclose((images * axis).sum(axis=(1, 2)) / mass, 0, atol=0.05)
    assert not np.allclose(images, faces / 255)


def test_a_shift_moves_the_centre_of_mass_within_its_reach(targets):
    faces = np.zeros((64, 48, 48), np.uint8)
    faces[:, 22:26, 22:26] = 255
    images = np.asarray(views(faces, targets, shift=0.25)[0][..., 0])
    centres = (images * np.arange(48)).sum(axis=(1, 2)) / images.sum(axis=(1, 2)) - 23.5
    assert np.abs(centres).max() <= 12.01
    assert centres.max() > 8
    assert centres.min() < -8


def test_smaller_views_show_the_whole_face(targets):
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8) * 5, (64, 48, 48))
    images = np.asarray(views(ramp, targets, side=32)[0][..., 0])
    expected = ((np.arange(32) + 0.5) * 1.5 - 0.5) * 5 / 255
    np.testing.assert_allclose(images[0, 0], expected, atol=1e-5)


def test_a_smaller_field_shows_the_centre_pixel_by_pixel(faces, targets):
    images, _ = views(faces, targets, side=40, field=40 / 48)
    np.testing.assert_allclose(images[..., 0], faces[:, 4:44, 4:44] / 255, atol=1e-4)


def test_erasing_hits_the_asked_share_and_a_bounded_area(faces, targets):
    images = np.asarray(views(faces, targets, erase=0.5)[0][..., 0])
    changed = (~np.isclose(images, faces / 255, atol=1e-4)).mean(axis=(1, 2))
    assert 15 < (changed > 0).sum() < 49
    assert changed.max() <= 0.25  # 20 %, and whole pixels
    assert views(faces, targets, erase=1.0)[0].shape == (64, 48, 48, 1)


def test_everything_on_stays_in_range_and_repeats_with_its_key(faces, targets):
    strong = {
        "flip": True,
        "shift": 0.3,
        "scale": 0.5,
        "rotate": 90.0,
        "contrast": 0.9,
        "brightness": 0.5,
        "erase": 0.5,
    }
    first, again, other = (
        views(faces, targets, key=key, **strong, mixup=0.4, cutmix=0.5) for key in (3, 3, 4)
    )
    assert 0 <= first[0].min() <= first[0].max() <= 1
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.allclose(first[0], other[0])
    np.testing.assert_allclose(first[1].sum(axis=1), 1, atol=1e-6)


def test_mixup_blends_images_and_targets_by_the_same_share(targets):
    faces = np.zeros((64, 48, 48), np.uint8)
    faces[::2] = 255  # so a blended image's grey level is its share of white
    images, mixed = views(faces, jax.nn.one_hot((jnp.arange(64) + 1) % 2, 7), mixup=1.0)
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), mixed[:, 1], atol=1e-5)


def test_cutmix_puts_a_rectangle_of_the_image_before_and_its_share_of_the_target(targets):
    faces = np.zeros((64, 48, 48), np.uint8)
    faces[::2] = 255  # as above, but no pixel is grey
    labels = jax.nn.one_hot((jnp.arange(64) + 1) % 2, 7)
    images, mixed = views(faces, labels, cutmix=0.5)
    assert set(np.unique(np.asarray(images).round(4))) == {0, 1}
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), mixed[:, 1], atol=1e-5)
    foreign = np.abs(np.asarray(images[..., 0]) - faces / 255) > 0.5
    assert 15 < foreign.any(axis=(1, 2)).sum() < 49
    for each in foreign:
        np.testing.assert_array_equal(each, each.any(axis=1)[:, None] & each.any(axis=0))
