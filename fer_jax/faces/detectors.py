"""Detectors: what finds the faces in a picture, as `detector("yunet")(picture)` does.

A new one is a class like those below and an entry in `DETECTORS`.
"""

import argparse
import hashlib
import http.client
import math
import os
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from fer_jax import files, runtime
from fer_jax.errors import InputError
from fer_jax.faces import framing
from fer_jax.faces.framing import Detector, Face, Framing, Square
from fer_jax.faces.pictures import Frame, bgr, grey, opencv, read_bytes

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
_ZOO = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_VARIABLE = "FER_JAX_YUNET"

# pixels of the longer side of the copy that is searched: a smaller one loses the small faces of a
# group, a larger one costs more time than it finds faces (benchmarks/detectors.py)
DETECTION_SIDE = 480
_CLOSER_SIDE = 256  # pixels of the square that YuNet sees at its second look
_MAX_MODEL = 1 << 20  # bytes; YuNet's file has 232,589


class HaarDetector:
    """OpenCV's frontal-face cascade: fast, but blind to profiles and heads tilted by 15 degrees."""

    name = "Haar"

    def __init__(self, model: Path | None = None) -> None:
        if model:
            rule = "a detector's file goes with YuNet, not with Haar, which is part of OpenCV"
            raise InputError(f"{model}: {rule}")
        cv2 = opencv()
        if not hasattr(cv2, "CascadeClassifier"):  # OpenCV 5 dropped it, and the cascades
            remedy = "pip install 'opencv-python>=4.10,<5'"
            raise InputError(f"OpenCV {cv2.__version__} has no Haar detector: {remedy}")
        # Of OpenCV's cascades the one with the fewest false alarms at equal speed and recall.
        cascade = cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml"
        self._cascade = cv2.CascadeClassifier(cascade)

    def __call__(self, frame: Frame) -> list[Face]:
        small, shrink = _detection_copy(grey(frame))
        settings = {"scaleFactor": 1.1, "minNeighbors": 5, "minSize": (24, 24)}
        rows = self._cascade.detectMultiScale(opencv().equalizeHist(small), **settings)
        return _faces(rows, shrink, framing.HAAR_FRAMING)


class YuNetDetector:
    """OpenCV Zoo's YuNet: finds turned and tilted faces too, and their tilt.

    Wu, Peng, Yu: "YuNet", 2023, https://doi.org/10.1007/s11633-023-1423-y. Its landmarks follow the
    tilt of large faces only, so every face is enlarged to `_CLOSER_SIDE` for a second look. For one
    thread at a time.
    """

    name = "YuNet"
    SCORE = 0.6  # finds 776 of 821 training faces (benchmarks/fit_framing.py), 0.9 far fewer
    OVERLAP = 0.3  # intersection over union, above which one of two boxes stays: OpenCV's value

    def __init__(self, model: Path | None = None) -> None:
        """Load OpenCV Zoo's file: `model`, by default the one at hand, else it is fetched."""
        path = model or yunet_at_hand() or fetch_yunet(runtime.cache_folder() / YUNET_FILE)
        content = np.frombuffer(_checked(read_bytes(path, _MAX_MODEL), path), np.uint8)
        nothing, size = np.empty(0, np.uint8), (DETECTION_SIDE, DETECTION_SIDE)
        create = opencv().FaceDetectorYN.create
        self._network = create("onnx", content, nothing, size, self.SCORE, self.OVERLAP)

    def __call__(self, frame: Frame) -> list[Face]:
        frame = bgr(frame)
        small, shrink = _detection_copy(frame)
        upright = _faces(self._rows(small), shrink, framing.YUNET_FRAMING)
        inside = [face for face in upright if face.lies_in(frame)]
        return [face._replace(roll=self._roll(frame, face)) for face in inside]

    def _rows(self, image: np.ndarray) -> np.ndarray:
        """Return what the network finds in a BGR frame: float32 [N, 15].

        Box (x, y, w, h); x, y of the right eye (the person's: the left one as seen), the left eye,
        the tip of the nose, the right and the left corner of the mouth; score.
        """
        rows = None
        if min(image.shape[:2]) >= 10:  # pixels of YuNet's smallest faces
            self._network.setInputSize(image.shape[1::-1])
            _, rows = self._network.detect(image)
        return np.empty((0, 15), np.float32) if rows is None else rows

    def _roll(self, frame: np.ndarray, face: Face) -> float:
        """Return the tilt of a face from a closer look; 0 if that finds no face."""
        square = Square(*face.centre, side=1.5 * min(face.w, face.h), roll=0.0)
        rows = self._rows(framing.cut(frame, square, _CLOSER_SIDE))
        if not len(rows):
            return 0.0
        distances = np.hypot(*(rows[:, :2] + rows[:, 2:4] / 2 - _CLOSER_SIDE / 2).T)
        landmarks = rows[distances.argmin(), 4:14].reshape(5, 2)
        right_eye, left_eye, _, right_mouth, left_mouth = landmarks
        sideways = (left_eye - right_eye) + (left_mouth - right_mouth)
        downwards = right_mouth + left_mouth - right_eye - left_eye
        # downwards, turned by a quarter, points sideways too
        right, down = sideways + np.array([downwards[1], -downwards[0]]) / 2
        return math.atan2(down, right)


