"""Keep what a stream shows: a table of what each face said, and the annotated video.

with record.Table(Path("faces.csv"), labels.EMOTIONS) as table,
record.VideoFile(Path("annotated.mp4"), 25.0) as video:
    for event in stream.watch(...):
        table.write(event)
        video.write(event.moment, overlay.draw(event.frame, event.predictions))
"""

import contextlib
import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from fer_jax import faces, files
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.video.stream import Event

# What OpenCV's wheels can write on every platform, by suffix.
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_MAX_GAP = 60.0  # seconds: a stream whose clock jumps by hours would fill the disk
_MAX_RATE = 60.0  # frames per second: containers of variable rate state thousands


def require_writable(path: Path, source: int | str | Path | None = None) -> None:
    """Refuse, before any work is done, a file that cannot be written or that is the `source`
    itself.

    Raises:
        InputError: the rule that is broken.
    """
    if path.is_dir():
        raise InputError(f"{path}: must be a file to write, but is a folder")
    if (
        isinstance(source, str | Path)
        and path.exists()
        and Path(source).exists()
        and path.samefile(source)
    ):
        raise InputError(f"{path}: must be another file than the source, which it would replace")
    files.require_folder(path.parent)
    try:
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


class Table:
    """A CSV file with a row per face and look, whole after every row. A context manager.

    Columns: `time` (seconds: since the epoch for a live source, else the position), `person`,
    `x,y,w,h` (pixels), a probability per emotion, `emotion` (or `uncertain`), `confidence`. All but
    the time are empty for a look without a face.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, emotions: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # 1: written line by line
        self._file = path.open("w", encoding="utf-8", newline="", buffering=1)
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._columns = ["time", "person", "x", "y", "w", "h", *emotions, "emotion", "confidence"]
        self._rows.writerow(self._columns)

    def write(self, event: Event) -> None:
        if not event.predictions:
            self._rows.writerow([f"{event.time:.3f}"] + [""] * (len(self._columns) - 1))
        for one in sorted(event.predictions, key=lambda one: one.person):
            probabilities = [f"{value:.4f}" for value in one.probabilities]
            place = [f"{event.time:.3f}", one.person, *one.box[:4]]
            self._rows.writerow([*place, *probabilities, one.emotion, f"{one.probability:.4f}"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class VideoFile:
    """A video at a constant rate of frames that come when they come. A context manager.

    It is written under a temporary name and gets its own on leaving the context, also through
    Ctrl-C: what is there by then plays. Without a frame there is no file. Frames after the first
    are fitted to its size.

    Raises:
        InputError: the suffix is none of `CODECS`, or OpenCV cannot write such a video.
    """

    def __init__(self, path: Path, rate: float) -> None:
        """`rate`: frames per second, at most 60."""
        require_codec(path)
        self._path, self._rate = path, min(rate, _MAX_RATE)
        self._stack = contextlib.ExitStack()
        self._writer: Any = None

    def write(self, moment: float, frame: faces.Frame) -> None:
        """Add a frame, BGR uint8 [H, W, 3], that shows from `moment` seconds on.

        Gaps go on showing the one before, for up to a minute.
        """
        if self._writer is None:
            self._open(frame)
            self._first, self._written, self._last = moment, 0, frame
        index = math.floor((moment - self._first) * self._rate + 0.5)
        if (surplus := index - self._written - round(_MAX_GAP * self._rate)) > 0:
            self._first, index = self._first + surplus / self._rate, index - surplus
        while self._written < index:
            self._put(self._last)
        self._last = frame
        if self._written == index:  # else the file's rate is lower than that of the frames
            self._put(frame)

    def _open(self, frame: faces.Frame) -> None:
        cv2 = faces.opencv()
        self._size = frame.shape[1], frame.shape[0]
        temporary = self._stack.enter_context(files.replacing(self._path))
        codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, codec, self._rate, self._size)
        if not writer.isOpened():
            error = InputError(
                f"{self._path}: OpenCV cannot write {self._size[0]}x{self._size[1]} video to it"
            )
            self._stack.pop_all().__exit__(InputError, error, None)
            raise error
        self._stack.callback(self._require_whole, temporary)
        self._stack.callback(writer.release)
        self._writer = writer

    def _put(self, frame: faces.Frame) -> None:
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = faces.opencv().resize(frame, self._size)
        self._writer.write(frame)
        self._written += 1

    def _require_whole(self, path: Path) -> None:
        """OpenCV does not say when the disk is full: what was written is opened and its frames are
        counted.
        """
        cv2 = faces.opencv()
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        whole = capture.grab() and capture.get(cv2.CAP_PROP_FRAME_COUNT) >= self._written
        capture.release()
        if not whole:
            raise InputError(
                f"{self._path}: the video could not be written whole: is the disk full?"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def require_codec(path: Path) -> None:
    """Refuse, with an InputError, a video file whose suffix is none of `CODECS`, or a path that
    OpenCV would crash on.
    """
    pictures.require_utf8(path)
    if path.suffix.lower() not in CODECS:
        raise InputError(
            f"{path}: a video's name must end in {' or '.join(CODECS)}, received {path.suffix!r}"
        )
