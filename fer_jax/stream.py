"""Read a camera or a recording, and say once a second what the largest face shows.

with stream.Video(0) as video:
    for event in stream.watch(video, Predictor(), HaarDetector()):
        print(stream.time_of_day(event.time, live=video.live), event.prediction)
"""

import argparse
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import numpy as np

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.labels import names

T = TypeVar("T")
Predict = Callable[[np.ndarray], np.ndarray]  # faces uint8 [N, 48, 48] -> probabilities float32 [N, C]

# A camera driver hands out frames that it has kept at once; a new one takes milliseconds to arrive.
_KEPT_FRAMES = 5
_KEPT_SECONDS = 0.002


class Prediction(NamedTuple):
    """What one face shows."""

    emotion: str  # one of `labels.names`
    probability: float  # of that emotion, in [0, 1]
    probabilities: np.ndarray  # float32 [C], in the order of `labels.names`
    box: faces.Box


class Event(NamedTuple):
    """One look at the stream."""

    time: float  # seconds: since the epoch for a live source, since the beginning for a recording
    prediction: Prediction | None  # None: no face


class Video:
    """An open camera, recording or network stream. A context manager; close it, or the camera stays busy.

    Attributes:
        live: times are clock times (a camera, a stream without end), not positions in a recording.
        duration: seconds, for a recording that states it; else None.
    """

    def __init__(self, source: int | str | Path) -> None:
        """Open a camera by its index, a file by its path or a stream by its URL, and fetch the first frame.

        Raises:
            InputError: it does not exist, cannot be read, is not a video or gives no frame.
        """
        cv2 = faces.opencv()
        self.name = f"camera {source}" if isinstance(source, int) else str(source)
        self._capture = _open(source)
        if not self._capture.grab():  # the first frame proves more than isOpened()
            self.close()
            raise InputError(f"{self.name}: must be a camera or a video that opens, but it gives no frame")
        count, rate = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if math.isfinite(rate) and rate > 0 else 25.0  # a guess for files that do not say
        self.live = isinstance(source, int) or (_is_url(source) and count <= 0)
        self.duration = count / self._rate if count > 0 and not self.live else None

    def frames(self, every: float = 0.0) -> Iterator[tuple[float, faces.Frame]]:
        """(time, frame BGR uint8 [H, W, 3]) to the end of the video, the first of each `every` seconds; 0 gives all.

        A video can be read once. Frames that are not due are grabbed but never converted; a live source gives the
        newest frame, not the oldest one in its buffer.
        """
        cv2 = faces.opencv()
        moments = self._live_times() if self.live else increasing(self._positions(), 1 / self._rate)
        for moment in sample(moments, every):
            whole, frame = self._capture.retrieve()
            if whole:
                yield moment, frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _positions(self) -> Iterator[float]:
        """The position in seconds of each frame, as the container states it."""
        cv2 = faces.opencv()
        yield self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        while self._capture.grab():
            yield self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def _live_times(self) -> Iterator[float]:
        """The clock time of each new frame; frames that waited in a buffer while nobody looked are dropped."""
        kept = 0
        while True:
            asked = time.monotonic()
            if not self._capture.grab():
                return
            kept = kept + 1 if time.monotonic() - asked < _KEPT_SECONDS else 0
            if not 1 <= kept <= _KEPT_FRAMES:
                kept = 0
                yield time.time()


def parse_source(text: str) -> int | str:
    """A command line's source: digits are the index of a camera, the rest is a file or a URL."""
    return int(text) if text.isascii() and text.isdigit() else text


def parse_period(text: str) -> float:
    """A command line's period in seconds.

    Raises:
        argparse.ArgumentTypeError: not a finite number above 0.
    """
    try:
        period = float(text)
    except ValueError:
        period = math.nan
    if not 0 < period < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number of seconds above 0, got {text!r}")
    return period


def increasing(positions: Iterable[float], step: float) -> Iterator[float]:
    """`positions` in seconds; one that does not increase (a container without times) becomes the last plus `step`."""
    last = -math.inf
    for position in positions:
        last = position if position > last else last + step
        yield last


def sample(times: Iterable[float], every: float) -> Iterator[float]:
    """The first of `times` in each period of `every` seconds, counted from the first of all; 0 gives all.

    Times increase. n frames at a constant rate give floor((n - 1) / (rate * every)) + 1 samples, as long as a period is
    no shorter than a frame; a period without a frame is left out.
    """
    first, next_period = None, 0
    for moment in times:
        first = moment if first is None else first
        period = math.floor((moment - first) / every + 1e-6) if every > 0 else next_period
        if period >= next_period:  # 1e-6: times in milliseconds fall a hair short of k * every
            next_period = period + 1
            yield moment


def paced(items: Iterable[tuple[float, T]]) -> Iterator[tuple[float, T]]:
    """Hold each (time, item) of a recording back until that much real time has passed since the first one."""
    start = None
    for moment, item in items:
        if start is None:
            start = time.monotonic() - moment
        time.sleep(max(0.0, start + moment - time.monotonic()))
        yield moment, item


def read_emotion(frame: faces.Frame, predictor: Predict, detector: faces.Detector) -> Prediction | None:
    """The emotion of the largest face in `frame`; None if there is no face."""
    box = faces.largest(detector(frame))
    if box is None:
        return None
    probabilities = np.asarray(predictor(faces.crop(frame, box)[None]))[0]
    best = int(probabilities.argmax())
    return Prediction(names(len(probabilities))[best], float(probabilities[best]), probabilities, box)


def watch(
    video: Video, predictor: Predict, detector: faces.Detector, every: float = 1.0, *, real_time: bool = True
) -> Iterator[Event]:
    """One event per `every` seconds of `video`; a recording is played at its own speed unless `real_time` is False."""
    looks = video.frames(every)
    for moment, frame in paced(looks) if real_time and not video.live else looks:
        yield Event(moment, read_emotion(frame, predictor, detector))


def time_of_day(seconds: float, *, live: bool) -> str:
    """`HH:MM:SS`: local clock time of a live source, position in a recording."""
    if live:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    minutes, second = divmod(int(seconds + 1e-3), 60)  # a position of 6.9999 s is a rounded 7
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def _is_url(source: int | str | Path) -> bool:
    return isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE) is not None


def _open(source: int | str | Path):
    """A `cv2.VideoCapture`, open or not. A path that cannot be read is said here: OpenCV would not say why."""
    cv2 = faces.opencv()
    if isinstance(source, int):
        capture = cv2.VideoCapture(source)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # not every driver obeys; `_live_times` drops what was kept
        return capture
    if not _is_url(source):
        try:
            Path(source).open("rb").close()
        except OSError as error:
            raise InputError(f"{source}: cannot be read: {error.strerror or error}") from None
    # FFmpeg by name: left to choose, OpenCV takes any file whose name holds digits for a sequence of pictures
    return cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
