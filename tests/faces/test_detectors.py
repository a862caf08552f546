import hashlib
import math
import socket

import cv2
import numpy as np
import pytest

from fer_jax import faces, runtime
from fer_jax.errors import InputError
from fer_jax.faces import Face, HaarDetector, YuNetDetector, detectors, faces_in
from fer_jax.faces.framing import HAAR_FRAMING, YUNET_FRAMING


@pytest.fixture(scope="module")
def detector():
    return HaarDetector()


@pytest.fixture(scope="module")
def yunet(yunet_file):
    return YuNetDetector(yunet_file)


@pytest.fixture(scope="module")
def astronaut():
    data = pytest.importorskip(
        "skimage.data", reason="scikit-image (a dev extra) brings the photograph"
    )
    return cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)


def test_detector_finds_the_face_and_only_it(detector, astronaut):
    ((x, y, w, h, *_),) = detector(astronaut)
    # the eyes and the mouth of the photograph
    assert x < 190 < 250 < x + w and y < 100 < 160 < y + h
    assert w < 150


@pytest.mark.parametrize("scale", [0.5, 3])
def test_detector_box_grows_with_the_picture(detector, astronaut, scale):
    before = np.array(faces.largest(detector(astronaut))[:4])
    scaled = cv2.resize(astronaut, None, fx=scale, fy=scale)
    after = np.array(faces.largest(detector(scaled))[:4]) / scale
    np.testing.assert_allclose(after, before, atol=0.1 * before[2])


