"""Find faces in pictures and cut them as FER-2013 was cut: 48x48, grey, the face filling the frame.

    image = faces.read_image("holiday.jpg")
    for box, face in faces.faces_in(image, faces.detector()):
        predictor(face[None])

OpenCV is imported on first use: training runs without it.
"""

import argparse
import hashlib
import http.client
import math
import os
import re
import struct
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from fer_jax import files, runtime
from fer_jax.errors import InputError
from fer_jax.faces.pictures import FACE_SIZE, MAX_PIXELS, PNG, claimed_size, opencv, png_chunks_fit

# of a photograph that is halved as it is decoded; telephones take 200 million
MAX_JPEG_PIXELS = 4 * MAX_PIXELS
# at most, of such a photograph: usual are 2 to 10, and a plain black one has 85
_PIXELS_PER_BYTE = 128
# of a progressive JPEG: about 10 are usual, and each of thousands may cost a pass over all pixels
MAX_SCANS = 64

# YuNet (Wu, Peng, Yu: "YuNet: a tiny millisecond-level face detector", 2023) as OpenCV Zoo
# publishes it.
YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_URL = (
    f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{YUNET_FILE}"
)
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_VARIABLE = "FER_JAX_YUNET"

# Detection runs on a copy with this longer side, in pixels: a smaller one loses the small faces of
# a group, and a larger one costs more time than it finds faces (`python benchmarks/detectors.py`
# measures both).
DETECTION_SIDE = 480

# The header of a JPEG scan of 1 to 4 components: marker, length, count (ITU T.81, B.2.3).
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

DETECTORS = ("auto", "haar", "yunet")
_SMALLEST = 10  # pixels of YuNet's smallest faces
# pixels of the square that YuNet sees at its second look, and its side in boxes
_CLOSER_SIDE, _CLOSER_BOXES = 256, 1.5
_MAX_MODEL = 1 << 20  # bytes; YuNet's file has 232,589

Frame = np.ndarray  # uint8 [H, W] grey, [H, W, 3] BGR or [H, W, 4] BGRA


class Box(NamedTuple):
    """A rectangle in pixels: its upper left corner and its size."""

    x: int
    y: int
    w: int
    h: int


class Face(Box):
    """The box of a face whose tilt is known: `crop` levels its eyes. In all else (unpacking,
    comparing) it is its box.

    Attributes:
        roll: how far the head is tilted, in radians, clockwise as seen; 0 is upright.
    """

    roll: float

    def __new__(cls, x: int, y: int, w: int, h: int, roll: float) -> Self:
        face = super().__new__(cls, x, y, w, h)
        face.roll = roll
        return face

    def __getnewargs__(self) -> tuple:
        return (*self, self.roll)  # for copies and other processes


Detector = Callable[[Frame], Sequence[Box]]


class Framing(NamedTuple):
    """FER-2013's frame in units of the shorter side of a detector's box (YuNet's boxes vary most in
    their height).

    The medians that `python benchmarks/fit_framing.py` measures on 821 training images, enlarged
    four times with a replicated border: Haar finds a face in 582 of them, YuNet in 776. Sideways
    the median is 0 for both.
    """

    side: float  # of the frame
    down: float  # from the centre of the box to that of the frame, along the face


HAAR_FRAMING = Framing(side=1.04, down=0.01)
YUNET_FRAMING = Framing(side=1.30, down=0.025)


class HaarDetector:
    """OpenCV's frontal-face cascade: fast, but blind to profiles and to heads tilted by more than
    about 15 degrees.

    Of the cascades that OpenCV ships, `alt2` raises the fewest false alarms at equal speed and
    recall; `default` takes a space shuttle for a face larger than the astronaut's.
    """

    name = "Haar"

    def __init__(self) -> None:
        cv2 = opencv()
        if not hasattr(cv2, "CascadeClassifier"):  # OpenCV 5 dropped it, and the cascades
            raise InputError(
                f"OpenCV {cv2.__version__} has no Haar detector: pip install 'opencv-python>=4.10,<5'"
            )
        self._cascade = cv2.CascadeClassifier(
            cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml"
        )

    def __call__(self, frame: Frame) -> list[Box]:
        """The faces in `frame`, largest first, in its own pixels; at least 24 pixels wide in the
        detection copy.
        """
        small, shrink = _detection_copy(_grey(frame))
        equal = opencv().equalizeHist(small)
        found = self._cascade.detectMultiScale(
            equal, scaleFactor=1.1, minNeighbors=5, minSize=(24, 24)
        )
        boxes = [Box(*(round(float(value) * shrink) for value in rectangle)) for rectangle in found]
        return sorted(boxes, key=_area, reverse=True)


