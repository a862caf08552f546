"""Find faces in pictures and cut them as FER-2013 was cut: 48x48, grey, the face filling the frame.

    image = faces.read_image("holiday.jpg")
    for box, face in faces.faces_in(image):
        predictor(face[None])

OpenCV is imported on first use: training runs without it.
"""

import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_jax import files
from fer_jax.errors import InputError

FACE_SIZE = 48  # `types.IMAGE_SIZE`, without importing JAX for it

# FER-2013's frame in units of the Haar face box, measured by `python benchmarks/fit_haar_framing.py` on 821 training
# images, enlarged four times with a replicated border: over the 582 faces found the median centre is (0.50, 0.49) of
# the frame and the median width 0.96. So the frame is centred on the box and a touch larger.
FRAME_PER_BOX = 1 / 0.96

# Detection runs on a copy with this longer side: at 320 the smaller faces of a group are lost, at 640 nothing is won
# and the time doubles.
DETECTION_SIDE = 480

Frame = np.ndarray  # uint8 [H, W] grey, [H, W, 3] BGR or [H, W, 4] BGRA


class Box(NamedTuple):
    """A rectangle in pixels: its upper left corner and its size."""

    x: int
    y: int
    w: int
    h: int


Detector = Callable[[Frame], Sequence[Box]]


def opencv() -> Any:
    """The `cv2` module, silenced: what goes wrong is said by us, in one line, not by FFmpeg in ten.

    Raises:
        InputError: OpenCV is missing or has no Haar cascades (5.0 dropped them).
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read at import
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; read when the first video opens
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")  # seconds that a camera has for a frame, not 10
    try:
        import cv2
    except ImportError as error:
        raise InputError(f"pictures and video need OpenCV: pip install 'opencv-python>=4.10,<5' ({error})") from None
    if not hasattr(cv2, "CascadeClassifier"):
        raise InputError(f"OpenCV {cv2.__version__} has no Haar detector: pip install 'opencv-python>=4.10,<5'")
    return cv2


class HaarDetector:
    """OpenCV's frontal-face cascade: fast, but blind to profiles and to heads tilted by more than about 15 degrees.

    Of the cascades that OpenCV ships, `alt2` raises the fewest false alarms at equal speed and recall; `default` takes
    a space shuttle for a face larger than the astronaut's.
    """

    def __init__(self) -> None:
        cv2 = opencv()
        self._cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def __call__(self, frame: Frame) -> list[Box]:
        """The faces in `frame`, largest first, in its own pixels; at least 24 pixels wide in the detection copy."""
        cv2 = opencv()
        small = _grey(frame)
        shrink = max(1.0, max(small.shape) / DETECTION_SIDE)
        if shrink > 1:
            size = (max(1, round(small.shape[1] / shrink)), max(1, round(small.shape[0] / shrink)))
            small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
        found = self._cascade.detectMultiScale(cv2.equalizeHist(small), scaleFactor=1.1, minNeighbors=5, minSize=(24, 24))
        boxes = [Box(*(round(float(value) * shrink) for value in rectangle)) for rectangle in found]
        return sorted(boxes, key=_area, reverse=True)


def largest(boxes: Sequence[Box]) -> Box | None:
    """The box with the largest area: the person nearest to the camera. None if there is no box."""
    return max(boxes, key=_area, default=None)


def crop(frame: Frame, box: Box) -> np.ndarray:
    """The face in `box` as FER-2013 would show it: uint8 [48, 48], grey, square, centred on the box.

    Where the square leaves the frame, the frame's border is repeated.

    Raises:
        ValueError: the box is empty or its centre lies outside the frame.
    """
    cv2 = opencv()
    height, width = frame.shape[:2]
    centre_x, centre_y = box.x + box.w / 2, box.y + box.h / 2
    if box.w <= 0 or box.h <= 0 or not (0 <= centre_x <= width and 0 <= centre_y <= height):
        raise ValueError(f"the box must have an area and its centre must lie in the {width}x{height} frame, got {box}")
    side = max(1, round(max(box.w, box.h) * FRAME_PER_BOX))
    left, top = round(centre_x - side / 2), round(centre_y - side / 2)
    inside = _grey(frame[max(top, 0) : top + side, max(left, 0) : left + side])
    overhang = max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0)
    square = cv2.copyMakeBorder(inside, *overhang, cv2.BORDER_REPLICATE)
    interpolation = cv2.INTER_AREA if side > FACE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(square, (FACE_SIZE, FACE_SIZE), interpolation=interpolation)


def faces_in(image: Frame, detector: Detector | None = None) -> list[tuple[Box, np.ndarray]]:
    """Every face in `image`, largest first: its box and its crop, uint8 [48, 48]. The detector is Haar by default."""
    boxes = (detector or HaarDetector())(image)
    return [(box, crop(image, box)) for box in sorted(boxes, key=_area, reverse=True)]


def read_image(path: str | Path) -> Frame:
    """A picture, upright (EXIF): uint8 [H, W] where the file is grey, BGR [H, W, 3] where it has colour.

    Transparency is dropped and 16 bits become 8.

    Raises:
        InputError: no such file, not readable, or not a picture.
    """
    cv2 = opencv()
    try:
        encoded = np.fromfile(path, np.uint8)  # not cv2.imread: for it a missing file and a broken one are the same
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_ANYCOLOR)
    except cv2.error:  # an empty file, or more pixels than OpenCV admits
        image = None
    if image is None:
        raise InputError(f"{path}: must be a picture (PNG, JPEG, ...), but OpenCV cannot decode its {encoded.size} bytes")
    return image


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
    # signature, length and name of the header chunk, then width, height, bit depth, colour type (PNG, section 11.2.2)
    return header == b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBB", FACE_SIZE, FACE_SIZE, 8, 0)


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