def test_detector_agrees_on_grey_and_colour(detector, astronaut):
    assert detector(astronaut) == detector(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize("shape", [(1, 1), (480, 640, 3), (20, 3000), (2, 9000, 3)])
def test_detector_finds_nothing_on_a_wall(detector, shape):
    assert detector(np.full(shape, 128, np.uint8)) == []


def test_faces_in_gives_boxes_with_their_crops(detector, astronaut):
    pair = np.hstack(
        [astronaut, cv2.resize(astronaut, None, fx=0.6, fy=0.6)[[*range(307)] + [306] * 205]]
    )
    found = faces_in(pair, detector)
    assert len(found) == 2 and found[0][0].x < 512 < found[1][0].x  # the larger one first
    for box, face in found:
        np.testing.assert_array_equal(face, faces.crop(pair, box))


def test_faces_in_sorts_what_a_detector_finds(noise):
    small, large = Face(0, 0, 10, 10), Face(20, 20, 40, 40)
    assert [box for box, _ in faces_in(noise, lambda frame: [small, large])] == [large, small]


@pytest.fixture(scope="module")
def some_fer_images(shared):
    """The first sixty rows of PublicTest: not those that the framing was fitted to."""
    path = shared / "data" / "fer2013" / "public_test.png"
    if not path.is_file():
        pytest.skip(f"needs FER-2013: {path} (set FER_SHARED)")
    sheet = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[: 48 * 2]
    return sheet.reshape(2, 48, -1, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48)[:60]


@pytest.mark.parametrize(
    ("name", "framing", "found"), [("detector", HAAR_FRAMING, 30), ("yunet", YUNET_FRAMING, 54)]
)
def test_framing_is_that_of_fer2013(some_fer_images, load_script, request, name, framing, found):
    """The frame that `crop` puts around a face found in FER-2013's frames is that frame again."""
    fit = load_script("benchmarks/fit_framing.py")
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
        size, border = (512, 512), cv2.BORDER_REPLICATE
        face = faces.largest(yunet(cv2.warpAffine(astronaut, turn, size, borderMode=border)))
        assert face is not None
        rolls.append(math.degrees(face.roll))
    assert 0.6 * 40 < rolls[1] - rolls[0] < 1.1 * 40


@pytest.mark.parametrize("scale", [0.2, 4])
def test_yunet_box_grows_with_the_picture(yunet, astronaut, scale):
    before = np.array(yunet(astronaut)[0][:4])
    scaled = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    after = np.array(yunet(scaled)[0][:4]) / scale
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
    """`crop` refuses a box whose centre is out of the frame, and no frame may end a stream."""
    for edge in range(180, 280, 10):
        part = np.ascontiguousarray(astronaut[:, edge:])
        for box in yunet(part):
            assert faces.crop(part, box).shape == (48, 48)


def test_detector_by_name(yunet_file, monkeypatch):
    # nothing at hand, and nothing is fetched
    assert isinstance(detectors.detector(), HaarDetector)
    assert isinstance(detectors.detector("haar"), HaarDetector)
    for kind in ("auto", "yunet"):
        assert isinstance(detectors.detector(kind, yunet_file), YuNetDetector)
    monkeypatch.setenv("FER_JAX_YUNET", str(yunet_file))
    assert isinstance(detectors.detector(), YuNetDetector)
    assert isinstance(detectors.detector("haar"), HaarDetector)


def test_detector_takes_the_cached_file(yunet_file):
    cached = runtime.cache_folder() / faces.YUNET_FILE
    cached.parent.mkdir(parents=True)
    cached.write_bytes(yunet_file.read_bytes())
    assert isinstance(detectors.detector(), YuNetDetector)


def test_detector_fetches_yunet_only_when_asked(monkeypatch, yunet_file):
    monkeypatch.setattr(detectors.fetch_yunet, "__defaults__", (yunet_file.as_uri(),))
    assert isinstance(detectors.detector("auto"), HaarDetector)
    assert isinstance(detectors.detector("yunet"), YuNetDetector)
    assert isinstance(detectors.detector("auto"), YuNetDetector)  # it is in the cache now


def test_haar_takes_no_file(tmp_path):
    with pytest.raises(InputError, match=r"mine\.onnx: .* not with Haar"):
        detectors.detector("haar", tmp_path / "mine.onnx")


@pytest.mark.parametrize("content", [b"", b"an onnx file of somebody else", b"x" * 2_000_000])
def test_another_file_is_refused_before_opencv_sees_it(tmp_path, monkeypatch, content):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    monkeypatch.delattr(cv2, "FaceDetectorYN")
    with pytest.raises(
        InputError,
        match=r"yunet\.onnx: must be OpenCV Zoo's .*sha256 8f2383e4dd3cfbb4\.\.\., got \w{16}",
    ):
        detectors.detector("auto", path)


def test_a_missing_yunet_file_is_said_in_one_line(tmp_path, monkeypatch):
    for kind in ("auto", "yunet"):
        with pytest.raises(InputError, match=r"gone\.onnx: cannot be read: No such file"):
            detectors.detector(kind, tmp_path / "gone.onnx")
    monkeypatch.setenv("FER_JAX_YUNET", str(tmp_path / "gone.onnx"))
    with pytest.raises(InputError, match=r"gone\.onnx: cannot be read"):
        detectors.detector()


def test_fetch_installs_only_what_has_the_checksum(tmp_path, monkeypatch):
    source, target = tmp_path / "source.onnx", tmp_path / "new" / "yunet.onnx"
    source.write_bytes(b"a page that says: not found")
    with pytest.raises(InputError, match=r"source\.onnx: must be OpenCV Zoo's"):
        detectors.fetch_yunet(target, source.as_uri())
    assert not target.exists() and list(tmp_path.rglob("*.onnx")) == [source]
    monkeypatch.setattr(detectors, "YUNET_SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    assert detectors.fetch_yunet(target, source.as_uri()) == target
    assert target.read_bytes() == source.read_bytes()


def test_fetch_says_in_one_line_why_not(tmp_path):
    with socket.socket() as nobody:  # bound, but it answers no call
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/yunet.onnx"
        with pytest.raises(
            InputError, match=r"YuNet's file cannot be fetched: .*; try --detector haar$"
        ):
            detectors.fetch_yunet(tmp_path / "yunet.onnx", url)
    assert list(tmp_path.iterdir()) == []


def test_opencv_without_haar_is_said_in_one_line(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    assert faces.opencv() is cv2  # which all else can do with
    with pytest.raises(InputError, match="no Haar detector"):
        HaarDetector()
