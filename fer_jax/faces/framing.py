"""Where a face lies in a picture, and how it is cut out as FER-2013 was: 48x48, grey, levelled."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fer_jax.faces.pictures import FACE_SIZE, Frame, grey, opencv


class Framing(NamedTuple):
    """FER-2013's frame around a face, in units of the shorter side of a detector's box."""

    side: float
    down: float  # how far its centre lies below that of the box, along the face


# The medians that `python benchmarks/fit_framing.py` measures on 821 training images: Haar finds a
# face in 582 of them, YuNet (whose boxes vary most in their height) in 776. Sideways both are 0.
HAAR_FRAMING = Framing(side=1.04, down=0.01)
YUNET_FRAMING = Framing(side=1.30, down=0.025)


class Face(NamedTuple):
    """A face as a detector finds it: its box (upper left corner, size, in pixels) and its tilt."""

    x: int
    y: int
    w: int
    h: int
    roll: float = 0.0  # radians, clockwise in the picture; 0 is upright
    framing: Framing = HAAR_FRAMING  # that of this detector's boxes

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.w / 2, self.y + self.h / 2

    def lies_in(self, frame: Frame) -> bool:
        """Return whether the centre is in the frame and the box has an area."""
        (x, y), (height, width) = self.centre, frame.shape[:2]
        return 0 <= x <= width and 0 <= y <= height and min(self.w, self.h) > 0


class Detector(Protocol):
    """Finds the faces in a frame, whose centres lie in it, largest first."""

    name: str  # how users know it

    def __call__(self, frame: Frame, /) -> Sequence[Face]: ...


class Square(NamedTuple):
    """A square of a picture: its centre and side in pixels, turned by `roll` radians."""

    x: float
    y: float
    side: float
    roll: float


def area(face: Face) -> int:
    return face.w * face.h


def largest(faces: Iterable[Face]) -> Face | None:
    """Return the face with the largest box, the person nearest to the camera, or None."""
    return max(faces, key=area, default=None)


def faces_in(image: Frame, detector: Detector) -> list[tuple[Face, np.ndarray]]:
    """Return each face that a detector finds, largest first, with its crop."""
    faces = sorted(detector(image), key=area, reverse=True)
    return [(face, crop(image, face)) for face in faces]


def crop(frame: Frame, face: Face) -> np.ndarray:
    """Return a face as FER-2013 would show it: uint8 [48, 48], grey, with level eyes.

    Beyond the frame its border is repeated. ValueError: the box is empty or its centre outside.
    """
    if not face.lies_in(frame):
        size = "{1}x{0}".format(*frame.shape)
        raise ValueError(f"the box must have an area and its centre lie in {size}, got {face}")
    return grey(cut(frame, frame_of(face), FACE_SIZE))


def frame_of(face: Face) -> Square:
    """Return FER-2013's frame of a face."""
    (x, y), size = face.centre, min(face.w, face.h)
    down = face.framing.down * size
    x, y = x - down * math.sin(face.roll), y + down * math.cos(face.roll)
    return Square(x, y, face.framing.side * size, face.roll)


def cut(frame: Frame, square: Square, size: int) -> np.ndarray:
    """Return a square of a frame, turned upright, as uint8 [size, size] or [size, size, channels].

    Each pixel is the mean of as many bilinear samples as it covers: shrunk without aliasing.
    Coordinates are those of the pixels' edges: the first pixel's centre is at 0.5.
    """
    cv2 = opencv()
    fine = size * math.ceil(max(1.0, square.side / size))
    across = square.side / fine * math.cos(square.roll)
    along = square.side / fine * math.sin(square.roll)
    part, left, top = surroundings(frame, square)
    first = (fine - 1) / 2  # samples from the centre
    x = square.x - left - 0.5 - first * (across - along)
    y = square.y - top - 0.5 - first * (across + along)
    affine = np.array([[across, -along, x], [along, across, y]])
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    samples = cv2.warpAffine(part, affine, (fine, fine), flags=flags, borderMode=border)
    return cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA)


def surroundings(frame: Frame, square: Square) -> tuple[Frame, int, int]:
    """Return what of a frame a square may show however it is turned, and x and y of its corner."""
    height, width = frame.shape[:2]  # of which OpenCV warps at most 32,767
    reach = square.side / math.sqrt(2) + 2
    left = min(max(math.floor(square.x - reach), 0), width - 1)
    top = min(max(math.floor(square.y - reach), 0), height - 1)
    right = max(math.ceil(square.x + reach), left + 1)
    bottom = max(math.ceil(square.y + reach), top + 1)
    return frame[top:bottom, left:right], left, top