class YuNetDetector:
    """OpenCV Zoo's YuNet: finds turned and tilted faces too, and their tilt. One thread at a time
    may call it.

    A score of 0.6 finds 776 of 821 of FER-2013's training faces (`benchmarks/fit_framing.py`);
    OpenCV's 0.9 misses many of them. Of boxes that overlap (over union) by more than 0.3, OpenCV's
    value, one stays.

    Its landmarks follow the tilt of a large face only: those of a small one stay nearly level. So
    each face gets a second look, at `_CLOSER_SIDE`.
    """

    name = "YuNet"
    SCORE = 0.6
    OVERLAP = 0.3

    def __init__(self, model: Path) -> None:
        """Load OpenCV Zoo's file.

        Raises:
            InputError: it cannot be read, or is another file: nothing else is shown to OpenCV's
                parser.
        """
        content = np.frombuffer(_checked(_read(model), model), np.uint8)
        nothing, size = np.empty(0, np.uint8), (DETECTION_SIDE, DETECTION_SIDE)
        create = opencv().FaceDetectorYN.create
        self._network = create("onnx", content, nothing, size, self.SCORE, self.OVERLAP)

    def __call__(self, frame: Frame) -> list[Face]:
        """The faces in `frame`, largest first, in its own pixels; those whose centre is out of it
        are left out.
        """
        frame = _bgr(frame)
        small, shrink = _detection_copy(frame)
        found = [
            Box(*(round(float(value) * shrink) for value in row[:4])) for row in self._rows(small)
        ]
        inside = [box for box in found if min(box.w, box.h) > 0 and _centred_in(box, frame)]
        return [
            Face(*box, self._roll(frame, box)) for box in sorted(inside, key=_area, reverse=True)
        ]

    def _rows(self, image: np.ndarray) -> np.ndarray:
        """What the network finds in BGR uint8 [H, W, 3]: float32 [N, 15].

        A row is the box (x, y, w, h), then x, y of the right eye (the person's: the left one as
        seen), the left eye, the tip of the nose, the right and the left corner of the mouth, then
        the score.
        """
        height, width = image.shape[:2]
        if min(height, width) < _SMALLEST:
            return np.empty((0, 15), np.float32)
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(image)
        return np.empty((0, 15), np.float32) if rows is None else rows

    def _roll(self, frame: np.ndarray, box: Box) -> float:
        """The tilt of the face in `box`, from a closer look; 0 if that finds no face."""
        side = _CLOSER_BOXES * min(box.w, box.h)
        rows = self._rows(_square(frame, _centre(box), side, 0.0, _CLOSER_SIDE))
        if not len(rows):
            return 0.0
        distances = np.hypot(*(rows[:, :2] + rows[:, 2:4] / 2 - _CLOSER_SIDE / 2).T)
        right_eye, left_eye, _, right_mouth, left_mouth = rows[distances.argmin(), 4:14].reshape(
            5, 2
        )
        # and, turned by a quarter, to the right
        downwards = right_mouth + left_mouth - right_eye - left_eye
        right, down = (
            (left_eye - right_eye)
            + (left_mouth - right_mouth)
            + np.array([downwards[1], -downwards[0]]) / 2
        )
        return math.atan2(down, right)


def detector(kind: str = "auto", model: Path | None = None) -> HaarDetector | YuNetDetector:
    """A detector by its name on a command line, one of `DETECTORS`.

    Args:
        kind: "haar"; "yunet", which fetches its file if there is none; or "auto": YuNet where its
            file is at hand.
        model: YuNet's file; else that in the environment variable FER_JAX_YUNET, else that in the
            user's cache.

    Raises:
        InputError: `model` with Haar; or YuNet's file cannot be read, is another file or cannot be
            fetched.
    """
    if kind == "haar":
        if model:
            raise InputError(
                f"{model}: a detector's file goes with YuNet, not with Haar, which is part of OpenCV"
            )
        return HaarDetector()
    variable, cached = os.environ.get(YUNET_VARIABLE), runtime.cache_folder() / YUNET_FILE
    if (
        path := model
        or (Path(variable) if variable else None)
        or (cached if cached.is_file() else None)
    ):
        return YuNetDetector(path)
    return HaarDetector() if kind == "auto" else YuNetDetector(fetch_yunet(cached))


def add_detector(parser: argparse.ArgumentParser) -> None:
    """Give a command line the arguments of `detector`: --detector and --detector-model."""
    text = "auto (the default) is yunet where its file is at hand, else haar; yunet fetches it"
    parser.add_argument("--detector", choices=DETECTORS, default="auto", help=text)
    text = f"YuNet's file; default: ${YUNET_VARIABLE}, else the one in the user's cache"
    parser.add_argument("--detector-model", metavar="FILE", type=Path, help=text)


