import copy
import hashlib
import importlib.util
import math
import pickle
import socket
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_jax import faces, types
from fer_jax.errors import InputError
from fer_jax.faces import Box, Face

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def detector():
    return faces.HaarDetector()


@pytest.fixture(scope="session")
def yunet_file(shared):
    path = shared / "models" / faces.YUNET_FILE
    if not path.is_file():
        pytest.skip(f"needs YuNet: {path} (set FER_SHARED)")
    return path


@pytest.fixture(scope="module")
def yunet(yunet_file):
    return faces.YuNetDetector(yunet_file)


@pytest.fixture(autouse=True)
def no_yunet_at_hand(monkeypatch, tmp_path):
    """Whatever the user's own environment and cache hold."""
    monkeypatch.delenv("FER_JAX_YUNET", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def astronaut():
    data = pytest.importorskip(
        "skimage.data", reason="scikit-image (a dev extra) brings the photograph"
    )
    return cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (90, 120), np.uint8)


def test_face_size_is_the_networks():
    assert types.IMAGE_SIZE == faces.FACE_SIZE


@pytest.mark.parametrize(
    "box", [Box(-20, -10, 60, 60), Box(80, 50, 70, 60), Box(0, 0, 1, 1), Box(-40, -55, 200, 200)]
)
def test_crop_repeats_the_border(noise, box):
    margin = 200
    padded = np.pad(noise, margin, mode="edge")
    inside = Box(box.x + margin, box.y + margin, box.w, box.h)
    np.testing.assert_array_equal(faces.crop(noise, box), faces.crop(padded, inside))


@pytest.mark.parametrize(
    "box", [Box(300, 200, 100, 100), Box(310, 180, 90, 90), Box(301, 203, 31, 31)]
)
def test_crop_is_a_square_centred_on_the_box(box):
    """Over a ramp f(x, y) = x / 4 the mean of the crop is f(centre), and its range is that of the
    square's side.
    """
    ramp = np.tile((np.arange(800) / 4).astype(np.uint8), (600, 1))
    side, down = box.w * faces.HAAR_FRAMING.side, box.w * faces.HAAR_FRAMING.down
    upright, turned = (
        (ramp, box.x + box.w / 2),
        (np.ascontiguousarray(ramp[:600, :600].T), box.y + box.h / 2 + down),
    )
    for frame, centre in (upright, turned):
        face = faces.crop(frame, box).astype(float)
        # the ramp was cut to whole numbers
        assert face.mean() == pytest.approx((centre - 0.5) / 4 - 0.375, abs=0.3)
        assert np.ptp(face) == pytest.approx(side / 4, abs=1.5)


