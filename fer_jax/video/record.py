"""Keep what a video shows: a table of every face, and the annotated video.

with record.Table(Path("faces.csv"), predictor.emotions) as table:
    table.write(event)
"""

import contextlib
import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from fer_jax import faces, files
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.labels import VALENCE
from fer_jax.video.capture import Source
from fer_jax.video.watch import Event, Prediction

# what OpenCV's wheels can write on every platform, by suffix
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_MAX_GAP = 60.0  # seconds: a stream whose clock jumps by hours would fill the disk
_MAX_RATE = 60.0  # frames per second: containers of variable rate state thousands


def require_writable(path: Path, source: Source | None = None) -> None:
    """Refuse (InputError) a file that cannot be written, or that is the source itself."""
    if path.is_dir():
        raise InputError(f"{path}: must be a file to write, but is a folder")
    file = Path(source) if isinstance(source, str | Path) else None
    if file and file.exists() and path.exists() and path.samefile(file):
        raise InputError(f"{path}: must be another file than the source, which it would replace")
    files.require_folder(path.parent)
    try:
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


class Table:
    """A CSV file with a row per face and look, whole after every row. A context manager.

    Its columns, of which all but the time are empty for a look without a face: `Event.time`, the
    person's number, the box's x, y, w, h in pixels, a probability for each emotion (with `hacked`
    also of the hacked face), the most likely emotion or `uncertain`, its probability as confidence,
    and on demand the valence: P(pleasant) less P(unpleasant) by `labels.VALENCE`, in [-1, 1].
    """

    def __init__(
        self, path: Path, emotions: Sequence[str], *, hacked: bool = False, valence: bool = False
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._hacked, self._valence = hacked, valence
        names = [*emotions, *(f"hacked_{name}" for name in emotions if hacked)]
        columns = ["time", "person", "x", "y", "w", "h", *names, "emotion", "confidence"]
        columns += ["valence"] * valence
        self._empty = [""] * (len(columns) - 1)
        # 1: written line by line
        self._file = path.open("w", encoding="utf-8", newline="", buffering=1)
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(columns)

    def write(self, event: Event) -> None:
        """Add the rows of an event, in the order of the people's numbers."""
        people = sorted(event.predictions, key=lambda one: one.person)
        for cells in map(self._cells, people) if people else [self._empty]:
            self._rows.writerow([f"{event.time:.3f}", *cells])

    def _cells(self, one: Prediction) -> list[object]:
        numbers = [*one.probabilities]
        if self._hacked and one.hacked:
            numbers += [*one.hacked.probabilities]
        last = [one.probability]
        if self._valence:
            weights = np.array(VALENCE[: len(one.probabilities)])
            last.append(float(one.probabilities @ weights))
        return [one.person, *one.box[:4], *_decimals(numbers), one.emotion, *_decimals(last)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _decimals(values: Sequence[float]) -> list[str]:
    return [f"{value:.5f}" for value in values]


class VideoFile:
    """A video at a constant rate of frames that come when they come. A context manager.

    It is written under a temporary name and gets its own on leaving the context, also through
    Ctrl-C. Without a frame there is no file. Frames are fitted to the first one's size. A video
    that OpenCV cannot write, or not whole, is an InputError.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, min(rate, _MAX_RATE)
        self._stack = contextlib.ExitStack()
        self._writer: Any = None

    def write(self, moment: float, frame: faces.Frame) -> None:
        """Add a frame that shows from `moment` on; gaps show the one before, for a minute."""
        if self._writer is None:
            self._open(frame)
            self._first, self._written, self._last = moment, 0, frame
        index = math.floor((moment - self._first) * self._rate + 0.5)
        if (surplus := index - self._written - round(_MAX_GAP * self._rate)) > 0:
            self._first += surplus / self._rate
            index -= surplus
        while self._written < index:
            self._put(self._last)
        self._last = frame
        if self._written == index:  # else the file's rate is lower than that of the frames
            self._put(frame)

    def _open(self, frame: faces.Frame) -> None:
        cv2 = pictures.opencv()
        self._size = frame.shape[1], frame.shape[0]
        temporary = self._stack.enter_context(files.replacing(self._path))
        codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, codec, self._rate, self._size)
        if not writer.isOpened():
            size = "{}x{}".format(*self._size)
            raise InputError(f"{self._path}: OpenCV cannot write {size} video to it")
        self._stack.callback(self._require_whole, temporary)
        self._stack.callback(writer.release)
        self._writer = writer

    def _put(self, frame: faces.Frame) -> None:
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = pictures.opencv().resize(frame, self._size)
        self._writer.write(frame)
        self._written += 1

    def _require_whole(self, path: Path) -> None:
        """Open what was written and count its frames: OpenCV does not say when the disk is full."""
        cv2 = pictures.opencv()
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        whole = capture.grab() and capture.get(cv2.CAP_PROP_FRAME_COUNT) >= self._written
        capture.release()
        if not whole:
            rule = "the video could not be written whole: is the disk full?"
            raise InputError(f"{self._path}: {rule}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        # what has been written is kept, whatever ended it
        self._stack.__exit__(*(error if self._writer is None else (None, None, None)))


def require_codec(path: Path) -> None:
    """Refuse (InputError) a name of none of `CODECS`, or one on which OpenCV would crash."""
    pictures.require_utf8(path)
    if path.suffix.lower() not in CODECS:
        endings = " or ".join(CODECS)
        raise InputError(f"{path}: a video's name must end in {endings}, received {path.suffix!r}")
