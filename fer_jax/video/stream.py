"""Read a camera or a recording, and say once a second what each face shows.

with stream.Video(0) as video:
    for event in stream.watch(video, Predictor(), faces.detector()):
        print(stream.described(event, live=video.live))
"""

import argparse
import http.client
import math
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.labels import by_count
from fer_jax.video.tracks import Tracker

T = TypeVar("T")
# Faces uint8 [N, 48, 48] -> probabilities float32 [N, C], or [N, 2, C] of each face as it is and as
# it is hacked.
Predict = Callable[[np.ndarray], np.ndarray]
# Called about ten times a second while a live source gives nothing; False ends the stream.
Idle = Callable[[], bool]

# in place of an emotion whose probability is below what the user wants to hear about
UNCERTAIN = "uncertain"

# Each failed grab in a recording is one packet that does not decode: so many in a row, a minute's
# worth, are its end.
_BROKEN_FRAMES = 1500
# A live source may hiccup so often, unless that takes longer than `_HICCUP_SECONDS`: then it is
# gone.
_HICCUPS, _HICCUP_SECONDS = 10, 1.0
# A network stream that says nothing for so long has dropped. Ctrl-C and `Video.close` may wait as
# long.
_NETWORK_SECONDS = 5.0
# A server that is asked how long its video is has so long: a camera that serves one client at a
# time never answers.
_QUESTION_SECONDS = 2.0
# What a remote recording may lack at its end: containers round their length, and sound may outlast
# the picture.
_SHORT_SECONDS = 3.0
# A step longer than this beyond the period of looks is a clock that jumps, not a picture that
# stands.
_JUMP_SECONDS = 5.0
_IDLE_SECONDS = 0.1
# Sound with a cover states the 90 kHz clock as its rate; so do videos without a constant one, which
# have more frames.
_NO_RATE = 1000.0
# A recording that cannot be played in time is shown late rather than not at all for longer than
# this.
_SILENT_SECONDS = 1.0
_MAX_CAMERA = 99  # to OpenCV larger numbers mean other things
# Pauses between attempts to reconnect, in seconds; then we give up.
_BACKOFF = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)


class Prediction(NamedTuple):
    """What one face shows."""

    emotion: str  # one of `labels.names`, or `UNCERTAIN`
    probability: float  # the largest of `probabilities`, in [0, 1]
    probabilities: np.ndarray  # float32 [C], in the order of `labels.names`
    box: faces.Box
    person: int = 1  # the same number for the same person, look after look
    hacked: "Prediction | None" = None  # what the same face shows when it is hacked, if it is


class Event(NamedTuple):
    """One look at the stream."""

    # seconds: since the epoch for a live source, since the beginning for a recording; to be said
    time: float
    predictions: tuple[Prediction, ...]  # the largest face first; empty: no face
    frame: faces.Frame  # BGR uint8 [H, W, 3]
    due: bool  # the first look of its period: to be said
    moment: float  # seconds that only increase, whatever becomes of the clock: to measure by


