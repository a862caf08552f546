"""What OpenCV is needed for everywhere, and what a picture's file must be before OpenCV is shown
it.

    for path in pictures.in_folder(Path("portraits")):
        face = pictures.decode_small(path)

OpenCV is imported on first use: training runs without it.
"""

import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fer_jax.errors import InputError

FACE_SIZE = 48  # `types.IMAGE_SIZE`, without importing JAX for it
# of a picture: decoding takes up to 12 bytes a pixel, and a kilobyte may claim OpenCV's own 2**30
MAX_PIXELS = 2**26
# that are looked for in folders
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
PNG = b"\x89PNG\r\n\x1a\n"  # how a PNG file begins

# what the last bytes of a whole file hold
_ENDS = {".png": b"IEND", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
SMALL_SUFFIXES = frozenset(_ENDS)  # of the files that `decode_small` takes
_MAX_SMALL = 1 << 20  # bytes; a 48x48 picture has about 2 kB


def opencv() -> Any:
    """The `cv2` module, silenced: what goes wrong is said by us, in one line, not by FFmpeg in ten.

    Raises:
        InputError: OpenCV is missing.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read at import
    # AV_LOG_QUIET; read when the first video opens
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))  # read at import
    # seconds that a camera has for a frame, not 10
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")
    try:
        import cv2
    except ImportError as error:
        remedy = "pip install 'opencv-python>=4.10,<5'"
        # a machine without a screen
        if missing := re.match(r"(\S+): cannot open shared object file", str(error)):
            remedy = f"install the system's {missing[1]} (on Debian and Ubuntu: apt install libgl1 libglib2.0-0)"
        raise InputError(f"pictures and video need OpenCV: {remedy} ({error})") from None
    return cv2


def require_utf8(path: str | Path) -> None:
    """Raise an `InputError` for a video's path that is not valid UTF-8: OpenCV would crash on it."""
    if str(path) != str(path).encode("utf-8", "replace").decode():
        raise InputError(
            f"{str(path)!r}: a video's path must be valid UTF-8: rename the file or its folder"
        )


def in_folder(folder: Path, *, nested: bool = False) -> list[Path]:
    """The files of `folder` that a picture's suffix marks, sorted; with `nested` at any depth.

    Raises:
        InputError: there are none.
    """
    inside: Iterable[Path] = folder.rglob("*") if nested else folder.iterdir()
    if found := sorted(path for path in inside if path.suffix.lower() in SUFFIXES):
        return found
    raise InputError(
        f"{folder}: the folder must hold pictures ({', '.join(sorted(SUFFIXES))}), it holds none"
    )


def decode_small(path: Path) -> np.ndarray:
    """The 48x48 picture in a PNG or JPEG file: uint8 [48, 48] grey, or BGR [48, 48, 3].

    Raises:
        InputError: the file cannot be read, is cut, or holds anything else; nothing large is
            allocated to find out.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > _MAX_SMALL:
        raise InputError(
            f"{path}: a 48x48 picture must have at most {_MAX_SMALL} bytes, received {len(data)}"
        )
    # decoders fill the missing part of a cut file with grey, so look for its end
    size = claimed_size(data) if _ENDS[path.suffix.lower()] in data[-64:] else None
    if size and size != (FACE_SIZE, FACE_SIZE):  # a kilobyte may claim a gigabyte of pixels
        raise InputError(
            f"{path}: a picture must be 48x48 (see scripts/preprocess.py), received {size[0]}x{size[1]}"
        )
    cv2 = opencv()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if size else None
    if image is None:
        raise InputError(
            f"{path}: must be a whole PNG or JPEG picture, received {len(data)} bytes that are not"
        )
    if image.dtype != np.uint8 or image.shape not in (
        (FACE_SIZE, FACE_SIZE),
        (FACE_SIZE, FACE_SIZE, 3),
    ):
        raise InputError(
            f"{path}: must be 48x48, 8-bit grey or RGB, received {image.dtype} of shape {image.shape}"
        )
    return image


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a PNG or JPEG file; None where there is no such header, or
    the file is cut.
    """
    if data.startswith(PNG + b"\0\0\0\rIHDR"):
        return struct.unpack_from(">II", data, 16) if png_chunks_fit(data) else None
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while (
        len(data) > at + 9
        and data[at] == 0xFF
        and data[at + 1] >= 0xC0
        and not 0xD0 <= data[at + 1] <= 0xD9
    ):
        # a start of frame (ITU T.81, table B.1)
        if data[at + 1] < 0xD0 and data[at + 1] not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def png_chunks_fit(data: bytes | memoryview) -> bool:
    """Whether all chunks of a PNG file lie within it: OpenCV allocates whatever length a chunk
    claims. True for others.
    """
    at = len(PNG)
    if data[:at] != PNG:
        return True
    while at < len(data):
        name, at = bytes(data[at + 4 : at + 8]), at + 12 + int.from_bytes(data[at : at + 4], "big")
        if name == b"IEND":
            return at <= len(data)
    return False