def tilted(degrees: float, size: int, centre: tuple[int, int] = (200, 150)) -> Face:
    return Face(centre[0] - size // 2, centre[1] - size // 2, size, size, math.radians(degrees))


@pytest.mark.parametrize("degrees", [-40, 0, 15, 90])
@pytest.mark.parametrize("size", [30, 120])
def test_crop_levels_the_eyes(degrees, size):
    """A pattern drawn in the face's own coordinates and turned with it comes out as drawn, at its
    place and scale.
    """

    # in units of the frame's side, from its centre; smooth, so that no pixel is special
    def pattern(right, down):
        return 127 + 60 * np.sin(9 * right + 1) + 50 * np.cos(7 * down)

    face, framing = tilted(degrees, size), faces.YUNET_FRAMING
    y, x = np.mgrid[:300, :400] + 0.5
    cos, sin = math.cos(face.roll), math.sin(face.roll)
    right, down = (x - 200) * cos + (y - 150) * sin, (y - 150) * cos - (x - 200) * sin
    side = size * framing.side
    frame = pattern(right / side, (down - framing.down * size) / side).round().astype(np.uint8)
    across, along = np.meshgrid(*[(np.arange(48) + 0.5) / 48 - 0.5] * 2)
    difference = faces.crop(frame, face) - pattern(across, along)
    assert abs(difference).max() < 2.5
    assert abs(difference).mean() < 0.7


@pytest.mark.parametrize("degrees", [0, 20])
def test_crop_shrinks_without_aliasing(degrees):
    """Stripes far finer than a pixel of the crop become their mean, grey; plain bilinear sampling
    would show them.
    """
    y, x = np.mgrid[:1200, :1200]
    stripes = np.where((x + y) % 6 < 3, 40, 210).astype(np.uint8)
    crop = faces.crop(stripes, tilted(degrees, 700, (600, 600)))
    assert crop.std() < 6 and crop.mean() == pytest.approx(125, abs=2)
    naive = cv2.resize(stripes[100:1100, 100:1100], (48, 48), interpolation=cv2.INTER_LINEAR)
    assert naive.std() > 40


def test_crop_of_a_face_repeats_the_border(noise):
    face, moved = Face(-10, -5, 60, 70, 0.3), Face(90, 95, 60, 70, 0.3)
    np.testing.assert_array_equal(
        faces.crop(noise, face), faces.crop(np.pad(noise, 100, mode="edge"), moved)
    )


def test_a_face_is_its_box_and_survives_a_copy():
    face = tilted(10, 50)
    assert face == Box(*face) and len(face) == 4
    for twin in (copy.deepcopy(face), pickle.loads(pickle.dumps(face))):
        assert (twin, twin.roll, type(twin)) == (face, face.roll, Face)


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


@pytest.mark.parametrize(
    "box", [Box(10, 10, 0, 5), Box(10, 10, 5, -1), Box(500, 10, 20, 20), Box(10, -90, 20, 20)]
)
def test_crop_refuses_a_box_without_a_face(noise, box):
    with pytest.raises(ValueError, match="120x90"):
        faces.crop(noise, box)


def test_largest():
    boxes = [Box(0, 0, 10, 10), Box(5, 5, 8, 20), Box(9, 9, 12, 12)]
    assert faces.largest(boxes) == boxes[1]
    assert faces.largest([]) is None


def test_detector_finds_the_face_and_only_it(detector, astronaut):
    ((x, y, w, h),) = detector(astronaut)
    # the eyes and the mouth of the photograph
    assert x < 190 < 250 < x + w and y < 100 < 160 < y + h
    assert w < 150


@pytest.mark.parametrize("scale", [0.5, 3])
def test_detector_box_grows_with_the_picture(detector, astronaut, scale):
    before = np.array(faces.largest(detector(astronaut)))
    after = (
        np.array(faces.largest(detector(cv2.resize(astronaut, None, fx=scale, fy=scale)))) / scale
    )
    np.testing.assert_allclose(after, before, atol=0.1 * before[2])


def test_detector_agrees_on_grey_and_colour(detector, astronaut):
    assert detector(astronaut) == detector(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize("shape", [(1, 1), (480, 640, 3), (20, 3000), (2, 9000, 3)])
def test_detector_finds_nothing_on_a_wall(detector, shape):
    assert detector(np.full(shape, 128, np.uint8)) == []


def test_faces_in_gives_boxes_with_their_crops(astronaut):
    pair = np.hstack(
        [astronaut, cv2.resize(astronaut, None, fx=0.6, fy=0.6)[[*range(307)] + [306] * 205]]
    )
    found = faces.faces_in(pair)
    assert len(found) == 2 and found[0][0].x < 512 < found[1][0].x  # the larger one first
    for box, face in found:
        np.testing.assert_array_equal(face, faces.crop(pair, box))


def test_faces_in_takes_another_detector(noise):
    small, large = Box(0, 0, 10, 10), Box(20, 20, 40, 40)
    assert [box for box, _ in faces.faces_in(noise, lambda frame: [small, large])] == [large, small]


@pytest.fixture(scope="module")
def some_fer_images(shared):
    """The first sixty rows of PublicTest: not those that the framing was fitted to."""
    path = shared / "data" / "fer2013" / "public_test.png"
    if not path.is_file():
        pytest.skip(f"needs FER-2013: {path} (set FER_SHARED)")
    sheet = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[: 48 * 2]
    return sheet.reshape(2, 48, -1, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48)[:60]


@pytest.mark.parametrize(
    ("name", "framing", "found"),
    [("detector", faces.HAAR_FRAMING, 30), ("yunet", faces.YUNET_FRAMING, 54)],
)
def test_framing_is_that_of_fer2013(some_fer_images, request, name, framing, found):
    """The frame that `crop` puts around a face found in FER-2013's own frames is that frame again."""
    spec = importlib.util.spec_from_file_location("fit", ROOT / "benchmarks" / "fit_framing.py")
    fit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fit)
    rows = fit.framings(some_fer_images, request.getfixturevalue(name))
    assert len(rows) > found
    side, down, right, *_ = np.median(rows, axis=0)
    assert framing.side == pytest.approx(side, rel=0.06)
    assert (framing.down, 0) == pytest.approx((down, right), abs=0.04)


def test_yunet_finds_the_face_and_only_it(yunet, astronaut):
    (face,) = yunet(astronaut)
    assert (
        face.x < 190 < 250 < face.x + face.w
        and face.y < 100 < 160 < face.y + face.h
        and face.w < 110
    )
    assert abs(math.degrees(face.roll)) < 10


def test_yunet_sees_most_of_a_tilt(yunet, astronaut):
    """Her head leans a little in the photograph itself: what counts is the difference."""
    rolls = []
    for degrees in (-20, 20):
        turn = cv2.getRotationMatrix2D((224, 118), -degrees, 1)
        face = faces.largest(
            yunet(cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE))
        )
        assert isinstance(face, Face)
        rolls.append(math.degrees(face.roll))
    assert 0.6 * 40 < rolls[1] - rolls[0] < 1.1 * 40


