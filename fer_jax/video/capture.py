"""Frames of a camera, a recording or a network stream, with their times.

with capture.Video(0) as video:
    for moment, frame in video.frames(every=1.0): ...
"""

import http.client
import math
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, Self

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.video import times

Source = int | str | Path  # the index of a camera, a file, or a URL
Idle = Callable[[], bool]  # called now and then while nothing comes live; False ends the stream
Look = tuple[float, faces.Frame]  # the moment in seconds; BGR uint8 [H, W, 3]

# Each failed grab in a recording is a packet that does not decode: a minute's worth is its end.
_BROKEN_FRAMES = 1500
_HICCUPS, _HICCUP_SECONDS = 10, 1.0  # failures in a row of a live source, unless they take longer
# A remote recording may lack so much: containers round lengths, and sound outlasts the picture.
_SHORT_SECONDS = 3.0
_IDLE_SECONDS = 0.1
# Sound with a cover, a single frame, states the 90 kHz clock as its rate, as some videos do.
_NO_RATE = 1000.0
# A network stream that is silent for so long has dropped. Ctrl-C and `Video.close` may wait for it.
NETWORK_SECONDS = 5.0
# for a server's answer how long its video is: a camera that serves one client at a time gives none
_QUESTION_SECONDS = 2.0
_MAX_CAMERA = 99  # to OpenCV larger numbers mean other things
# Pauses between attempts to reconnect, in seconds; then we give up.
_BACKOFF = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)


class Video:
    """An open camera, recording or network stream: a context manager.

    A live source, a camera or a stream without end, is read by a thread of its own from the moment
    it opens, so nothing waits in a buffer; one frame is kept, the newest. `name` is the source
    without a password, `rate` frames per second, `duration` seconds, where a recording states them.
    """

    def __init__(self, source: Source) -> None:
        """Open a source and fetch the first frame; refuse (InputError) what has none."""
        cv2 = pictures.opencv()
        camera = isinstance(source, int)
        self.name = f"camera {source}" if camera else re.sub("//[^/]*@", "//", str(source))
        self._source, self._remote = source, is_url(source)
        self._capture = open_capture(source)
        tries = 1 if camera or self._remote else _BROKEN_FRAMES
        if not _next_frame(self._capture, tries, math.inf):  # more of a proof than isOpened()
            self._refuse(why_no_frame(source))
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < math.inf else 25.0  # a guess for files that do not say
        endless = self._remote and count <= 0 and not has_length(str(source))
        self.live = camera or endless
        self.duration = count / self.rate if count > 0 and not self.live else None
        if self.rate > _NO_RATE and self.duration is not None and self.duration > 1:
            second = open_capture(source)
            if not (second.grab() and second.grab()):
                self._refuse("must be a camera or a video, but it is sound with a cover picture")
        self._resumed = -math.inf
        reopen = (lambda: open_capture(source)) if self._remote else None
        self._newest = _Newest(self.name, self._capture, reopen) if self.live else None

    def frames(self, every: float = 0.0, idle: Idle | None = None) -> Iterator[Look]:
        """Yield the first frame of each `every` seconds, 0: all, with its moment; can be read once.

        Moments increase: positions in a recording; of a live source the clock's time when it was
        opened, and what has passed since. It gives the newest frame each time it is asked.
        """
        if self._newest is not None:
            yield from self._newest.frames(every, idle)
            return
        moments = times.increasing(self._positions(), 1 / self.rate)
        for moment in filter(times.Periods(every), moments):
            if (frame := retrieve(self._capture)) is not None:
                yield moment, frame

    def clock_time(self, moment: float) -> float:
        """Return a recent moment as time to print: live by the clock of now, else unchanged."""
        if self._newest is None:
            return moment
        return moment + time.time() - time.monotonic() - self._newest.epoch

    def close(self) -> None:
        (self._newest or self._capture).release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse(self, reason: str) -> NoReturn:
        self._capture.release()
        raise InputError(f"{self.name}: {reason}")

    def _positions(self) -> Iterator[float]:
        """Yield the position in seconds of each frame that decodes, as the container states it."""
        more = True
        while more:
            position = self._position()
            yield position
            more = self._grab() or (self._remote and self._resume(position))

    def _position(self) -> float:
        return self._capture.get(pictures.opencv().CAP_PROP_POS_MSEC) / 1000

    def _resume(self, position: float) -> bool:
        """Open a recording anew whose server went away, and find the frame after `position`.

        Returns False at the recording's end; raises InputError where the server has no more before.
        """
        cv2 = pictures.opencv()
        # of a variable rate the better measure
        counted = self._capture.get(cv2.CAP_PROP_POS_FRAMES) / self.rate
        if self.duration is None or max(position, counted) >= self.duration - _SHORT_SECONDS:
            return False

        def reopen() -> Any:
            capture = open_capture(self._source)
            # where the server cannot do that, frames are passed over
            capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * position)
            return capture

        if position > self._resumed:  # else it ends again where it was taken up
            self._resumed = position
            capture = reconnect(self.name, self._capture, reopen, threading.Event())
            if capture is not None:
                self._capture, more = capture, True
                while more and self._position() <= position:
                    more = self._grab()
                if more:
                    return True
        lost = f"the connection was lost at {position:.0f} s of {self.duration:.0f} s"
        raise InputError(f"{self.name}: {lost}")

    def _grab(self) -> bool:
        """Go to the next frame; False at the recording's end, or its server's."""
        patience = NETWORK_SECONDS if self._remote else math.inf
        return _next_frame(self._capture, _BROKEN_FRAMES, patience)


