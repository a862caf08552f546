"""Picture files: what they must be before OpenCV sees them, how they are read and written."""

import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from fer_jax import files
from fer_jax.errors import InputError

FACE_SIZE = 48  # `types.IMAGE_SIZE`, without importing JAX for it
# of a picture: decoding takes up to 12 bytes a pixel, and a kilobyte may claim OpenCV's own 2**30
MAX_PIXELS = 2**26
MAX_JPEG_PIXELS = 4 * MAX_PIXELS  # halved as they are decoded; telephones take 200 million
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
_ENDS = {".png": b"IEND", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}  # in a file's last bytes
SMALL_SUFFIXES = frozenset(_ENDS)  # of the files that `decode_small` takes

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"  # how the files begin
PNG_HEADER = 33  # bytes: the signature of a PNG file and its first chunk
_MAX_SMALL = 1 << 20  # bytes; a 48x48 picture has about 2 kB
_PIXELS_PER_BYTE = 128  # of a JPEG that is halved: usual are 2 to 10, and a plain black one has 85
MAX_SCANS = 64  # of a progressive JPEG: usual are 10, and each may cost a pass over all pixels
_SETTINGS = {  # read as cv2 is imported, or as the first video opens
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # AV_LOG_QUIET
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS),
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "3",  # seconds that a camera has for a frame, not 10
}
# the header of a JPEG scan of 1 to 4 components: marker, length, count (ITU T.81, B.2.3)
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

Frame = np.ndarray  # uint8 [H, W] grey, [H, W, 3] BGR or [H, W, 4] BGRA


def opencv() -> Any:
    """Return the `cv2` module, silenced: we report errors in one line, FFmpeg would in ten."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import cv2
    except ImportError as error:
        remedy = "pip install 'opencv-python>=4.10,<5'"
        # a machine without a screen
        if missing := re.match(r"(\S+): cannot open shared object file", str(error)):
            packages = "on Debian and Ubuntu: apt install libgl1 libglib2.0-0"
            remedy = f"install the system's {missing[1]} ({packages})"
        raise InputError(f"pictures and video need OpenCV: {remedy} ({error})") from None
    return cv2


def require_utf8(path: str | Path) -> None:
    """Raise an InputError for a video's path that is not valid UTF-8: OpenCV would crash on it."""
    if str(path) != str(path).encode("utf-8", "replace").decode():
        rule = "a video's path must be valid UTF-8: rename the file or its folder"
        raise InputError(f"{str(path)!r}: {rule}")


def in_folder(folder: Path, *, nested: bool = False) -> list[Path]:
    """Return a folder's pictures, sorted, `nested` at any depth; InputError: there are none."""
    inside = folder.rglob("*") if nested else folder.iterdir()
    if paths := sorted(path for path in inside if path.suffix.lower() in SUFFIXES):
        return paths
    suffixes = ", ".join(sorted(SUFFIXES))
    raise InputError(f"{folder}: the folder must hold pictures ({suffixes}), it holds none")


