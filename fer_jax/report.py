"""A recording becomes a report: a table of every face, a picture for each person, a summary and one HTML page.

reader = Reader(predictor, predictor.emotions, detector, every=1.0, model="")
summary = analyse("interview.mp4", Path("reports"), "interview", reader)

Frames are read one at a time and the table is written row by row; the rest is made from it. So what grows with the length of
a recording is the table alone, by about 150 bytes for each face of each look.
"""

import csv
import itertools
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fer_jax import faces, plots, report_page, stream, tracks
from fer_jax.errors import InputError
from fer_jax.labels import VALENCE
from fer_jax.report_page import UNSURE

MIN_LOOKS = 3  # a face seen in fewer looks is mostly a false alarm: it is in the table, but gets no picture
MAX_PEOPLE = 20  # with a picture on the page, those seen most
_THUMBNAIL = 120  # pixels
_ENDS = ("_faces.csv", "_summary.json", "_summary.txt", ".html")  # of a report's files, beside the pictures
_STRETCHES = 8  # thumbnails a person
_MEMORY = 3.0  # seconds, or looks, for which an unseen person is remembered

Frames = Iterable[tuple[float, faces.Frame]]  # (seconds, frame)


@dataclass(frozen=True)
class Reader:
    """What turns frames into rows.

    `predict` gives probabilities in the order of `emotions`; `every` is in seconds; `model` says in a sentence or two
    for the page which network it is and what it was measured to reach.
    """

    predict: stream.Predict
    emotions: Sequence[str]
    detector: faces.Detector
    every: float
    model: str


class Stretch(NamedTuple):
    """A run of looks in which one person showed one emotion."""

    emotion: str
    start: float  # seconds
    looks: int
    confidence: float  # the largest of its looks
    thumbnail: bytes  # JPEG, the face in that look


def analyse(
    source: str | Path, folder: Path, name: str, reader: Reader, advance: Callable[[float], object] = lambda _: None
) -> dict[str, Any]:
    """Read a recording once, write its report to `folder` and return the summary.

    It writes NAME_faces.csv (`columns`), NAME_personN.png, NAME_summary.json, NAME_summary.txt and NAME.html: all of
    them or, on an error, none. Pictures of people of an earlier report of that name are removed.

    Args:
        advance: called with the seconds of video that each look brings, for a progress bar.

    Raises:
        InputError: the recording cannot be read, or not one frame of it.
        OSError: the report cannot be written.
    """
    with _appearing_in(folder, name, Path(source)) as work:
        table_path = work / f"{name}_faces.csv"
        with stream.Video(source) as video:
            stretches = record(_announced(video.frames(reader.every), advance), reader, table_path)
            duration = video.duration
        table = read_table(table_path)
        if not len(table):
            raise InputError(f"{source}: must be a video, but not one of its frames can be decoded")
        summary = {"video": str(Path(source).resolve()), **summarise(table, reader.emotions, reader.every, duration)}
        (work / f"{name}_summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        (work / f"{name}_summary.txt").write_text(describe(summary))
        pictures = _draw_people(table, summary, reader.emotions, work / name)
        html = report_page.render(Path(source).name, summary, pictures, _turning_points(stretches), reader.model)
        (work / f"{name}.html").write_text(html, encoding="utf-8", errors="replace")  # a file name may be no Unicode
    return summary


def columns(emotions: Sequence[str]) -> list[str]:
    """The table's header.

    time: seconds; person: a number from 1, empty (as all that follows) for a look without a face; x, y, w, h: the
    face's box in pixels; a probability for each emotion; emotion: the most likely one; confidence: its probability;
    valence: the probability of the pleasant emotions less that of the unpleasant ones (`labels.VALENCE`), in [-1, 1].
    """
    return ["time", "person", "x", "y", "w", "h", *emotions, "emotion", "confidence", "valence"]


def record(frames: Frames, reader: Reader, path: Path) -> dict[int, list[Stretch]]:
    """Write the table of `columns` to `path`, a row for each face of each look; each person's longest stretches."""
    tracker = tracks.Tracker(max_gap=_MEMORY * max(reader.every, 1))
    gallery = _Gallery()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns(reader.emotions))
        for look, (moment, frame) in enumerate(frames):
            boxes = list(reader.detector(frame))
            people = tracker.update(moment, boxes)
            if not boxes:
                writer.writerow([f"{moment:.3f}"] + [""] * (len(reader.emotions) + 8))
                continue
            probabilities = np.asarray(reader.predict(np.stack([faces.crop(frame, box) for box in boxes])))
            for person, box, row in zip(people, boxes, probabilities, strict=True):
                writer.writerow(_row(moment, person, box, row, reader.emotions))
                gallery.see(person, look, moment, reader.emotions[int(row.argmax())], float(row.max()), frame, box)
    return gallery.longest()