class Video:
    """An open camera, recording or network stream. A context manager; close it, or the camera stays
    busy.

    A live source is read by a thread of its own from the moment it opens, so nothing ever waits in
    a buffer; of what it reads one frame is kept, the newest. A recording is read by whoever asks
    for its frames.

    Attributes:
        name: the source as the user knows it, without a password.
        live: times are clock times (a camera, a stream without end), not positions in a recording.
        rate: frames per second, as far as the source states it.
        duration: seconds, for a recording that states it; else None.
    """

    def __init__(self, source: int | str | Path) -> None:
        """Open a camera by its index, a file by its path or a stream by its URL, and fetch the
        first frame.

        Raises:
            InputError: it does not exist, cannot be read, is not a video or gives no frame.
        """
        cv2 = faces.opencv()
        self.name = (
            f"camera {source}" if isinstance(source, int) else re.sub("//[^/]*@", "//", str(source))
        )
        self._remote = _is_url(source)
        self._capture = _open(source)
        tries = 1 if isinstance(source, int) or self._remote else _BROKEN_FRAMES
        if not any(self._capture.grab() for _ in range(tries)):  # more of a proof than isOpened()
            self._capture.release()
            raise InputError(f"{self.name}: {_why_no_frame(source)}")
        count, rate = (
            self._capture.get(cv2.CAP_PROP_FRAME_COUNT),
            self._capture.get(cv2.CAP_PROP_FPS),
        )
        # a guess for files that do not say
        self.rate = rate if math.isfinite(rate) and rate > 0 else 25.0
        self.live = isinstance(source, int) or (
            self._remote and count <= 0 and not _has_length(str(source))
        )
        self.duration = count / self.rate if count > 0 and not self.live else None
        if self.rate > _NO_RATE and (self.duration or 0) > 1 and not _has_second_frame(source):
            self._capture.release()
            raise InputError(
                f"{self.name}: must be a camera or a video, but it is sound with a cover picture"
            )
        self._source, self._resumed = source, -math.inf
        reopen = (lambda: _open(source)) if self._remote else None
        self._newest = _Newest(self.name, self._capture, reopen) if self.live else None

    def frames(
        self, every: float = 0.0, idle: Idle | None = None
    ) -> Iterator[tuple[float, faces.Frame]]:
        """(moment, frame BGR uint8 [H, W, 3]) to the end of the video, the first of each `every`
        seconds; 0 gives all.

        Moments are seconds that increase: positions in a recording, of a live source what has
        passed since it was opened, counted from the clock's time then. A video can be read once.
        Frames that are not due are grabbed but never converted. A live source gives the newest
        frame each time it is asked, and skips what came in between.
        """
        if self._newest is not None:
            yield from self._newest.frames(every, idle)
            return
        for moment in sample(increasing(self._positions(), 1 / self.rate), every):
            if (frame := _retrieve(self._capture)) is not None:
                yield moment, frame

    def clock_time(self, moment: float) -> float:
        """What the clock shows for a recent `moment` of `frames`, in seconds since the epoch; of a
        recording its position.

        The clock may have been set, or the machine have slept, since the source was opened.
        """
        return moment + self._newest.clock_ahead() if self._newest is not None else moment

    def close(self) -> None:
        if self._newest is not None:
            self._newest.close()
        else:
            self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _positions(self) -> Iterator[float]:
        """The position in seconds of each frame that decodes, as the container states it."""
        more = True
        while more:
            position = self._position()
            yield position
            more = self._grab() or (self._remote and self._resume(position))

    def _position(self) -> float:
        return self._capture.get(faces.opencv().CAP_PROP_POS_MSEC) / 1000

    def _resume(self, position: float) -> bool:
        """Open a recording anew whose server went away, and find the frame after `position`; False
        at its end.

        Raises:
            InputError: the server does not return, or has no more although the recording is longer.
        """
        cv2 = faces.opencv()
        # of a variable rate the better measure
        counted = self._capture.get(cv2.CAP_PROP_POS_FRAMES) / self.rate
        if self.duration is None or max(position, counted) >= self.duration - _SHORT_SECONDS:
            return False

        def reopen() -> Any:
            capture = _open(self._source)
            # where the server cannot do that, frames are passed over
            capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * position)
            return capture

        if position > self._resumed:  # else it ends again where it was taken up
            self._resumed = position
            if capture := _reconnect(self.name, self._capture, reopen, threading.Event()):
                self._capture, more = capture, True
                while more and self._position() <= position:
                    more = self._grab()
                if more:
                    return True
        raise InputError(
            f"{self.name}: the connection was lost at {position:.0f} s of {self.duration:.0f} s"
        )

    def _grab(self) -> bool:
        """The next frame that decodes; False at the end of the recording, or where its server says
        no more.
        """
        began = time.monotonic()
        for _ in range(_BROKEN_FRAMES):
            if self._capture.grab():
                return True
            if self._remote and time.monotonic() - began > _NETWORK_SECONDS:
                break
        return False