@pytest.mark.parametrize("scale", [0.2, 4])
def test_yunet_box_grows_with_the_picture(yunet, astronaut, scale):
    before = np.array(yunet(astronaut)[0])
    after = (
        np.array(
            yunet(cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))[0]
        )
        / scale
    )
    np.testing.assert_allclose(after, before, atol=0.2 * before[2])


def test_yunet_takes_grey_colour_and_transparency(yunet, astronaut):
    assert yunet(cv2.cvtColor(astronaut, cv2.COLOR_BGR2BGRA)) == yunet(astronaut)
    grey = cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY)
    assert yunet(grey) == yunet(grey[..., None]) == yunet(np.dstack([grey] * 3)) != []


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 480), (480, 640, 3), (20, 3000), (2, 9000, 3), (9000, 12), (33, 480)]
)
def test_yunet_finds_nothing_on_a_wall(yunet, shape):
    assert yunet(np.full(shape, 128, np.uint8)) == []


def test_yunet_leaves_out_faces_that_are_more_out_than_in(yunet, astronaut):
    """`crop` refuses a box whose centre is out of the frame, and no frame of a stream may end it."""
    for edge in range(180, 280, 10):
        part = np.ascontiguousarray(astronaut[:, edge:])
        for box in yunet(part):
            assert faces.crop(part, box).shape == (48, 48)


def test_detector_by_name(yunet_file, monkeypatch):
    # nothing at hand, and nothing is fetched
    assert isinstance(faces.detector(), faces.HaarDetector)
    assert isinstance(faces.detector("haar"), faces.HaarDetector)
    for kind in ("auto", "yunet"):
        assert isinstance(faces.detector(kind, yunet_file), faces.YuNetDetector)
    monkeypatch.setenv("FER_JAX_YUNET", str(yunet_file))
    assert isinstance(faces.detector(), faces.YuNetDetector)
    assert isinstance(faces.detector("haar"), faces.HaarDetector)


def test_detector_takes_the_cached_file(yunet_file, tmp_path):
    cached = tmp_path / "cache" / "fer_jax" / faces.YUNET_FILE
    cached.parent.mkdir(parents=True)
    cached.write_bytes(yunet_file.read_bytes())
    assert isinstance(faces.detector(), faces.YuNetDetector)


def test_detector_fetches_yunet_only_when_asked(monkeypatch, yunet_file, tmp_path):
    monkeypatch.setattr(faces.fetch_yunet, "__defaults__", (yunet_file.as_uri(),))
    assert isinstance(faces.detector("auto"), faces.HaarDetector)
    assert isinstance(faces.detector("yunet"), faces.YuNetDetector)
    assert isinstance(faces.detector("auto"), faces.YuNetDetector)  # it is in the cache now


def test_haar_takes_no_file(tmp_path):
    with pytest.raises(InputError, match=r"mine\.onnx: .* not with Haar"):
        faces.detector("haar", tmp_path / "mine.onnx")


@pytest.mark.parametrize("content", [b"", b"an onnx file of somebody else", b"x" * 2_000_000])
def test_another_file_is_refused_before_opencv_sees_it(tmp_path, monkeypatch, content):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    monkeypatch.delattr(cv2, "FaceDetectorYN")
    with pytest.raises(
        InputError,
        match=r"yunet\.onnx: must be OpenCV Zoo's .*sha256 8f2383e4dd3cfbb4\.\.\., got \w{16}",
    ):
        faces.detector("auto", path)


def test_a_missing_yunet_file_is_said_in_one_line(tmp_path, monkeypatch):
    for kind in ("auto", "yunet"):
        with pytest.raises(InputError, match=r"gone\.onnx: cannot be read: No such file"):
            faces.detector(kind, tmp_path / "gone.onnx")
    monkeypatch.setenv("FER_JAX_YUNET", str(tmp_path / "gone.onnx"))
    with pytest.raises(InputError, match=r"gone\.onnx: cannot be read"):
        faces.detector()