def largest(boxes: Sequence[Box]) -> Box | None:
    """The box with the largest area: the person nearest to the camera. None if there is no box."""
    return max(boxes, key=_area, default=None)


def crop(frame: Frame, box: Box) -> np.ndarray:
    """The face in `box` as FER-2013 would show it: uint8 [48, 48], grey, square, eyes level if
    `box` is a `Face`.

    `box` is one that a detector gave: the margin is fitted to its boxes. Where the square leaves
    the frame, the frame's border is repeated.

    Raises:
        ValueError: the box is empty or its centre lies outside the frame.
    """
    if box.w <= 0 or box.h <= 0 or not _centred_in(box, frame):
        height, width = frame.shape[:2]
        raise ValueError(
            f"the box must have an area and its centre must lie in the {width}x{height} frame, got {box}"
        )
    return _grey(_square(frame, *_frame_of(box), FACE_SIZE))


def faces_in(image: Frame, detector: Detector | None = None) -> list[tuple[Box, np.ndarray]]:
    """Every face in `image`, largest first: its box and its crop, uint8 [48, 48]. The detector is
    Haar by default.
    """
    boxes = (detector or HaarDetector())(image)
    return [(box, crop(image, box)) for box in sorted(boxes, key=_area, reverse=True)]


def read_image(path: str | Path, *, full_size: bool = False) -> Frame:
    """A picture, upright (EXIF): uint8 [H, W] where the file is grey, BGR [H, W, 3] where it has
    colour.

    Transparency is dropped and 16 bits become 8. A JPEG of more than `MAX_PIXELS` comes at half its
    width and height.

    Args:
        full_size: refuse such a JPEG, as any other picture of that size is.

    Raises:
        InputError: no such file, not readable, not a picture, or too large a one.
    """
    cv2 = opencv()
    try:
        # not cv2.imread: for it a missing file and a broken one are the same
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if (
        encoded[:2].tobytes() == b"\xff\xd8"
        and (scans := len(_SCAN.findall(encoded.data))) > MAX_SCANS
    ):
        raise InputError(
            f"{path}: a JPEG picture must have at most {MAX_SCANS} scans, received {scans:,}"
        )
    halved = _halving(path, encoded, MAX_PIXELS if full_size else MAX_JPEG_PIXELS)
    image = None
    try:
        if png_chunks_fit(encoded.data):
            image = cv2.imdecode(encoded, cv2.IMREAD_ANYCOLOR | halved)
    except cv2.error as error:  # also for an empty file
        if "MAX_IMAGE" in str(error):  # width, height or their product
            raise InputError(
                f"{path}: must be a picture of at most {MAX_PIXELS:,} pixels, received more"
            ) from None
    if image is None:
        raise InputError(
            f"{path}: must be a picture (PNG, JPEG, ...), but OpenCV cannot decode its {encoded.size} bytes"
        )
    return image


def _halving(path: str | Path, encoded: np.ndarray, limit: int) -> int:
    """OpenCV's flag to halve a JPEG of more than `MAX_PIXELS`, at most `limit`, as it is decoded; 0
    for all others.
    """
    jpeg = encoded[:2].tobytes() == b"\xff\xd8"
    width, height = (claimed_size(encoded.tobytes()) if jpeg else None) or (0, 0)
    if (pixels := width * height) <= MAX_PIXELS:
        return 0
    if pixels > limit:
        raise InputError(
            f"{path}: a JPEG must have at most {limit:,} pixels here, received {width}x{height}"
        )
    if pixels > _PIXELS_PER_BYTE * encoded.size:  # what is missing would be made up, at full cost
        raise InputError(
            f"{path}: {encoded.size:,} bytes are too few for the {width}x{height} pixels that they claim"
        )
    return opencv().IMREAD_REDUCED_GRAYSCALE_2  # with IMREAD_ANYCOLOR colour stays