class _Newest:
    """A thread that reads a live source without pause, and one slot for the newest frame that
    somebody waits for.

    Only the thread touches the capture, and releases it: OpenCV's captures are not thread-safe.
    Moments never jump: the clock's time when the source opened, and what has passed since.
    """

    def __init__(self, name: str, capture: Any, reopen: Callable[[], Any] | None) -> None:
        self._name, self._capture, self._reopen = name, capture, reopen
        self._epoch = time.time() - time.monotonic()
        self._changed = threading.Condition()
        self._slot: tuple[float, faces.Frame] | None = None
        self._due = -math.inf  # frames before this time are not wanted, so not even decoded
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture of {name}", daemon=True)
        self._thread.start()

    def frames(self, every: float, idle: Idle | None) -> Iterator[tuple[float, faces.Frame]]:
        first = None
        while (taken := self._take(idle)) is not None:
            first = taken[0] if first is None else first
            if every > 0:
                self._due = (
                    first + (math.floor((taken[0] - first) / every + 1e-6) + 1) * every - 1e-6
                )
            yield taken

    def clock_ahead(self) -> float:
        """How many seconds the clock is ahead of the moments by now."""
        return time.time() - time.monotonic() - self._epoch

    def close(self) -> None:
        self._stop.set()
        # it may be waiting for a silent network; it dies with the process
        self._thread.join(2 * _NETWORK_SECONDS)

    def _take(self, idle: Idle | None) -> tuple[float, faces.Frame] | None:
        """Wait for the newest frame that is due; None at the end of the stream, or if `idle` has
        waited enough.
        """
        while True:
            with self._changed:  # in short waits also because on Windows Ctrl-C does not end one
                if self._changed.wait_for(
                    lambda: self._ready() or self._ended, timeout=_IDLE_SECONDS
                ):
                    taken, self._slot = self._slot if self._ready() else None, None
                    return taken
            if idle and not idle():
                return None

    def _ready(self) -> bool:
        return self._slot is not None and self._slot[0] >= self._due

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._grab():
                moment = self._epoch + time.monotonic()
                if moment >= self._due and (frame := _retrieve(self._capture)) is not None:
                    with self._changed:
                        self._slot = moment, frame
                        self._changed.notify()
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _grab(self) -> bool:
        """The next frame; False once the source is gone for good, which is said."""
        began = time.monotonic()
        for _ in range(_HICCUPS):
            if self._capture.grab():
                return True
            if self._stop.is_set() or time.monotonic() - began > _HICCUP_SECONDS:
                break
        if self._reopen is not None:
            if capture := _reconnect(self._name, self._capture, self._reopen, self._stop):
                self._capture = capture
            return capture is not None
        if not self._stop.is_set():
            _say(self._name, "gives no more frames: unplugged?")
        return False


def _reconnect(
    name: str, capture: Any, reopen: Callable[[], Any], stop: threading.Event
) -> Any | None:
    """A capture with a frame in place of one that gives no more, which is released; None if there
    is none, or at `stop`.
    """
    if stop.is_set():
        return None
    _say(name, "dropped, reconnecting ...")
    lost = time.monotonic()
    for pause in _BACKOFF:
        stopped = stop.wait(pause)
        capture.release()
        if stopped:
            return None
        capture = reopen()
        if capture.grab():
            _say(name, f"back after {time.monotonic() - lost:.1f} s")
            return capture
    capture.release()
    _say(name, f"gave up after {time.monotonic() - lost:.0f} s and {len(_BACKOFF)} attempts")
    return None


def _say(name: str, message: str) -> None:
    print(f"{name}: {message}", file=sys.stderr, flush=True)


class Periods:
    """Tells of each of increasing times, in seconds, whether it is the first in its period of
    `every` seconds.

    Periods are counted from the first time of all; with `every` 0 each time has its own.
    """

    def __init__(self, every: float) -> None:
        self._every, self._first, self._next = every, None, 0

    def __call__(self, moment: float) -> bool:
        if self._every <= 0:
            return True
        self._first = moment if self._first is None else self._first
        # milliseconds fall a hair short of k * every
        period = math.floor((moment - self._first) / self._every + 1e-6)
        if period < self._next:
            return False
        self._next = period + 1
        return True


