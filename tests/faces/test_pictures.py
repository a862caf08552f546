import struct
import sys

import cv2
import numpy as np
import pytest

from fer_jax import types
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.faces.pictures import read_image


def test_face_size_is_the_networks():
    assert types.IMAGE_SIZE == pictures.FACE_SIZE


def test_read_image_keeps_grey_and_colour(tmp_path, noise):
    colour = np.dstack([noise, noise // 2, noise // 3])
    for name, image in (
        ("grey.png", noise),
        ("colour.png", colour),
        ("name with späces.png", colour),
    ):
        (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        np.testing.assert_array_equal(read_image(tmp_path / name), image)


def test_read_image_drops_transparency_and_low_bits(tmp_path, noise):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.dstack([noise, noise // 2, noise // 3, noise]))
    np.testing.assert_array_equal(read_image(path), np.dstack([noise, noise // 2, noise // 3]))
    cv2.imwrite(str(path), noise.astype(np.uint16) * 256 + 99)
    np.testing.assert_array_equal(read_image(path), noise)


def turned(jpeg):
    """With one EXIF entry: tag 0x112 (orientation), a short, value 6: the camera was turned, show
    it rotated clockwise.
    """
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_read_image_turns_a_photograph_upright(tmp_path):
    lying = np.zeros((40, 60), np.uint8)
    lying[:, 50:] = 255
    path = tmp_path / "phone.jpg"
    path.write_bytes(turned(cv2.imencode(".jpg", lying)[1].tobytes()))
    upright = read_image(path)
    assert upright.shape == (60, 40)
    assert upright[53:].mean() > 250 and upright[:47].mean() < 5


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(pictures, "MAX_JPEG_PIXELS", 40_000)


def test_read_image_halves_a_large_photograph_but_not_where_its_pixels_count(
    tmp_path, small_limits, noise
):
    large = cv2.resize(noise, (240, 160), interpolation=cv2.INTER_LINEAR)
    colour = np.dstack([large, large // 2, large // 3])
    for picture in (large, colour):
        path = tmp_path / "photo.jpg"
        path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
        halved, whole = (
            read_image(path),
            np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_ANYCOLOR)),
        )
        with pytest.raises(InputError, match=r"at most 10,000 pixels here, received 240x160$"):
            read_image(path, full_size=True)
        assert whole.shape == picture.shape and halved.shape == (80, 120, *picture.shape[2:])
        expected = cv2.resize(whole, (120, 80), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(halved - expected).mean() < 4
    png = tmp_path / "photo.png"
    png.write_bytes(cv2.imencode(".png", large)[1].tobytes())
    assert read_image(png).shape == large.shape  # what is too large here, OpenCV refuses


def test_a_large_photograph_is_upright_when_it_is_halved(tmp_path, small_limits):
    lying = np.zeros((160, 240), np.uint8)
    lying[:, 200:] = 255
    path = tmp_path / "phone.jpg"
    path.write_bytes(turned(cv2.imencode(".jpg", lying)[1].tobytes()))
    upright = read_image(path)
    assert upright.shape == (120, 80)
    assert upright[106:].mean() > 245 and upright[:94].mean() < 10


def test_a_jpeg_that_claims_too_much_is_refused_before_it_is_decoded(tmp_path, noise):
    path, jpeg = tmp_path / "bomb.jpg", cv2.imencode(".jpg", noise)[1].tobytes()
    at = jpeg.index(b"\xff\xc0") + 5
    for size, match in (
        (
            (60_000, 60_000),
            "a JPEG must have at most 268,435,456 pixels here, received 60000x60000$",
        ),
        ((12_240, 16_320), "bytes are too few for the 16320x12240 pixels that they claim$"),
    ):
        path.write_bytes(jpeg[:at] + struct.pack(">HH", *size) + jpeg[at + 4 :])
        with pytest.raises(InputError, match=rf"bomb\.jpg: .*{match}"):
            read_image(path)
    with pytest.raises(
        InputError,
        match=r"bomb\.jpg: a JPEG must have at most 67,108,864 pixels here, received 16320x12240",
    ):
        read_image(path, full_size=True)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_read_image_names_what_is_no_picture(tmp_path, content):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.png: must be a picture"):
        read_image(path)


def test_read_image_names_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"missing\.png: cannot be read: No such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_image(tmp_path)


def test_png_files_round_trip(tmp_path, noise):
    face = noise[:48, :48]
    pictures.write_png(tmp_path / "face.png", face)
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / "face.png"), cv2.IMREAD_UNCHANGED), face
    )
    assert [path.name for path in tmp_path.iterdir()] == ["face.png"]


def test_missing_opencv_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match="pip install 'opencv-python"):
        pictures.opencv()


@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0"])
def test_a_missing_system_library_is_said_in_one_line(monkeypatch, tmp_path, library):
    error = f"{library}: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({error!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2")
    with pytest.raises(
        InputError, match=rf"install the system's {library} .*apt install libgl1 libglib2\.0-0\)"
    ):
        pictures.opencv()