def write_face(path: Path, face: np.ndarray) -> None:
    """Write a face, uint8 [48, 48], as an 8-bit grey PNG, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    _, encoded = opencv().imencode(".png", face)
    with files.replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def is_face_file(path: Path) -> bool:
    """Whether `path` is what `write_face` writes: a 48x48 8-bit grey PNG. Reads its header only."""
    with path.open("rb") as file:
        header = file.read(26)
    # signature, length and name of the header chunk, then width, height, bit depth, colour type
    # (PNG, section 11.2.2)
    return header == PNG + b"\0\0\0\rIHDR" + struct.pack(">IIBB", FACE_SIZE, FACE_SIZE, 8, 0)


def fetch_yunet(path: Path, url: str = YUNET_URL) -> Path:
    """Download YuNet's file to `path`, which appears once its checksum is right.

    Raises:
        InputError: there is no connection, or something else arrives.
    """
    # some servers refuse Python's own
    request = urllib.request.Request(url, headers={"User-Agent": "fer_jax"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            content = response.read(_MAX_MODEL)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"{url}: YuNet's file cannot be fetched: {error}; try --detector haar"
        ) from None
    with files.replacing(path) as temporary:
        temporary.write_bytes(_checked(content, url))
    return path


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_MODEL)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _checked(content: bytes, name: Path | str) -> bytes:
    """`content`, once it is known to be YuNet's file: a parser of untrusted models is a way in."""
    if (digest := hashlib.sha256(content).hexdigest()) != YUNET_SHA256:
        raise InputError(
            f"{name}: must be OpenCV Zoo's {YUNET_FILE}, sha256 {YUNET_SHA256[:16]}..., got {digest[:16]}..."
        )
    return content


def _detection_copy(image: np.ndarray) -> tuple[np.ndarray, float]:
    """`image` with its longer side at most `DETECTION_SIDE`, and how many of its pixels make one of
    the copy's.
    """
    cv2 = opencv()
    height, width = image.shape[:2]
    shrink = max(1.0, max(height, width) / DETECTION_SIDE)
    if shrink == 1:
        return image, shrink
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), shrink


def _square(
    frame: Frame, centre: tuple[float, float], side: float, roll: float, size: int
) -> np.ndarray:
    """A square of `frame`, turned by `roll` about its centre (x, y), as uint8 [size, size] or
    [size, size, channels].

    Each of its pixels is the mean of as many bilinear samples as it covers: shrunk without
    aliasing. Coordinates are those of the pixels' edges: the first pixel's centre is at 0.5.
    """
    cv2 = opencv()
    fine = size * math.ceil(max(1.0, side / size))
    across, along = side / fine * math.cos(roll), side / fine * math.sin(roll)
    part, (left, top) = _surroundings(frame, centre, side)
    first = (fine - 1) / 2  # samples from the centre
    x = centre[0] - left - 0.5 - first * (across - along)
    y = centre[1] - top - 0.5 - first * (across + along)
    affine = np.array([[across, -along, x], [along, across, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    samples = cv2.warpAffine(
        part, affine, (fine, fine), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA)


def _surroundings(
    frame: Frame, centre: tuple[float, float], side: float
) -> tuple[Frame, tuple[int, int]]:
    """What a square may show of `frame` however it is turned, and where that begins: OpenCV warps
    at most 32,767 pixels.
    """
    height, width = frame.shape[:2]
    reach = side / math.sqrt(2) + 2
    left, top = (
        min(max(math.floor(at - reach), 0), size - 1)
        for at, size in zip(centre, (width, height), strict=True)
    )
    right, bottom = math.ceil(centre[0] + reach), math.ceil(centre[1] + reach)
    return frame[top : max(bottom, top + 1), left : max(right, left + 1)], (left, top)


def _frame_of(box: Box) -> tuple[tuple[float, float], float, float]:
    """FER-2013's frame of the face in a box: its centre (x, y), its side and its roll."""
    framing, roll = (YUNET_FRAMING, box.roll) if isinstance(box, Face) else (HAAR_FRAMING, 0.0)
    size, (x, y) = min(box.w, box.h), _centre(box)
    down = framing.down * size
    return (x - down * math.sin(roll), y + down * math.cos(roll)), framing.side * size, roll


def _centre(box: Box) -> tuple[float, float]:
    return box.x + box.w / 2, box.y + box.h / 2


def _centred_in(box: Box, frame: Frame) -> bool:
    (x, y), (height, width) = _centre(box), frame.shape[:2]
    return 0 <= x <= width and 0 <= y <= height


def _area(box: Box) -> int:
    return box.w * box.h


def _grey(frame: Frame) -> np.ndarray:
    """uint8 [H, W] from grey, BGR or BGRA."""
    cv2 = opencv()
    if frame.ndim == 2:
        return np.ascontiguousarray(frame)
    channels = frame.shape[2]
    if channels == 1:
        return np.ascontiguousarray(frame[..., 0])
    return cv2.cvtColor(frame, cv2.COLOR_BGRA2GRAY if channels == 4 else cv2.COLOR_BGR2GRAY)


def _bgr(frame: Frame) -> np.ndarray:
    """uint8 [H, W, 3] from grey, BGR or BGRA."""
    cv2 = opencv()
    if frame.ndim == 2 or frame.shape[2] == 1:
        return cv2.cvtColor(_grey(frame), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(frame[..., :3])