def read_bytes(path: str | Path, limit: int = -1) -> bytes:
    """Return a file's content, or its first `limit` bytes; InputError: it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_image(path: str | Path, *, full_size: bool = False) -> Frame:
    """Return a picture, upright (EXIF): uint8 [H, W] where its file is grey, else BGR [H, W, 3].

    Transparency is dropped and 16 bits become 8. A JPEG of more than `MAX_PIXELS` comes at half its
    width and height, or with `full_size` is refused like any other large picture. InputError: no
    such file, not readable, not a picture, or too large a one.
    """
    cv2 = opencv()
    data = read_bytes(path)  # not cv2.imread: for it a missing file and a broken one are the same
    flags = cv2.IMREAD_ANYCOLOR
    if data.startswith(_JPEG) and _must_be_halved(path, data, full_size):
        flags |= cv2.IMREAD_REDUCED_GRAYSCALE_2  # with IMREAD_ANYCOLOR colour stays
    try:
        fits = _png_chunks_fit(data)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if fits else None
    except cv2.error as error:  # also for an empty file
        image = None
        if "MAX_IMAGE" in str(error):  # width, height or their product
            rule = f"must be a picture of at most {MAX_PIXELS:,} pixels, received more"
            raise InputError(f"{path}: {rule}") from None
    if image is None:
        rule = f"must be a picture (PNG, JPEG, ...), but OpenCV cannot decode its {len(data)} bytes"
        raise InputError(f"{path}: {rule}")
    return image


def decode_small(path: Path) -> np.ndarray:
    """Return the 48x48 picture in a PNG or JPEG file: uint8 [48, 48] grey, or BGR [48, 48, 3].

    InputError: the file cannot be read, is cut, or holds something else, however large.
    """
    data = read_bytes(path, _MAX_SMALL + 1)
    if len(data) > _MAX_SMALL:
        rule = f"a 48x48 picture must have at most {_MAX_SMALL} bytes"
        raise InputError(f"{path}: {rule}, received {path.stat().st_size}")
    # decoders fill the missing part of a cut file with grey, so look for its end
    size = _claimed_size(data) if _ENDS[path.suffix.lower()] in data[-64:] else None
    if size and size != (FACE_SIZE, FACE_SIZE):  # a kilobyte may claim a gigabyte of pixels
        rule = "a picture must be 48x48 (see scripts/preprocess.py)"
        raise InputError(f"{path}: {rule}, received {size[0]}x{size[1]}")
    cv2 = opencv()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if size else None
    if image is None:
        rule = "must be a whole PNG or JPEG picture"
        raise InputError(f"{path}: {rule}, received {len(data)} bytes that are not")
    if image.dtype != np.uint8 or image.shape not in ((48, 48), (48, 48, 3)):
        received = f"{image.dtype} of shape {image.shape}"
        raise InputError(f"{path}: must be 48x48, 8-bit grey or RGB, received {received}")
    return image


def write_png(path: Path, image: Frame, mark: bytes = b"") -> None:
    """Write an 8-bit PNG, whole or not at all, with the chunk `mark` after its header."""
    encoded = opencv().imencode(".png", image)[1].tobytes()
    with files.replacing(path) as temporary:
        temporary.write_bytes(encoded[:PNG_HEADER] + mark + encoded[PNG_HEADER:])


def grey(frame: Frame) -> np.ndarray:
    """Return uint8 [H, W] of a grey, BGR or BGRA picture."""
    if frame.ndim == 2 or frame.shape[2] == 1:
        return np.ascontiguousarray(frame.reshape(frame.shape[:2]))
    cv2 = opencv()
    return cv2.cvtColor(frame, cv2.COLOR_BGRA2GRAY if frame.shape[2] == 4 else cv2.COLOR_BGR2GRAY)


def bgr(frame: Frame) -> np.ndarray:
    """Return uint8 [H, W, 3] of a grey, BGR or BGRA picture."""
    if frame.ndim == 2 or frame.shape[2] == 1:
        return np.dstack([grey(frame)] * 3)
    return np.ascontiguousarray(frame[..., :3])


def _must_be_halved(path: str | Path, jpeg: bytes, full_size: bool) -> bool:
    """Return whether a JPEG has more than `MAX_PIXELS`; raise an InputError if it has far more."""
    if (scans := len(_SCAN.findall(jpeg))) > MAX_SCANS:
        rule = f"a JPEG picture must have at most {MAX_SCANS} scans, received {scans:,}"
        raise InputError(f"{path}: {rule}")
    width, height = _claimed_size(jpeg) or (0, 0)
    pixels = width * height
    limit = MAX_PIXELS if full_size else MAX_JPEG_PIXELS
    if pixels > limit:
        rule = f"a JPEG must have at most {limit:,} pixels here, received {width}x{height}"
        raise InputError(f"{path}: {rule}")
    large = pixels > MAX_PIXELS
    if large and pixels > _PIXELS_PER_BYTE * len(jpeg):  # the rest would be made up, at full cost
        rule = f"too few for the {width}x{height} pixels that they claim"
        raise InputError(f"{path}: {len(jpeg):,} bytes are {rule}")
    return large


def _claimed_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in the header of a PNG or JPEG file; None if it has no whole one."""
    if data.startswith(_PNG + b"\0\0\0\rIHDR"):
        return struct.unpack_from(">II", data, 16) if _png_chunks_fit(data) else None
    at = len(_JPEG) if data.startswith(_JPEG) else len(data)
    while len(data) > at + 9 and data[at] == 0xFF:
        marker = data[at + 1]
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9:
            break
        # a start of frame (ITU T.81, table B.1)
        if marker < 0xD0 and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _png_chunks_fit(data: bytes) -> bool:
    """Return whether all chunks of a PNG file lie within it; True for other files."""
    at = len(_PNG)  # OpenCV allocates whatever length a chunk claims
    if not data.startswith(_PNG):
        return True
    name = b""
    while at < len(data) and name != b"IEND":
        name = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return name == b"IEND" and at <= len(data)