def read_table(path: Path) -> pd.DataFrame:
    """The table that `record` wrote; `person` may be missing (Int64)."""
    return pd.read_csv(path, dtype={"person": "Int64", "emotion": "string"})


def summarise(table: pd.DataFrame, emotions: Sequence[str], every: float, duration: float | None = None) -> dict[str, Any]:
    """Figures of a recording: builtins only, ready for JSON.

    A share is of looks, which are evenly spaced; a time is a number of looks by the mean time from look to look. What
    lies between two looks is not seen: changes and runs are those at this rate, and a gap ends a run.

    Args:
        table: of `read_table`, at least one row.
        every: seconds from look to look, of use where there is only one.
        duration: seconds, where the recording states it: its last look may stand for less than the others.
    """
    moments = np.unique(table["time"])
    step = float(np.diff(moments).mean()) if len(moments) > 1 else every
    seconds = len(moments) * step if duration is None else min(len(moments) * step, max(duration, np.ptp(moments)))
    seen = table.dropna(subset=["person"])
    seen = seen.assign(look=np.searchsorted(moments, seen["time"]), sure=seen["confidence"] >= UNSURE)
    people = [_person(rows, emotions, step) for _, rows in seen.groupby("person")]
    return {
        "start": float(moments[0]),
        "seconds": _rounded(seconds),
        "looks": len(moments),
        "step": _rounded(step),
        "share_without_face": _rounded(1 - seen["time"].nunique() / len(moments)),
        "share_unsure": _rounded(1 - seen["sure"].mean()) if len(seen) else None,
        "people": sorted(people, key=lambda person: (-person["looks"], person["person"])),
    }


def describe(summary: Mapping[str, Any]) -> str:
    """The summary as a few lines of text, the people most seen first."""
    count = len(summary["people"])
    head = f"{summary['seconds']:.1f} s in {summary['looks']} looks, {count} {'person' if count == 1 else 'people'}, "
    head += f"{summary['share_without_face']:.1%} of the time without a face\n"
    return head + "".join(f"{_described(person)}\n" for person in summary["people"])


def names(paths: Sequence[Path], folder: Path) -> list[str]:
    """A name for the report of each recording: its stem, with a number if another recording has or had that name here.

    "Had": a summary in `folder` states another video. So a report is replaced by its own video's next one only.
    """
    taken: set[str] = set()
    chosen = []
    for path in paths:
        candidates = itertools.chain([path.stem], (f"{path.stem}-{number}" for number in itertools.count(2)))
        name = next(name for name in candidates if name.casefold() not in taken and _is_free(folder, name, path))
        taken.add(name.casefold())
        chosen.append(name)
    return chosen


def describe_model(metadata: Mapping[str, Any]) -> str:
    """What a model file states of itself, for people: name and accuracy on its hold-out, as far as they are there."""
    best, name, protocol = (metadata.get(key) for key in ("best", "name", "protocol"))
    accuracy = best.get("holdout_accuracy") if isinstance(best, Mapping) else None
    stated = f"Model {name}" if isinstance(name, str) and name else "A model without a name"
    if isinstance(protocol, str) and protocol:
        stated += f", protocol {protocol}"
    if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
        return f"{stated}. Its file states no measured accuracy: treat its output as unproven."
    return f"{stated}. It names {accuracy:.1%} of the FER-2013 faces held out of its training as their annotators did."