# how each is built from the file that --detector-model names, or None
DETECTORS: dict[str, Callable[..., Detector]] = {"haar": HaarDetector, "yunet": YuNetDetector}


def detector(kind: str = "auto", model: Path | None = None) -> Detector:
    """Return a detector by its name on a command line: "auto" or one of `DETECTORS`.

    "yunet" fetches its file where neither `model` nor `yunet_at_hand` gives one; "auto" is then
    Haar, else YuNet. InputError: `model` with Haar; or no YuNet file, or another one.
    """
    if kind == "auto":
        kind = "yunet" if model or yunet_at_hand() else "haar"
    return DETECTORS[kind](model)


def add_detector(parser: argparse.ArgumentParser) -> None:
    """Give a command line the arguments of `detector`: --detector and --detector-model."""
    text = "auto (the default) is yunet where its file is at hand, else haar; yunet fetches it"
    parser.add_argument("--detector", choices=("auto", *DETECTORS), default="auto", help=text)
    text = f"YuNet's file; default: ${YUNET_VARIABLE}, else the one in the user's cache"
    parser.add_argument("--detector-model", metavar="FILE", type=Path, help=text)


def yunet_at_hand() -> Path | None:
    """Return YuNet's file: the one that FER_JAX_YUNET names, else the cached one, else None."""
    if named := os.environ.get(YUNET_VARIABLE):
        return Path(named)
    cached = runtime.cache_folder() / YUNET_FILE
    return cached if cached.is_file() else None


def fetch_yunet(path: Path, url: str = f"{_ZOO}/{YUNET_FILE}") -> Path:
    """Download YuNet's file to `path`; InputError: no connection, or something else arrives."""
    request = urllib.request.Request(url, headers={"User-Agent": "fer_jax"})  # Python's is refused
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            content = response.read(_MAX_MODEL)
    except (OSError, http.client.HTTPException) as error:
        problem = f"YuNet's file cannot be fetched: {error}; try --detector haar"
        raise InputError(f"{url}: {problem}") from None
    with files.replacing(path) as temporary:
        temporary.write_bytes(_checked(content, url))
    return path


def _checked(content: bytes, name: Path | str) -> bytes:
    """Return YuNet's file, once its checksum is right: a parser of untrusted models is a way in."""
    if (digest := hashlib.sha256(content).hexdigest()) != YUNET_SHA256:
        rule = f"must be OpenCV Zoo's {YUNET_FILE}, sha256 {YUNET_SHA256[:16]}..."
        raise InputError(f"{name}: {rule}, got {digest[:16]}...")
    return content


def _detection_copy(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a copy with a longer side of at most `DETECTION_SIDE`, and how much smaller it is."""
    height, width = image.shape[:2]
    shrink = max(1.0, max(height, width) / DETECTION_SIDE)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    return opencv().resize(image, size, interpolation=opencv().INTER_AREA), shrink


def _faces(rows: Iterable[Sequence[float]], shrink: float, own: Framing) -> list[Face]:
    """Return upright faces, largest first, of rows x, y, w, h, ... in a detection copy's pixels."""
    boxes = [[round(float(value) * shrink) for value in row[:4]] for row in rows]
    return sorted((Face(*box, framing=own) for box in boxes), key=framing.area, reverse=True)
