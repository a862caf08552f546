import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from fer_jax.errors import InputError
from fer_jax.robustness import corruptions
from fer_jax.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def images():
    """Twelve smooth pictures with the mean and the contrast of faces."""
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(12, 48, 48)), (0, 2, 2))
    return np.clip(128 + 55 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def flat(level):
    return np.full((1, 48, 48), level, np.uint8)


def amount(name, severity):
    return CORRUPTIONS[name][1][severity - 1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_is_further_from_the_original(images, name):
    worse = [corrupt(name, images, severity) for severity in SEVERITIES]
    assert all(each.dtype == np.uint8 and each.shape == images.shape for each in worse)
    distances = [np.abs(each.astype(float) - images).mean() for each in worse]
    assert distances[0] > 0.5 and (np.diff(distances) > 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_any_batch(images, name):
    before = images.copy()
    whole = corrupt(name, images, 3, seed=1)
    np.testing.assert_array_equal(corrupt(name, images[::-1], 3, seed=1)[::-1], whole)
    np.testing.assert_array_equal(corrupt(name, images[4:5], 3, seed=1)[0], whole[4])
    np.testing.assert_array_equal(images, before)


def test_seeds_and_images_differ_where_chance_is_at_work(images):
    fixed = {"defocus blur", "jpeg", "over-exposure", "low resolution"}
    changed = {
        name
        for name in CORRUPTIONS
        if (corrupt(name, images, 4, 0) != corrupt(name, images, 4, 1)).any()
    }
    assert changed == set(CORRUPTIONS) - fixed
    noise = corrupt("noise", images, 1).astype(int) - images
    assert len({each.tobytes() for each in noise}) == len(images)


def test_noise_has_the_stated_deviation_and_no_mean():
    delta = corrupt("noise", flat(128), 2).astype(float) - 128
    assert delta.std() == pytest.approx(255 * amount("noise", 2), rel=0.05)
    assert abs(delta.mean()) < 4 * 255 * amount("noise", 2) / 48


@pytest.mark.parametrize(
    "name", ["defocus blur", "motion blur", "low resolution", "rotation", "off-centre crop"]
)
def test_what_only_moves_light_keeps_an_even_picture(name):
    for severity in SEVERITIES:
        np.testing.assert_array_equal(corrupt(name, flat(77), severity), flat(77))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blurs_spread_a_point_over_the_stated_area(severity):
    point = np.zeros((21, 21), np.float32)
    point[10, 10] = 1
    y, x = np.indices(point.shape) - 10
    radius, length = amount("defocus blur", severity), amount("motion blur", severity)
    disc, line = (apply(point, size, np.random.default_rng(0)) for apply, size in (
        (corruptions._defocus, radius), (corruptions._motion, length)
    ))  # fmt: skip
    for spread in (disc, line):
        assert spread.sum() == pytest.approx(1, abs=1e-5)
        assert abs((spread * x).sum()) < 1e-5 and abs((spread * y).sum()) < 1e-5
    # the disc covers its middle pixel
    assert disc[10, 10] == pytest.approx(1 / (np.pi * radius**2), rel=0.04)
    assert disc[np.hypot(y, x) > radius + np.sqrt(0.5)].max() == 0
    # the variance of a line a pixel wide, and of the pixels on which it is drawn
    assert (line * (x**2 + y**2)).sum() == pytest.approx((length**2 + 1) / 12 + 1 / 6, rel=0.06)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_keeps_an_even_picture_to_a_quantisation_step(severity):
    np.testing.assert_array_equal(corrupt("jpeg", flat(128), severity), flat(128))
    quality = amount("jpeg", severity)
    # ITU T.81, K.1, scaled as libjpeg
    step = (16 * (5000 / quality if quality < 50 else 200 - 2 * quality) + 50) // 100
    changed = corrupt("jpeg", flat(201), severity)
    # its level is an eighth of the DC
    assert np.ptp(changed) == 0 and abs(int(changed.max()) - 201) <= step / 16 + 1


def test_low_light_darkens_by_the_stated_amount_and_counts_photons():
    for severity in SEVERITIES:
        share = amount("low light", severity)
        dark = corrupt("low light", flat(200), severity).astype(float)
        photons = corruptions._PHOTONS * share * 200 / 255
        assert dark.mean() == pytest.approx(
            200 * np.sqrt(share), rel=5 / np.sqrt(photons * 48 * 48), abs=0.5
        )
        assert dark.std() == pytest.approx(
            np.hypot(dark.mean() / np.sqrt(photons), 12**-0.5), rel=0.1
        )


def test_over_exposure_is_a_factor_up_to_white(images):
    expected = np.minimum(images * amount("over-exposure", 3), 255)
    np.testing.assert_allclose(corrupt("over-exposure", images, 3), expected, atol=0.51)


def test_a_shadow_leaves_one_side_alone_and_the_other_its_share(images):
    sides = set()
    for picture in images:
        level = picture[0, 0] // 2 + 100  # so that the generators differ
        left, right = (
            corrupt("side shadow", flat(level), 3)[0, 20:28, at].mean() / level for at in (0, -1)
        )
        sides.add(left < right)
        assert max(left, right) > 0.95 and min(left, right) == pytest.approx(
            amount("side shadow", 3), abs=0.05
        )
    assert sides == {True, False}


def test_low_resolution_averages_what_is_too_fine():
    checkers = ((np.indices((48, 48)).sum(axis=0) % 2) * 255).astype(np.uint8)[None]
    assert np.ptp(corrupt("low resolution", checkers, 2)) <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_an_occlusion_covers_the_stated_share_with_one_level(severity):
    ramp = (
        np.indices((48, 48)).sum(axis=0).astype(np.uint8)[None]
        + np.arange(8, dtype=np.uint8)[:, None, None]
    )
    for before, after in zip(ramp, corrupt("occlusion", ramp, severity), strict=True):
        rows, columns = np.nonzero(before != after)
        inside = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert np.ptp(inside) == 0
        assert inside.size / 48**2 == pytest.approx(amount("occlusion", severity), abs=0.012)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_rotation_turns_the_picture_by_the_stated_angle(images, severity):
    y, x = np.indices((48, 48)) - 23.5
    near = np.hypot(x, y) < 20  # of the border
    for image, turned in zip(images[:4], corrupt("rotation", images[:4], severity), strict=True):
        angles = amount("rotation", severity) * np.array([-1, 1])
        oracles = [
            rotate(image.astype(float), angle, reshape=False, order=1, mode="nearest")
            for angle in angles
        ]
        assert min(np.abs(turned - oracle)[near].max() for oracle in oracles) < 6


@pytest.mark.parametrize("severity", SEVERITIES)
def test_an_off_centre_crop_shifts_by_the_stated_distance(severity):
    y, x = np.indices((48, 48))
    image = 100 * y + x
    for k in range(20):
        moved = corruptions._off_centre(
            image, amount("off-centre crop", severity), np.random.default_rng(k)
        )
        down, right = moved[24, 24] // 100 - 24, moved[24, 24] % 100 - 24
        assert np.hypot(down, right) == pytest.approx(amount("off-centre crop", severity), abs=0.75)


@pytest.mark.parametrize(
    ("name", "severity", "message"),
    [
        ("fog", 1, "unknown corruption 'fog': expected one of noise, defocus blur"),
        ("noise", 0, "severity must be 1, 2, 3, 4 or 5, received 0"),
        ("noise", 6, "received 6"),
    ],
)
def test_unknown_corruptions_and_severities_are_refused(images, name, severity, message):
    with pytest.raises(InputError, match=message):
        corrupt(name, images, severity)


def test_other_images_are_refused(images):
    with pytest.raises(InputError, match="uint8 grey levels"):
        corrupt("noise", images / 255, 1)