class Smoother:
    """The exponential average over time of each person's probabilities, with a time constant of
    `seconds`; 0: none.

    A look `t` seconds later counts 1 - exp(-t / seconds). Who was not seen for `2 * seconds` starts
    afresh.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: dict[int, tuple[float, np.ndarray]] = {}

    def __call__(
        self, moment: float, people: Sequence[int], probabilities: np.ndarray
    ) -> np.ndarray:
        """`probabilities` [N, C] of `people`, N different numbers, at `moment` seconds: averaged,
        [N, C].
        """
        if self._seconds <= 0:
            return probabilities
        self._last = {k: v for k, v in self._last.items() if moment - v[0] <= 2 * self._seconds}
        averages = [
            self._average(moment, *pair) for pair in zip(people, probabilities, strict=True)
        ]
        self._last |= {
            person: (moment, average) for person, average in zip(people, averages, strict=True)
        }
        return np.array(averages).reshape(probabilities.shape)

    def _average(self, moment: float, person: int, new: np.ndarray) -> np.ndarray:
        if person not in self._last:
            return new
        then, old = self._last[person]
        keep = math.exp(-(moment - then) / self._seconds)
        return keep * old + (1 - keep) * new


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
    if not 0.001 <= period < math.inf:
        raise argparse.ArgumentTypeError(
            f"must be a finite number of seconds above 0, at least 0.001, got {text!r}"
        )
    return period


def parse_probability(text: str) -> float:
    """A command line's probability.

    Raises:
        argparse.ArgumentTypeError: not a number from 0 to 1.
    """
    try:
        probability = float(text)
    except ValueError:
        probability = math.nan
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return probability


def increasing(positions: Iterable[float], step: float) -> Iterator[float]:
    """`positions` in seconds; one that does not increase (a container without times) becomes the
    last plus `step`.
    """
    last = -math.inf
    for position in positions:
        last = position if position > last else last + step
        yield last


def sample(times: Iterable[float], every: float) -> Iterator[float]:
    """The first of `times` in each period of `every` seconds, counted from the first of all; 0
    gives all.

    Times increase. n frames at a constant rate give floor((n - 1) / (rate * every)) + 1 samples, as
    long as a period is no shorter than a frame; a period without a frame is left out.
    """
    return filter(Periods(every), times)


def paced(items: Iterable[tuple[float, T]], every: float = 0.0) -> Iterator[tuple[float, T]]:
    """Hold each (time, item) of a recording back until that much real time has passed since the
    first one.

    An item that is later than the step from its predecessor is left out: the next one is due
    already. Where the items come too slowly for that to help, time starts anew from what there is;
    and so it does after a step that is more than five seconds longer than `every`, since no one
    would wait for a recording whose time jumps by hours.
    """
    start = last = None
    resumed = time.monotonic()
    for moment, item in items:
        now = time.monotonic()
        if start is None or last is None or moment - last > every + _JUMP_SECONDS:
            start, last = now - moment, moment
        ahead = start + moment - now
        step, last = moment - last, moment
        if -ahead > step > 0:
            if now - resumed < _SILENT_SECONDS:
                continue
            start = now - moment
        time.sleep(max(0.0, ahead))
        yield moment, item
        resumed = time.monotonic()


def read_emotions(
    frame: faces.Frame, predictor: Predict, detector: faces.Detector
) -> list[Prediction]:
    """The emotion of each face in `frame`, in the detector's order; all are predicted in one batch."""
    return [_prediction(*pair) for pair in zip(*_look(frame, predictor, detector), strict=True)]


def watch(
    video: Video,
    predictor: Predict,
    detector: faces.Detector,
    every: float = 1.0,
    *,
    real_time: bool = True,
    each_frame: bool = False,
    smooth: float = 0.0,
    min_confidence: float = 0.0,
    idle: Idle | None = None,
) -> Iterator[Event]:
    """One event per `every` seconds of `video`; with `each_frame` one per frame, the first of each
    period being `due`.

    A recording is played at its own speed, leaving out looks that come too late, unless `real_time`
    is False: then every look is taken and the outcome does not depend on the machine's speed.
    `smooth` is the time constant of `Smoother` in seconds; an emotion whose probability is below
    `min_confidence`, in [0, 1], is called `UNCERTAIN`. `idle` is called in this thread while a live
    source gives nothing, and ends the stream with False: a window wants to be served.
    """
    period = 0.0 if each_frame else every
    looks = video.frames(period, idle)
    tracker, smoother, due = (
        Tracker(max(3.0, 3 * every)),
        Smoother(smooth),
        Periods(every if each_frame else 0),
    )
    for moment, frame in paced(looks, period) if real_time and not video.live else looks:
        boxes, probabilities = _look(frame, predictor, detector)
        people = tracker.update(moment, boxes)
        averages = smoother(moment, people, probabilities)
        predictions = [
            _prediction(box, average, person, min_confidence)
            for box, average, person in zip(boxes, averages, people, strict=True)
        ]
        yield Event(video.clock_time(moment), tuple(predictions), frame, due(moment), moment)


def described(event: Event, *, live: bool, numbered: bool = False) -> str:
    """What an event is to the reader: one line per face, by number if there are several or all are
    `numbered`.
    """
    stamp = time_of_day(event.time, live=live) + "s : "
    if not event.predictions:
        return stamp + "no face"
    numbered = numbered or len(event.predictions) > 1
    people = sorted(event.predictions, key=lambda one: one.person)
    return "\n".join(
        f"{stamp}{f'person {one.person} : ' if numbered else ''}{_said_of(one)}" for one in people
    )


