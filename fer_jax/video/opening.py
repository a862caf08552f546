"""Open a camera, a file or a network stream as OpenCV's capture, and once more where it drops."""

import http.client
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.faces import pictures

Source = int | str | Path  # the index of a camera, a file, or a URL

# A network stream that is silent for so long has dropped. Ctrl-C and `Video.close` may wait for it.
NETWORK_SECONDS = 5.0
# for a server's answer how long its video is: a camera that serves one client at a time gives none
_QUESTION_SECONDS = 2.0
_MAX_CAMERA = 99  # to OpenCV larger numbers mean other things
# Pauses between attempts to reconnect, in seconds; then we give up.
_BACKOFF = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)


def is_url(source: Source) -> bool:
    """Whether a source is a URL, not a path."""
    return isinstance(source, str) and re.match("(?i)[a-z][a-z0-9+.-]+://", source) is not None


def open_capture(source: Source) -> Any:
    """Return a `cv2.VideoCapture`, open or not; refuse what is no camera or cannot be read."""
    cv2 = pictures.opencv()
    if isinstance(source, int):
        if source > _MAX_CAMERA:
            rule = f"must be an index from 0 to {_MAX_CAMERA}; a file of that name is ./{source}"
            raise InputError(f"camera {source}: {rule}")
        return cv2.VideoCapture(source)
    if is_url(source):
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        settings = [value for limit in limits for value in (limit, round(1000 * NETWORK_SECONDS))]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, settings)
    try:
        with Path(source).open("rb") as file:
            if not file.read(1):
                raise InputError(f"{source}: must be a camera or a video, but the file is empty")
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from None
    pictures.require_utf8(source)
    # FFmpeg by name: else OpenCV takes a file whose name holds digits for a sequence of pictures
    return cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)


def retrieve(capture: Any) -> faces.Frame | None:
    """Return the frame that was grabbed, BGR uint8 [H, W, 3]; None if it does not decode."""
    whole, frame = capture.retrieve()
    if whole and frame.ndim == 2:
        cv2 = pictures.opencv()
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
    return frame if whole else None


def why_no_frame(source: Source) -> str:
    """Return the likely reason: OpenCV says none."""
    if is_url(source):
        return "must be a camera or a video, but it does not answer, or not with a video"
    if not isinstance(source, int):
        return "must be a camera or a video that opens, but no picture in it can be decoded"
    device = Path(f"/dev/video{source}")
    if sys.platform == "linux" and not device.exists():
        return f"must be a camera that is connected, but there is no {device}"
    free = "must be a camera that is free and may be read"
    return f"{free}, but it gives no frame: does another program use it?"


def has_second_frame(source: Source) -> bool:
    capture = open_capture(source)
    try:
        return capture.grab() and capture.grab()
    finally:
        capture.release()


def has_length(url: str) -> bool:
    """Whether a web server states how long a video is: then it is a recording, not a camera.

    The length of a playlist is not that of the video.
    """
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "fer_jax"})
    try:
        with urllib.request.urlopen(request, timeout=_QUESTION_SECONDS) as answer:
            kind = answer.headers.get_content_type()
            length = answer.headers.get("Content-Length", "")
    # no web server, or one that answers no such question
    except (OSError, ValueError, http.client.HTTPException):
        return False
    playlist = "mpegurl" in kind or re.search(r"(?i)\.(?:m3u8|mpd)(?:$|[?#])", url)
    is_video = kind.startswith("video/") or kind == "application/octet-stream"
    return is_video and not playlist and length.isdigit() and int(length) > 0


def reconnect(name: str, capture: Any, reopen: Callable[[], Any], stop: threading.Event) -> Any:
    """Return an open capture with a frame in place of `capture`, which is released.

    None after several attempts in vain, or once `stop` is set.
    """
    if stop.is_set():
        return None
    say(name, "dropped, reconnecting ...")
    lost = time.monotonic()
    for pause in _BACKOFF:
        stopped = stop.wait(pause)
        capture.release()
        if stopped:
            return None
        capture = reopen()
        if capture.grab():
            say(name, f"back after {time.monotonic() - lost:.1f} s")
            return capture
    capture.release()
    say(name, f"gave up after {time.monotonic() - lost:.0f} s and {len(_BACKOFF)} attempts")
    return None


def say(name: str, message: str) -> None:
    """Print what happens to a source on the standard error output."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)
