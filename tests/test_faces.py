import importlib.util
import os
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_jax import faces, types
from fer_jax.errors import InputError
from fer_jax.faces import Box

ROOT = Path(__file__).resolve().parents[1]
SHEET = Path(os.environ.get("FER_SHARED", ROOT.parent / "shared")) / "data" / "fer2013" / "public_test.png"


@pytest.fixture(scope="module")
def detector():
    return faces.HaarDetector()


@pytest.fixture(scope="module")
def astronaut():
    data = pytest.importorskip("skimage.data", reason="scikit-image (a dev extra) brings the photograph")
    return cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (90, 120), np.uint8)


def test_face_size_is_the_networks():
    assert types.IMAGE_SIZE == faces.FACE_SIZE


@pytest.mark.parametrize("box", [Box(-20, -10, 60, 60), Box(80, 50, 70, 60), Box(0, 0, 1, 1), Box(-40, -55, 200, 200)])
def test_crop_repeats_the_border(noise, box):
    margin = 200
    padded = np.pad(noise, margin, mode="edge")
    inside = Box(box.x + margin, box.y + margin, box.w, box.h)
    np.testing.assert_array_equal(faces.crop(noise, box), faces.crop(padded, inside))


@pytest.mark.parametrize("box", [Box(300, 200, 100, 100), Box(310, 180, 60, 120), Box(301, 203, 31, 30)])
def test_crop_is_a_square_centred_on_the_box(box):
    """Over a ramp f(x, y) = x / 4 the mean of the crop is f(centre), and its range is that of the square's side."""
    ramp = np.tile((np.arange(800) / 4).astype(np.uint8), (600, 1))
    side = max(box.w, box.h) * faces.FRAME_PER_BOX
    for frame, centre in ((ramp, box.x + box.w / 2), (np.ascontiguousarray(ramp[:600, :600].T), box.y + box.h / 2)):
        face = faces.crop(frame, box).astype(float)
        assert face.mean() == pytest.approx((centre - 0.5) / 4, abs=0.6)  # -0.5: the pixel's centre; 0.6: whole pixels
        assert np.ptp(face) == pytest.approx(side / 4, abs=1.5)


def test_crop_is_grey_whatever_the_channels(noise):
    box = Box(30, 20, 50, 50)
    grey = faces.crop(noise, box)
    assert grey.shape == (48, 48) and grey.dtype == np.uint8
    for channels in (1, 3, 4):
        np.testing.assert_array_equal(faces.crop(np.dstack([noise] * channels), box), grey)


def test_crop_ignores_transparency(noise):
    colour = np.dstack([noise, noise[::-1], noise[:, ::-1]])
    box = Box(30, 20, 50, 50)
    for alpha in (0, 255):
        bgra = np.dstack([colour, np.full_like(noise, alpha)])
        np.testing.assert_array_equal(faces.crop(bgra, box), faces.crop(colour, box))


def test_crop_of_a_single_pixel_and_of_a_huge_frame():
    assert (faces.crop(np.full((1, 1), 77, np.uint8), Box(0, 0, 1, 1)) == 77).all()
    huge = np.zeros((3000, 4000), np.uint8)
    huge[:, 2000:] = 200
    face = faces.crop(huge, Box(500, 0, 3000, 3000))
    assert (face[:, :23] == 0).all() and (face[:, 25:] == 200).all()


@pytest.mark.parametrize("box", [Box(10, 10, 0, 5), Box(10, 10, 5, -1), Box(500, 10, 20, 20), Box(10, -90, 20, 20)])
def test_crop_refuses_a_box_without_a_face(noise, box):
    with pytest.raises(ValueError, match="120x90"):
        faces.crop(noise, box)


def test_largest():
    boxes = [Box(0, 0, 10, 10), Box(5, 5, 8, 20), Box(9, 9, 12, 12)]
    assert faces.largest(boxes) == boxes[1]
    assert faces.largest([]) is None


def test_detector_finds_the_face_and_only_it(detector, astronaut):
    ((x, y, w, h),) = detector(astronaut)
    assert x < 190 < 250 < x + w and y < 100 < 160 < y + h  # the eyes and the mouth of the photograph
    assert w < 150


@pytest.mark.parametrize("scale", [0.5, 3])
def test_detector_box_grows_with_the_picture(detector, astronaut, scale):
    before = np.array(faces.largest(detector(astronaut)))
    after = np.array(faces.largest(detector(cv2.resize(astronaut, None, fx=scale, fy=scale)))) / scale
    np.testing.assert_allclose(after, before, atol=0.1 * before[2])


