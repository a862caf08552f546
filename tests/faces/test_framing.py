import math

import cv2
import numpy as np
import pytest

from fer_jax.faces.framing import HAAR_FRAMING, YUNET_FRAMING, Face, crop, largest


@pytest.mark.parametrize(
    "box",
    [Face(-20, -10, 60, 60), Face(80, 50, 70, 60), Face(0, 0, 1, 1), Face(-40, -55, 200, 200)],
)
def test_crop_repeats_the_border(noise, box):
    margin = 200
    padded = np.pad(noise, margin, mode="edge")
    inside = Face(box.x + margin, box.y + margin, box.w, box.h)
    np.testing.assert_array_equal(crop(noise, box), crop(padded, inside))


@pytest.mark.parametrize(
    "box", [Face(300, 200, 100, 100), Face(310, 180, 90, 90), Face(301, 203, 31, 31)]
)
def test_crop_is_a_square_centred_on_the_box(box):
    """Over a ramp f(x, y) = x / 4 the mean of the crop is f(centre), and its range is that of the
    square's side.
    """
    ramp = np.tile((np.arange(800) / 4).astype(np.uint8), (600, 1))
    side, down = box.w * HAAR_FRAMING.side, box.w * HAAR_FRAMING.down
    upright = (ramp, box.x + box.w / 2)
    turned = (np.ascontiguousarray(ramp[:600, :600].T), box.y + box.h / 2 + down)
    for frame, centre in (upright, turned):
        face = crop(frame, box).astype(float)
        # the ramp was cut to whole numbers
        assert face.mean() == pytest.approx((centre - 0.5) / 4 - 0.375, abs=0.3)
        assert np.ptp(face) == pytest.approx(side / 4, abs=1.5)


def tilted(degrees: float, size: int, centre: tuple[int, int] = (200, 150)) -> Face:
    x, y = centre[0] - size // 2, centre[1] - size // 2
    return Face(x, y, size, size, math.radians(degrees), YUNET_FRAMING)


@pytest.mark.parametrize("degrees", [-40, 0, 15, 90])
@pytest.mark.parametrize("size", [30, 120])
def test_crop_levels_the_eyes(degrees, size):
    """A pattern drawn in the face's own coordinates and turned with it comes out as drawn, at its
    place and scale.
    """

    # in units of the frame's side, from its centre; smooth, so that no pixel is special
    def pattern(right, down):
        return 127 + 60 * np.sin(9 * right + 1) + 50 * np.cos(7 * down)

    face, framing = tilted(degrees, size), YUNET_FRAMING
    y, x = np.mgrid[:300, :400] + 0.5
    cos, sin = math.cos(face.roll), math.sin(face.roll)
    right, down = (x - 200) * cos + (y - 150) * sin, (y - 150) * cos - (x - 200) * sin
    side = size * framing.side
    frame = pattern(right / side, (down - framing.down * size) / side).round().astype(np.uint8)
    across, along = np.meshgrid(*[(np.arange(48) + 0.5) / 48 - 0.5] * 2)
    difference = crop(frame, face) - pattern(across, along)
    assert abs(difference).max() < 2.5
    assert abs(difference).mean() < 0.7


@pytest.mark.parametrize("degrees", [0, 20])
def test_crop_shrinks_without_aliasing(degrees):
    """Stripes far finer than a pixel of the crop become their mean, grey; plain bilinear sampling
    would show them.
    """
    y, x = np.mgrid[:1200, :1200]
    stripes = np.where((x + y) % 6 < 3, 40, 210).astype(np.uint8)
    cropped = crop(stripes, tilted(degrees, 700, (600, 600)))
    assert cropped.std() < 6 and cropped.mean() == pytest.approx(125, abs=2)
    naive = cv2.resize(stripes[100:1100, 100:1100], (48, 48), interpolation=cv2.INTER_LINEAR)
    assert naive.std() > 40


def test_crop_of_a_face_repeats_the_border(noise):
    face = Face(-10, -5, 60, 70, 0.3, YUNET_FRAMING)
    moved = face._replace(x=90, y=95)
    np.testing.assert_array_equal(crop(noise, face), crop(np.pad(noise, 100, mode="edge"), moved))


def test_crop_is_grey_whatever_the_channels(noise):
    box = Face(30, 20, 50, 50)
    grey = crop(noise, box)
    assert grey.shape == (48, 48) and grey.dtype == np.uint8
    for channels in (1, 3, 4):
        np.testing.assert_array_equal(crop(np.dstack([noise] * channels), box), grey)


def test_crop_ignores_transparency(noise):
    colour = np.dstack([noise, noise[::-1], noise[:, ::-1]])
    box = Face(30, 20, 50, 50)
    for alpha in (0, 255):
        bgra = np.dstack([colour, np.full_like(noise, alpha)])
        np.testing.assert_array_equal(crop(bgra, box), crop(colour, box))


def test_crop_of_a_single_pixel_and_of_a_huge_frame():
    assert (crop(np.full((1, 1), 77, np.uint8), Face(0, 0, 1, 1)) == 77).all()
    huge = np.zeros((3000, 4000), np.uint8)
    huge[:, 2000:] = 200
    face = crop(huge, Face(500, 0, 3000, 3000))
    assert (face[:, :23] == 0).all() and (face[:, 25:] == 200).all()


@pytest.mark.parametrize(
    "box", [Face(10, 10, 0, 5), Face(10, 10, 5, -1), Face(500, 10, 20, 20), Face(10, -90, 20, 20)]
)
def test_crop_refuses_a_box_without_a_face(noise, box):
    with pytest.raises(ValueError, match="120x90"):
        crop(noise, box)


def test_largest():
    boxes = [Face(0, 0, 10, 10), Face(5, 5, 8, 20), Face(9, 9, 12, 12)]
    assert largest(boxes) == boxes[1]
    assert largest([]) is None