def test_fetch_installs_only_what_has_the_checksum(tmp_path, monkeypatch):
    source, target = tmp_path / "source.onnx", tmp_path / "new" / "yunet.onnx"
    source.write_bytes(b"a page that says: not found")
    with pytest.raises(InputError, match=r"source\.onnx: must be OpenCV Zoo's"):
        faces.fetch_yunet(target, source.as_uri())
    assert not target.exists() and list(tmp_path.rglob("*.onnx")) == [source]
    monkeypatch.setattr(faces, "YUNET_SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    assert faces.fetch_yunet(target, source.as_uri()) == target
    assert target.read_bytes() == source.read_bytes()


def test_fetch_says_in_one_line_why_not(tmp_path):
    with socket.socket() as nobody:  # bound, but it answers no call
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/yunet.onnx"
        with pytest.raises(
            InputError, match=r"YuNet's file cannot be fetched: .*; try --detector haar$"
        ):
            faces.fetch_yunet(tmp_path / "yunet.onnx", url)
    assert list(tmp_path.iterdir()) == []


def test_read_image_keeps_grey_and_colour(tmp_path, noise):
    colour = np.dstack([noise, noise // 2, noise // 3])
    for name, image in (
        ("grey.png", noise),
        ("colour.png", colour),
        ("name with späces.png", colour),
    ):
        (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        np.testing.assert_array_equal(faces.read_image(tmp_path / name), image)


def test_read_image_drops_transparency_and_low_bits(tmp_path, noise):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.dstack([noise, noise // 2, noise // 3, noise]))
    np.testing.assert_array_equal(
        faces.read_image(path), np.dstack([noise, noise // 2, noise // 3])
    )
    cv2.imwrite(str(path), noise.astype(np.uint16) * 256 + 99)
    np.testing.assert_array_equal(faces.read_image(path), noise)


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
    upright = faces.read_image(path)
    assert upright.shape == (60, 40)
    assert upright[53:].mean() > 250 and upright[:47].mean() < 5


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(faces, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(faces, "MAX_JPEG_PIXELS", 40_000)


def test_read_image_halves_a_large_photograph_but_not_where_its_pixels_count(
    tmp_path, small_limits, noise
):
    large = cv2.resize(noise, (240, 160), interpolation=cv2.INTER_LINEAR)
    colour = np.dstack([large, large // 2, large // 3])
    for picture in (large, colour):
        path = tmp_path / "photo.jpg"
        path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
        halved, whole = (
            faces.read_image(path),
            np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_ANYCOLOR)),
        )
        with pytest.raises(InputError, match=r"at most 10,000 pixels here, received 240x160$"):
            faces.read_image(path, full_size=True)
        assert whole.shape == picture.shape and halved.shape == (80, 120, *picture.shape[2:])
        expected = cv2.resize(whole, (120, 80), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(halved - expected).mean() < 4
    png = tmp_path / "photo.png"
    png.write_bytes(cv2.imencode(".png", large)[1].tobytes())
    assert faces.read_image(png).shape == large.shape  # what is too large here, OpenCV refuses


def test_a_large_photograph_is_upright_when_it_is_halved(tmp_path, small_limits):
    lying = np.zeros((160, 240), np.uint8)
    lying[:, 200:] = 255
    path = tmp_path / "phone.jpg"
    path.write_bytes(turned(cv2.imencode(".jpg", lying)[1].tobytes()))
    upright = faces.read_image(path)
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
            faces.read_image(path)
    with pytest.raises(
        InputError,
        match=r"bomb\.jpg: a JPEG must have at most 67,108,864 pixels here, received 16320x12240",
    ):
        faces.read_image(path, full_size=True)


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
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / "face.png"), cv2.IMREAD_UNCHANGED), face
    )
    assert faces.is_face_file(tmp_path / "face.png")
    assert [path.name for path in tmp_path.iterdir()] == ["face.png"]


@pytest.mark.parametrize(
    "image",
    [np.zeros((48, 49), np.uint8), np.zeros((48, 48, 3), np.uint8), np.zeros((48, 48), np.uint16)],
)
def test_other_pictures_are_no_face_files(tmp_path, image):
    cv2.imwrite(str(tmp_path / "image0.png"), image)
    assert not faces.is_face_file(tmp_path / "image0.png")


def test_missing_opencv_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match="pip install 'opencv-python"):
        faces.opencv()


@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0"])
def test_a_missing_system_library_is_said_in_one_line(monkeypatch, tmp_path, library):
    error = f"{library}: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({error!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2")
    with pytest.raises(
        InputError, match=rf"install the system's {library} .*apt install libgl1 libglib2\.0-0\)"
    ):
        faces.opencv()


def test_opencv_without_haar_is_said_in_one_line(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    assert faces.opencv() is cv2  # which all else can do with
    with pytest.raises(InputError, match="no Haar detector"):
        faces.HaarDetector()