class _Newest:
    """A thread that reads a live source without pause, and a slot for the newest frame.

    Only the thread touches the capture, and releases it: OpenCV's captures are not thread-safe.
    """

    def __init__(self, name: str, capture: Any, reopen: Callable[[], Any] | None) -> None:
        self._name, self._capture, self._reopen = name, capture, reopen
        self.epoch = time.time() - time.monotonic()  # of the moments
        self._changed = threading.Condition()
        self._slot: Look | None = None
        self._due = -math.inf  # frames before this time are not wanted, so not even decoded
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture of {name}", daemon=True)
        self._thread.start()

    def frames(self, every: float, idle: Idle | None) -> Iterator[Look]:
        periods = times.Periods(every)
        while True:
            with self._changed:  # in short waits also because on Windows Ctrl-C does not end one
                self._changed.wait_for(lambda: self._is_due() or self._ended, _IDLE_SECONDS)
                taken = self._slot if self._is_due() else None
                ended = self._ended
                self._slot = None
            if taken is not None:
                periods(taken[0])
                self._due = periods.due
                yield taken
            elif ended or (idle and not idle()):
                return

    def release(self) -> None:
        self._stop.set()
        # it may be waiting for a silent network; it dies with the process
        self._thread.join(2 * NETWORK_SECONDS)

    def _is_due(self) -> bool:
        return self._slot is not None and self._slot[0] >= self._due

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._grab():
                moment = self.epoch + time.monotonic()
                if moment < self._due or (frame := retrieve(self._capture)) is None:
                    continue
                with self._changed:
                    self._slot = moment, frame
                    self._changed.notify()
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _grab(self) -> bool:
        """Go to the next frame; False, and a message, once the source is gone for good."""
        if _next_frame(self._capture, _HICCUPS, _HICCUP_SECONDS):
            return True
        if self._reopen is not None:
            capture = reconnect(self._name, self._capture, self._reopen, self._stop)
            self._capture = capture or self._capture
            return capture is not None
        if not self._stop.is_set():
            say(self._name, "gives no more frames: unplugged?")
        return False


def _next_frame(capture: Any, tries: int, seconds: float) -> bool:
    """Go to the next frame that decodes; False if there is none in so many tries or seconds."""
    began = time.monotonic()
    for _ in range(tries):
        if capture.grab():
            return True
        if time.monotonic() - began > seconds:
            break
    return False


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
    print(f"{name}: {message}", file=sys.stderr, flush=True)