def said(prediction: Prediction, separator: str = " , ") -> str:
    """`Happy , 73%`, or `uncertain , 31%`."""
    uncertain = prediction.emotion == UNCERTAIN
    name = UNCERTAIN if uncertain else prediction.emotion.capitalize()
    return f"{name}{separator}{prediction.probability:.0%}"


def time_of_day(seconds: float, *, live: bool) -> str:
    """`HH:MM:SS`: local clock time of a live source, position in a recording."""
    if live:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    minutes, second = divmod(int(seconds + 1e-3), 60)  # a position of 6.9999 s is a rounded 7
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def _said_of(prediction: Prediction) -> str:
    hacked = prediction.hacked
    return said(prediction) + (f"  hacked : {said(hacked)}" if hacked else "")


def _look(
    frame: faces.Frame, predictor: Predict, detector: faces.Detector
) -> tuple[Sequence[faces.Box], np.ndarray]:
    """Each face's box, and what the predictor says of all in one batch."""
    boxes = detector(frame)
    if not boxes:
        return [], np.empty(0)
    return boxes, np.asarray(predictor(np.stack([faces.crop(frame, box) for box in boxes])))


def _prediction(
    box: faces.Box, probabilities: np.ndarray, person: int = 1, min_confidence: float = 0.0
) -> Prediction:
    if probabilities.ndim == 2:
        clean, hacked = (_prediction(box, each, person, min_confidence) for each in probabilities)
        return clean._replace(hacked=hacked)
    best = int(probabilities.argmax())
    probability = float(probabilities[best])
    emotion = by_count(len(probabilities))[best] if probability >= min_confidence else UNCERTAIN
    return Prediction(emotion, probability, probabilities, box, person)


def _is_url(source: int | str | Path) -> bool:
    return (
        isinstance(source, str)
        and re.match(r"[a-z][a-z0-9+.-]+://", source, re.IGNORECASE) is not None
    )


def _has_length(url: str) -> bool:
    """Whether a web server states how long a video is: then it is a recording, even if its
    container does not say.

    Neither a camera's stream has a length, nor is that of a playlist one of the video.
    """
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "fer_jax"})
    try:
        with urllib.request.urlopen(request, timeout=_QUESTION_SECONDS) as answer:
            kind, length = (
                answer.headers.get_content_type(),
                answer.headers.get("Content-Length", ""),
            )
    # no web server, or one that answers no such question
    except (OSError, ValueError, http.client.HTTPException):
        return False
    if "mpegurl" in kind or re.search(r"\.(?:m3u8|mpd)(?:$|[?#])", url, re.IGNORECASE):
        return False
    return (
        (kind.startswith("video/") or kind == "application/octet-stream")
        and length.isdigit()
        and int(length) > 0
    )


def _has_second_frame(source: int | str | Path) -> bool:
    capture = _open(source)
    try:
        return capture.grab() and capture.grab()
    finally:
        capture.release()


def _retrieve(capture: Any) -> faces.Frame | None:
    """The frame that was grabbed, BGR uint8 [H, W, 3]; None if it does not decode."""
    cv2 = faces.opencv()
    whole, frame = capture.retrieve()
    if not whole:
        return None
    return frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)


def _open(source: int | str | Path) -> Any:
    """A `cv2.VideoCapture`, open or not. A path that cannot be read is said here: OpenCV would not
    say why.
    """
    cv2 = faces.opencv()
    if isinstance(source, int):
        if source > _MAX_CAMERA:
            raise InputError(
                f"camera {source}: must be an index from 0 to {_MAX_CAMERA}; a file of that name is ./{source}"
            )
        return cv2.VideoCapture(source)
    if _is_url(source):
        patience = round(1000 * _NETWORK_SECONDS)
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            patience,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            patience,
        ]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    try:
        with Path(source).open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from None
    if empty:
        raise InputError(f"{source}: must be a camera or a video, but the file is empty")
    pictures.require_utf8(source)
    # FFmpeg by name: left to choose, OpenCV takes any file whose name holds digits for a sequence
    # of pictures
    return cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)


def _why_no_frame(source: int | str | Path) -> str:
    """The likely reason, as far as it can be told: OpenCV says none."""
    if _is_url(source):
        return (
            "must be a camera or a video, but does not answer, or with something that is no video"
        )
    device = Path(f"/dev/video{source}")
    if not isinstance(source, int):
        return "must be a camera or a video that opens, but no picture in it can be decoded"
    if sys.platform == "linux" and not device.exists():
        return f"must be a camera that is connected, but there is no {device}"
    return "must be a camera that is free and may be read, but it gives no frame: does another program use it?"