def test_detector_agrees_on_grey_and_colour(detector, astronaut):
    assert detector(astronaut) == detector(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize("shape", [(1, 1), (480, 640, 3), (20, 3000), (2, 9000, 3)])
def test_detector_finds_nothing_on_a_wall(detector, shape):
    assert detector(np.full(shape, 128, np.uint8)) == []


def test_faces_in_gives_boxes_with_their_crops(astronaut):
    pair = np.hstack([astronaut, cv2.resize(astronaut, None, fx=0.6, fy=0.6)[[*range(307)] + [306] * 205]])
    found = faces.faces_in(pair)
    assert len(found) == 2 and found[0][0].x < 512 < found[1][0].x  # the larger one first
    for box, face in found:
        np.testing.assert_array_equal(face, faces.crop(pair, box))


def test_faces_in_takes_another_detector(noise):
    small, large = Box(0, 0, 10, 10), Box(20, 20, 40, 40)
    assert [box for box, _ in faces.faces_in(noise, lambda frame: [small, large])] == [large, small]


def test_framing_is_that_of_fer2013():
    """The face box that Haar finds in FER-2013's own frames, enlarged by our margin, is the frame again."""
    if not SHEET.is_file():
        pytest.skip(f"needs FER-2013: {SHEET} (set FER_SHARED)")
    sheet = cv2.imread(str(SHEET), cv2.IMREAD_UNCHANGED)[: 48 * 2]
    images = sheet.reshape(2, 48, -1, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48)[:100]
    spec = importlib.util.spec_from_file_location("fit", ROOT / "benchmarks" / "fit_haar_framing.py")
    fit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fit)
    boxes = fit.box_positions(images)
    assert len(boxes) > 50
    centre_x, centre_y, width = np.median(boxes, axis=0)
    assert (centre_x, centre_y) == pytest.approx((0.5, 0.5), abs=0.03)
    assert width * faces.FRAME_PER_BOX == pytest.approx(1, abs=0.06)


def test_read_image_keeps_grey_and_colour(tmp_path, noise):
    colour = np.dstack([noise, noise // 2, noise // 3])
    for name, image in (("grey.png", noise), ("colour.png", colour), ("name with späces.png", colour)):
        (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        np.testing.assert_array_equal(faces.read_image(tmp_path / name), image)


def test_read_image_drops_transparency_and_low_bits(tmp_path, noise):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.dstack([noise, noise // 2, noise // 3, noise]))
    np.testing.assert_array_equal(faces.read_image(path), np.dstack([noise, noise // 2, noise // 3]))
    cv2.imwrite(str(path), noise.astype(np.uint16) * 256 + 99)
    np.testing.assert_array_equal(faces.read_image(path), noise)


def test_read_image_turns_a_photograph_upright(tmp_path):
    lying = np.zeros((40, 60), np.uint8)
    lying[:, 50:] = 255
    jpeg = cv2.imencode(".jpg", lying)[1].tobytes()
    # one EXIF entry: tag 0x112 (orientation), a short, value 6: the camera was turned, show it rotated clockwise
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    upright = faces.read_image(path)
    assert upright.shape == (60, 40)
    assert upright[53:].mean() > 250 and upright[:47].mean() < 5


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_read_image_names_what_is_no_picture(tmp_path, content):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.png: must be a picture"):
        faces.read_image(path)


def test_read_image_names_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"missing\.png: cannot be read: No such file"):
        faces.read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        faces.read_image(tmp_path)


def test_face_files_round_trip(tmp_path, noise):
    face = noise[:48, :48]
    faces.write_face(tmp_path / "face.png", face)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "face.png"), cv2.IMREAD_UNCHANGED), face)
    assert faces.is_face_file(tmp_path / "face.png")
    assert [path.name for path in tmp_path.iterdir()] == ["face.png"]


@pytest.mark.parametrize(
    "image", [np.zeros((48, 49), np.uint8), np.zeros((48, 48, 3), np.uint8), np.zeros((48, 48), np.uint16)]
)
def test_other_pictures_are_no_face_files(tmp_path, image):
    cv2.imwrite(str(tmp_path / "image0.png"), image)
    assert not faces.is_face_file(tmp_path / "image0.png")


def test_missing_opencv_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match="pip install 'opencv-python"):
        faces.opencv()


def test_opencv_without_haar_is_said_in_one_line(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(InputError, match="no Haar detector"):
        faces.opencv()