@dataclass
class _Person:
    """The gallery's memory of one person: the stretch that goes on, and the longest ones before."""

    last_look: int
    current: Stretch
    done: list[Stretch] = field(default_factory=list)
    looks: int = 0

    def finish(self) -> None:
        """Let the current stretch be one of the longest, or forget it."""
        self.done = sorted([*self.done, self.current], key=lambda stretch: -stretch.looks)[:_STRETCHES]


class _Gallery:
    """Keeps a thumbnail for each of the longest stretches of the people most seen: bounded, however long the video."""

    def __init__(self) -> None:
        self._people: dict[int, _Person] = {}

    def see(
        self, number: int, look: int, moment: float, emotion: str, confidence: float, frame: faces.Frame, box: faces.Box
    ) -> None:
        person = self._people.get(number)
        if person is None:
            self._make_room()
            person = self._people[number] = _Person(look, Stretch(emotion, moment, 0, 0.0, b""))
        elif person.current.emotion != emotion or person.last_look != look - 1:
            person.finish()
            person.current = Stretch(emotion, moment, 0, 0.0, b"")
        current = person.current._replace(looks=person.current.looks + 1)
        if confidence > current.confidence:
            current = current._replace(confidence=confidence, thumbnail=_thumbnail(frame, box))
        person.current, person.last_look, person.looks = current, look, person.looks + 1

    def _make_room(self) -> None:
        """Of twice as many people as are shown, forget the half seen least."""
        if len(self._people) >= 2 * MAX_PEOPLE:
            ranked = sorted(self._people.items(), key=lambda item: -item[1].looks)
            self._people = dict(ranked[:MAX_PEOPLE])

    def longest(self) -> dict[int, list[Stretch]]:
        """By person, the longest stretches in the order of time; call it once, at the end."""
        for person in self._people.values():
            person.finish()
        return {number: sorted(person.done, key=lambda stretch: stretch.start) for number, person in self._people.items()}


def _row(moment: float, person: int, box: faces.Box, probabilities: np.ndarray, emotions: Sequence[str]) -> list[Any]:
    best = int(probabilities.argmax())
    valence = float(probabilities @ np.array(VALENCE[: len(emotions)]))
    numbers = [f"{value:.5f}" for value in (*probabilities, probabilities[best], valence)]
    return [f"{moment:.3f}", person, *box[:4], *numbers[:-2], emotions[best], *numbers[-2:]]


def _person(rows: pd.DataFrame, emotions: Sequence[str], step: float) -> dict[str, Any]:
    """Figures of one person, of their `rows` with two more columns: the look's number, and whether it is sure."""
    emotion, together = rows["emotion"].to_numpy(str), np.diff(rows["look"]) == 1
    changed = emotion[1:] != emotion[:-1]
    starts = np.flatnonzero(np.append(True, changed | ~together))
    lengths = np.diff(np.append(starts, len(rows)))
    longest = int(lengths.argmax())
    watched = together.sum() * step / 60  # minutes between looks that follow each other
    return {
        "person": int(rows["person"].iloc[0]),
        "first": float(rows["time"].iloc[0]),
        "last": float(rows["time"].iloc[-1]),
        "looks": len(rows),
        "seconds": _rounded(len(rows) * step),
        "share": {name: _rounded((emotion == name).mean()) for name in emotions},
        "share_sure": {name: _rounded((rows["sure"] & (emotion == name)).mean()) for name in emotions},
        "mean_probability": {name: _rounded(rows[name].mean()) for name in emotions},
        "longest_run": {
            "emotion": str(emotion[starts[longest]]),
            "start": float(rows["time"].iloc[starts[longest]]),
            "seconds": _rounded(int(lengths[longest]) * step),
        },
        "changes_per_minute": _rounded((changed & together).sum() / watched) if watched else None,
        "mean_valence": _rounded(rows["valence"].mean()),
        "mean_confidence": _rounded(rows["confidence"].mean()),
        "share_unsure": _rounded(1 - rows["sure"].mean()),
    }


def _described(person: Mapping[str, Any]) -> str:
    ranked = sorted(person["share"].items(), key=lambda item: -item[1])
    run, changes = person["longest_run"], person["changes_per_minute"]
    parts = [
        f"person {person['person']}: seen for {person['seconds']:.1f} s",
        ", ".join(f"{emotion} {share:.0%}" for emotion, share in ranked if share),
        f"longest run: {run['emotion']}, {run['seconds']:.1f} s from {stream.time_of_day(run['start'], live=False)}",
        "changes unknown" if changes is None else f"{changes:.1f} changes a minute",
        f"mean valence {person['mean_valence']:+.2f}",
        f"unsure {person['share_unsure']:.0%}",
    ]
    return "; ".join(parts)


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def _draw_people(table: pd.DataFrame, summary: Mapping[str, Any], emotions: Sequence[str], stem: Path) -> dict[int, bytes]:
    """STEM_personN.png of each person who is seen often enough, and their contents by person, most seen first."""
    pictures = {}
    span = summary["start"], summary["start"] + summary["seconds"]
    for person in summary["people"][:MAX_PEOPLE]:
        number = person["person"]
        rows = table.loc[table["person"] == number]
        if len(rows) < min(MIN_LOOKS, summary["looks"]):
            continue
        probabilities = rows[list(emotions)].to_numpy(float)
        figure = plots.emotion_timeline(rows["time"].to_numpy(float), probabilities, emotions, summary["step"], span)
        path = stem.with_name(f"{stem.name}_person{number}.png")
        figure.savefig(path)
        pictures[number] = path.read_bytes()
    return pictures


def _turning_points(stretches: Mapping[int, Sequence[Stretch]]) -> dict[int, list[Stretch]]:
    """Of each person's stretches, in order, those that are of another emotion than the one before."""
    chosen: dict[int, list[Stretch]] = {}
    for person, ordered in stretches.items():
        steady = [stretch for stretch in ordered if stretch.looks > 1] or ordered  # a single look may be a slip
        runs = itertools.groupby(steady, key=lambda stretch: stretch.emotion)
        chosen[person] = [max(run, key=lambda stretch: stretch.looks) for _, run in runs]
    return chosen


def _thumbnail(frame: faces.Frame, box: faces.Box) -> bytes:
    """The face with some of what is around it, a square JPEG."""
    cv2 = faces.opencv()
    side = round(1.5 * max(box.w, box.h))
    left, top = box.x + (box.w - side) // 2, box.y + (box.h - side) // 2
    cut = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    height, width = cut.shape[:2]
    scale = _THUMBNAIL / max(height, width)
    small = cv2.resize(cut, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes()


def _announced(frames: Frames, advance: Callable[[float], object]) -> Iterator[tuple[float, faces.Frame]]:
    last = 0.0
    for moment, frame in frames:
        advance(moment - last)
        last = moment
        yield moment, frame


def _is_free(folder: Path, name: str, video: Path) -> bool:
    """Whether no file of that name's report lies in `folder`, or the report of this very video."""
    return _is_of(folder, name, video) or not any((folder / f"{name}{end}").exists() for end in _ENDS)


def _is_of(folder: Path, name: str, video: Path) -> bool:
    try:
        return json.loads((folder / f"{name}_summary.json").read_text())["video"] == str(video.resolve())
    except (OSError, ValueError, KeyError, TypeError):
        return False  # none, or not ours


@contextmanager
def _appearing_in(folder: Path, name: str, video: Path) -> Iterator[Path]:
    """A temporary folder in `folder`, whose files move there at the end of the block, or vanish with an error.

    They replace an earlier report of `video`, whose further pictures go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    people = re.compile(re.escape(name) + r"_person\d+\.png")
    earlier = [path for path in folder.iterdir() if people.fullmatch(path.name)] if _is_of(folder, name, video) else []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as temporary:
        yield Path(temporary)
        made = list(Path(temporary).iterdir())
        for path in made:
            path.replace(folder / path.name)
    for path in earlier:
        if path.name not in {new.name for new in made}:
            path.unlink()
